//! That a baseline is a reading that was taken for its boundary, after the
//! request for it had arrived, once; and that it shows what the client's tally says
//! where it is called settled.

use phasegate_core::ServiceId;
use phasegate_core::collector::{CollectorEffect, CollectorInput, Purpose, ReadId};
use phasegate_core::message::{BaselineAck, BaselineKind, Message, ReadingMark, Tally};
use phasegate_core::reading::{BoundaryMark, Reading, ReadingBody};
use phasegate_core::time::Tick;

use super::Verdict;
use super::account::source;
use crate::des::source::counter_of;

/// A reading that was taken for a boundary.
#[derive(Debug)]
struct Taken {
    read: ReadId,
    mark: BoundaryMark,
    /// Its interval and what it shows, once it is there.
    came: Option<(Tick, Tick, Option<Shown>)>,
}

/// What a reading shows: the server's counter, and a family that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    counter: u64,
    other: u64,
}

/// What the server's counter is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Base {
    /// Nothing was settled yet.
    #[default]
    None,
    /// The counter at the last boundary that agreed or was given up, and the tally
    /// then.
    Known(u64, Tally),
    /// It cannot be told from outside whether there is one, of a boundary with so many
    /// sent.
    Unsure(u64),
}

/// One boundary at one collector.
#[derive(Debug)]
struct Asked {
    mark: BoundaryMark,
    at: Tick,
    /// The tally, where settling is asked for.
    tally: Option<Tally>,
    baseline: Option<ReadId>,
    answer: Option<Result<ReadingMark, ()>>,
}

/// A reading that succeeded, for the account of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) read: ReadId,
    pub(super) start: Tick,
    pub(super) end: Tick,
    /// What the server's counter said, where the source has one.
    pub(super) value: Option<u64>,
    /// The boundary whose baseline it is.
    pub(super) mark: Option<BoundaryMark>,
}

impl Kept {
    /// It as the files of a run have it, with what it shows.
    pub(super) fn reading(&self, service: &ServiceId, place: usize, body: ReadingBody) -> Reading {
        Reading {
            service: service.clone(),
            source: source(place),
            boundary: self.mark,
            start: self.start,
            first_byte: None,
            end: self.end,
            malformed: None,
            gpu_events: Vec::new(),
            body,
        }
    }
}

/// One life of a collector.
#[derive(Debug, Default)]
struct Life {
    asked: Vec<Asked>,
    taken: Vec<Taken>,
    kept: Vec<Kept>,
    /// Every reading of any purpose, in the order in which they came.
    all: Vec<(Tick, Tick, Shown)>,
    base: Base,
    /// When it became what it is.
    based: Tick,
    /// The source counts every request.
    sole: bool,
}

/// The collectors' side of a run.
#[derive(Debug)]
pub(super) struct Readings {
    lives: Vec<Life>,
    /// Every reading is kept, for the account of the run.
    keep: bool,
    /// The server's counters lie, so that what they say is held against the truth
    /// at the end (`truth`).
    lies: bool,
}

impl Readings {
    /// Of lives whose sources count every request, or not.
    pub(super) fn new(sole: impl Iterator<Item = bool>, keep: bool, lies: bool) -> Self {
        Self { lives: sole.map(|sole| Life { sole, ..Life::default() }).collect(), keep, lies }
    }

    /// The readings of a life, in the order in which they came.
    pub(super) fn of(&self, life: usize) -> &[Kept] {
        self.lives.get(life).map_or(&[], |life| &life.kept)
    }

