//! Whether a server has published everything that the client's requests caused.
//!
//! Where it counts what the client counts, its counts since the last settled
//! baseline are held against the client's tally since then. Where it does not, or
//! where that cannot be compared, two readings in a row must be equal in
//! everything that load moves.

use std::sync::Arc;

use super::io::ReadStamp;
use super::lack::{Lack, moving};
use crate::engines::{Count, Observed, lookup};
use crate::message::{BaselineKind, BaselineRequest, Tally};
use crate::time::Tick;

/// How a reading stands to what was to be expected.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Judgement {
    /// It shows everything.
    Settled,
    /// It does not; what it lacks may still come.
    Waiting(Vec<Lack>),
    /// It does not, and no waiting would help.
    Hopeless(Vec<Lack>),
}

/// What a boundary asks of a reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    kind: BaselineKind,
    tally: Tally,
}

impl Expected {
    pub(super) fn of(request: &BaselineRequest) -> Self {
        Self { kind: request.kind, tally: request.tally }
    }
}

/// Where a count stands to its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Within,
    Behind,
    Ahead,
    /// Below what it was: it was reset.
    Fell,
}

/// A count as it was when it last agreed, or was last given up, and the tally
/// then.
#[derive(Debug, Clone)]
struct Since {
    count: Count,
    tally: Tally,
}

/// What all counts are held against.
#[derive(Debug, Clone)]
struct Base {
    /// Of the first settled reading: a family that was not there yet was at 0.
    first: Tally,
    counts: Vec<Since>,
}

/// One source's counts against the client's tally.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    /// The source counts every request of the client, and not only a share.
    sole: bool,
    /// Since when there has been no load of ours; `None` while there may be.
    quiet: Option<Tick>,
    base: Option<Base>,
    /// The last reading, and when it began.
    before: Option<(Tick, Arc<Observed>)>,
}

impl Settling {
    /// Of a source that, if `sole`, sees every request of the client. `quiet` is
    /// since when there has been no load, where that is known.
    pub(super) fn new(sole: bool, quiet: Option<Tick>) -> Self {
        Self { sole, quiet, base: None, before: None }
    }

    /// A boundary is asked for at `now`.
    pub(super) fn asked(&mut self, now: Tick, request: &BaselineRequest) {
        let quiet = match request.kind {
            // A seamless neighbour is at work, or settling is of no interest.
            BaselineKind::Start | BaselineKind::End if request.settle.is_zero() => None,
            BaselineKind::Start => self.quiet.or(Some(now)),
            BaselineKind::End => Some(now),
        };
        if quiet != self.quiet {
            // It was read under load, or may have been.
            self.before = None;
        }
        self.quiet = quiet;
    }

    /// A boundary is answered.
    pub(super) fn answered(&mut self, kind: BaselineKind) {
        match kind {
            // Load begins.
            BaselineKind::Start => self.quiet = None,
            BaselineKind::End => {}
        }
    }

    /// Takes note of a reading of any purpose that is complete.
    pub(super) fn saw(&mut self, stamp: &ReadStamp) {
        if let Some(seen) = &stamp.seen {
            self.before = Some((stamp.start, Arc::clone(seen)));
        }
    }

    /// What a reading that begins now is to be compared with: the one before, if
    /// there has been no load of ours since it began.
    pub(super) fn before(&self) -> Option<Arc<Observed>> {
        let (began, seen) = self.before.as_ref()?;
        self.quiet.is_some_and(|quiet| *began >= quiet).then(|| Arc::clone(seen))
    }

    /// How a reading stands; `before` is what was to be compared with when it began.
    pub(super) fn judge(
        &self,
        expected: &Expected,
        before: Option<&Observed>,
        seen: &Observed,
        moved: &[String],
    ) -> Judgement {
        let running = seen.busy.iter().filter(|(_, value)| *value != 0.0);
        let busy: Vec<Lack> = running
            .map(|(gauge, value)| Lack::Busy { gauge: gauge.clone(), value: *value })
            .collect();
        let still = before.is_some_and(|before| {
            (before.known, before.others) == (seen.known, seen.others)
                && before.counts == seen.counts
        });
        let Some(compared) =
            self.base.as_ref().filter(|_| self.sole).and_then(|b| b.compare(&expected.tally, seen))
        else {
            return self.by_stillness(expected, seen, still, busy, moved);
        };
        let Compared { fell, ahead, behind, off: mut lacks } = compared;
        let hopeless = busy.is_empty() && still && (fell || ahead && !behind);
        lacks.extend(busy);
        if seen.others != 0 && before.is_none_or(|before| before.others != seen.others) {
            lacks.extend(moving(moved, |name| lookup(name).is_none()));
        }
        match (lacks.is_empty(), hopeless) {
            (true, _) => Judgement::Settled,
            (false, true) => Judgement::Hopeless(lacks),
            (false, false) => Judgement::Waiting(lacks),
        }
    }

