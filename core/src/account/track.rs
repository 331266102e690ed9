//! One series followed through the readings of its source.
//!
//! What it counted is added up reading by reading, so that a series that began
//! to count anew between two boundaries is seen to have done so, also where its
//! value has grown past its old one again. It begins anew where a part that can
//! only grow falls, where the process behind it is another
//! (`process_start_time_seconds`), and where it says so itself (`_created`).

use core::fmt;
use std::sync::Arc;

use super::boundary::at;
use super::delta::Sample;
use crate::time::Tick;

/// Start times that differ by less, in seconds, are those of one process: some
/// clients compute theirs anew for each answer.
pub(super) const SAME_START_S: f64 = 0.1;

/// So many falls are remembered, to tell several processes from one that is
/// started again.
const FALLS: usize = 4;

/// Which life of a series a value is of, as far as the server says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Born {
    /// When its process started, in seconds since the Unix epoch.
    pub process: Option<f64>,
    /// When the series was created, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// The ends of the two readings between which its process was another for
    /// the first time, if it was started again.
    pub restarted: Option<(Tick, Tick)>,
}

impl Born {
    /// How a life that begins with `self` differs from an earlier one: negative
    /// where it is the older of the two.
    fn since(&self, earlier: &Self) -> Option<(f64, Cause)> {
        let differ = |new: Option<f64>, old: Option<f64>| {
            let by = new? - old?;
            (by.abs() > SAME_START_S).then_some(by)
        };
        let process = differ(self.process, earlier.process).map(|by| (by, Cause::Restarted));
        process.or_else(|| Some((differ(self.created, earlier.created)?, Cause::Recreated)))
    }
}

/// How a series began to count anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// It fell: from, to.
    Fell(f64, f64),
    /// Its process was started again.
    Restarted,
    /// It was created again in the same process.
    Recreated,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fell(from, to) => write!(f, "fell from {from} to {to}"),
            Self::Restarted => f.write_str("began anew in a process that was started again"),
            Self::Recreated => f.write_str("was created again"),
        }
    }
}

/// A series began to count anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Break {
    /// How.
    pub cause: Cause,
    /// The end of the reading that was the last before it.
    pub after: Tick,
    /// The end of the reading that was the first after it.
    pub before: Tick,
}

impl Break {
    /// The two values, where it fell.
    #[must_use]
    pub fn fall(&self) -> Option<(f64, f64)> {
        match self.cause {
            Cause::Fell(from, to) => Some((from, to)),
            Cause::Restarted | Cause::Recreated => None,
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, after, before } = self;
        write!(f, "{cause} between {} and {}", at(*after), at(*before))
    }
}

/// Follows one series and adds up what it counted. Its size does not grow with
/// the number of readings.
#[derive(Debug, Clone, Default)]
pub struct Track {
    last: Option<Last>,
    /// When the first reading of it was complete, since it was last not there.
    first: Tick,
    /// It was not there any more, in a reading of this life that was complete then.
    gone: Option<(Born, Tick)>,
    counted: Vec<f64>,
    resets: u32,
    life: u32,
    broke: Option<Break>,
    /// The latest falls, to tell several processes by.
    falls: Vec<(f64, f64)>,
    alternates: bool,
    /// The latest reading showed the life before, which had begun to answer first.
    older: bool,
    /// When the reading began that first showed this life.
    anew: Tick,
    marked: Option<Arc<Mark>>,
}

#[derive(Debug, Clone)]
struct Last {
    sample: Sample,
    end: Tick,
    born: Born,
}

/// A series at one boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub(super) sample: Sample,
    /// What was added up by then.
    pub(super) counted: Vec<f64>,
    /// How much less of it this very reading has seen; empty where it has seen all.
    behind: Vec<f64>,
    pub(super) resets: u32,
    pub(super) life: u32,
    pub(super) broke: Option<Break>,
}

impl Mark {
    /// What had been counted for certain when this reading was answered.
    pub(super) fn at_least(&self) -> Vec<f64> {
        let mut counted = self.counted.clone();
        for (counted, behind) in counted.iter_mut().zip(&self.behind) {
            *counted -= behind;
        }
        counted
    }
}

