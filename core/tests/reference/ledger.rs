//! The ledger: a list of records, and what was said about how many there are.

use core::time::Duration;
use std::collections::BTreeMap;

use phasegate_core::id::{CreditId, MessageId, ServiceId};
use phasegate_core::ledger::machine::Refusal;
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerEvent, LedgerInput};
use phasegate_core::machine::Machine;
use phasegate_core::message::{
    CreditsComplete, DomainSummary, Envelope, Message, PhaseCounts, PhaseProgress, ProfileFinish,
    ServiceStatus, ShutdownReason,
};
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::record::{ErrorClass, Outcome, RequestRecord};
use phasegate_core::time::Tick;
use proptest::prelude::*;

use super::sorted;

const FALLBACK_MS: u64 = 2_000;
const PHASES: usize = 2;

#[derive(Debug, Clone)]
enum Op {
    Start,
    Record(u16, u32, Outcome),
    Sent(usize, u64, bool),
    Credits(u64, Option<u64>),
    Shutdown,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        Just(Outcome::Completed),
        Just(Outcome::Failed(ErrorClass::Timeout)),
        Just(Outcome::Cancelled),
    ];
    prop_oneof![
        2 => Just(Op::Start),
        20 => (0_u16..3, 0_u32..7, outcome).prop_map(|(p, n, o)| Op::Record(p, n, o)),
        2 => (0_usize..2, 0_u64..6, any::<bool>()).prop_map(|(p, n, end)| Op::Sent(p, n, end)),
        2 => (0_u64..6, prop::option::of(0_u64..6)).prop_map(|(a, b)| Op::Credits(a, b)),
        1 => prop::sample::select(vec![Op::Shutdown]),
        3 => (0_u64..1_500).prop_map(Op::Wait),
    ]
}

/// What the ledger decides: all but registration and signs of life.
#[derive(Debug, Clone, PartialEq)]
enum Did {
    Refused(CreditId, Refusal),
    Finalised(ProfileFinish, u64, Vec<u64>),
    HandedIn(ProfileFinish, u64, u64),
    Stopped,
    Finished,
}

#[derive(Default)]
struct Model {
    started: bool,
    records: Vec<(CreditId, Outcome)>,
    /// What each phase is said to have sent, while it is not final.
    sent: [Option<u64>; PHASES],
    complete: bool,
    fallback: Option<u64>,
    closed: Option<(ProfileFinish, u64, u64)>,
    stopped: bool,
    beat: Option<u64>,
}

impl Model {
    fn below(&self, p: usize, end: u64) -> u64 {
        let of = |c: &CreditId| usize::from(c.phase) == p && u64::from(c.number) < end;
        self.records.iter().filter(|(c, _)| of(c)).count() as u64
    }

    fn missing(&self, p: usize) -> u64 {
        self.sent[p].map_or(0, |sent| sent - self.below(p, sent))
    }

    fn hand_in(&self) -> Option<Did> {
        self.closed.map(|(finish, records, missing)| Did::HandedIn(finish, records, missing))
    }

    fn close(&mut self, finish: ProfileFinish) -> Vec<Did> {
        if self.closed.is_some() {
            return vec![];
        }
        let records = self.records.len() as u64;
        let missing: Vec<u64> = (0..PHASES).map(|p| self.missing(p)).collect();
        self.closed = Some((finish, records, missing.iter().sum()));
        self.fallback = None;
        [Did::Finalised(finish, records, missing)].into_iter().chain(self.hand_in()).collect()
    }

    fn close_if_all_in(&mut self) -> Vec<Did> {
        let all_in = (0..PHASES).all(|p| self.missing(p) == 0);
        if self.complete && all_in { self.close(ProfileFinish::Complete) } else { vec![] }
    }

    fn due(&self) -> Option<u64> {
        self.fallback.into_iter().chain(self.beat).min()
    }

