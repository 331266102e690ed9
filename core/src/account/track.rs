//! One series followed through the readings of its source.
//!
//! What it counted is added up reading by reading, so that a series that began
//! to count anew between two boundaries is seen to have done so, also where its
//! value has grown past its old one again. It begins anew where a part that can
//! only grow falls, where the process behind it is another
//! (`process_start_time_seconds`), where it says so itself (`_created`), and where
//! it is not there any more.
//!
//! Two readings that overlap in time have no order, so only such are compared as
//! do not: a *chain* of readings, each of which began after the one before it was
//! complete. A boundary's reading that overlaps one of the chain stands *aside*: it
//! is compared with the last reading of the chain that was complete before it
//! began, and with the first that began after it was complete. What any two
//! readings in order show is at most what was counted between them, and exactly
//! that where nothing began anew; so is what a chain of them adds up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::delta::{Change, Sample, between};
use super::source::Key;
use crate::time::Tick;

mod anew;
mod total;

pub(super) use anew::SAME_START_S;
pub use anew::{Born, Break, Cause};
pub(super) use total::{Step, Total, less};

/// So many falls are remembered, to tell several processes from one that is
/// started again.
const FALLS: usize = 4;

/// So many links of the chain are kept, for a reading that overlaps the latest of them.
const LINKS: usize = 4;

/// When a reading was taken, and which life of the series it shows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// When it began.
    pub start: Tick,
    /// When it was complete.
    pub end: Tick,
    /// The life.
    pub born: Born,
    /// The end of its source's reading before.
    pub after: Tick,
    /// It overlaps one that belongs to a boundary, and is compared with none.
    pub passed_over: bool,
}

/// Follows one series and adds up what it counted. Its size grows with the number of
/// boundaries, not with that of readings.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// The latest links of the chain, in order.
    links: Vec<Link>,
    /// What the latest reading showed, where that is none of the chain.
    unchained: Option<Point>,
    marks: BTreeMap<Key, Arc<Mark>>,
    /// The boundaries at which it was there with a value that is no number.
    valueless: BTreeSet<Key>,
    /// The latest mark in the chain.
    marked: Option<Arc<Mark>>,
    /// Marks aside of it that nothing came after yet.
    waiting: Vec<Key>,
    /// The latest falls, to tell several processes by.
    falls: Vec<(f64, f64)>,
    alternates: bool,
}

/// Readings of the chain, one after the other, that show the same.
#[derive(Debug, Clone)]
struct Link {
    point: Point,
    /// The first and the latest of them: which of the chain, from 1, and when complete.
    first: (u32, Tick),
    latest: (u32, Tick),
    total: Total,
}

/// What one reading shows.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    /// `None` where the series is not there.
    sample: Option<Sample>,
    born: Born,
}

impl Point {
    fn step_to(&self, to: &Self) -> Step {
        Step::between((self.sample.as_ref(), &self.born), (to.sample.as_ref(), &to.born))
    }
}

/// A series at one boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    point: Point,
    /// The reading of the chain that came before (0: none; `None`: it is forgotten), and
    /// what was added up by then.
    reach: (Option<u32>, Total),
    aside: Option<Box<Aside>>,
}

/// A mark that stands aside of the chain.
#[derive(Debug, Clone, PartialEq)]
struct Aside {
    end: Tick,
    /// The reading with which the chain goes on after it, and what was added up by the mark
    /// as seen from there.
    from: Option<(u32, Total)>,
}

impl Mark {
    /// What the series showed; `None` where it was not there.
    pub(super) fn sample(&self) -> Option<&Sample> {
        self.point.sample.as_ref()
    }

    /// The life that it showed.
    pub(super) fn born(&self) -> &Born {
        &self.point.born
    }

    /// What was added up by then since the series was first seen, and the reading up to
    /// which the chain went; `None` where it is forgotten, and the sum is of later.
    pub(super) fn reach(&self) -> &(Option<u32>, Total) {
        &self.reach
    }

