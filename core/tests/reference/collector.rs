//! The collector at its boundaries: the answer is a function of the history.
//!
//! The model keeps no state but a log of what happened at each boundary, and
//! works out from the log, every time anew, what must be so now. Whether a reading
//! shows what it must is worked out when it comes, from all readings and answers
//! before it, for a server with one counter of requests and one family that nobody
//! knows.

use core::time::Duration;

use phasegate_core::collector::{
    Collector, CollectorEffect, CollectorInput, CollectorPlan, Purpose, ReadId, ReadStamp,
};
use phasegate_core::engines::{Count, Engine, Observed, Part, Unit};
use phasegate_core::id::{Domain, MessageId, PhaseId, ServiceId};
use phasegate_core::machine::Machine;
use phasegate_core::message::{
    BaselineKind, BaselineRequest, CollectError, CollectErrorKind, Envelope, Message, ReadingMark,
    Tally,
};
use phasegate_core::time::Tick;
use proptest::prelude::*;

use super::{kind, phase};

#[derive(Debug, Clone)]
enum Op {
    /// Asks, with so much time and so much of it for settling.
    Ask(u8, BaselineKind, u64, u64),
    /// A reading ends and shows this; `None` where there is nothing to compare.
    Done(usize, Option<Shown>),
    /// So many requests complete, fail.
    Load(u64, u64),
    Fail(usize),
    Disable,
    Wait(u64),
}

/// What a reading shows: the counter, where it is there, the unknown family, where
/// it is there, and whether a request is being worked on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shown {
    count: Option<u64>,
    other: u64,
    busy: bool,
}

/// How a reading stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stands {
    Settled,
    Waiting,
    Hopeless,
}

/// All that was read and answered, as far as the next reading's standing goes.
#[derive(Debug, Default)]
struct History {
    /// It sees every request.
    sole: bool,
    /// When the last load ended, and the readings that began and ended since.
    quiet: Option<u64>,
    since: Vec<(u64, Shown)>,
    /// Requests completed, failed.
    tally: (u64, u64),
    /// The tally when a boundary was settled for the first time; the counter when
    /// it last was, and the tally then.
    first: Option<(u64, u64)>,
    base: Option<(u64, (u64, u64))>,
    /// The boundaries whose answer has been taken note of.
    noted: Vec<(PhaseId, BaselineKind)>,
}

impl History {
    fn asked(&mut self, now: u64, kind: BaselineKind, settle: u64) {
        let quiet = match kind {
            BaselineKind::Start | BaselineKind::End if settle == 0 => None,
            BaselineKind::Start => self.quiet.or(Some(now)),
            BaselineKind::End => Some(now),
        };
        if quiet != self.quiet {
            self.since.clear();
        }
        self.quiet = quiet;
    }

    /// What the counter has to be compared with: by how much it grew, from what to
    /// what it may have.
    fn growth(&self, tally: (u64, u64), count: Option<u64>) -> Option<(i64, i64, i64)> {
        let first = self.first?;
        let (value, then) = match (self.base, count) {
            (None, None) => return None,
            (None, Some(_)) => (0, first),
            (Some(base), _) => base,
        };
        let grown = count.unwrap_or(0) as i64 - value as i64;
        let least = tally.0.saturating_sub(then.0) as i64;
        Some((grown, least, least + tally.1.saturating_sub(then.1) as i64))
    }

    /// The last reading when one begins, if there has been no load since.
    fn before(&self) -> Option<Shown> {
        let quiet = self.quiet?;
        self.since.last().filter(|(began, _)| *began >= quiet).map(|(_, shown)| *shown)
    }

    fn stands(&self, b: &Boundary, before: Option<Shown>, shown: Shown) -> Stands {
        let still =
            before.is_some_and(|before| (before.count, before.other) == (shown.count, shown.other));
        let growth = if self.sole { self.growth(b.tally, shown.count) } else { None };
        let Some((grown, least, most)) = growth else {
            let blind = self.sole
                && self.first.is_none()
                && b.kind == BaselineKind::End
                && shown.count.is_some();
            return match (still && !shown.busy, blind) {
                (false, _) => Stands::Waiting,
                (true, false) => Stands::Settled,
                (true, true) => Stands::Hopeless,
            };
        };
        let other_still = shown.other == 0 || before.is_some_and(|b| b.other == shown.other);
        if grown >= 0 && (least..=most).contains(&grown) && other_still && !shown.busy {
            Stands::Settled
        } else if still && !shown.busy && (grown < 0 || grown > most) {
            Stands::Hopeless
        } else {
            Stands::Waiting
        }
    }

