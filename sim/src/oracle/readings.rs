//! That a baseline is a reading that was taken for its boundary, after the
//! request for it had arrived, once.

use phasegate_core::collector::{CollectorEffect, CollectorInput, Purpose, ReadId};
use phasegate_core::message::{BaselineAck, Message, ReadingMark};
use phasegate_core::reading::BoundaryMark;
use phasegate_core::time::Tick;

use super::Verdict;
use crate::des::source::counter_of;

/// A reading that was taken for a boundary.
#[derive(Debug)]
struct Taken {
    read: ReadId,
    mark: BoundaryMark,
    /// Its interval and its fingerprint, once it is there.
    came: Option<(Tick, Tick, Option<u64>)>,
}

/// One boundary at one collector.
#[derive(Debug)]
struct Asked {
    mark: BoundaryMark,
    at: Tick,
    baseline: Option<ReadId>,
    answer: Option<Result<ReadingMark, ()>>,
}

/// A reading that succeeded, for the account of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    read: ReadId,
    pub(super) start: Tick,
    pub(super) end: Tick,
    /// What the server's counter said, where the source has one.
    pub(super) value: Option<u64>,
    /// The boundary whose baseline it is.
    pub(super) mark: Option<BoundaryMark>,
}

/// One life of a collector.
#[derive(Debug, Default)]
struct Life {
    asked: Vec<Asked>,
    taken: Vec<Taken>,
    kept: Vec<Kept>,
}

/// The collectors' side of a run.
#[derive(Debug)]
pub(super) struct Readings {
    lives: Vec<Life>,
    /// Every reading is kept, for the account of the run.
    keep: bool,
}

impl Readings {
    pub(super) fn new(lives: usize, keep: bool) -> Self {
        Self { lives: (0..lives).map(|_| Life::default()).collect(), keep }
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
                    life.is_asked(BoundaryMark { phase: request.phase, kind: request.kind }, at);
                }
            }
            Some(CollectorInput::ReadDone { read, outcome: Ok(stamp) }) => {
                if self.keep {
                    let (read, start, end) = (*read, stamp.start, stamp.end);
                    let value = stamp.fingerprint.map(|f| counter_of(f.hash));
                    life.kept.push(Kept { read, start, end, value, mark: None });
                }
                if let Some(taken) = life.taken.iter_mut().find(|taken| taken.read == *read) {
                    let fingerprint = stamp.fingerprint.map(|f| f.hash);
                    taken.came = Some((stamp.start, stamp.end, fingerprint));
                }
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
            life.does(effect)?;
        }
        Ok(())
    }
}

impl Life {
    fn is_asked(&mut self, mark: BoundaryMark, at: Tick) {
        if !self.asked.iter().any(|asked| asked.mark == mark) {
            self.asked.push(Asked { mark, at, baseline: None, answer: None });
        }
    }

    fn asked(&mut self, mark: BoundaryMark) -> Result<&mut Asked, String> {
        let kind = mark.kind;
        let asked = self.asked.iter_mut().find(|asked| asked.mark == mark);
        asked.ok_or_else(|| format!("a collector acts on a boundary ({kind}) unasked"))
    }

    fn does(&mut self, effect: &CollectorEffect) -> Verdict {
        match effect {
            CollectorEffect::Read { read, purpose: Purpose::Boundary { phase, kind } } => {
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
                    return self.answers(ack);
                }
            }
            CollectorEffect::Read { purpose: Purpose::Periodic, .. }
            | CollectorEffect::Abort(_)
            | CollectorEffect::Finished => {}
        }
        Ok(())
    }

    fn answers(&mut self, ack: &BaselineAck) -> Verdict {
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
        let (arrived, baseline) = (asked.at, asked.baseline);
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
        let Some((start, end, _)) = taken else {
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
        if reading.settled == Some(true) {
            let equal = match readings.as_slice() {
                [.., (_, _, Some(one)), (_, _, Some(other))] => one == other,
                [..] => false,
            };
            if !equal {
                return Err(format!("an answer ({kind}) says settled, and nothing shows it"));
            }
        }
        Ok(())
    }
}