    /// What was added up by then, as seen from the reading of the chain that came after.
    pub(super) fn from(&self) -> Option<(u32, &Total)> {
        match &self.aside {
            Some(aside) => aside.from.as_ref().map(|(link, total)| (*link, total)),
            None => Some((self.reach.0?, &self.reach.1)),
        }
    }

    /// The chain went on with a reading that began at `start`. Whether nothing is waited for
    /// any more.
    fn join(&mut self, link: &Link, start: Tick) -> bool {
        let Some(aside) = self.aside.as_mut().filter(|aside| aside.from.is_none()) else {
            return true;
        };
        let comes_after = start >= aside.end;
        if comes_after {
            let total = link.total.before(&self.point.step_to(&link.point));
            aside.from = total.map(|total| (link.latest.0, total));
        }
        comes_after
    }
}

impl Track {
    /// The latest sample, to share its bucket bounds.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        let points = self.links.iter().map(|link| &link.point).chain(&self.unchained);
        points.rev().find_map(|point| point.sample.as_ref())
    }

    /// Takes in the series' value in a reading; `None` where a full reading of its source
    /// lacks it. `mark` is the boundary that it was taken for.
    ///
    /// A histogram whose buckets disagree is compared with nothing.
    pub fn observe(&mut self, sample: Option<&Sample>, seen: Seen, mark: Option<Key>) {
        if let Some(key) = mark {
            self.valueless.remove(&key);
        }
        let point = Point { sample: sample.cloned(), born: seen.born };
        let torn = point.sample.as_ref().is_some_and(|s| s.disagreement().is_some());
        let overlaps = self.links.last().is_some_and(|last| seen.start < last.latest.1);
        if torn || overlaps || seen.passed_over {
            return self.stand_aside(point, seen, mark, torn);
        }
        self.go_on(point, seen);
        let Some(link) = self.links.last() else { return };
        let marks = &mut self.marks;
        self.waiting.retain(|key| {
            let mark = marks.get_mut(key).map(Arc::make_mut);
            mark.is_some_and(|mark| !mark.join(link, seen.start))
        });
        if let Some(key) = mark {
            // A series that did not move since its last mark shares it.
            let is_same = |m: &Arc<Mark>| m.point == link.point && m.reach.1 == link.total;
            let shared = self.marked.take().filter(is_same);
            let mark = self.marked.insert(shared.unwrap_or_else(|| {
                let reach = (Some(link.latest.0), link.total.clone());
                Arc::new(Mark { point: link.point.clone(), reach, aside: None })
            }));
            self.marks.insert(key, mark.clone());
        }
    }

    /// Whether a later reading that leaves out what has not changed since the one before,
    /// and leaves this series out, shows that it began anew: that one was compared with
    /// nothing, and the series is as it was there, or gone.
    #[must_use]
    pub fn is_anew_if_left_out(&self) -> bool {
        let latest = self.unchained.as_ref().filter(|latest| latest.sample.is_some());
        let both = self.links.last().zip(latest);
        both.is_some_and(|(last, latest)| last.point.step_to(latest).cause.is_some())
    }

    /// The series, which nothing has shown yet, was not there at a boundary whose reading
    /// was complete at `end`, and of a process of this life.
    pub fn lacked(&mut self, key: Key, end: Tick, born: Born) {
        let aside = Aside { end, from: None };
        let point = Point { sample: None, born };
        let reach = (Some(0), Total::default());
        let mark = Mark { point, reach, aside: Some(Box::new(aside)) };
        self.marks.insert(key, Arc::new(mark));
        self.waiting.push(key);
    }

    /// The series was there at a boundary, with a value that is no number.
    pub fn had_no_value(&mut self, key: Key) {
        self.marks.remove(&key);
        self.valueless.insert(key);
    }

    /// The next reading of the chain.
    fn go_on(&mut self, mut point: Point, seen: Seen) {
        self.unchained = None;
        let link = match self.links.last_mut() {
            None => {
                let nothing = Point { sample: None, born: point.born };
                let restarted = point.born.restarted;
                let broke = restarted.map(|at| Break { cause: Cause::Restarted, times: Some(at) });
                let total = Total::default().after(&nothing.step_to(&point), broke);
                Link { point, first: (1, seen.end), latest: (1, seen.end), total }
            }
            Some(last) => {
                point.born = point.born.or(&last.point.born);
                let step = last.point.step_to(&point);
                let reading = (last.latest.0.saturating_add(1), seen.end);
                if step.cause.is_none() && last.point.sample == point.sample {
                    (last.point.born, last.latest) = (point.born, reading);
                    return;
                }
                let broke = step.cause.map(|cause| {
                    // Readings that its writer left it out of say that it was as before.
                    let after = Some(seen.after).filter(|after| *after <= seen.start);
                    let times = (after.unwrap_or_default().max(last.latest.1), seen.end);
                    let restarted = seen.born.restarted.filter(|_| cause == Cause::Restarted);
                    Break { cause, times: Some(restarted.unwrap_or(times)) }
                });
                let total = last.total.after(&step, broke);
                if let Some((from, to)) = broke.and_then(|broke| broke.fall()) {
                    self.remember(from, to);
                }
                Link { point, first: reading, latest: reading, total }
            }
        };
        if self.links.len() >= LINKS {
            self.links.remove(0);
        }
        self.links.push(link);
    }

    fn stand_aside(&mut self, point: Point, seen: Seen, mark: Option<Key>, torn: bool) {
        if let Some(key) = mark {
            let before = self.links.iter().rev().find(|link| link.first.1 <= seen.start);
            let reach = match (before.filter(|_| !torn), self.links.first()) {
                (Some(link), _) => {
                    let step = link.point.step_to(&point);
                    let broke = step.cause.map(|cause| Break { cause, times: None });
                    let whole = link.latest.1 <= seen.start;
                    let reading = if whole { link.latest.0 } else { link.first.0 };
                    (Some(reading), link.total.after(&step, broke))
                }
                (None, Some(link)) if link.first.0 > 1 => {
                    (None, self.links.last().map(|l| l.total.clone()).unwrap_or_default())
                }
                (None, _) => (Some(0), Total::default()),
            };
            let aside = Some(Box::new(Aside { end: seen.end, from: None }));
            self.marks.insert(key, Arc::new(Mark { point: point.clone(), reach, aside }));
            self.waiting.retain(|other| *other != key);
            if !torn {
                self.waiting.push(key);
            }
        }
        if !torn {
            self.unchained = Some(point);
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
        let total = self.links.last().map(|link| &link.total);
        total.is_some_and(|t| t.resets > 0 || t.counted.iter().any(|n| *n > 0.0))
    }

    /// Whether it was there at a boundary.
    #[must_use]
    pub fn is_at(&self, key: Key) -> bool {
        self.at(key).is_some()
    }

    /// What it showed at a boundary; `None` where it was not there.
    #[must_use]
    pub fn at(&self, key: Key) -> Option<&Sample> {
        self.marks.get(&key)?.sample()
    }

    /// What it did between two boundaries at which its source was read; `None` if it was
    /// not there at the second. `in_order` says whether the reading of the first was
    /// complete before that of the second began.
    #[must_use]
    pub fn between(&self, first: Key, last: Key, in_order: bool) -> Option<Change> {
        if let Some(key) = [first, last].iter().find(|key| self.valueless.contains(key)) {
            return Some(Change::without_value(key.1));
        }
        let last = self.marks.get(&last)?;
        let sample = last.point.sample.as_ref()?;
        Some(between(self.marks.get(&first).map(|m| &**m), (last, sample), in_order))
    }
}

#[cfg(test)]
mod tests;