    fn by_stillness(
        &self,
        expected: &Expected,
        seen: &Observed,
        still: bool,
        busy: Vec<Lack>,
        moved: &[String],
    ) -> Judgement {
        if !still {
            let lacks = moving(moved, |_| true).into_iter().chain(busy).collect();
            return Judgement::Waiting(lacks);
        }
        if !busy.is_empty() {
            return Judgement::Waiting(busy);
        }
        // Its load is over and nobody has counted from before it: a server that
        // publishes late is as still as one that is done.
        let unknown = self.sole && self.base.is_none() && expected.kind == BaselineKind::End;
        let unknown = |count: &Count| {
            let bounds = expected.tally.bounds(count.unit).filter(|_| unknown)?;
            Some(Lack::NoBase { count: count.clone(), bounds })
        };
        let lacks: Vec<Lack> = seen.counts.iter().filter_map(unknown).collect();
        if lacks.is_empty() { Judgement::Settled } else { Judgement::Hopeless(lacks) }
    }

    /// A boundary is closed with this reading, by a judgement that was final or
    /// when its time was over: what the counts are held against from now on.
    ///
    /// What is behind stays expected, so that it is not taken for the next phase's
    /// when it comes. What is ahead, or was reset, is given up: only this boundary
    /// is suspect.
    pub(super) fn close(&mut self, expected: &Expected, seen: &Observed, last: &Judgement) {
        let tally = expected.tally;
        match (&mut self.base, last) {
            (None, Judgement::Waiting(_)) => {}
            (None, Judgement::Settled | Judgement::Hopeless(_)) => {
                let counts = seen.counts.iter().cloned().map(|count| Since { count, tally });
                self.base = Some(Base { first: tally, counts: counts.collect() });
            }
            (Some(base), _) => base.advance(tally, seen),
        }
    }
}

impl Since {
    /// The same count in a reading. One that is gone is at 0.
    fn compare<'a>(&'a self, seen: &Observed) -> Compare<'a> {
        let now = seen.counts.iter().find(|count| count.is_same(&self.count));
        let value = now.map_or(0.0, |count| count.value);
        Compare { count: &self.count, value, since: Some(self), then: self.tally }
    }
}

/// How the counts of a reading that can be compared stand together.
#[derive(Debug, Default)]
struct Compared {
    fell: bool,
    ahead: bool,
    behind: bool,
    /// Those that are not within their bounds, in the order of their names.
    off: Vec<Lack>,
}

/// A count now and as it was then.
struct Compare<'a> {
    count: &'a Count,
    value: f64,
    /// `None` of one that was not there.
    since: Option<&'a Since>,
    then: Tally,
}

impl Compare<'_> {
    fn more(&self) -> f64 {
        self.value - self.since.map_or(0.0, |since| since.count.value)
    }

    /// How it stands; `None` where the client has no count to hold it against.
    fn standing(&self, tally: &Tally) -> Option<(Standing, (u64, Option<u64>))> {
        let bounds = tally.since(&self.then).bounds(self.count.unit)?;
        Some((standing(bounds, self.more()), bounds))
    }
}

impl Base {
    /// Each count that was there then or is there now.
    fn each<'a>(&'a self, seen: &'a Observed) -> impl Iterator<Item = Compare<'a>> {
        self.counts.iter().map(|then| then.compare(seen)).chain(self.new_in(seen))
    }

    /// Each count that was not there then.
    fn new_in<'a>(&'a self, seen: &'a Observed) -> impl Iterator<Item = Compare<'a>> {
        let is_new = |count: &&Count| !self.counts.iter().any(|then| then.count.is_same(count));
        let new = seen.counts.iter().filter(is_new);
        let first = self.first;
        new.map(move |count| Compare { count, value: count.value, since: None, then: first })
    }

    /// How the counts stand; `None` where there is none that can be compared.
    fn compare(&self, tally: &Tally, seen: &Observed) -> Option<Compared> {
        let mut compared = None;
        for count in self.each(seen) {
            let Some((standing, bounds)) = count.standing(tally) else { continue };
            let all = compared.get_or_insert_with(Compared::default);
            match standing {
                Standing::Within => continue,
                Standing::Behind => all.behind = true,
                Standing::Ahead => all.ahead = true,
                Standing::Fell => all.fell = true,
            }
            all.off.push(Lack::Count { count: count.count.clone(), bounds, more: count.more() });
        }
        if let Some(compared) = &mut compared {
            compared.off.sort_by_cached_key(ToString::to_string);
        }
        compared
    }

    fn advance(&mut self, tally: Tally, seen: &Observed) {
        let stands = |count: &Compare<'_>| count.standing(&tally).map(|(standing, _)| standing);
        let reset = self.each(seen).any(|count| stands(&count) == Some(Standing::Fell));
        // A boundary that was asked for before the one that this was settled at
        // knows less.
        let moves = |count: &Compare<'_>| {
            let newer = tally.sent >= count.then.sent;
            newer && (reset || stands(count) != Some(Standing::Behind))
        };
        let new = self.new_in(seen).filter(moves);
        let new: Vec<Since> = new.map(|now| Since { count: now.count.clone(), tally }).collect();
        for then in &mut self.counts {
            let now = then.compare(seen);
            if moves(&now) {
                then.count.value = now.value;
                then.tally = tally;
            }
        }
        self.counts.extend(new);
    }
}

fn standing((least, most): (u64, Option<u64>), more: f64) -> Standing {
    if more < 0.0 {
        Standing::Fell
    } else if more < least as f64 {
        Standing::Behind
    } else if most.is_some_and(|most| more > most as f64) {
        Standing::Ahead
    } else {
        Standing::Within
    }
}
