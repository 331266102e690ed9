//! Whatever arrives in whatever order: the properties hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::machine::EffectBuf;

#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    /// The driver is late: it wakes the machine after all this time at once.
    Stall(u64),
    Ask(usize, BaselineKind, u64, u64),
    /// Ends one of the readings under way, or one that is not.
    Done(usize, Option<u64>),
    Fail(usize),
    Stray(u64),
    Credits,
    Disable,
    Stop,
    Shutdown,
    Noise,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(Start), Just(End)];
    let hash = prop_oneof![Just(None), (0u64..2).prop_map(Some)];
    prop_oneof![
        20 => (0u64..700).prop_map(Op::Wait),
        3 => (0u64..1_500).prop_map(Op::Stall),
        20 => (0usize..2, kind, 0u64..6_000, 0u64..3_000)
            .prop_map(|(p, k, b, s)| Op::Ask(p, k, b, s.min(b))),
        30 => (0usize..4, hash).prop_map(|(i, h)| Op::Done(i, h)),
        10 => (0usize..4).prop_map(Op::Fail),
        4 => (0u64..20).prop_map(Op::Stray),
        2 => Just(Op::Credits),
        1 => Just(Op::Disable),
        1 => Just(Op::Stop),
        1 => Just(Op::Shutdown),
        2 => Just(Op::Noise),
    ]
}

/// What a boundary's answer has to be in time for.
#[derive(Debug)]
struct Asked {
    at: Tick,
    budget: Duration,
}

struct Checked {
    collector: Collector,
    now: Tick,
    /// By how much the driver has been late, in all.
    late: Duration,
    finished: bool,
    under_way: BTreeMap<ReadId, (Purpose, Tick)>,
    done: BTreeMap<ReadId, (Purpose, Tick, Tick)>,
    asked: BTreeMap<(PhaseId, BaselineKind), Asked>,
    baselines: BTreeMap<(PhaseId, BaselineKind), ReadId>,
    answers: BTreeMap<(PhaseId, BaselineKind), BaselineAck>,
}

