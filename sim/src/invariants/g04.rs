//! G4: phases that are not seamless never overlap.

use phasegate_core::conductor::{ConductorEffect, ConductorEvent};
use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G4";

/// A phase begins in its turn: one that is not seamless when every phase before
/// it is over, END gate included; a seamless one when every phase before it has
/// stopped sending. None sends after it has stopped.
pub struct NoOverlap {
    phases: Vec<Phase>,
    /// The phases that have begun and are not over.
    active: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Planned,
    Sending,
    Stopped,
    Over,
}

#[derive(Clone, Copy)]
struct Phase {
    seamless: bool,
    life: Life,
}

impl NoOverlap {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        let phases = plan.phases().iter();
        Self {
            phases: phases.map(|p| Phase { seamless: p.seamless, life: Life::Planned }).collect(),
            active: Vec::new(),
        }
    }

    fn begins(&mut self, at: Tick, phase: u16) -> Result<(), Violation> {
        let index = usize::from(phase);
        let Some(own) = self.phases.get(index).copied() else { return Ok(()) };
        match own.life {
            Life::Planned => {}
            Life::Sending => return Ok(()),
            // Its END gate.
            Life::Stopped | Life::Over => return Ok(()),
        }
        for other in &self.active {
            let life = self.phases[*other].life;
            let overlaps = if own.seamless { life == Life::Sending } else { life != Life::Over };
            if overlaps || *other > index {
                let what = format!("phase {index} began while phase {other} was at work");
                return Err(Violation::new(NAME, at, what));
            }
        }
        self.phases[index].life = Life::Sending;
        self.active.push(index);
        Ok(())
    }

    fn becomes(&mut self, phase: u16, life: Life) {
        let index = usize::from(phase);
        if let Some(own) = self.phases.get_mut(index) {
            own.life = own.life.max(life);
        }
        if life == Life::Over {
            self.active.retain(|active| *active != index);
        }
    }

    fn issued(&mut self, at: Tick, phase: u16) -> Result<(), Violation> {
        let Some(own) = self.phases.get(usize::from(phase)) else { return Ok(()) };
        match own.life {
            Life::Sending => Ok(()),
            Life::Planned => self.begins(at, phase),
            Life::Stopped | Life::Over => {
                let what = format!("a credit of phase {phase} was issued after it stopped sending");
                Err(Violation::new(NAME, at, what))
            }
        }
    }
}

impl Invariant for NoOverlap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONDUCTOR
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Conductor { effects, .. } = step.call else { return Ok(()) };
        for effect in effects {
            match effect {
                ConductorEffect::Issue(credit) => self.issued(step.at, credit.id.phase)?,
                ConductorEffect::Event(event) => match event {
                    ConductorEvent::GateAsked { phase, .. }
                    | ConductorEvent::PhaseStarted { phase } => self.begins(step.at, *phase)?,
                    ConductorEvent::SendingComplete { phase, .. } => {
                        self.becomes(*phase, Life::Stopped);
                    }
                    ConductorEvent::PhaseEnded { phase } => self.becomes(*phase, Life::Over),
                    ConductorEvent::Began { .. }
                    | ConductorEvent::GateReleased { .. }
                    | ConductorEvent::GateRefused { .. }
                    | ConductorEvent::WrittenOff { .. }
                    | ConductorEvent::PhaseComplete { .. }
                    | ConductorEvent::BudgetExceeded { .. }
                    | ConductorEvent::Probing { .. }
                    | ConductorEvent::Probed { .. }
                    | ConductorEvent::Cancelling
                    | ConductorEvent::CreditsComplete => {}
                },
                ConductorEffect::Send(_)
                | ConductorEffect::CancelCredits { .. }
                | ConductorEffect::Finished => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::PhaseCounts;

    fn stops(phase: u16) -> ConductorEffect {
        let counts = PhaseCounts::default();
        ConductorEffect::Event(ConductorEvent::SendingComplete { phase, counts })
    }

    fn starts(phase: u16) -> ConductorEffect {
        ConductorEffect::Event(ConductorEvent::PhaseStarted { phase })
    }

    fn ends(phase: u16) -> ConductorEffect {
        ConductorEffect::Event(ConductorEvent::PhaseEnded { phase })
    }

    fn see(seamless: bool, effects: &[ConductorEffect]) -> Result<(), Violation> {
        let plan = plan(&[false, seamless]);
        conductor(&mut NoOverlap::new(&plan), &plan, 3, None, effects)
    }

    #[test]
    fn a_phase_that_begins_before_the_one_before_is_over_is_a_violation() {
        let broken = see(false, &[starts(0), stops(0), starts(1)]).unwrap_err();
        assert_eq!(broken.what, "phase 1 began while phase 0 was at work");
        assert!(see(false, &[starts(0), issue(0, 0), stops(0), issue(1, 0)]).is_err());
        assert_eq!(see(false, &[starts(0), stops(0), ends(0), starts(1), issue(1, 0)]), Ok(()));
    }

    #[test]
    fn a_seamless_phase_begins_when_the_one_before_has_stopped_sending() {
        assert!(see(true, &[starts(0), starts(1)]).is_err());
        assert_eq!(see(true, &[starts(0), stops(0), starts(1), issue(1, 0), ends(0)]), Ok(()));
    }

    #[test]
    fn a_credit_after_the_last_is_a_violation() {
        assert!(see(false, &[starts(0), stops(0), issue(0, 0)]).is_err());
        assert!(see(false, &[starts(0), ends(0), issue(0, 0)]).is_err());
    }
}
