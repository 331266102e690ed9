//! What the server counted, over all endpoints that have a family.

use std::collections::BTreeSet;

use crate::account::attribution::Attributed;
use crate::account::boundary::Boundaries;
use crate::account::result::Moved;
use crate::account::source::{Key, SourceBook};
use crate::engines::observe::total;
use crate::engines::{Over, Part, Role, Unit, lookup};
use crate::message::{BaselineKind, CollectorStatus};
use crate::reading::{Family, Histogram, Series, Value};
use crate::time::Tick;

/// A part of a family that counts what the client counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Measure {
    pub(super) family: String,
    pub(super) part: Part,
    pub(super) unit: Unit,
    over: Summed,
}

/// [`Over`], in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Summed {
    All,
    LargestModel,
}

impl Measure {
    /// Every one that any endpoint has, by family.
    pub(super) fn all(attributed: &Attributed) -> Vec<Self> {
        let mut all = BTreeSet::new();
        for series in attributed.sources().iter().flat_map(SourceBook::counted) {
            let Some(rule) = lookup(series.name) else { continue };
            let Role::Counts(parts) = rule.role else { continue };
            let over = match rule.over {
                Over::Sum => Summed::All,
                Over::LargestModel => Summed::LargestModel,
            };
            for (part, unit) in parts {
                let fits = match part {
                    Part::Value => series.kind == crate::reading::FamilyType::Counter,
                    Part::Count | Part::Sum => series.kind != crate::reading::FamilyType::Counter,
                };
                if fits {
                    let (part, unit) = (*part, *unit);
                    all.insert(Self { family: series.name.to_owned(), part, unit, over });
                }
            }
        }
        all.into_iter().collect()
    }

    /// The metric's name, without a counter's `_total`.
    pub(super) fn name(&self) -> String {
        match self.part {
            Part::Value => self.family.clone(),
            Part::Count => format!("{}_count", self.family),
            Part::Sum => format!("{}_sum", self.family),
        }
    }
}

/// One measure over all endpoints.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) boundaries: &'a Boundaries,
    pub(super) attributed: &'a Attributed,
    pub(super) measure: &'a Measure,
}

impl<'a> Reach<'a> {
    fn sources(&self) -> impl Iterator<Item = &'a SourceBook> {
        let family = &self.measure.family;
        let sources = self.attributed.sources().iter();
        sources.filter(move |source| source.counted().any(|series| series.name == family))
    }

    /// How many endpoints count it.
    pub(super) fn endpoints(&self) -> usize {
        self.sources().count()
    }

    /// How much was counted between two boundaries.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) fn between(&self, first: Key, last: Key) -> Result<f64, String> {
        let (counted, missing) = self.at_least(first, last);
        missing.map_or(Ok(counted), Err)
    }

    /// How much was counted between two boundaries by the endpoints of which it is known, and
    /// why it is not known of the first other one, if there is one.
    pub(super) fn at_least(&self, first: Key, last: Key) -> (f64, Option<String>) {
        let (mut sum, mut missing) = (0.0, None);
        for source in self.sources() {
            match self.of(source, first, last) {
                Ok(counted) => sum += counted,
                Err(why) => missing = missing.or(Some(why)),
            }
        }
        (sum, missing)
    }

    fn of(&self, source: &SourceBook, first: Key, last: Key) -> Result<f64, String> {
        let endpoint = source.endpoint();
        if let Some(several) = source.several() {
            return Err(format!("{endpoint} cannot be counted: {several}"));
        }
        let at = |key| {
            let read = source.baseline(self.boundaries, key);
            read.map_err(|why| format!("{endpoint} has no reading at a boundary: {why}"))
        };
        let (start, end) = (at(first)?, at(last)?);
        if start.1 > end.0 {
            return Err(format!("the readings of {endpoint} have no order"));
        }
        let mut series = Vec::new();
        for counted in source.counted().filter(|s| s.name == self.measure.family) {
            let Some(change) = counted.between(first, last) else {
                if counted.is_at(first) {
                    return Err(format!("a series of {endpoint} was gone at the end"));
                }
                continue;
            };
            if change.reset {
                return Err(format!("the counters of {endpoint} were set back in between"));
            }
            let value = match change.moved().map_err(|why| format!("of {endpoint}: {why}"))? {
                Moved::Counter { total } => Value::Value(total),
                Moved::Summary { count, sum } => Value::Summary { sum, count },
                Moved::Histogram { count, sum, .. } => {
                    Value::Histogram(Histogram { buckets: Vec::new(), sum, count: Some(count) })
                }
            };
            series.push(Series { labels: counted.labels.clone(), created: None, value });
        }
        if series.is_empty() {
            // No request has made a series of it yet.
            return Ok(0.0);
        }
        let kind = crate::reading::FamilyType::Counter;
        let family = Family { name: self.measure.family.clone(), kind, series };
        let over = match self.measure.over {
            Summed::All => Over::Sum,
            Summed::LargestModel => Over::LargestModel,
        };
        let total = total(&family, self.measure.part, over);
        // A sum of tokens is a whole number that was added up in floating point.
        total.ok_or_else(|| format!("{endpoint} gives no number of it"))
    }

    /// When the last endpoint's reading of a boundary was complete; `None` where one has none.
    pub(super) fn complete(&self, key: Key) -> Option<Tick> {
        let ends = self.sources().map(|s| Some(s.baseline(self.boundaries, key).ok()?.1));
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Whether any endpoint began anew between two boundaries.
    pub(super) fn is_reset(&self, first: Key, last: Key) -> bool {
        self.sources().any(|source| {
            let mut of = source.counted().filter(|s| s.name == self.measure.family);
            of.any(|s| s.between(first, last).is_some_and(|change| change.reset))
        })
    }

    /// The first endpoint that was still publishing at a boundary, and what.
    pub(super) fn unsettled(&self, key: Key) -> Option<String> {
        let boundary = self.boundaries.get(key.0, key.1)?;
        self.sources().find_map(|source| match boundary.status(source.service()) {
            Some(CollectorStatus::Captured { reading }) if reading.settled == Some(false) => {
                Some(source.endpoint().to_owned())
            }
            Some(
                CollectorStatus::Captured { .. }
                | CollectorStatus::Pending
                | CollectorStatus::Failed { .. }
                | CollectorStatus::Missing
                | CollectorStatus::Late { .. }
                | CollectorStatus::Evicted { .. },
            )
            | None => None,
        })
    }

    /// Endpoints of which nothing was ever read.
    pub(super) fn unread_endpoints(&self) -> Vec<String> {
        let empty = self.attributed.sources().iter().filter(|source| source.is_empty());
        empty.map(|source| source.endpoint().to_owned()).collect()
    }

    /// The next START after a phase at which every endpoint was read.
    pub(super) fn next_start(&self, phase: usize) -> Option<Key> {
        let later = self.boundaries.spans().iter().enumerate().skip(phase.saturating_add(1));
        let mut starts = later.map(|(index, _)| (index, BaselineKind::Start));
        starts.find(|key| self.sources().all(|s| s.baseline(self.boundaries, *key).is_ok()))
    }
}