impl Checked {
    fn new() -> Self {
        let mut checked = Self {
            collector: Collector::new(plan()),
            now: Tick::ZERO,
            late: Duration::ZERO,
            finished: false,
            under_way: BTreeMap::new(),
            done: BTreeMap::new(),
            asked: BTreeMap::new(),
            baselines: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        checked.feed(Some(CollectorInput::Start));
        checked
    }

    fn feed(&mut self, input: Option<CollectorInput>) {
        let mut out = EffectBuf::with_bound(self.collector.max_effects());
        match input {
            Some(input) => {
                let bytes = postcard::to_allocvec(&input).unwrap();
                assert_eq!(postcard::from_bytes::<CollectorInput>(&bytes).unwrap(), input);
                self.collector.handle(self.now, input, &mut out);
            }
            None => self.collector.handle_timeout(self.now, &mut out),
        }
        assert_eq!(out.beyond_bound(), 0, "{:?}", out.as_slice());
        let next = self.collector.next_deadline();
        assert!(next.is_none_or(|d| d.at > self.now), "{next:?}");
        let effects: Vec<_> = out.drain().collect();
        for effect in effects {
            postcard::to_allocvec(&effect).expect("every effect goes into the journal");
            self.check(effect);
        }
        let periodic = self.under_way.values().filter(|(p, _)| *p == Purpose::Periodic).count();
        assert!(periodic <= 1, "never two periodic readings at the same time");
        let all: BTreeSet<_> = self.under_way.values().map(|(p, _)| format!("{p:?}")).collect();
        assert_eq!(all.len(), self.under_way.len(), "never two readings for one purpose");
    }

    fn check(&mut self, effect: CollectorEffect) {
        assert!(!self.finished, "nothing comes after the end: {effect:?}");
        match effect {
            CollectorEffect::Finished => {
                assert!(self.under_way.is_empty(), "what was under way is aborted");
                self.finished = true;
            }
            CollectorEffect::Read { read, purpose, .. } => {
                assert_eq!(self.under_way.insert(read, (purpose, self.now)), None);
            }
            CollectorEffect::Abort(read) => {
                assert!(self.under_way.remove(&read).is_some(), "{read:?} is not under way");
            }
            CollectorEffect::Baseline { read, phase, kind } => {
                let (purpose, began, _) = self.done[&read];
                assert_eq!(purpose, Purpose::Boundary { phase, kind });
                assert!(began >= self.asked[&(phase, kind)].at, "it began after the request");
                let before = self.baselines.insert((phase, kind), read);
                assert_eq!(before, None, "one baseline a boundary");
            }
            CollectorEffect::Send(envelope) => {
                if let Message::BaselineAck(ack) = envelope.body {
                    self.acknowledged(*ack);
                }
            }
        }
    }

    fn acknowledged(&mut self, ack: BaselineAck) {
        let key = (ack.phase, ack.kind);
        if let Ok(reading) = &ack.outcome {
            let (_, start, end) = self.done[&self.baselines[&key]];
            assert_eq!((reading.start, reading.end), (start, end));
            assert!(reading.readings > 0);
            assert_eq!(reading.settled == Some(false), !reading.unsettled.is_empty());
        }
        let asked = &self.asked[&key];
        if let Some(first) = self.answers.get(&key) {
            assert_eq!(*first, ack, "the same answer for ever");
        } else {
            assert!(self.now <= asked.at + asked.budget + self.late, "answered in time");
            self.answers.insert(key, ack);
        }
    }

    fn wait(&mut self, ms: u64) {
        let target = self.now + Duration::from_millis(ms);
        while let Some(next) = self.collector.next_deadline().filter(|d| d.at <= target) {
            self.now = next.at;
            self.feed(None);
        }
        self.now = target;
        let before = format!("{:?}", self.collector);
        self.feed(None);
        assert_eq!(format!("{:?}", self.collector), before, "a spurious call changes nothing");
    }

    fn say(&mut self, body: Message) {
        let to = ServiceId::new("server");
        let envelope = Outbox::new(ServiceId::controller()).send(&to, body);
        self.feed(Some(CollectorInput::Message(envelope)));
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Wait(ms) => self.wait(ms),
            Op::Stall(ms) => {
                let late = Duration::from_millis(ms);
                self.now = self.now + late;
                self.late += late;
                self.feed(None);
            }
            Op::Ask(index, kind, budget, settle) => {
                let request = request(index, kind, budget, settle);
                let (at, budget) = (self.now, request.budget);
                self.asked.entry((request.phase, kind)).or_insert(Asked { at, budget });
                self.say(Message::BaselineRequest(Box::new(request)));
            }
            Op::Done(index, hash) => {
                let Some((read, (purpose, start))) =
                    self.under_way.iter().nth(index).map(|(r, v)| (*r, *v))
                else {
                    return;
                };
                self.under_way.remove(&read);
                self.done.insert(read, (purpose, start, self.now));
                let seen = hash.map(|known| Observed { known, ..Observed::default() });
                let moved = vec!["m".to_owned()];
                let outcome = Ok(ReadStamp {
                    start,
                    end: self.now,
                    seen: seen.map(std::sync::Arc::new),
                    moved,
                    pulse: None,
                });
                self.feed(Some(CollectorInput::ReadDone { read, outcome }));
            }
            Op::Fail(index) => {
                let Some(read) = self.under_way.keys().nth(index).copied() else {
                    return;
                };
                self.under_way.remove(&read);
                self.feed(Some(CollectorInput::ReadDone { read, outcome: Err(error()) }));
            }
            Op::Stray(read) => {
                if !self.under_way.contains_key(&ReadId(read)) {
                    let (start, end) = (self.now, self.now);
                    let stamp = ReadStamp { start, end, seen: None, moved: vec![], pulse: None };
                    let read = ReadId(read);
                    self.feed(Some(CollectorInput::ReadDone { read, outcome: Ok(stamp) }));
                }
            }
            Op::Credits => self.say(Message::CreditsComplete(CreditsComplete::default())),
            Op::Disable => {
                self.feed(Some(CollectorInput::Disable { reason: "r".to_owned() }));
            }
            Op::Stop => self.feed(Some(CollectorInput::Stop)),
            Op::Shutdown => {
                self.say(Message::Shutdown { reason: ShutdownReason::AllJoined });
            }
            Op::Noise => self.say(Message::Begin),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_arrives_every_boundary_is_answered_in_time_by_one_reading(
        ops in proptest::collection::vec(op(), 0..80)
    ) {
        let mut checked = Checked::new();
        for op in ops {
            checked.apply(op);
        }
        checked.wait(7_000);
        if !checked.finished {
            prop_assert_eq!(checked.answers.len(), checked.asked.len());
        }
        checked.say(Message::Shutdown { reason: ShutdownReason::AllJoined });
        prop_assert!(checked.finished);
        prop_assert_eq!(checked.collector.next_deadline(), None);
    }
}
