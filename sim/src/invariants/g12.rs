//! G12: state is bounded by phases × collectors + what is in flight.

use phasegate_core::conductor::ConductorEffect;
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::controller::{ControllerEffect, ControllerEvent};
use phasegate_core::ledger::Ledger;
use phasegate_core::plan::{Arrival, RunPlan};

use super::{Invariant, Violation};
use crate::trace::{Call, Step};

const NAME: &str = "G12";

/// One call causes no more effects than its machine states; a phase has no more
/// requests in flight than it may; there are no more boundaries than twice the
/// phases, and none asks more collectors than there are; what the controller
/// keeps for its report is as many entries as there are boundaries and services.
pub struct Bounded {
    collectors: usize,
    boundaries: usize,
    opened: usize,
    /// Effects of one call.
    controller: usize,
    collector: usize,
    /// The most in flight of each phase, where there is a limit.
    caps: Vec<Option<u64>>,
}

impl Bounded {
    /// For a run of `plan` with so many collectors.
    #[must_use]
    pub fn new(plan: &RunPlan, collectors: usize) -> Self {
        let boundaries = 2 * plan.phases().len();
        // The conductor and the ledger are services too, and one more may be
        // heard of in the call.
        let services = collectors + 3;
        let cap = |arrival: &Arrival| match arrival {
            Arrival::Concurrency { concurrency } => Some(u64::from(*concurrency)),
            Arrival::Rate { max_concurrency, .. } | Arrival::Fixed { max_concurrency } => {
                max_concurrency.map(u64::from)
            }
        };
        Self {
            collectors,
            boundaries,
            opened: 0,
            controller: (boundaries + 1) * (2 * services + 4) + 8 * services + 8,
            collector: 3 * (boundaries + 1) + 8,
            caps: plan.phases().iter().map(|p| cap(&p.arrival)).collect(),
        }
    }

    fn event(&mut self, event: &ControllerEvent) -> Result<(), String> {
        match event {
            ControllerEvent::BoundaryOpened { collectors, .. } => {
                self.opened += 1;
                if self.opened > self.boundaries {
                    return Err(format!("more boundaries than {}", self.boundaries));
                }
                self.asked(collectors.len())
            }
            ControllerEvent::BoundaryClosed(outcome) => self.asked(outcome.collectors.len()),
            ControllerEvent::Ready { .. }
            | ControllerEvent::BarrierOpen { .. }
            | ControllerEvent::Waiting { .. }
            | ControllerEvent::LateAck { .. }
            | ControllerEvent::UnknownPhase { .. }
            | ControllerEvent::Evicted(_)
            | ControllerEvent::Join(_)
            | ControllerEvent::Phase(..)
            | ControllerEvent::CreditsComplete
            | ControllerEvent::Shutdown { .. } => Ok(()),
        }
    }

    fn asked(&self, collectors: usize) -> Result<(), String> {
        if collectors <= self.collectors {
            return Ok(());
        }
        Err(format!("a boundary asks {collectors} collectors, there are {}", self.collectors))
    }

    fn report(&self, report: &ControllerReport) -> Result<(), String> {
        let services = self.collectors + 2;
        let produced = report.domains.values();
        let produced = produced.map(|d| d.results.len() + d.evicted.len() + d.pending.len());
        for (what, size, most) in [
            ("boundaries", report.boundaries.len(), self.boundaries),
            ("evictions", report.evictions.len(), services),
            ("services that were not ready", report.not_ready.len(), services),
            ("producers", produced.sum(), services),
        ] {
            if size > most {
                return Err(format!("the report has {size} {what}, {most} are possible"));
            }
        }
        Ok(())
    }
}

