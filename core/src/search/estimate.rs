//! What the ledger found of one probe.

use serde::{Deserialize, Serialize};

use super::interval;
use super::plan::Objective;
use crate::account::stats::Series;
use crate::id::PhaseId;
use crate::ledger::metrics::{Applies, metric};

/// A number that may lie beyond what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// This.
    At(#[serde(with = "crate::journal::exact")] f64),
    /// That of a request which was not answered: above every number.
    Unanswered,
    /// Not known: too few samples.
    Open,
}

impl Point {
    /// The number, where it is one.
    #[must_use]
    pub fn known(self) -> Option<f64> {
        match self {
            Self::At(value) => Some(value),
            Self::Unanswered | Self::Open => None,
        }
    }

    /// Whether it is at most `limit`, where that is known.
    #[must_use]
    pub fn within(self, limit: f64) -> Option<bool> {
        match self {
            Self::At(value) => Some(value <= limit),
            Self::Unanswered => Some(false),
            Self::Open => None,
        }
    }
}

/// A metric of a probe as its objective sees it, with its interval
/// ([`interval::CONFIDENCE`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Requests that have a value, or should have one.
    pub samples: u64,
    /// Of these, those that were not answered: they rank above all others.
    pub unanswered: u64,
    /// The percentile or share itself.
    pub value: Point,
    /// The interval's lower end.
    pub low: Point,
    /// Its upper end.
    pub high: Point,
}

impl Estimate {
    /// One of which nothing is known.
    pub(crate) fn unknown(samples: u64, unanswered: u64) -> Self {
        Self { samples, unanswered, value: Point::Open, low: Point::Open, high: Point::Open }
    }

    /// The estimate of a latency whose values are in `series`, `unanswered`
    /// requests having none because they failed, were cut off or never got that
    /// far.
    pub(crate) fn of_latency(objective: &Objective, series: &mut Series, unanswered: u64) -> Self {
        let samples = series.count().saturating_add(unanswered);
        let unknown = Self::unknown(samples, unanswered);
        let Some(percentile) = objective.percentile.filter(|_| samples > 0) else { return unknown };
        let (low, high) = interval::ranks(percentile, samples);
        let mut at = |rank: Option<u64>| match rank {
            None => Point::Open,
            Some(rank) if rank > series.count() => Point::Unanswered,
            Some(rank) => series.at_rank(rank).map_or(Point::Open, Point::At),
        };
        Self { value: at(Some(percentile.rank(samples))), low: at(low), high: at(high), ..unknown }
    }

    /// The estimate of the share of `sent` requests that were not answered.
    pub(crate) fn of_failures(unanswered: u64, sent: u64) -> Self {
        let (low, high) = interval::share(unanswered, sent);
        let value =
            if sent == 0 { Point::Open } else { Point::At(unanswered as f64 / sent as f64) };
        Self { samples: sent, unanswered, value, low: Point::At(low), high: Point::At(high) }
    }
}

/// What the ledger has of a probe that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeMeasured {
    /// Its phase.
    pub phase: PhaseId,
    /// Requests that were sent, may still be heard of, and have no record yet.
    pub missing: u64,
    /// The lower end of the interval of the 99th percentile of its dispatch lag, in
    /// milliseconds: so late at least were a hundredth of the requests.
    #[serde(with = "crate::journal::exact::option")]
    pub late_ms: Option<f64>,
    /// One for each objective, in their order.
    pub estimates: Vec<Estimate>,
}

impl Objective {
    /// Whether it is on a latency of streamed tokens: a request that completed
    /// without any was not answered.
    pub(crate) fn is_streamed(&self) -> bool {
        metric(&self.metric).is_some_and(|metric| metric.applies == Applies::Streaming)
    }
}
