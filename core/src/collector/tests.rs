//! The collector's rules, each by a test that is named after it.

use core::time::Duration;

use super::*;
use crate::engines::Observed;
use crate::id::{Domain, PhaseId, ServiceId};
use crate::machine::{Machine, render_table};
use crate::message::BaselineKind::{self, End, Start};
use crate::message::{
    BaselineAck, BaselineRequest, Capability, CollectError, CollectErrorKind, CreditsComplete,
    DomainResult, DomainSummary, Message, Outbox, Register, ServiceStatus, ShutdownReason, Tally,
};
use crate::seed::Seed;
use crate::time::Tick;

mod boundary;
mod life;
mod optional;
mod periodic;
mod random;
mod settling;

fn plan() -> CollectorPlan {
    CollectorPlan {
        id: ServiceId::new("server"),
        domain: Domain::server_metrics(),
        interval: Duration::from_millis(300),
        heartbeat: Duration::from_secs(1),
        read_timeout: Duration::from_millis(900),
        optional: false,
        sole: true,
        tick_within: Duration::ZERO,
    }
}

fn phase(index: usize) -> PhaseId {
    PhaseId::derive(&Seed::root(0), index, "p")
}

fn request(index: usize, kind: BaselineKind, budget: u64, settle: u64) -> BaselineRequest {
    BaselineRequest {
        phase: phase(index),
        kind,
        attempt: 1,
        budget: Duration::from_millis(budget),
        settle: Duration::from_millis(settle),
        tally: Tally::default(),
    }
}

fn error() -> CollectError {
    CollectError::new(CollectErrorKind::Unreachable, "refused")
}

/// A collector whose source and controller are played by the test.
struct Rig {
    collector: Collector,
    now: Tick,
    out: Vec<CollectorEffect>,
    /// When each reading began.
    began: Vec<(ReadId, Tick)>,
}

impl Rig {
    fn new(plan: CollectorPlan) -> Self {
        Self { collector: Collector::new(plan), now: Tick::ZERO, out: vec![], began: vec![] }
    }

    /// Started, without periodic readings.
    fn quiet() -> Self {
        let mut rig = Self::new(CollectorPlan { interval: Duration::ZERO, ..plan() });
        rig.input(CollectorInput::Start);
        rig.out.clear();
        rig
    }

    fn started() -> Self {
        let mut rig = Self::new(plan());
        rig.input(CollectorInput::Start);
        rig
    }

    fn input(&mut self, input: CollectorInput) {
        let before = self.out.len();
        self.collector.handle(self.now, input, &mut self.out);
        self.after(before);
    }

    fn after(&mut self, before: usize) {
        let next = self.collector.next_deadline();
        assert!(next.is_none_or(|d| d.at > self.now), "due and not fired: {next:?}");
        for effect in &self.out[before..] {
            if let CollectorEffect::Read { read, .. } = effect {
                self.began.push((*read, self.now));
            }
        }
    }

    fn say(&mut self, body: Message) {
        let to = ServiceId::new("server");
        self.input(CollectorInput::Message(Outbox::new(ServiceId::controller()).send(&to, body)));
    }

    fn ask(&mut self, index: usize, kind: BaselineKind, budget: u64, settle: u64) {
        self.say(Message::BaselineRequest(Box::new(request(index, kind, budget, settle))));
    }

    fn stamp(&self, read: u64, hash: Option<u64>) -> ReadStamp {
        let start = self.began.iter().find(|(r, _)| *r == ReadId(read)).unwrap().1;
        let seen = hash.map(|hash| Observed { others: hash + 1, ..Observed::default() });
        ReadStamp {
            start,
            end: self.now,
            seen: seen.map(std::sync::Arc::new),
            moved: vec![format!("family_{read}")],
            pulse: None,
        }
    }

    fn done(&mut self, read: u64, hash: Option<u64>) {
        let outcome = Ok(self.stamp(read, hash));
        self.input(CollectorInput::ReadDone { read: ReadId(read), outcome });
    }

    fn fail(&mut self, read: u64) {
        self.input(CollectorInput::ReadDone { read: ReadId(read), outcome: Err(error()) });
    }

    fn at(&mut self, ms: u64) {
        let target = Tick::from_millis(ms);
        while let Some(next) = self.collector.next_deadline().filter(|d| d.at <= target) {
            self.now = next.at;
            let before = self.out.len();
            self.collector.handle_timeout(self.now, &mut self.out);
            self.after(before);
        }
        self.now = target;
    }

    fn take(&mut self) -> Vec<CollectorEffect> {
        core::mem::take(&mut self.out)
    }

    /// Readings that began since this was last asked, by number, with the
    /// moment in ms.
    fn reads(&mut self) -> Vec<(u64, u64)> {
        let effects = self.take();
        let read = |e: &CollectorEffect| {
            let CollectorEffect::Read { read, .. } = e else {
                return None;
            };
            Some(*read)
        };
        let began = |r: ReadId| self.began.iter().find(|(b, _)| *b == r).map(|(_, at)| at.0);
        let reads = effects.iter().filter_map(read);
        reads.map(|r| (r.0, began(r).unwrap() / 1_000_000)).collect()
    }

    fn messages(&mut self) -> Vec<Message> {
        let sent = self.take().into_iter().filter_map(|e| {
            let CollectorEffect::Send(envelope) = e else {
                return None;
            };
            assert_eq!(envelope.to, ServiceId::controller());
            Some(envelope.body)
        });
        sent.collect()
    }

    fn acks(&mut self) -> Vec<BaselineAck> {
        let acks = self.messages().into_iter().filter_map(|m| {
            let Message::BaselineAck(ack) = m else {
                return None;
            };
            Some(*ack)
        });
        acks.collect()
    }

    /// The one answer that was given since this was last asked.
    fn answer(&mut self) -> BaselineAck {
        let mut acks = self.acks();
        assert_eq!(acks.len(), 1, "{acks:?}");
        acks.remove(0)
    }
}

#[test]
fn the_tables() {
    insta::assert_snapshot!("collector", render_table::<machine::CollectorState>());
    insta::assert_snapshot!("sampling", render_table::<sampling::SamplingState>());
}