    /// Takes note of the answers that are new.
    fn note(&mut self, now: u64, boundaries: &[Boundary]) {
        let mut answered: Vec<&Boundary> = boundaries
            .iter()
            .filter(|b| matches!(b.now(now), Now::Answered(_)))
            .filter(|b| !self.noted.contains(&(b.phase, b.kind)))
            .collect();
        answered.sort_by_key(|b| (b.phase, b.kind));
        for b in answered {
            self.noted.push((b.phase, b.kind));
            let last = b.log.iter().rev().find_map(|(_, event)| match event {
                Event::Success { shown: Some(shown), stands, .. } => Some((*shown, *stands)),
                Event::Success { .. } | Event::Failure(_) => None,
            });
            let read_last = b.log.iter().rev().find_map(|(_, event)| match event {
                Event::Success { shown, .. } => Some(shown.is_some()),
                Event::Failure(_) => None,
            });
            let (Some((shown, stands)), true) = (last, b.settle > 0) else { continue };
            if read_last != Some(true) || !matches!(b.now(now), Now::Answered(Ok(_))) {
                continue;
            }
            match self.first {
                None if stands == Stands::Waiting => {}
                None => {
                    self.first = Some(b.tally);
                    self.base = shown.count.map(|count| (count, b.tally));
                }
                Some(_) => {
                    if let Some((grown, least, _)) = self.growth(b.tally, shown.count)
                        && !(0..least).contains(&grown)
                        && self
                            .base
                            .map_or(self.first, |(_, then)| Some(then))
                            .is_none_or(|then| b.tally.0 + b.tally.1 >= then.0 + then.1)
                    {
                        self.base = Some((shown.count.unwrap_or(0), b.tally));
                    }
                }
            }
        }
    }
}

