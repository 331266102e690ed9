//! Drives a conductor, keeps what it did, and checks after every call what must
//! always hold.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::conductor::lifecycle::RunState;
use crate::conductor::{Conductor, ConductorEffect, ConductorEvent, ConductorInput};
use crate::id::{CreditId, MessageId, PhaseId, ServiceId};
use crate::machine::{EffectBuf, Machine};
use crate::message::{
    BaselineKind, BoundaryOutcome, Envelope, GateCommand, GateGranted, GateRefusal, Message,
    ReleasedBy, ShutdownReason,
};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::record::{Credit, CreditEnd, CreditReturn};
use crate::time::Tick;

pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1_000_000_000;

pub(super) use BaselineKind::{End, Start};

pub(super) fn closed(name: &str, concurrency: u32, requests: u64) -> PhaseSpec {
    let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
    spec.concurrency = Some(concurrency);
    spec.requests = Some(requests);
    spec
}

pub(super) fn seamless(mut spec: PhaseSpec) -> PhaseSpec {
    spec.seamless = true;
    spec
}

pub(super) fn plan(phases: Vec<PhaseSpec>) -> RunPlan {
    RunPlan::new(7, phases, GatePlan::default(), Limits::default()).unwrap()
}

pub(super) fn ungated(phases: Vec<PhaseSpec>) -> RunPlan {
    let gate = GatePlan { enabled: false, ..GatePlan::default() };
    RunPlan::new(7, phases, gate, Limits::default()).unwrap()
}

/// What happened at a gate, as the rig knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) at: Tick,
    pub(super) id: MessageId,
    pub(super) command: GateCommand,
}

pub(super) struct Rig {
    pub(super) conductor: Conductor,
    pub(super) plan: RunPlan,
    pub(super) now: Tick,
    pub(super) log: Vec<(Tick, ConductorEffect)>,
    pub(super) in_flight: BTreeSet<CreditId>,
    pub(super) asked: Vec<Asked>,
    pub(super) finished: u32,
    buf: EffectBuf<ConductorEffect>,
    start_released: BTreeSet<u16>,
    sequence: u64,
}

impl Rig {
    pub(super) fn new(plan: RunPlan) -> Self {
        let conductor = Conductor::new(&plan);
        Self {
            buf: EffectBuf::with_bound(conductor.max_effects()),
            conductor,
            plan,
            now: Tick::ZERO,
            log: Vec::new(),
            in_flight: BTreeSet::new(),
            asked: Vec::new(),
            finished: 0,
            start_released: BTreeSet::new(),
            sequence: 0,
        }
    }

    /// Registered, and past the barrier.
    pub(super) fn begun(plan: RunPlan) -> Self {
        let mut rig = Self::new(plan);
        rig.input(ConductorInput::Start);
        rig.message(Message::Begin);
        rig
    }

    pub(super) fn phase(&self, index: usize) -> PhaseId {
        self.plan.phases()[index].id
    }

    fn index(&self, id: PhaseId) -> u16 {
        u16::try_from(self.plan.phases().iter().position(|p| p.id == id).unwrap()).unwrap()
    }

    pub(super) fn at(&mut self, ns: u64) -> &mut Self {
        assert!(ns >= self.now.0, "the rig's clock does not go back");
        self.now = Tick(ns);
        self
    }

    pub(super) fn input(&mut self, input: ConductorInput) {
        self.conductor.handle(self.now, input, &mut self.buf);
        self.settle();
    }

    pub(super) fn message(&mut self, body: Message) {
        self.sequence += 1;
        self.input(ConductorInput::Message(Envelope {
            from: ServiceId::controller(),
            to: ServiceId::conductor(),
            message_id: MessageId(self.sequence),
            sequence: self.sequence,
            body,
        }));
    }

    pub(super) fn shutdown(&mut self) {
        self.message(Message::Shutdown { reason: ShutdownReason::AllJoined });
    }

    pub(super) fn grant_by(&mut self, phase: usize, kind: BaselineKind, by: ReleasedBy) {
        let phase = self.phase(phase);
        let outcome = Ok(BoundaryOutcome {
            phase,
            kind,
            requested: self.now,
            closed: self.now,
            released_by: by,
            in_flight: 0,
            collectors: vec![],
        });
        self.message(Message::GateGranted(Box::new(GateGranted { phase, kind, outcome })));
    }

    pub(super) fn grant(&mut self, phase: usize, kind: BaselineKind) {
        self.grant_by(phase, kind, ReleasedBy::AllAcked);
    }

    pub(super) fn refuse(&mut self, phase: usize, kind: BaselineKind) {
        let phase = self.phase(phase);
        let outcome = Err(GateRefusal::ShuttingDown);
        self.message(Message::GateGranted(Box::new(GateGranted { phase, kind, outcome })));
    }

    pub(super) fn give_back(&mut self, phase: u16, number: u32, end: CreditEnd) {
        self.give_back_with(phase, number, end, Some(10), Some(5));
    }

    pub(super) fn give_back_with(
        &mut self,
        phase: u16,
        number: u32,
        end: CreditEnd,
        prompt_tokens: Option<u32>,
        output_tokens: Option<u32>,
    ) {
        let id = CreditId { phase, number };
        self.in_flight.remove(&id);
        let credit = CreditReturn { id, end, prompt_tokens, output_tokens };
        self.input(ConductorInput::Returned(credit));
    }

    pub(super) fn complete(&mut self, phase: u16, number: u32) {
        self.give_back(phase, number, CreditEnd::Completed);
    }

    /// Wakes the conductor whenever it wants, up to `ns`.
    pub(super) fn run_until(&mut self, ns: u64) -> &mut Self {
        while let Some(deadline) = self.conductor.next_deadline().filter(|d| d.at.0 <= ns) {
            self.now = deadline.at;
            self.wake();
        }
        self.at(ns)
    }

