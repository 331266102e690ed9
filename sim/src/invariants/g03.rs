//! G3: every gate releases within its timeout, whatever is lost or dead.

use core::time::Duration;

use phasegate_core::conductor::gate::GRANT_SLACK;
use phasegate_core::conductor::{ConductorEffect, ConductorEvent};
use phasegate_core::controller::{ControllerEffect, ControllerEvent};
use phasegate_core::machine::Machine;
use phasegate_core::message::BaselineKind;
use phasegate_core::plan::RunPlan;
use phasegate_core::reading::BoundaryMark;
use phasegate_core::time::Tick;

use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G3";

/// How long the conductor waits at a gate at most.
pub(super) fn longest_wait(plan: &RunPlan) -> Duration {
    plan.gate().timeout.saturating_add(GRANT_SLACK)
}

/// A gate that the conductor waits at is released by the first call at or after
/// its timeout and a second; a boundary that the controller opened is closed by
/// the first call at or after its timeout. Until then the machine's deadline is
/// never later, so that only a driver's own lateness can add to the wait.
pub struct GateReleases {
    wait: Duration,
    timeout: Duration,
    gates: Vec<(u16, BaselineKind, Tick)>,
    boundaries: Vec<(BoundaryMark, Tick)>,
    enabled: bool,
    /// The last moment that was looked at.
    now: Tick,
    conductor_ended: bool,
}

impl GateReleases {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        Self {
            wait: longest_wait(plan),
            timeout: plan.gate().timeout,
            gates: Vec::new(),
            boundaries: Vec::new(),
            enabled: plan.gate().enabled,
            now: Tick::ZERO,
            conductor_ended: false,
        }
    }

    fn gate(&mut self, at: Tick, event: &ConductorEvent) -> Result<(), Violation> {
        match event {
            ConductorEvent::GateAsked { phase, kind } => {
                self.gates.push((*phase, *kind, at + self.wait));
            }
            ConductorEvent::GateReleased { phase, kind, .. }
            | ConductorEvent::GateRefused { phase, kind, .. } => {
                let waits = self.gates.iter().position(|(p, k, _)| (p, k) == (phase, kind));
                match waits {
                    Some(place) => drop(self.gates.swap_remove(place)),
                    None if !self.enabled => {}
                    None => {
                        let what = format!(
                            "the {kind} gate of phase {phase} was released without being waited for"
                        );
                        return Err(Violation::new(NAME, at, what));
                    }
                }
            }
            ConductorEvent::Began { .. }
            | ConductorEvent::PhaseStarted { .. }
            | ConductorEvent::SendingComplete { .. }
            | ConductorEvent::WrittenOff { .. }
            | ConductorEvent::PhaseComplete { .. }
            | ConductorEvent::BudgetExceeded { .. }
            | ConductorEvent::PhaseEnded { .. }
            | ConductorEvent::Probing { .. }
            | ConductorEvent::Probed { .. }
            | ConductorEvent::Cancelling
            | ConductorEvent::CreditsComplete => {}
        }
        Ok(())
    }

    fn boundary(&mut self, at: Tick, event: &ControllerEvent) {
        match event {
            ControllerEvent::BoundaryOpened { phase, kind, .. } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                self.boundaries.push((mark, at + self.timeout));
            }
            ControllerEvent::BoundaryClosed(outcome) => {
                let mark = BoundaryMark { phase: outcome.phase, kind: outcome.kind };
                self.boundaries.retain(|(open, _)| *open != mark);
            }
            ControllerEvent::Ready { .. }
            | ControllerEvent::BarrierOpen { .. }
            | ControllerEvent::Waiting { .. }
            | ControllerEvent::LateAck { .. }
            | ControllerEvent::UnknownPhase { .. }
            | ControllerEvent::Evicted(_)
            | ControllerEvent::Join(_)
            | ControllerEvent::Phase(..)
            | ControllerEvent::CreditsComplete
            | ControllerEvent::Shutdown { .. } => {}
        }
    }
}

/// Whether a wait until `until` is still held at `at`, by a machine whose
/// deadline is `deadline`: how that breaks the rule.
fn held(at: Tick, until: Tick, deadline: Option<Tick>) -> Option<String> {
    if at >= until {
        return Some(format!("should have been released by {until} and was not"));
    }
    match deadline {
        Some(deadline) if deadline <= until => None,
        Some(deadline) => Some(format!(
            "is to be released by {until} at the latest, and the machine sleeps until {deadline}"
        )),
        None => Some(format!("is to be released by {until}, and the machine has no deadline")),
    }
}

