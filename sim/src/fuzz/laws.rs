//! What must hold after every call of a composed run, whatever it was told.

use std::collections::{BTreeMap, BTreeSet};

use phasegate_core::collector::CollectorEffect;
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorEvent};
use phasegate_core::controller::{ControllerEffect, ControllerEvent};
use phasegate_core::id::PhaseId;
use phasegate_core::ledger::{LedgerEffect, LedgerEvent};
use phasegate_core::message::{BaselineKind, GateGranted, Message};
use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

type Mark = (PhaseId, BaselineKind);

#[derive(Debug, Default)]
struct PhaseSeen {
    seamless: bool,
    issued: u64,
    start_released: bool,
    started: bool,
    ended: bool,
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Laws {
    phases: Vec<PhaseSeen>,
    baselines: Vec<BTreeSet<Mark>>,
    grants: BTreeMap<Mark, GateGranted>,
    closed: BTreeSet<Mark>,
    pub(super) controller_finished: bool,
    pub(super) conductor_finished: bool,
    pub(super) ledger_finished: bool,
    collectors_finished: Vec<bool>,
    finalised: bool,
}

/// Notes the one time that something may be said.
fn once(said: &mut bool, what: &str) {
    assert!(!*said, "{what} twice");
    *said = true;
}

impl Laws {
    pub(super) fn new(plan: &RunPlan, collectors: usize) -> Self {
        let phases = plan.phases().iter();
        let seen = phases.map(|p| PhaseSeen { seamless: p.seamless, ..PhaseSeen::default() });
        Self {
            phases: seen.collect(),
            baselines: vec![BTreeSet::new(); collectors],
            grants: BTreeMap::new(),
            closed: BTreeSet::new(),
            controller_finished: false,
            conductor_finished: false,
            ledger_finished: false,
            collectors_finished: vec![false; collectors],
            finalised: false,
        }
    }

    /// Whether this collector has left.
    pub(super) fn collector_finished(&self, index: usize) -> bool {
        self.collectors_finished.get(index).copied().unwrap_or(true)
    }

    pub(super) fn restarted(&mut self, index: usize) {
        if let Some(taken) = self.baselines.get_mut(index) {
            taken.clear();
        }
        if let Some(finished) = self.collectors_finished.get_mut(index) {
            *finished = false;
        }
    }

    pub(super) fn controller(&mut self, effects: &[ControllerEffect]) {
        for effect in effects {
            match effect {
                ControllerEffect::Send(envelope) => {
                    if let Message::GateGranted(granted) = &envelope.body
                        && granted.outcome.is_ok()
                    {
                        let mark = (granted.phase, granted.kind);
                        let first = self.grants.entry(mark).or_insert_with(|| *granted.clone());
                        assert_eq!(*first, **granted, "the same grant for ever");
                    }
                }
                ControllerEffect::Report(ControllerEvent::BoundaryClosed(outcome)) => {
                    let new = self.closed.insert((outcome.phase, outcome.kind));
                    assert!(new, "a boundary was closed twice: {outcome:?}");
                }
                ControllerEffect::Report(_) => {}
                ControllerEffect::Finished => {
                    once(&mut self.controller_finished, "the controller finished");
                }
            }
        }
    }

    pub(super) fn conductor(
        &mut self,
        now: Tick,
        effects: &[ConductorEffect],
        conductor: &Conductor,
    ) {
        for effect in effects {
            assert!(!self.conductor_finished, "an effect after the last: {effect:?}");
            match effect {
                ConductorEffect::Finished => {
                    once(&mut self.conductor_finished, "the conductor finished");
                }
                ConductorEffect::Issue(credit) => {
                    let phase = self.phase(credit.id.phase);
                    assert!(phase.started, "G1: a credit before the phase started: {credit:?}");
                    assert_eq!(u64::from(credit.id.number), phase.issued, "numbers in order");
                    phase.issued += 1;
                    assert!(credit.planned <= now, "sent before its time: {credit:?} at {now}");
                }
                ConductorEffect::Event(event) => self.event(event, conductor),
                ConductorEffect::Send(_) | ConductorEffect::CancelCredits { .. } => {}
            }
        }
        self.counts(conductor);
    }