fn observed(shown: Shown) -> Observed {
    let counts = shown.count.map(|value| Count {
        engine: Engine::Vllm,
        family: "vllm:request_success".into(),
        part: Part::Value,
        unit: Unit::Requests,
        value: value as f64,
    });
    Observed {
        counts: counts.into_iter().collect(),
        busy: vec![("vllm:num_requests_running".to_owned(), f64::from(u8::from(shown.busy)))],
        others: shown.other,
        known: shown.count.map_or(0, |count| count + 1),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let count = prop_oneof![1 => Just(None), 8 => (0_u64..4).prop_map(Some)];
    let shown = (count, prop_oneof![3 => Just(0), 1 => 1_u64..3], prop::bool::weighted(0.1))
        .prop_map(|(count, other, busy)| Shown { count, other, busy });
    let shown = prop_oneof![1 => Just(None), 12 => shown.prop_map(Some)];
    prop_oneof![
        4 => (0_u8..3, kind(), 20_u64..4_000, 0_u64..3_000)
            .prop_map(|(p, k, b, s)| Op::Ask(p, k, b, s.min(b))),
        10 => (0_usize..4, shown).prop_map(|(n, s)| Op::Done(n, s)),
        3 => (0_u64..3, 0_u64..2).prop_map(|(c, f)| Op::Load(c, f)),
        3 => (0_usize..4).prop_map(Op::Fail),
        1 => prop::sample::select(vec![Op::Wait(3_000), Op::Disable, Op::Wait(0), Op::Wait(5)]),
        12 => (0_u64..300).prop_map(Op::Wait),
    ]
}

/// What happened at a boundary, and when.
#[derive(Debug, Clone)]
enum Event {
    Success { read: ReadId, began: u64, shown: Option<Shown>, stands: Stands },
    Failure(CollectError),
}

/// How a boundary stands, in microseconds since the start.
#[derive(Debug, Clone, PartialEq)]
enum Now {
    Reading,
    /// The next reading begins then, the answer is given at the latest then.
    Pausing {
        next: u64,
        end: u64,
    },
    /// With this reading as its baseline, or with an error of this kind.
    Answered(Result<(ReadId, ReadingMark), CollectErrorKind>),
}

#[derive(Debug)]
struct Boundary {
    phase: PhaseId,
    kind: BaselineKind,
    asked: u64,
    budget: u64,
    settle: u64,
    tally: (u64, u64),
    log: Vec<(u64, Event)>,
    disabled: Option<u64>,
}

/// What is said to be unsettled is compared elsewhere.
fn mark(began: u64, at: u64, readings: usize, settled: Option<bool>) -> ReadingMark {
    let readings = u32::try_from(readings).unwrap();
    ReadingMark { start: us(began), end: us(at), readings, settled, unsettled: vec![] }
}

fn us(at: u64) -> Tick {
    Tick(at * 1_000)
}

impl Boundary {
    /// The answer is out before the gate's time is over.
    fn end(&self) -> u64 {
        self.asked + self.budget - (self.budget / 10).min(50_000)
    }

    fn now(&self, now: u64) -> Now {
        let mut last: Option<(ReadId, ReadingMark)> = None;
        let (mut n, mut failures): (usize, Vec<&CollectError>) = (0, vec![]);
        let mut pause_until = None;
        for (at, event) in &self.log {
            match event {
                Event::Success { read, began, shown, stands } => {
                    n += 1;
                    let compare = self.settle > 0 && shown.is_some();
                    if !compare || *stands != Stands::Waiting {
                        let settled = compare.then_some(*stands == Stands::Settled);
                        return Now::Answered(Ok((*read, mark(*began, *at, n, settled))));
                    }
                    // Not settled, should it stay the last one.
                    last = Some((*read, mark(*began, *at, n, Some(false))));
                    let pause = (20_000_u64 << (n - 1).min(9)).min(250_000);
                    pause_until = Some(at + pause);
                }
                Event::Failure(error) => {
                    failures.push(error);
                    if failures.len() > 2 || at + 200_000 >= self.end() {
                        return Now::Answered(last.ok_or(error.kind));
                    }
                    pause_until = Some(at + 200_000);
                }
            }
        }
        if self.disabled.is_some() {
            return Now::Answered(Err(CollectErrorKind::Disabled));
        }
        let settle_end = (self.settle > 0 && last.is_some()).then_some(self.asked + self.settle);
        let Some(next) = pause_until else {
            // The first reading is still under way.
            let over = now >= self.end();
            return if over { Now::Answered(Err(CollectErrorKind::Timeout)) } else { Now::Reading };
        };
        let end = settle_end.map_or(self.end(), |settle| settle.min(self.end()));
        if next.min(end) > now {
            return Now::Pausing { next, end };
        }
        // A pause ends with the answer where its time is over before the next
        // reading begins. One that has begun may still be the one that is
        // equal: it is ended by the answer's time alone.
        if end <= next {
            let why = failures.last().map_or(CollectErrorKind::Timeout, |e| e.kind);
            Now::Answered(last.ok_or(why))
        } else if now >= self.end() {
            Now::Answered(last.ok_or(CollectErrorKind::Timeout))
        } else {
            Now::Reading
        }
    }

    fn due(&self, now: u64) -> Option<u64> {
        match self.now(now) {
            Now::Reading => Some(self.end()),
            Now::Pausing { next, end } => Some(next.min(end)),
            Now::Answered(_) => None,
        }
    }
}

fn request(b: &Boundary) -> CollectorInput {
    let request = BaselineRequest {
        phase: b.phase,
        kind: b.kind,
        attempt: 1,
        budget: Duration::from_micros(b.budget),
        settle: Duration::from_micros(b.settle),
        tally: Tally {
            sent: b.tally.0 + b.tally.1,
            completed: b.tally.0,
            errors: b.tally.1,
            ..Tally::default()
        },
    };
    CollectorInput::Message(Envelope {
        from: ServiceId::controller(),
        to: ServiceId::new("c"),
        message_id: MessageId(0),
        sequence: 0,
        body: Message::BaselineRequest(Box::new(request)),
    })
}

/// The collector with what it was seen to do.
struct Rig {
    collector: Collector,
    now: u64,
    /// Readings under way: for which boundary, since when, and the one before.
    under_way: Vec<(ReadId, PhaseId, BaselineKind, u64, Option<Shown>)>,
    history: History,
    baselines: Vec<(PhaseId, BaselineKind, ReadId)>,
    answers: Vec<(PhaseId, BaselineKind, Result<ReadingMark, CollectError>)>,
}

impl Rig {
    fn effects(&mut self, effects: Vec<CollectorEffect>) {
        for effect in effects {
            match effect {
                CollectorEffect::Read {
                    read, purpose: Purpose::Boundary { phase, kind }, ..
                } => {
                    let before = self.history.before();
                    self.under_way.push((read, phase, kind, self.now, before));
                }
                CollectorEffect::Read { purpose: Purpose::Periodic, .. } => {
                    panic!("the plan has no periodic readings")
                }
                CollectorEffect::Abort(read) => self.under_way.retain(|(id, ..)| *id != read),
                CollectorEffect::Baseline { read, phase, kind } => {
                    self.baselines.push((phase, kind, read));
                }
                CollectorEffect::Send(envelope) => {
                    if let Message::BaselineAck(ack) = envelope.body {
                        let given = |answer: &(PhaseId, BaselineKind, _)| {
                            (answer.0, answer.1) == (ack.phase, ack.kind)
                        };
                        // Load begins.
                        if ack.kind == BaselineKind::Start && !self.answers.iter().any(given) {
                            self.history.quiet = None;
                        }
                        self.answers.push((ack.phase, ack.kind, ack.outcome));
                    }
                }
                CollectorEffect::Finished => panic!("nobody ends it"),
            }
        }
    }

    fn tell(&mut self, input: CollectorInput) {
        let mut out = vec![];
        self.collector.handle(us(self.now), input, &mut out);
        self.effects(out);
    }

    fn wake(&mut self, at: u64) {
        self.now = at;
        let mut out = vec![];
        self.collector.handle_timeout(us(at), &mut out);
        self.effects(out);
    }
}

/// Model and machine agree on every boundary.
fn compare(rig: &Rig, boundaries: &[Boundary]) -> Result<(), TestCaseError> {
    for b in boundaries {
        let of = |phase: PhaseId, kind: BaselineKind| (phase, kind) == (b.phase, b.kind);
        let reading = rig.under_way.iter().filter(|r| of(r.1, r.2)).count();
        let answers: Vec<_> = rig.answers.iter().filter(|a| of(a.0, a.1)).map(|a| &a.2).collect();
        let baseline: Vec<_> = rig.baselines.iter().filter(|r| of(r.0, r.1)).collect();
        let expected = b.now(rig.now);
        let is_reading = usize::from(expected == Now::Reading);
        prop_assert_eq!(reading, is_reading, "at {}: {:?} {:?}", rig.now, b, expected);
        match expected {
            Now::Reading | Now::Pausing { .. } => {
                prop_assert!(answers.is_empty() && baseline.is_empty(), "{:?}", b);
            }
            Now::Answered(answer) => {
                prop_assert!(!answers.is_empty(), "at {}: {:?} {:?}", rig.now, b, answer);
                for given in &answers {
                    let mut given = (*given).clone().map_err(|error| error.kind);
                    if let Ok(reading) = &mut given {
                        let named = !core::mem::take(&mut reading.unsettled).is_empty();
                        prop_assert_eq!(named, reading.settled == Some(false));
                    }
                    prop_assert_eq!(given, answer.clone().map(|(_, mark)| mark), "{:?}", b);
                }
                prop_assert!(answers.iter().all(|a| *a == answers[0]), "the same for ever");
                let read: Vec<ReadId> = baseline.iter().map(|r| r.2).collect();
                let expected: Vec<ReadId> = answer.into_iter().map(|(read, _)| read).collect();
                prop_assert_eq!(read, expected, "one baseline, and it is the one answered with");
            }
        }
    }
    let due = boundaries.iter().filter_map(|b| b.due(rig.now)).min();
    // The sign of life that never comes.
    let next = rig.collector.next_deadline().map(|d| d.at).filter(|at| *at != Tick::NEVER);
    prop_assert_eq!(next, due.map(us));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_collector_answers_as_its_history_says(
        sole in prop::bool::weighted(0.8),
        ops in prop::collection::vec(op(), 0..80),
    ) {
        let mut rig = Rig {
            collector: Collector::new(CollectorPlan {
                id: ServiceId::new("c"),
                domain: Domain::telemetry(),
                interval: Duration::ZERO,
                // None within this test: signs of life are not looked at here.
                heartbeat: Duration::MAX,
                read_timeout: Duration::from_secs(1),
                optional: false,
                sole,
                tick_within: Duration::from_millis(150),
            }),
            now: 0,
            under_way: vec![],
            // Nothing is sent before the first phase.
            history: History { sole, quiet: Some(0), ..History::default() },
            baselines: vec![],
            answers: vec![],
        };
        rig.tell(CollectorInput::Start);
        prop_assert!(rig.collector.next_deadline().is_none_or(|d| d.at == Tick::NEVER));
        let mut boundaries: Vec<Boundary> = vec![];
        let mut disabled = false;
        for op in ops {
            match op {
                Op::Ask(p, kind, budget, settle) => {
                    let place = boundaries.iter().position(|b| (b.phase, b.kind) == (phase(p), kind));
                    let before = rig.answers.len();
                    let (asked, budget, settle) = (rig.now, budget * 1_000, settle * 1_000);
                    let place = place.unwrap_or_else(|| {
                        let (phase, disabled) = (phase(p), disabled.then_some(asked));
                        let (log, tally) = (vec![], rig.history.tally);
                        if disabled.is_none() {
                            rig.history.asked(asked, kind, settle);
                        }
                        boundaries.push(Boundary {
                            phase, kind, asked, budget, settle, tally, log, disabled,
                        });
                        boundaries.len() - 1
                    });
                    rig.tell(request(&boundaries[place]));
                    let answered = matches!(boundaries[place].now(rig.now), Now::Answered(_));
                    prop_assert_eq!(rig.answers.len() - before, usize::from(answered), "repeated");
                }
                Op::Load(completed, failed) => {
                    rig.history.tally.0 += completed;
                    rig.history.tally.1 += failed;
                }
                Op::Done(n, shown) if n < rig.under_way.len() => {
                    let (read, phase, kind, began, before) = rig.under_way.remove(n);
                    let of = boundaries.iter_mut().find(|b| (b.phase, b.kind) == (phase, kind));
                    let of = of.unwrap();
                    let stands =
                        shown.map_or(Stands::Settled, |shown| rig.history.stands(of, before, shown));
                    of.log.push((rig.now, Event::Success { read, began, shown, stands }));
                    rig.history.since.extend(shown.map(|shown| (began, shown)));
                    let stamp = ReadStamp {
                        start: us(began),
                        end: us(rig.now),
                        seen: shown.map(observed).map(std::sync::Arc::new),
                        moved: vec![format!("moved {}", rig.now)], pulse: None };
                    rig.tell(CollectorInput::ReadDone { read, outcome: Ok(stamp) });
                }
                Op::Fail(n) if n < rig.under_way.len() => {
                    let (read, phase, kind, ..) = rig.under_way.remove(n);
                    let error = CollectError::new(CollectErrorKind::Status, format!("at {}", rig.now));
                    let of = boundaries.iter_mut().find(|b| (b.phase, b.kind) == (phase, kind));
                    of.unwrap().log.push((rig.now, Event::Failure(error.clone())));
                    rig.tell(CollectorInput::ReadDone { read, outcome: Err(error) });
                }
                Op::Done(..) | Op::Fail(_) => {}
                Op::Disable => {
                    let now = rig.now;
                    for b in &mut boundaries {
                        if !matches!(b.now(now), Now::Answered(_)) {
                            b.disabled = Some(now);
                        }
                    }
                    disabled = true;
                    rig.tell(CollectorInput::Disable { reason: "gone".to_owned() });
                }
                Op::Wait(ms) => {
                    let until = rig.now + ms * 1_000;
                    let due = |rig: &Rig| rig.collector.next_deadline().map(|d| d.at.0 / 1_000);
                    while let Some(at) = due(&rig).filter(|at| *at <= until) {
                        rig.wake(at);
                        rig.history.note(rig.now, &boundaries);
                        compare(&rig, &boundaries)?;
                    }
                    rig.now = until;
                }
            }
            rig.history.note(rig.now, &boundaries);
            compare(&rig, &boundaries)?;
        }
    }
}