    pub(super) fn see(
        &mut self,
        at: Tick,
        index: usize,
        input: Option<&CollectorInput>,
        effects: &[CollectorEffect],
    ) -> Verdict {
        let Some(life) = self.lives.get_mut(index) else {
            return Err(format!("there is no collector {index}"));
        };
        match input {
            Some(CollectorInput::Message(envelope)) => {
                if let Message::BaselineRequest(request) = &envelope.body {
                    let tally = (!request.settle.is_zero()).then_some(request.tally);
                    let mark = BoundaryMark { phase: request.phase, kind: request.kind };
                    life.is_asked(mark, at, tally);
                }
            }
            Some(CollectorInput::ReadDone { read, outcome: Ok(stamp) }) => {
                if self.keep {
                    let (read, start, end) = (*read, stamp.start, stamp.end);
                    let value = stamp.seen.as_deref().map(counter_of);
                    life.kept.push(Kept { read, start, end, value, mark: None });
                }
                let shown = stamp
                    .seen
                    .as_ref()
                    .map(|seen| Shown { counter: counter_of(seen), other: seen.others });
                if let Some(taken) = life.taken.iter_mut().find(|taken| taken.read == *read) {
                    taken.came = Some((stamp.start, stamp.end, shown));
                }
                life.all.extend(shown.map(|shown| (stamp.start, stamp.end, shown)));
            }
            Some(
                CollectorInput::Start
                | CollectorInput::ReadDone { .. }
                | CollectorInput::Disable { .. }
                | CollectorInput::Stop,
            )
            | None => {}
        }
        for effect in effects {
            life.does(at, effect, self.lies)?;
        }
        Ok(())
    }
}

impl Life {
    fn is_asked(&mut self, mark: BoundaryMark, at: Tick, tally: Option<Tally>) {
        if !self.asked.iter().any(|asked| asked.mark == mark) {
            self.asked.push(Asked { mark, at, tally, baseline: None, answer: None });
        }
    }

    fn asked(&mut self, mark: BoundaryMark) -> Result<&mut Asked, String> {
        let kind = mark.kind;
        let asked = self.asked.iter_mut().find(|asked| asked.mark == mark);
        asked.ok_or_else(|| format!("a collector acts on a boundary ({kind}) unasked"))
    }