    fn phase(&mut self, index: u16) -> &mut PhaseSeen {
        self.phases.get_mut(usize::from(index)).expect("a phase of the plan")
    }

    fn event(&mut self, event: &ConductorEvent, conductor: &Conductor) {
        match event {
            ConductorEvent::GateReleased { phase, kind: BaselineKind::Start, .. } => {
                self.phase(*phase).start_released = true;
            }
            ConductorEvent::PhaseStarted { phase } => {
                let seen = self.phase(*phase);
                once(&mut seen.started, "a phase started");
                if !seen.seamless {
                    assert!(seen.start_released, "G1: started before its START gate");
                    let before = self.phases.iter().take(usize::from(*phase));
                    assert!(before.into_iter().all(|p| p.ended), "G4: phases overlap");
                }
            }
            ConductorEvent::GateAsked { phase, kind: BaselineKind::End } => {
                let counts = conductor.counts(*phase);
                assert_eq!(counts.in_flight(), 0, "G2: END asked with requests in flight");
            }
            ConductorEvent::PhaseComplete { counts, .. } => {
                assert_eq!(counts.in_flight(), 0, "G7: 0 in flight at the end");
            }
            ConductorEvent::PhaseEnded { phase } => {
                once(&mut self.phase(*phase).ended, "a phase ended");
            }
            ConductorEvent::GateAsked { kind: BaselineKind::Start, .. }
            | ConductorEvent::GateReleased { kind: BaselineKind::End, .. }
            | ConductorEvent::GateRefused { .. }
            | ConductorEvent::Began { .. }
            | ConductorEvent::SendingComplete { .. }
            | ConductorEvent::WrittenOff { .. }
            | ConductorEvent::BudgetExceeded { .. }
            | ConductorEvent::Probing { .. }
            | ConductorEvent::Probed { .. }
            | ConductorEvent::Cancelling
            | ConductorEvent::CreditsComplete => {}
        }
    }

    /// G7: sent = completed + errors + cancelled + in flight, at every instant.
    fn counts(&self, conductor: &Conductor) {
        assert_eq!(conductor.invalid_steps(), 0, "an event met a state that forbids it");
        let tally = conductor.tally();
        let mut sum = [0; 5];
        for (index, seen) in (0_u16..).zip(&self.phases) {
            let counts = conductor.counts(index);
            assert_eq!(counts.sent, seen.issued, "sent is what was issued");
            let over = counts.completed + counts.errors + counts.cancelled;
            assert!(over <= counts.sent, "G7: {counts:?}");
            let all = [counts.completed, counts.errors, counts.cancelled, counts.in_flight()];
            sum.iter_mut().zip([counts.sent].into_iter().chain(all)).for_each(|(s, n)| *s += n);
        }
        let told = [tally.sent, tally.completed, tally.errors, tally.cancelled, tally.in_flight];
        assert_eq!(told, sum, "the run's tally is the sum of its phases'");
    }

    pub(super) fn ledger(&mut self, effects: &[LedgerEffect]) {
        for effect in effects {
            match effect {
                LedgerEffect::Event(LedgerEvent::Finalised { .. }) => {
                    once(&mut self.finalised, "G9: the ledger finalised");
                }
                LedgerEffect::Finished => once(&mut self.ledger_finished, "the ledger finished"),
                LedgerEffect::Event(LedgerEvent::Refused { .. }) | LedgerEffect::Send(_) => {}
            }
        }
    }

    pub(super) fn collector(&mut self, index: usize, effects: &[CollectorEffect]) {
        for effect in effects {
            match effect {
                CollectorEffect::Baseline { phase, kind, .. } => {
                    let taken = self.baselines.get_mut(index).expect("a collector");
                    assert!(taken.insert((*phase, *kind)), "G5: two baselines of {phase} {kind}");
                }
                CollectorEffect::Finished => {
                    let finished = self.collectors_finished.get_mut(index).expect("a collector");
                    once(finished, "a collector finished");
                }
                CollectorEffect::Send(_)
                | CollectorEffect::Read { .. }
                | CollectorEffect::Abort(_) => {}
            }
        }
    }
}
