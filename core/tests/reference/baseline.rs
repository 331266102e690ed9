//! The baseline coordinator: a list of boundaries, each with a list of who was
//! asked.

use core::time::Duration;

use phasegate_core::controller::baseline::{BaselineCoordinator, BaselineEffect, BaselineInput};
use phasegate_core::controller::report::OddAcks;
use phasegate_core::id::{MessageId, PhaseId, ServiceId};
use phasegate_core::machine::Machine;
use phasegate_core::message::{
    BaselineAck, BaselineKind, BaselineRequest, BoundaryOutcome, CollectError, CollectErrorKind,
    CollectorOutcome, CollectorStatus, GateCommand, ReadingMark, ReleasedBy, Tally,
};
use phasegate_core::plan::GatePlan;
use phasegate_core::reading::BoundaryMark;
use phasegate_core::time::Tick;
use proptest::prelude::*;

use super::{kind, phase, sorted};

const TIMEOUT_MS: u64 = 2_600;
const SETTLE_MS: u64 = 1_000;

#[derive(Debug, Clone)]
enum Op {
    /// With the collectors whose bit is set.
    Command(u8, BaselineKind, u64, u8),
    Ack(u8, u8, BaselineKind, bool),
    Evict(u8),
    Restarted(u8),
    Cancel,
    Wait(u64),
    Stall(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..2, kind(), 0_u64..2, 0_u8..8).prop_map(|(p, k, n, who)| Op::Command(p, k, n, who)),
        8 => (0_u8..4, 0_u8..3, kind(), any::<bool>()).prop_map(|(c, p, k, ok)| Op::Ack(c, p, k, ok)),
        1 => (0_u8..3).prop_map(Op::Evict),
        1 => (0_u8..3).prop_map(Op::Restarted),
        1 => prop::sample::select(vec![Op::Cancel]),
        6 => (0_u64..900).prop_map(Op::Wait),
        2 => (0_u64..3_000).prop_map(Op::Stall),
    ]
}

fn name(n: u8) -> ServiceId {
    ServiceId::new(["a", "b", "c", "stranger"][usize::from(n)])
}