    fn does(&mut self, at: Tick, effect: &CollectorEffect, lies: bool) -> Verdict {
        match effect {
            CollectorEffect::Read { read, purpose: Purpose::Boundary { phase, kind }, .. } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                self.asked(mark)?;
                self.taken.push(Taken { read: *read, mark, came: None });
            }
            CollectorEffect::Baseline { read, phase, kind } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                let of_it = |taken: &Taken| {
                    taken.read == *read && taken.mark == mark && taken.came.is_some()
                };
                if !self.taken.iter().any(of_it) {
                    return Err(format!("reading {} was not taken for the {kind}", read.0));
                }
                if let Some(kept) = self.kept.iter_mut().find(|kept| kept.read == *read) {
                    kept.mark = Some(mark);
                }
                if self.asked(mark)?.baseline.replace(*read).is_some() {
                    return Err(format!("a second baseline of one boundary ({kind})"));
                }
            }
            CollectorEffect::Send(envelope) => {
                if let Message::BaselineAck(ack) = &envelope.body {
                    return self.answers(at, ack, lies);
                }
            }
            CollectorEffect::Read { purpose: Purpose::Periodic, .. }
            | CollectorEffect::Abort(_)
            | CollectorEffect::Finished => {}
        }
        Ok(())
    }

    fn answers(&mut self, at: Tick, ack: &BaselineAck, lies: bool) -> Verdict {
        let mark = BoundaryMark { phase: ack.phase, kind: ack.kind };
        let kind = ack.kind;
        let said = ack.outcome.clone().map_err(|_| ());
        let asked = self.asked(mark)?;
        if let Some(before) = &asked.answer {
            return if *before == said {
                Ok(())
            } else {
                Err(format!("a repeated answer ({kind}) is another one"))
            };
        }
        asked.answer = Some(said);
        let (arrived, baseline, tally) = (asked.at, asked.baseline, asked.tally);
        let reading = match (&ack.outcome, baseline) {
            (Err(_), None) => return Ok(()),
            (Err(_), Some(_)) => return Err(format!("an error ({kind}) where there is a reading")),
            (Ok(_), None) => return Err(format!("an answer ({kind}) without a reading")),
            (Ok(reading), Some(baseline)) => (reading, baseline),
        };
        let (reading, baseline) = reading;
        let came = |taken: &Taken| taken.came.filter(|_| taken.mark == mark);
        let readings: Vec<_> = self.taken.iter().filter_map(came).collect();
        let taken = self.taken.iter().find(|t| t.read == baseline).and_then(|t| t.came);
        let Some((start, end, shown)) = taken else {
            return Err(format!("an answer ({kind}) with a reading that never came"));
        };
        if (reading.start, reading.end) != (start, end) {
            return Err(format!("an answer ({kind}) gives another interval than its reading's"));
        }
        if reading.start < arrived {
            return Err(format!("a baseline ({kind}) began before it was asked for"));
        }
        let number = u64::from(reading.readings);
        if number != readings.len() as u64 {
            let came = readings.len();
            return Err(format!("an answer ({kind}) counts {number} readings, {came} came"));
        }
        let Some((shown, tally)) = shown.zip(tally) else {
            return match reading.settled {
                None => Ok(()),
                Some(_) => Err(format!("an answer ({kind}) says whether settled, unasked")),
            };
        };
        if lies {
            return Ok(());
        }
        let before = self.base;
        // Another boundary may have changed what they are held against.
        let judged = readings.iter().filter(|came| came.0 < start && came.1 >= self.based);
        let earlier: Vec<Shown> = judged.filter_map(|came| came.2).collect();
        self.settles(reading, mark.kind, &earlier, (start, end, shown), &tally)?;
        if before != self.base {
            self.based = at;
        }
        Ok(())
    }

    /// Whether a reading is rightly called settled, or not; `earlier` are those for
    /// the same boundary before it.
    fn settles(
        &mut self,
        reading: &ReadingMark,
        kind: BaselineKind,
        earlier: &[Shown],
        (start, end, shown): (Tick, Tick, Shown),
        tally: &Tally,
    ) -> Verdict {
        let base = if self.sole { self.base } else { Base::None };
        let before = |wanted: &dyn Fn(&Shown) -> bool| {
            self.all.iter().any(|(_, end, shown)| *end <= start && wanted(shown))
        };
        let as_before = before(&|b| *b == shown);
        let other_as_before = shown.other == 0 || before(&|b| b.other == shown.other);
        let Some(settled) = reading.settled else {
            return Err(format!("an answer ({kind}) does not say whether settled"));
        };
        if settled != reading.unsettled.is_empty() {
            return Err(format!("an answer ({kind}) is settled {settled}, and names the opposite"));
        }
        match base {
            Base::Known(value, then) => {
                let agrees = |shown: Shown| {
                    let grown = shown.counter.saturating_sub(value);
                    let completed = tally.completed.saturating_sub(then.completed);
                    let given_up = |t: &Tally| t.errors + t.cancelled;
                    let most = completed + given_up(tally).saturating_sub(given_up(&then));
                    (completed..=most + tally.in_flight).contains(&grown)
                };
                if settled && !(agrees(shown) && other_as_before) {
                    return Err(format!("an answer ({kind}) says settled, and the tally differs"));
                }
                // Of a boundary, or in a reading, from before what it is held against the
                // source looks set back.
                let stands = |shown: Shown| {
                    tally.sent >= then.sent
                        && shown.counter >= value
                        && agrees(shown)
                        && shown.other == 0
                };
                if !settled && end >= self.based && stands(shown) {
                    return Err(format!("an answer ({kind}) says unsettled, and the tally agrees"));
                }
                if earlier.iter().any(|shown| stands(*shown)) {
                    return Err(format!("a settled source was read again ({kind})"));
                }
                let behind = shown.counter.saturating_sub(value)
                    < tally.completed.saturating_sub(then.completed);
                if !behind && tally.sent >= then.sent {
                    self.base = Base::Known(shown.counter, *tally);
                }
            }
            Base::None | Base::Unsure(_) => {
                if settled && base == Base::None && !as_before {
                    return Err(format!("an answer ({kind}) says settled, and nothing shows it"));
                }
                if settled && self.sole && base == Base::None && kind == BaselineKind::End {
                    return Err("an END is called settled without a count from before".to_owned());
                }
                // What was asked before a boundary that was answered knows less.
                let sent = match base {
                    Base::Unsure(sent) => sent,
                    Base::None | Base::Known(..) => 0,
                };
                self.base = if settled && tally.sent >= sent {
                    Base::Known(shown.counter, *tally)
                } else {
                    Base::Unsure(sent.max(tally.sent))
                };
            }
        }
        Ok(())
    }
}
