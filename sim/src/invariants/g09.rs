//! G9: the ledger finalises exactly once; the run ends exactly once, and always
//! ends.

use phasegate_core::collector::CollectorEffect;
use phasegate_core::conductor::ConductorEffect;
use phasegate_core::controller::{ControllerEffect, ControllerEvent};
use phasegate_core::id::ServiceId;
use phasegate_core::ledger::{LedgerEffect, LedgerEvent};
use phasegate_core::machine::Machine;
use phasegate_core::message::{Message, ShutdownReason};
use phasegate_core::time::Tick;

use super::{Invariant, Violation};
use crate::trace::{Call, Step};

const NAME: &str = "G9";

/// The books are closed once; every machine says once that it has ended, and
/// nothing after that but for the controller's answers to those that have not
/// heard; the controller's end comes with its reason. After every call a
/// machine's deadline is in the future, or its driver would never come to rest.
/// At the end of a run that was begun the controller and the conductor have
/// ended and the books are closed, unless their owner was lost.
pub struct EndsOnce {
    begun: bool,
    finalised: bool,
    ledger_evicted: bool,
    controller: bool,
    conductor: bool,
    ledger: bool,
    collectors: Vec<bool>,
    shutdown: Option<ShutdownReason>,
    now: Tick,
}

impl EndsOnce {
    /// For a run with so many collectors.
    #[must_use]
    pub fn new(collectors: usize) -> Self {
        Self {
            begun: false,
            finalised: false,
            ledger_evicted: false,
            controller: false,
            conductor: false,
            ledger: false,
            collectors: vec![false; collectors],
            shutdown: None,
            now: Tick::ZERO,
        }
    }