fn tick(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

#[derive(Debug)]
struct Boundary {
    phase: PhaseId,
    kind: BaselineKind,
    asker: ServiceId,
    tally: Tally,
    requested: u64,
    /// When the unanswered were asked last, and how long until they are again.
    asked: u64,
    pause: u64,
    collectors: Vec<CollectorOutcome>,
    /// What was granted.
    closed: Option<BoundaryOutcome>,
}

#[derive(Default)]
struct Model {
    boundaries: Vec<Boundary>,
    odd: OddAcks,
    now: u64,
}

impl Boundary {
    fn pending(&self) -> Vec<ServiceId> {
        let pending = self.collectors.iter().filter(|c| c.status == CollectorStatus::Pending);
        pending.map(|c| c.service.clone()).collect()
    }

    fn ends(&self) -> u64 {
        self.requested + TIMEOUT_MS
    }

    fn outcome(&self, closed: u64, by: ReleasedBy) -> BoundaryOutcome {
        BoundaryOutcome {
            phase: self.phase,
            kind: self.kind,
            requested: tick(self.requested),
            closed: tick(closed),
            released_by: by,
            in_flight: self.tally.in_flight,
            collectors: self.collectors.clone(),
        }
    }

    fn grant(&self, again: bool) -> BaselineEffect {
        let outcome = self.closed.clone().unwrap();
        BaselineEffect::Grant { to: self.asker.clone(), outcome, again }
    }

    fn close(&mut self, now: u64, by: ReleasedBy) -> BaselineEffect {
        for collector in &mut self.collectors {
            if collector.status == CollectorStatus::Pending {
                collector.status = CollectorStatus::Missing;
            }
        }
        self.closed = Some(self.outcome(now, by));
        self.grant(false)
    }

    /// Asks one of the collectors, for the first time or again.
    fn ask(&mut self, now: u64, who: &ServiceId) -> BaselineEffect {
        let index = u64::try_from(self.collectors.iter().position(|c| c.service == *who).unwrap());
        let budget = Duration::from_millis(self.ends() - now);
        let collector = self.collectors.iter_mut().find(|c| c.service == *who).unwrap();
        collector.attempts += 1;
        let settle = if self.tally.in_flight > 0 { 0 } else { SETTLE_MS };
        let request = BaselineRequest {
            phase: self.phase,
            kind: self.kind,
            attempt: collector.attempts,
            budget,
            settle: budget.min(Duration::from_millis(settle)),
            tally: self.tally,
        };
        let first = collector.attempts == 1;
        let message = (!first).then(|| message(self.phase, self.kind, index.unwrap()));
        BaselineEffect::Ask { to: who.clone(), request: Box::new(request), message }
    }
}

/// The message id that the test gives to a first request.
fn message(phase: PhaseId, kind: BaselineKind, index: u64) -> MessageId {
    let phase = u64::try_from(phase.0.as_u128()).unwrap();
    MessageId(phase * 100 + index * 10 + u64::from(kind == BaselineKind::End))
}

impl Model {
    fn due(&self) -> Option<u64> {
        let open = self.boundaries.iter().filter(|b| b.closed.is_none());
        open.map(|b| b.ends().min(b.asked + b.pause)).min()
    }

    fn wake(&mut self, now: u64) -> Vec<BaselineEffect> {
        self.now = now;
        let mut out = vec![];
        for b in self.boundaries.iter_mut().filter(|b| b.closed.is_none()) {
            if b.ends() <= now {
                out.push(b.close(now, ReleasedBy::Timeout));
            } else if b.asked + b.pause <= now {
                b.asked = now;
                b.pause = (b.pause * 2).min(1_000);
                for who in b.pending() {
                    out.push(b.ask(now, &who));
                }
            }
        }
        out
    }

    fn input(&mut self, now: u64, input: BaselineInput) -> Vec<BaselineEffect> {
        let mut out = self.wake(now);
        let open = self.boundaries.iter_mut().filter(|b| b.closed.is_none());
        match input {
            BaselineInput::Command { asker, command, collectors } => {
                out.extend(self.command(now, asker, command, collectors));
            }
            BaselineInput::Ack { from, ack } => out.extend(self.ack(now, from, ack)),
            BaselineInput::Evict { service, reason } => {
                for b in open {
                    let pending = |c: &&mut CollectorOutcome| c.status == CollectorStatus::Pending;
                    let found = b.collectors.iter_mut().filter(pending);
                    let Some(found) = found.into_iter().find(|c| c.service == service) else {
                        continue;
                    };
                    found.status = CollectorStatus::Evicted { reason: reason.clone() };
                    if b.pending().is_empty() {
                        out.push(b.close(now, ReleasedBy::AllAcked));
                    }
                }
            }
            BaselineInput::Restarted { service } => {
                for b in open.filter(|b| b.pending().contains(&service)) {
                    out.push(b.ask(now, &service));
                }
            }
            BaselineInput::Cancel => out.extend(open.map(|b| b.close(now, ReleasedBy::Cancelled))),
        }
        out
    }

    fn command(
        &mut self,
        now: u64,
        asker: ServiceId,
        command: GateCommand,
        collectors: Vec<ServiceId>,
    ) -> Vec<BaselineEffect> {
        let GateCommand { phase, kind, tally } = command;
        if let Some(known) = self.boundaries.iter().find(|b| (b.phase, b.kind) == (phase, kind)) {
            return known.closed.iter().map(|_| known.grant(true)).collect();
        }
        let pending = |id: &ServiceId| CollectorOutcome {
            service: id.clone(),
            status: CollectorStatus::Pending,
            attempts: 0,
        };
        let mut boundary = Boundary {
            phase,
            kind,
            asker,
            tally,
            requested: now,
            asked: now,
            pause: 250,
            collectors: collectors.iter().map(pending).collect(),
            closed: None,
        };
        let mut out = vec![BaselineEffect::Opened { phase, kind, collectors: collectors.clone() }];
        out.extend(collectors.iter().map(|who| boundary.ask(now, who)));
        if collectors.is_empty() {
            out.push(boundary.close(now, ReleasedBy::NoCollectors));
        }
        self.boundaries.push(boundary);
        out
    }

    fn ack(&mut self, now: u64, from: ServiceId, ack: BaselineAck) -> Vec<BaselineEffect> {
        let BaselineAck { phase, kind, outcome } = ack;
        let boundary = self.boundaries.iter_mut().find(|b| (b.phase, b.kind) == (phase, kind));
        let Some(b) = boundary else {
            self.odd.unknown += 1;
            return vec![];
        };
        let Some(collector) = b.collectors.iter_mut().find(|c| c.service == from) else {
            self.odd.unknown += 1;
            return vec![];
        };
        match &collector.status {
            CollectorStatus::Pending => {
                collector.status = match outcome {
                    Ok(reading) => CollectorStatus::Captured { reading },
                    Err(error) => CollectorStatus::Failed { error },
                };
                if b.pending().is_empty() {
                    return vec![b.close(now, ReleasedBy::AllAcked)];
                }
            }
            CollectorStatus::Missing => {
                let (reading, error) = (outcome.clone().ok(), outcome.err());
                collector.status = CollectorStatus::Late { reading, error, at: tick(now) };
                self.odd.late += 1;
                return vec![BaselineEffect::Late { service: from, phase, kind }];
            }
            CollectorStatus::Evicted { .. } => self.odd.late += 1,
            CollectorStatus::Captured { .. }
            | CollectorStatus::Failed { .. }
            | CollectorStatus::Late { .. } => self.odd.duplicate += 1,
        }
        vec![]
    }

    /// What is known of every boundary: late answers too.
    fn outcomes(&self) -> Vec<BoundaryOutcome> {
        let outcome = |b: &Boundary| match &b.closed {
            Some(closed) => BoundaryOutcome { collectors: b.collectors.clone(), ..closed.clone() },
            None => {
                let mut outcome = b.outcome(self.now, ReleasedBy::Cancelled);
                for collector in &mut outcome.collectors {
                    if collector.status == CollectorStatus::Pending {
                        collector.status = CollectorStatus::Missing;
                    }
                }
                outcome
            }
        };
        self.boundaries.iter().map(outcome).collect()
    }
}

fn input(op: &Op, now: u64) -> Option<BaselineInput> {
    Some(match op {
        Op::Command(p, kind, in_flight, who) => BaselineInput::Command {
            asker: ServiceId::conductor(),
            command: GateCommand {
                phase: phase(*p),
                kind: *kind,
                tally: Tally { in_flight: *in_flight, ..Tally::default() },
            },
            collectors: (0..3).filter(|n| who >> n & 1 == 1).map(name).collect(),
        },
        Op::Ack(c, p, kind, ok) => {
            let (start, end) = (tick(now), tick(now));
            let mark = ReadingMark { start, end, readings: 1, settled: None, unsettled: vec![] };
            let error = CollectError::new(CollectErrorKind::Lost, format!("at {now}"));
            let outcome = ok.then_some(mark).ok_or(error);
            let ack = BaselineAck { phase: phase(*p), kind: *kind, outcome };
            BaselineInput::Ack { from: name(*c), ack }
        }
        Op::Evict(c) => BaselineInput::Evict { service: name(*c), reason: format!("at {now}") },
        Op::Restarted(c) => BaselineInput::Restarted { service: name(*c) },
        Op::Cancel => BaselineInput::Cancel,
        Op::Wait(_) | Op::Stall(_) => return None,
    })
}

/// Who is waited for is said for people; it decides nothing and is left out.
fn decisions(effects: Vec<BaselineEffect>) -> Vec<String> {
    sorted(effects.into_iter().filter(|e| !matches!(e, BaselineEffect::Waiting { .. })))
}

/// Gives first requests their message ids, as the controller does.
fn number(machine: &mut BaselineCoordinator, model: &Model, effects: &[BaselineEffect]) {
    for effect in effects {
        if let BaselineEffect::Ask { to, request, message: None } = effect {
            let BaselineRequest { phase, kind, .. } = **request;
            let b = model.boundaries.iter().find(|b| (b.phase, b.kind) == (phase, kind)).unwrap();
            let index = b.collectors.iter().position(|c| c.service == *to).unwrap();
            let id = message(phase, kind, index as u64);
            machine.sent(BoundaryMark { phase, kind }, to, id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_baseline_coordinator_does_what_its_model_does(
        ops in prop::collection::vec(op(), 0..60)
    ) {
        let gate = GatePlan {
            enabled: true,
            timeout: Duration::from_millis(TIMEOUT_MS),
            settle_timeout: Duration::from_millis(SETTLE_MS),
        };
        let (mut machine, mut model) = (BaselineCoordinator::new(gate), Model::default());
        let mut now = 0;
        for op in ops {
            let (mut did, mut should) = (vec![], vec![]);
            match &op {
                Op::Wait(ms) => {
                    let until = now + ms;
                    while let Some(at) = model.due().filter(|at| *at <= until) {
                        should.extend(model.wake(at));
                        machine.handle_timeout(tick(at), &mut did);
                    }
                    now = until;
                    should.extend(model.wake(now));
                    machine.handle_timeout(tick(now), &mut did);
                }
                // Whatever was due in between is found by the next input.
                Op::Stall(ms) => now += ms,
                Op::Command(..)
                | Op::Ack(..)
                | Op::Evict(_)
                | Op::Restarted(_)
                | Op::Cancel => {
                    let input = input(&op, now).unwrap();
                    should.extend(model.input(now, input.clone()));
                    machine.handle(tick(now), input, &mut did);
                }
            }
            number(&mut machine, &model, &did);
            prop_assert_eq!(decisions(did), decisions(should), "after {:?} at {}", op, now);
            prop_assert_eq!(machine.next_deadline().map(|d| d.at), model.due().map(tick));
            prop_assert_eq!(machine.odd_acks(), model.odd);
            prop_assert_eq!(machine.outcomes(), model.outcomes());
            let open = model.boundaries.iter().filter(|b| b.closed.is_none()).count();
            prop_assert_eq!(machine.open_boundaries(), open);
        }
    }
}