impl Track {
    /// The latest sample, to share its bucket bounds.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        self.last.as_ref().map(|last| &last.sample)
    }

    /// Takes in the series' value in a reading taken in `[start, end]`.
    pub fn observe(&mut self, sample: &Sample, start: Tick, end: Tick) {
        self.observe_of(sample, (start, end), Born::default(), Tick::ZERO);
    }

    /// Takes in the series' value in a reading taken in `[start, end]`, of the
    /// life that it is of; `after` is the end of its source's reading before.
    ///
    /// Two readings that overlap have no order, so a fall between them is no new
    /// beginning: the larger value stands until a later reading is compared with
    /// it. One of an older life is then that of a process that is no more.
    ///
    /// A histogram whose buckets disagree is passed over.
    pub fn observe_of(
        &mut self,
        sample: &Sample,
        (start, end): (Tick, Tick),
        born: Born,
        after: Tick,
    ) {
        self.older = false;
        if sample.disagreement().is_some() {
            return;
        }
        let Some(last) = &mut self.last else {
            return self.begin(sample, end, born);
        };
        // A reading that overlaps the one that lacked it is of the life before, unless
        // its process says otherwise.
        let is_before = |(gone, gone_end): &(Born, Tick)| match born.since(gone) {
            Some((by, _)) => by < 0.0,
            None => start < *gone_end && born.since(&last.born).is_none(),
        };
        if self.gone.as_ref().is_some_and(|gone| !is_before(gone)) {
            return self.begin(sample, end, born);
        }
        if last.sample.layout != sample.layout || last.sample.parts.len() != sample.parts.len() {
            return self.begin(sample, end, born);
        }
        let overlaps = start < last.end;
        let reborn = born.since(&last.born);
        // Nothing but the fall told of this life: one that began before the first
        // reading of it is taken to be of the life before, as what it adds is not
        // certain.
        let fell = self.broke.is_some_and(|broke| broke.fall().is_some());
        let before = reborn.map_or(fell && start < self.anew, |(by, _)| by < 0.0);
        self.older = overlaps && before;
        if self.older {
            return;
        }
        let fall = sample.fall_from(&last.sample.parts);
        let cause = match (reborn, fall) {
            (Some((_, cause)), _) => Some(cause),
            (None, Some((from, to))) if !overlaps => Some(Cause::Fell(from, to)),
            (None, Some(_) | None) => None,
        };
        let sums = self.counted.iter_mut().zip(last.sample.parts.iter_mut().zip(&sample.parts));
        // A value that stands is of its own reading, and not of the one that has not
        // moved it.
        let mut moved = true;
        if cause.is_none() && fall.is_some() {
            moved = false;
            for (counted, (old, new)) in sums {
                if *new > *old {
                    *counted += *new - *old;
                    *old = *new;
                    moved = true;
                }
            }
        } else {
            for (counted, (old, new)) in sums {
                *counted += if cause.is_some() { *new } else { *new - *old };
                *old = *new;
            }
        }
        if let Some(cause) = cause {
            self.anew = start;
            self.resets = self.resets.saturating_add(1);
            let after = after.min(start).max(last.end.min(start));
            let (after, before) = match (cause, born.restarted) {
                (Cause::Restarted, Some(times)) => times,
                (Cause::Restarted | Cause::Fell(..) | Cause::Recreated, _) => (after, end),
            };
            self.broke = Some(Break { cause, after, before });
        }
        last.end = if moved { last.end.max(end) } else { last.end };
        last.born = Born {
            process: born.process.or(last.born.process),
            created: born.created.or(last.born.created),
            restarted: born.restarted,
        };
        if let Some(Cause::Fell(from, to)) = cause {
            self.remember(from, to);
        }
    }

    /// Two processes that answer in turn make a series fall again and again from
    /// a value that grows to another that grows: a process that is started again
    /// begins at 0.
    fn remember(&mut self, from: f64, to: f64) {
        self.alternates |= self.falls.iter().any(|(h, l)| from >= *h && to >= *l && *l > 0.0);
        if self.falls.len() >= FALLS {
            self.falls.remove(0);
        }
        self.falls.push((from, to));
    }

    /// Whether it looks as if several processes answered in turn.
    #[must_use]
    pub fn alternates(&self) -> bool {
        self.alternates
    }

    /// Whether it ever counted anything.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.resets > 0 || self.counted.iter().any(|n| *n > 0.0)
    }

    /// Begins a life: the series was not there, or had other buckets.
    fn begin(&mut self, sample: &Sample, end: Tick, born: Born) {
        self.last = Some(Last { sample: sample.clone(), end, born });
        (self.first, self.gone) = (end, None);
        self.counted.clone_from(&sample.parts);
        self.life = self.life.saturating_add(1);
        self.resets = 0;
        self.anew = Tick::ZERO;
        self.broke = None;
    }

    /// The series was not in a full reading of its source taken in `[start, end]`, of a
    /// process that started at `process`. It is gone, unless that reading may have been
    /// the first: where nothing tells of another process, it is not known of two that
    /// overlap which came first.
    pub fn vanish(&mut self, (start, end): (Tick, Tick), process: Option<f64>) {
        let born = Born { process, ..Born::default() };
        let Some(last) = &self.last else { return };
        let stands = match born.since(&last.born) {
            Some((by, _)) => by < 0.0,
            None => start < self.first,
        };
        if !stands {
            self.gone = Some((born, end));
        }
    }

    /// The series as it stands at a boundary whose reading, already observed,
    /// has `sample`. A series that did not move since its last mark shares it.
    pub fn mark(&mut self, sample: &Sample) -> Arc<Mark> {
        // Of two readings that overlapped the larger value stands: the other one has
        // not seen the difference.
        let last = self.last.as_ref().filter(|_| !self.older);
        let parts = last.into_iter().flat_map(|last| last.sample.parts.iter().zip(&sample.parts));
        let behind: Vec<f64> = parts.map(|(stands, own)| (stands - own).max(0.0)).collect();
        let is_behind = behind.iter().any(|by| *by > 0.0);
        let mark = Mark {
            sample: sample.clone(),
            counted: self.counted.clone(),
            behind: if is_behind { behind } else { Vec::new() },
            // What is of the life before has not seen the latest beginning.
            resets: self.resets.saturating_sub(u32::from(self.older)),
            life: self.life,
            broke: self.broke,
        };
        match &self.marked {
            Some(marked) if **marked == mark => marked.clone(),
            Some(_) | None => self.marked.insert(Arc::new(mark)).clone(),
        }
    }
}

#[cfg(test)]
mod tests;