    fn controller(&mut self, effects: &[ControllerEffect]) -> Result<(), String> {
        self.begun = true;
        for effect in effects {
            match effect {
                ControllerEffect::Send(_) => {}
                ControllerEffect::Report(ControllerEvent::Shutdown { reason }) => {
                    if self.shutdown.replace(*reason).is_some() {
                        return Err("the controller shut the run down twice".to_owned());
                    }
                }
                ControllerEffect::Report(ControllerEvent::Evicted(eviction)) => {
                    self.ledger_evicted |= eviction.service == ServiceId::ledger();
                }
                ControllerEffect::Report(_) => {}
                ControllerEffect::Finished => {
                    once(&mut self.controller, "the controller ended twice")?;
                    if self.shutdown.is_none() {
                        return Err("the controller ended without a shutdown".to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    fn conductor(&mut self, effects: &[ConductorEffect]) -> Result<(), String> {
        self.begun = true;
        for effect in effects {
            if self.conductor {
                return Err(format!("the conductor had ended, and asks for {effect:?}"));
            }
            self.conductor = *effect == ConductorEffect::Finished;
        }
        Ok(())
    }

    fn ledger(&mut self, effects: &[LedgerEffect]) -> Result<(), String> {
        for effect in effects {
            match effect {
                LedgerEffect::Event(LedgerEvent::Finalised { .. }) => {
                    once(&mut self.finalised, "the books were closed twice")?;
                }
                LedgerEffect::Finished => once(&mut self.ledger, "the ledger ended twice")?,
                LedgerEffect::Send(_) if self.ledger => {
                    return Err("the ledger had ended, and sends".to_owned());
                }
                LedgerEffect::Send(_) | LedgerEffect::Event(LedgerEvent::Refused { .. }) => {}
            }
        }
        Ok(())
    }

    fn collector(&mut self, index: usize, effects: &[CollectorEffect]) -> Result<(), String> {
        if index >= self.collectors.len() {
            self.collectors.resize(index + 1, false);
        }
        let ended = &mut self.collectors[index];
        for effect in effects {
            // A registration begins a new life.
            if let CollectorEffect::Send(envelope) = effect
                && let Message::Register(_) = envelope.body
            {
                *ended = false;
            }
            if *ended {
                return Err(format!("collector {index} had ended, and asks for {effect:?}"));
            }
            *ended = *effect == CollectorEffect::Finished;
        }
        Ok(())
    }
}

fn once(done: &mut bool, twice: &str) -> Result<(), String> {
    if core::mem::replace(done, true) { Err(twice.to_owned()) } else { Ok(()) }
}

impl Invariant for EndsOnce {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.now = step.at;
        let (seen, who, deadline) = match step.call {
            Call::Controller { effects, machine, .. } => {
                let deadline = machine.next_deadline().map(|d| d.at);
                (self.controller(effects), "the controller", deadline)
            }
            Call::Conductor { effects, machine, .. } => {
                let deadline = machine.next_deadline().map(|d| d.at);
                (self.conductor(effects), "the conductor", deadline)
            }
            Call::Ledger { effects, machine, .. } => {
                let deadline = machine.next_deadline().map(|d| d.at);
                (self.ledger(effects), "the ledger", deadline)
            }
            Call::Collector { index, effects, machine, .. } => {
                let deadline = machine.next_deadline().map(|d| d.at);
                (self.collector(index, effects), "a collector", deadline)
            }
        };
        seen.map_err(|what| Violation::new(NAME, step.at, what))?;
        match deadline {
            Some(deadline) if deadline <= step.at => {
                let what = format!("{who} was called and still has a deadline at {deadline}");
                Err(Violation::new(NAME, step.at, what))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Violation> {
        let lost = self.shutdown == Some(ShutdownReason::ConductorLost);
        let lacks = if !self.begun {
            return Ok(());
        } else if !self.controller {
            "the controller never ended"
        } else if !self.conductor && !lost {
            "the conductor never ended"
        } else if !self.finalised && !self.ledger_evicted && !lost {
            "the books were never closed"
        } else {
            return Ok(());
        };
        Err(Violation::new(NAME, self.now, format!("the run is over, and {lacks}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::ProfileFinish;

    fn shutdown() -> [ControllerEffect; 2] {
        let reason = ShutdownReason::AllJoined;
        [ControllerEffect::Report(ControllerEvent::Shutdown { reason }), ControllerEffect::Finished]
    }

    fn finalised() -> LedgerEffect {
        let finish = ProfileFinish::Complete;
        LedgerEffect::Event(LedgerEvent::Finalised { finish, records: 0, missing: vec![] })
    }

    #[test]
    fn a_run_that_ends_once_is_good() {
        let plan = plan(&[false]);
        let mut g9 = EndsOnce::new(0);
        assert_eq!(g9.finish(), Ok(()), "one that was never begun");
        assert_eq!(ledger(&mut g9, &plan, 1, None, &[finalised()]), Ok(()));
        assert_eq!(controller(&mut g9, &plan, 2, None, &shutdown()), Ok(()));
        assert!(g9.finish().is_err(), "the conductor is still there");
        assert_eq!(conductor(&mut g9, &plan, 3, None, &[ConductorEffect::Finished]), Ok(()));
        assert_eq!(g9.finish(), Ok(()));
    }

    #[test]
    fn whatever_ends_twice_is_a_violation() {
        let plan = plan(&[false]);
        let mut g9 = EndsOnce::new(1);
        let twice = [finalised(), finalised()];
        assert!(ledger(&mut g9, &plan, 1, None, &twice).is_err());
        let mut g9 = EndsOnce::new(1);
        assert_eq!(controller(&mut g9, &plan, 2, None, &shutdown()), Ok(()));
        assert!(controller(&mut g9, &plan, 2, None, &[ControllerEffect::Finished]).is_err());
        let twice = [ConductorEffect::Finished, ConductorEffect::Finished];
        assert!(conductor(&mut g9, &plan, 3, None, &twice).is_err());
        let twice = [CollectorEffect::Finished, CollectorEffect::Finished];
        assert!(collector(&mut g9, 3, None, &twice).is_err());
    }

    #[test]
    fn an_end_without_its_reason_or_no_end_is_a_violation() {
        let plan = plan(&[false]);
        let mut g9 = EndsOnce::new(0);
        assert!(controller(&mut g9, &plan, 2, None, &[ControllerEffect::Finished]).is_err());
        let mut g9 = EndsOnce::new(0);
        assert_eq!(controller(&mut g9, &plan, 2, None, &[]), Ok(()));
        assert_eq!(
            g9.finish().unwrap_err().what,
            "the run is over, and the controller never ended"
        );
    }

    #[test]
    fn a_machine_whose_deadline_has_come_after_a_call_is_a_violation() {
        let plan = plan(&[false]);
        let mut machine = phasegate_core::conductor::Conductor::new(&plan);
        let input = phasegate_core::conductor::ConductorInput::Start;
        machine.handle(Tick::ZERO, input, &mut Vec::new());
        let call = Call::Conductor { input: None, effects: &[], machine: &machine };
        let due = machine.next_deadline().unwrap().at;
        assert!(EndsOnce::new(0).observe(&Step { at: due, call }).is_err());
        assert_eq!(EndsOnce::new(0).observe(&Step { at: Tick(due.0 - 1), call }), Ok(()));
    }
}