fn within(who: &str, effects: usize, most: usize) -> Result<(), String> {
    if effects <= most {
        return Ok(());
    }
    Err(format!("{who} caused {effects} effects in one call, at most {most} were stated"))
}

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let broken = |what| Violation::new(NAME, step.at, what);
        match step.call {
            Call::Controller { effects, machine, .. } => {
                within("the controller", effects.len(), self.controller).map_err(broken)?;
                for effect in effects {
                    match effect {
                        ControllerEffect::Report(event) => self.event(event).map_err(broken)?,
                        ControllerEffect::Finished => {
                            self.report(&machine.report()).map_err(broken)?;
                        }
                        ControllerEffect::Send(_) => {}
                    }
                }
            }
            Call::Conductor { effects, machine, .. } => {
                within("the conductor", effects.len(), machine.max_effects()).map_err(broken)?;
                let mut last = None;
                for effect in effects {
                    // A burst is one phase's: it is looked at once.
                    let ConductorEffect::Issue(credit) = effect else { continue };
                    let phase = credit.id.phase;
                    if last.replace(phase) == Some(phase) {
                        continue;
                    }
                    let cap = self.caps.get(usize::from(phase)).copied().flatten();
                    let counts = machine.counts(phase);
                    let back = counts.completed + counts.errors + counts.cancelled;
                    let in_flight = counts.sent.saturating_sub(back);
                    if let Some(cap) = cap.filter(|cap| in_flight > *cap) {
                        let what = format!("phase {phase} has {in_flight} in flight, not {cap}");
                        return Err(broken(what));
                    }
                }
            }
            Call::Ledger { effects, .. } => {
                within("the ledger", effects.len(), Ledger::EFFECTS).map_err(broken)?;
            }
            Call::Collector { effects, .. } => {
                within("a collector", effects.len(), self.collector).map_err(broken)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::conductor::{Conductor, ConductorInput};
    use phasegate_core::id::ServiceId;
    use phasegate_core::machine::Machine;
    use phasegate_core::message::BaselineKind::Start;
    use phasegate_core::message::Message;
    use phasegate_core::time::Tick;

    fn opened(plan: &RunPlan, collectors: usize) -> ControllerEffect {
        let collectors = vec![ServiceId::new("c"); collectors];
        let phase = plan.phases()[0].id;
        ControllerEffect::Report(ControllerEvent::BoundaryOpened { phase, kind: Start, collectors })
    }

    #[test]
    fn more_boundaries_or_collectors_than_there_are_is_a_violation() {
        let plan = plan(&[false]);
        let mut g12 = Bounded::new(&plan, 2);
        let two = [opened(&plan, 2), opened(&plan, 0)];
        assert_eq!(controller(&mut g12, &plan, 1, None, &two), Ok(()));
        assert!(controller(&mut g12, &plan, 2, None, &[opened(&plan, 0)]).is_err());
        let mut g12 = Bounded::new(&plan, 2);
        assert!(controller(&mut g12, &plan, 1, None, &[opened(&plan, 3)]).is_err());
    }

    #[test]
    fn more_effects_than_stated_is_a_violation() {
        let plan = plan(&[false]);
        let record = |n| vec![phasegate_core::ledger::LedgerEffect::Finished; n];
        let mut g12 = Bounded::new(&plan, 0);
        assert_eq!(ledger(&mut g12, &plan, 1, None, &record(Ledger::EFFECTS)), Ok(()));
        assert!(ledger(&mut g12, &plan, 1, None, &record(Ledger::EFFECTS + 1)).is_err());
        let most = Conductor::new(&plan).max_effects();
        let effects = vec![issue(0, 0); most + 1];
        assert!(conductor(&mut g12, &plan, 1, None, &effects).is_err());
        let effects = vec![ControllerEffect::Finished; 1000];
        assert!(controller(&mut g12, &plan, 1, None, &effects).is_err());
    }

    #[test]
    fn more_in_flight_than_a_phase_may_have_is_a_violation() {
        let wide = concurrency(&[false], 3);
        let mut machine = Conductor::new(&wide);
        let mut effects = Vec::new();
        machine.handle(Tick::ZERO, ConductorInput::Start, &mut effects);
        machine.handle(Tick::ZERO, to_conductor(Message::Begin), &mut effects);
        let granted = grant(&wide, 0, Start, phasegate_core::message::ReleasedBy::AllAcked);
        effects.clear();
        machine.handle(Tick(1), granted, &mut effects);
        let call = Call::Conductor { input: None, effects: &effects, machine: &machine };
        let step = Step { at: Tick(1), call };
        assert_eq!(Bounded::new(&wide, 0).observe(&step), Ok(()));
        let narrow = concurrency(&[false], 2);
        let broken = Bounded::new(&narrow, 0).observe(&step).unwrap_err();
        assert_eq!(broken.what, "phase 0 has 3 in flight, not 2");
    }
}