    fn wake(&mut self, now: u64) -> Vec<Did> {
        let mut out = vec![];
        if self.fallback.is_some_and(|at| at <= now) {
            out.extend(self.close(ProfileFinish::Fallback));
        }
        if self.beat.is_some_and(|at| at <= now) {
            self.beat = Some(now + 1_000);
            out.extend(self.hand_in());
        }
        out
    }

    fn record(&mut self, credit: CreditId, outcome: Outcome) -> Vec<Did> {
        let p = usize::from(credit.phase);
        let refuse = |why| vec![Did::Refused(credit, why)];
        if p >= PHASES {
            return refuse(Refusal::NoSuchPhase);
        }
        if self.closed.is_some() {
            return refuse(Refusal::AfterFinalisation);
        }
        if self.complete && self.sent[p].is_some_and(|sent| u64::from(credit.number) >= sent) {
            return refuse(Refusal::BeyondSent);
        }
        if self.records.iter().any(|(c, _)| *c == credit) {
            return refuse(Refusal::Duplicate);
        }
        self.records.push((credit, outcome));
        self.close_if_all_in()
    }

    fn apply(&mut self, op: &Op, now: u64) -> Vec<Did> {
        match op {
            Op::Start => {
                if !self.started && !self.stopped {
                    self.started = true;
                    self.beat = Some(now + 1_000);
                }
                vec![]
            }
            Op::Record(phase, number, outcome) => {
                self.record(CreditId { phase: *phase, number: *number }, *outcome)
            }
            Op::Sent(p, sent, _) => {
                if self.closed.is_none() {
                    self.sent[*p] = self.sent[*p].or(Some(*sent));
                }
                vec![]
            }
            Op::Credits(..) if !self.started || self.complete || self.stopped => vec![],
            Op::Credits(first, second) => {
                self.complete = true;
                self.sent = [Some(*first), Some(second.unwrap_or(0))];
                self.fallback = Some(now + FALLBACK_MS);
                self.close_if_all_in()
            }
            Op::Shutdown if self.stopped => vec![],
            Op::Shutdown => {
                let mut out = self.close(ProfileFinish::Shutdown);
                (self.stopped, self.beat) = (true, None);
                out.extend([Did::Stopped, Did::Finished]);
                out
            }
            Op::Wait(_) => vec![],
        }
    }

    fn counts(&self, p: usize) -> [u64; 4] {
        let of = |what: &dyn Fn(Outcome) -> bool| {
            let of = self.records.iter().filter(|(c, o)| usize::from(c.phase) == p && what(*o));
            of.count() as u64
        };
        [
            of(&|_| true),
            of(&|o| o == Outcome::Completed),
            of(&|o| matches!(o, Outcome::Failed(_))),
            of(&|o| o == Outcome::Cancelled),
        ]
    }
}

fn plan() -> RunPlan {
    let spec = |name: &str| {
        let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
        spec.concurrency = Some(1);
        spec.requests = Some(10);
        spec
    };
    let fallback = Duration::from_millis(FALLBACK_MS);
    let limits = Limits { credits_complete_fallback: fallback, ..Limits::default() };
    RunPlan::new(7, vec![spec("a"), spec("b")], GatePlan::default(), limits).unwrap()
}

fn record(credit: CreditId, outcome: Outcome, now: u64) -> RequestRecord {
    let at = Tick::from_millis(now);
    RequestRecord {
        credit,
        outcome,
        status: None,
        planned: at,
        started: at,
        sent: None,
        first_byte: None,
        first_token: None,
        first_output_token: None,
        second_token: None,
        last_token: None,
        ended: at,
        chunks: 0,
        prompt_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        gaps_ns: vec![],
    }
}