impl Invariant for GateReleases {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONTROLLER.and(Watches::CONDUCTOR)
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        match step.call {
            Call::Conductor { effects, machine, .. } => {
                self.now = step.at;
                for effect in effects {
                    match effect {
                        ConductorEffect::Event(event) => self.gate(step.at, event)?,
                        ConductorEffect::Finished => self.conductor_ended = true,
                        ConductorEffect::Send(_)
                        | ConductorEffect::Issue(_)
                        | ConductorEffect::CancelCredits { .. } => {}
                    }
                }
                if self.gates.is_empty() {
                    return Ok(());
                }
                let deadline = machine.next_deadline().map(|d| d.at);
                for (phase, kind, until) in &self.gates {
                    if let Some(how) = held(step.at, *until, deadline) {
                        let what = format!("the {kind} gate of phase {phase} {how}");
                        return Err(Violation::new(NAME, step.at, what));
                    }
                }
            }
            Call::Controller { effects, machine, .. } => {
                for effect in effects {
                    match effect {
                        ControllerEffect::Report(event) => self.boundary(step.at, event),
                        ControllerEffect::Send(_) | ControllerEffect::Finished => {}
                    }
                }
                if self.boundaries.is_empty() {
                    return Ok(());
                }
                let deadline = machine.next_deadline().map(|d| d.at);
                for (BoundaryMark { phase, kind }, until) in &self.boundaries {
                    if let Some(how) = held(step.at, *until, deadline) {
                        let what = format!("the {kind} boundary of phase {phase} {how}");
                        return Err(Violation::new(NAME, step.at, what));
                    }
                }
            }
            Call::Ledger { .. } | Call::Collector { .. } => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Violation> {
        match self.gates.first() {
            Some((phase, kind, _)) if self.conductor_ended => {
                let what = format!(
                    "the conductor ended while it waited at the {kind} gate of phase {phase}"
                );
                Err(Violation::new(NAME, self.now, what))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use BaselineKind::Start;
    use phasegate_core::message::ReleasedBy;

    fn asked() -> [ConductorEffect; 1] {
        [ConductorEffect::Event(ConductorEvent::GateAsked { phase: 0, kind: Start })]
    }

    #[test]
    fn a_gate_without_a_deadline_for_it_is_a_violation() {
        let plan = plan(&[false]);
        let mut g3 = GateReleases::new(&plan);
        // A fresh conductor sleeps for ever.
        let broken = conductor(&mut g3, &plan, 0, None, &asked()).unwrap_err();
        assert!(broken.what.ends_with("and the machine has no deadline"), "{broken}");
    }

    #[test]
    fn a_gate_held_longer_than_its_timeout_and_a_second_is_a_violation() {
        assert_eq!(held(ms(5_999), ms(6_000), Some(ms(6_000))), None);
        assert!(held(ms(6_000), ms(6_000), Some(ms(7_000))).is_some());
        assert!(held(ms(1), ms(6_000), Some(ms(6_001))).is_some(), "it would sleep too long");
    }

    #[test]
    fn a_boundary_that_the_controller_holds_without_a_deadline_is_a_violation() {
        let plan = plan(&[false]);
        let mut g3 = GateReleases::new(&plan);
        let opened = ControllerEvent::BoundaryOpened {
            phase: plan.phases()[0].id,
            kind: Start,
            collectors: vec![],
        };
        assert!(controller(&mut g3, &plan, 0, None, &[ControllerEffect::Report(opened)]).is_err());
    }

    #[test]
    fn a_gate_that_is_released_at_once_is_good_and_twice_is_not() {
        let plan = plan(&[false]);
        let mut g3 = GateReleases::new(&plan);
        let released = ConductorEffect::Event(ConductorEvent::GateReleased {
            phase: 0,
            kind: Start,
            by: ReleasedBy::NoCollectors,
        });
        let [asked] = asked();
        let both = [asked, released.clone()];
        assert_eq!(conductor(&mut g3, &plan, 0, None, &both), Ok(()));
        assert_eq!(g3.finish(), Ok(()));
        assert!(conductor(&mut g3, &plan, 1, None, &[released]).is_err());
    }

    #[test]
    fn a_conductor_that_ends_at_a_gate_is_a_violation() {
        let plan = plan(&[false]);
        let mut g3 = GateReleases::new(&plan);
        let _ = conductor(&mut g3, &plan, 0, None, &asked());
        let _ = conductor(&mut g3, &plan, 1, None, &[ConductorEffect::Finished]);
        assert!(g3.finish().is_err());
    }
}
