//! Whether a server has published everything that the client's requests caused.
//!
//! Where it counts what the client counts, its counts since the last settled
//! baseline are held against the client's tally since then. Where it does not, or
//! where that cannot be compared, two readings in a row must be equal in
//! everything that load moves.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use super::io::ReadStamp;
use crate::engines::{Count, Observed, Unit, lookup};
use crate::message::{BaselineKind, BaselineRequest, Tally};
use crate::time::Tick;

/// How a reading stands to what was to be expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It shows everything.
    Settled,
    /// It does not; what it lacks may still come.
    Waiting(Vec<String>),
    /// It does not, and no waiting would help.
    Hopeless(Vec<String>),
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
#[derive(Debug, Clone, Copy)]
struct Since {
    value: f64,
    tally: Tally,
}

/// What all counts are held against.
#[derive(Debug, Clone)]
struct Base {
    /// Of the first settled reading: a family that was not there yet was at 0.
    first: Tally,
    counts: BTreeMap<String, (Unit, Since)>,
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
    before: Option<(Tick, Observed)>,
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
            self.before = Some((stamp.start, seen.clone()));
        }
    }

    /// What a reading that begins now is to be compared with: the one before, if
    /// there has been no load of ours since it began.
    pub(super) fn before(&self) -> Option<Observed> {
        let (began, seen) = self.before.as_ref()?;
        self.quiet.is_some_and(|quiet| *began >= quiet).then(|| seen.clone())
    }

    /// How a reading stands; `before` is what was to be compared with when it began.
    pub(super) fn judge(
        &self,
        expected: &Expected,
        before: Option<&Observed>,
        seen: &Observed,
        moved: &[String],
    ) -> Judgement {
        let busy: Vec<String> = seen
            .busy
            .iter()
            .filter(|(_, value)| *value != 0.0)
            .map(|(gauge, value)| format!("{gauge}: expected 0, seen {value}"))
            .collect();
        let still = before.is_some_and(|before| {
            (before.known, before.others) == (seen.known, seen.others)
                && before.counts == seen.counts
        });
        let standings = match self.base.as_ref().filter(|_| self.sole) {
            Some(base) => base.compare(&expected.tally, seen),
            None => Vec::new(),
        };
        if standings.is_empty() {
            return self.by_stillness(expected, seen, still, busy, moved);
        }
        let idle = busy.is_empty();
        let has = |wanted: Standing| standings.iter().any(|(standing, _)| *standing == wanted);
        let hopeless = idle
            && still
            && (has(Standing::Fell) || has(Standing::Ahead) && !has(Standing::Behind));
        let off = standings.into_iter().filter(|(standing, _)| *standing != Standing::Within);
        let mut lacks: Vec<String> = off.map(|(_, what)| what).collect();
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
        busy: Vec<String>,
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
            let name = count.name();
            Some(format!("{name}: expected {} more, no count from before", range(bounds)))
        };
        let lacks: Vec<String> = seen.counts.iter().filter_map(unknown).collect();
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
                let counts = seen
                    .counts
                    .iter()
                    .map(|count| (count.name(), (count.unit, Since { value: count.value, tally })));
                self.base = Some(Base { first: tally, counts: counts.collect() });
            }
            (Some(base), _) => base.advance(tally, seen),
        }
    }
}

impl Base {
    /// Each count with its value then and now.
    fn values(&self, seen: &Observed) -> BTreeMap<String, (Unit, Since, f64)> {
        let mut values: BTreeMap<String, (Unit, Since, f64)> = self
            .counts
            .iter()
            .map(|(name, (unit, then))| (name.clone(), (*unit, *then, 0.0)))
            .collect();
        let absent = Since { value: 0.0, tally: self.first };
        for count in &seen.counts {
            let value = values.entry(count.name()).or_insert((count.unit, absent, 0.0));
            value.2 = count.value;
        }
        values
    }

    /// How each count that can be compared stands, and what is to be said if it
    /// is not within its bounds.
    fn compare(&self, tally: &Tally, seen: &Observed) -> Vec<(Standing, String)> {
        let values = self.values(seen).into_iter();
        let compared = values.filter_map(|(name, (unit, then, now))| {
            let bounds = tally.since(&then.tally).bounds(unit)?;
            let more = now - then.value;
            let what = format!("{name}: expected {}, seen {more}", range(bounds));
            Some((standing(bounds, more), what))
        });
        compared.collect()
    }

    fn advance(&mut self, tally: Tally, seen: &Observed) {
        let values = self.values(seen);
        let of = |(unit, then, now): &(Unit, Since, f64)| {
            tally.since(&then.tally).bounds(*unit).map(|bounds| standing(bounds, now - then.value))
        };
        let reset = values.values().any(|value| of(value) == Some(Standing::Fell));
        for (name, value) in values {
            let (unit, then, now) = value;
            // A boundary that was asked for before the one that this was settled
            // at knows less.
            let newer = tally.sent >= then.tally.sent;
            if newer && (reset || of(&value) != Some(Standing::Behind)) {
                self.counts.insert(name, (unit, Since { value: now, tally }));
            }
        }
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

fn range((least, most): (u64, Option<u64>)) -> String {
    let mut text = match most {
        Some(_) => String::new(),
        None => "at least ".to_owned(),
    };
    // A String takes everything.
    let _ = write!(text, "{least}");
    if let Some(most) = most.filter(|most| *most != least) {
        let _ = write!(text, " to {most}");
    }
    text
}

/// What is to be said of families that are not still.
fn moving(moved: &[String], of_interest: impl Fn(&str) -> bool) -> Vec<String> {
    let moved = moved.iter().filter(|name| of_interest(name));
    let lines: Vec<String> = moved.map(|name| format!("{name}: still moving")).collect();
    // None has moved, but there was no reading after the load to compare with.
    if lines.is_empty() { vec!["read once only since the load ended".to_owned()] } else { lines }
}