    pub(super) fn wake(&mut self) {
        self.conductor.handle_timeout(self.now, &mut self.buf);
        self.settle();
    }

    /// What must hold after every call.
    fn settle(&mut self) {
        let effects: Vec<ConductorEffect> = self.buf.drain().collect();
        assert_eq!(self.buf.beyond_bound(), 0, "more effects than stated");
        for effect in effects {
            self.observe(&effect);
            self.log.push((self.now, effect));
        }
        let deadline = self.conductor.next_deadline();
        assert!(deadline.is_none_or(|d| d.at > self.now), "{deadline:?} at {}", self.now);
        self.conductor.handle_timeout(self.now, &mut self.buf);
        assert_eq!(self.buf.as_slice(), [], "a spurious call has effects");
        assert_eq!(self.conductor.next_deadline(), deadline, "a spurious call changes a timer");
        assert_eq!(self.conductor.invalid_steps(), 0);
        self.check_counts();
        if self.conductor.state() == RunState::Finished {
            assert_eq!(self.finished, 1, "finished is said exactly once");
            assert_eq!(deadline, None);
        }
    }

    /// G7, and that phases that are not seamless never overlap (G4).
    fn check_counts(&self) {
        let (mut sent, mut back) = (0, 0);
        let report = self.conductor.report();
        for (index, phase) in report.phases.iter().enumerate() {
            let c = phase.counts;
            assert!(c.completed + c.errors + c.cancelled <= c.sent);
            assert!(phase.written_off <= c.cancelled);
            sent += c.sent;
            back += c.completed + c.errors + c.cancelled;
            if index > 0 && !self.plan.phases()[index].seamless && phase.start.is_some() {
                let before = &report.phases[..index];
                assert!(before.iter().all(|p| p.end.is_some() && p.end <= phase.start));
            }
        }
        let tally = self.conductor.tally();
        assert_eq!(tally.sent, sent);
        assert_eq!(tally.completed + tally.errors + tally.cancelled, back);
        assert_eq!(tally.in_flight, sent - back);
    }

    fn observe(&mut self, effect: &ConductorEffect) {
        assert_eq!(self.finished, 0, "{effect:?} after the end");
        match effect {
            ConductorEffect::Issue(credit) => {
                let index = credit.id.phase;
                assert!(credit.planned <= self.now, "issued before its time");
                let seamless = self.plan.phases()[usize::from(index)].seamless;
                assert!(seamless || self.start_released.contains(&index), "G1");
                assert!(self.in_flight.insert(credit.id), "a credit number twice");
            }
            ConductorEffect::Send(envelope) => self.observe_message(envelope),
            ConductorEffect::Event(ConductorEvent::GateReleased { phase, kind: Start, by })
                if *by != ReleasedBy::Cancelled =>
            {
                self.start_released.insert(*phase);
            }
            ConductorEffect::Event(ConductorEvent::WrittenOff { phase, .. }) => {
                // Exactly the ones that the conductor gave up may be missing.
                if self.conductor.counts(*phase).in_flight() == 0 {
                    self.in_flight.retain(|id| id.phase != *phase);
                }
            }
            ConductorEffect::Finished => self.finished += 1,
            ConductorEffect::CancelCredits { .. } | ConductorEffect::Event(_) => {}
        }
    }

    fn observe_message(&mut self, envelope: &Envelope) {
        let Message::GateCommand(command) = &envelope.body else { return };
        assert!(self.plan.gate().enabled, "disabled gates say nothing");
        assert_eq!(envelope.to, ServiceId::controller());
        if command.kind == End {
            let counts = self.conductor.counts(self.index(command.phase));
            assert_eq!(counts.in_flight(), 0, "G2");
        }
        let t = command.tally;
        assert_eq!(t.sent, t.completed + t.errors + t.cancelled + t.in_flight);
        self.asked.push(Asked { at: self.now, id: envelope.message_id, command: *command.clone() });
    }

    /// Takes out what happened since the last call.
    pub(super) fn take(&mut self) -> Vec<ConductorEffect> {
        self.log.drain(..).map(|(_, effect)| effect).collect()
    }

    /// The credits among what happened since the last call.
    pub(super) fn credits(&mut self) -> Vec<Credit> {
        let credit = |effect| match effect {
            ConductorEffect::Issue(credit) => Some(credit),
            ConductorEffect::Send(_)
            | ConductorEffect::CancelCredits { .. }
            | ConductorEffect::Event(_)
            | ConductorEffect::Finished => None,
        };
        self.take().into_iter().filter_map(credit).collect()
    }

    /// The messages among what happened since the last call.
    pub(super) fn messages(&mut self) -> Vec<Envelope> {
        let message = |effect| match effect {
            ConductorEffect::Send(envelope) => Some(envelope),
            ConductorEffect::Issue(_)
            | ConductorEffect::CancelCredits { .. }
            | ConductorEffect::Event(_)
            | ConductorEffect::Finished => None,
        };
        self.take().into_iter().filter_map(message).collect()
    }

    /// Whether this gate was ever asked for.
    pub(super) fn was_asked(&self, phase: usize, kind: BaselineKind) -> bool {
        let id = self.phase(phase);
        self.asked.iter().any(|a| a.command.phase == id && a.command.kind == kind)
    }

    /// When credits of this phase were cancelled, since the last call.
    pub(super) fn cancelled_at(&self, phase: u16) -> Vec<Tick> {
        let cancel = ConductorEffect::CancelCredits { phase };
        self.log.iter().filter(|(_, e)| *e == cancel).map(|(at, _)| *at).collect()
    }
}

pub(super) fn secs(s: u64) -> Option<Duration> {
    Some(Duration::from_secs(s))
}