fn input(plan: &RunPlan, op: &Op, now: u64) -> Option<LedgerInput> {
    let id = |p: usize| plan.phases()[p].id;
    let counts = |sent| PhaseCounts { sent, completed: sent, ..PhaseCounts::default() };
    let body = match op {
        Op::Start => return Some(LedgerInput::Start),
        Op::Record(phase, number, outcome) => {
            let credit = CreditId { phase: *phase, number: *number };
            return Some(LedgerInput::Record(record(credit, *outcome, now)));
        }
        Op::Sent(p, sent, end) => {
            let at = Tick::from_millis(now);
            let progress = PhaseProgress { phase: id(*p), at, counts: counts(*sent) };
            let say = if *end { Message::PhaseComplete } else { Message::SendingComplete };
            say(progress)
        }
        Op::Credits(first, second) => {
            let second = second.map(|sent| (id(1), counts(sent)));
            let phases = [(id(0), counts(*first))].into_iter().chain(second).collect();
            Message::CreditsComplete(CreditsComplete { phases })
        }
        Op::Shutdown => Message::Shutdown { reason: ShutdownReason::AllJoined },
        Op::Wait(_) => return None,
    };
    let (from, to) = (ServiceId::controller(), ServiceId::ledger());
    Some(LedgerInput::Message(Envelope { from, to, message_id: MessageId(0), sequence: 0, body }))
}

fn did(plan: &RunPlan, effect: LedgerEffect) -> Option<Did> {
    match effect {
        LedgerEffect::Event(LedgerEvent::Refused { credit, reason }) => {
            Some(Did::Refused(credit, reason))
        }
        LedgerEffect::Event(LedgerEvent::Finalised { finish, records, missing }) => {
            let missing: BTreeMap<_, _> = missing.into_iter().collect();
            let of = |p: usize| missing.get(&plan.phases()[p].id).copied().unwrap_or(0);
            Some(Did::Finalised(finish, records, (0..PHASES).map(of).collect()))
        }
        LedgerEffect::Finished => Some(Did::Finished),
        LedgerEffect::Send(envelope) => match envelope.body {
            Message::DomainResult(result) => match result.summary {
                DomainSummary::Records { records, missing, finish } => {
                    Some(Did::HandedIn(finish, records, missing))
                }
                DomainSummary::Readings { .. } => panic!("the ledger has records"),
            },
            Message::Status(ServiceStatus::Stopped) => Some(Did::Stopped),
            Message::Status(_) | Message::Register(_) | Message::Heartbeat(_) => None,
            Message::Begin
            | Message::GateCommand(_)
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::CreditsComplete(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => panic!("the ledger does not say {:?}", envelope.body),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_ledger_does_what_its_model_does(ops in prop::collection::vec(op(), 0..60)) {
        let plan = plan();
        let mut ledger = Ledger::new(&plan, BTreeMap::new(), true, true);
        let mut model = Model::default();
        let mut now = 0;
        let mut finalised = 0;
        for op in ops {
            let (mut out, mut should) = (vec![], vec![]);
            if let Op::Wait(ms) = op {
                let until = now + ms;
                while let Some(at) = model.due().filter(|at| *at <= until) {
                    should.extend(model.wake(at));
                    ledger.handle_timeout(Tick::from_millis(at), &mut out);
                }
                now = until;
            } else {
                should.extend(model.apply(&op, now));
                let input = input(&plan, &op, now).unwrap();
                ledger.handle(Tick::from_millis(now), input, &mut out);
            }
            let done: Vec<Did> = out.into_iter().filter_map(|e| did(&plan, e)).collect();
            finalised += done.iter().filter(|d| matches!(d, Did::Finalised(..))).count();
            prop_assert!(finalised <= 1, "finalised once");
            prop_assert_eq!(sorted(&done), sorted(&should), "after {:?} at {}", op, now);
            let due = ledger.next_deadline().map(|d| d.at);
            prop_assert_eq!(due, model.due().map(Tick::from_millis));
        }
        let report = ledger.report();
        prop_assert_eq!(report.finish, model.closed.map(|(finish, ..)| finish));
        let missing = (0..PHASES).map(|p| model.missing(p)).sum();
        prop_assert_eq!(report.missing, model.closed.map_or(missing, |(.., missing)| missing));
        for (p, phase) in report.phases.iter().enumerate() {
            let c = phase.counts;
            prop_assert_eq!([c.sent, c.completed, c.errors, c.cancelled], model.counts(p));
        }
    }
}
