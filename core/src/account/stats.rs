//! Statistics of a series of values, in bounded memory.
//!
//! Percentiles are by nearest rank, here and everywhere: of `n` values in
//! ascending order, the p-th percentile is the one at rank `⌈p·n/100⌉`, counted
//! from 1. It is always a value that was observed, or, beyond the exact limit,
//! one within [`RELATIVE_ERROR`] of it.

use hdrhistogram::Histogram;

use super::result::MetricStats;

/// So many values are kept as they are; more are folded into a histogram.
pub const EXACT_LIMIT: usize = 262_144;

/// The largest relative error of a percentile taken from the histogram, or
/// half of [`RESOLUTION`] where that is more.
///
/// A histogram of 3 significant digits has buckets at most 1/1024 of their
/// value wide and answers with their middle (1/2048); rounding a value to the
/// resolution adds at most as much again above 1024 steps.
pub const RELATIVE_ERROR: f64 = 0.001;

/// The histogram holds integers: values are counted in steps of this part of
/// their unit (of a millisecond: one nanosecond).
pub const RESOLUTION: f64 = 1e-6;

/// The largest step that the histogram holds, 2⁵³: integers up to it are exact
/// as `f64`. It stands for 9·10⁹ units (as milliseconds: 104 days).
const MAX_STEP: u64 = 1 << 53;

/// The percentiles of [`MetricStats`].
const PERCENTILES: [u64; 4] = [50, 90, 95, 99];

/// Accumulates values of one metric.
///
/// Count, minimum, maximum, average and standard deviation are of all values,
/// however many there are (Neumaier's compensated sum; Welford's recurrence for
/// the sum of squared deviations). As long as the values themselves are kept they
/// are summed when that is asked for, in the order in which they came: a push is
/// nothing but a push.
#[derive(Debug, Clone)]
pub struct Series {
    limit: usize,
    store: Store,
    /// So many values are in the sums; of exact ones, those at the front.
    count: u64,
    sum: f64,
    compensation: f64,
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
}

#[derive(Debug, Clone)]
enum Store {
    Exact(Vec<f64>),
    Folded(Box<Folded>),
}

/// So many values there is room for at first.
const ROOM: usize = 16;

/// Values beyond the exact limit. Those that the histogram cannot hold are
/// counted beside it: a percentile that falls among them is not known.
#[derive(Debug, Clone)]
struct Folded {
    histogram: Histogram<u64>,
    below: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self::with_limit(EXACT_LIMIT)
    }
}

impl Series {
    /// A series that is exact up to `limit` values.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            store: Store::Exact(Vec::new()),
            count: 0,
            sum: 0.0,
            compensation: 0.0,
            mean: 0.0,
            m2: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds one value. One that is not finite is no value and is refused:
    /// `false`.
    pub fn push(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        match &mut self.store {
            Store::Exact(values) => {
                if values.capacity() == 0 {
                    values.reserve_exact(ROOM.min(self.limit.saturating_add(1)));
                }
                values.push(value);
                if values.len() > self.limit {
                    self.fold();
                }
            }
            Store::Folded(folded) => {
                folded.push(value);
                self.add(value);
            }
        }
        true
    }

    /// Adds the values that are not in the sums yet.
    fn add_up(&mut self) {
        let Store::Exact(values) = &mut self.store else { return };
        let values = std::mem::take(values);
        let added = usize::try_from(self.count).unwrap_or(usize::MAX);
        for value in values.iter().skip(added) {
            self.add(*value);
        }
        self.store = Store::Exact(values);
    }

    /// Adds a value to the sums.
    fn add(&mut self, value: f64) {
        self.count += 1;
        let sum = self.sum + value;
        self.compensation += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
        let deviation = value - self.mean;
        self.mean += deviation / self.count as f64;
        self.m2 += deviation * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.store {
            Store::Exact(values) => values.len() as u64,
            Store::Folded(_) => self.count,
        }
    }

    /// Whether percentiles are exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.store, Store::Exact(_))
    }

    /// The statistics. Without values the count is 0 and all else unknown.
    pub fn stats(&mut self, unit: &str) -> MetricStats {
        self.add_up();
        if self.count == 0 {
            return unknown(unit);
        }
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        let n = self.count as f64;
        // Rounding may leave the average outside by a bit; it never is.
        let avg = finite((self.sum + self.compensation) / n).map(|x| x.clamp(self.min, self.max));
        let [p50, p90, p95, p99] = self.percentiles();
        MetricStats {
            unit: unit.to_owned(),
            count: self.count,
            avg,
            min: Some(self.min),
            max: Some(self.max),
            std: finite((self.m2.max(0.0) / n).sqrt()),
            p50,
            p90,
            p95,
            p99,
            relative_error: (!self.is_exact()).then_some(RELATIVE_ERROR),
            resolvable: None,
        }
    }

    fn percentiles(&mut self) -> [Option<f64>; 4] {
        let count = self.count;
        self.at_ranks(PERCENTILES.map(|p| rank(p, count)))
    }

    /// The value at `rank` in ascending order, counted from 1; `None` where there
    /// is none, or where it is not known.
    pub fn at_rank(&mut self, rank: u64) -> Option<f64> {
        self.add_up();
        let [value] = self.at_ranks([rank]);
        value
    }

    /// The values at `ranks`, which ascend from 1. All values are in the sums.
    fn at_ranks<const N: usize>(&mut self, ranks: [u64; N]) -> [Option<f64>; N] {
        let (min, max) = (self.min, self.max);
        match &mut self.store {
            Store::Exact(values) => {
                values.sort_unstable_by(f64::total_cmp);
                ranks.map(|rank| {
                    let index = usize::try_from(rank.checked_sub(1)?).ok()?;
                    values.get(index).copied()
                })
            }
            // The extremes are known exactly: no percentile is beyond.
            Store::Folded(folded) => {
                folded.at_ranks(ranks).map(|value| value.map(|x| x.clamp(min, max)))
            }
        }
    }

    fn fold(&mut self) {
        // The bounds are valid constants (a test folds), so there always is one.
        let Ok(histogram) = Histogram::new_with_bounds(1, MAX_STEP, 3) else { return };
        self.add_up();
        let mut folded = Folded { histogram, below: 0 };
        if let Store::Exact(values) = &self.store {
            for value in values {
                folded.push(*value);
            }
        }
        self.store = Store::Folded(Box::new(folded));
    }
}

impl Folded {
    fn push(&mut self, value: f64) {
        let step = (value / RESOLUTION).round();
        if value < 0.0 {
            self.below += 1;
        } else if step <= MAX_STEP as f64 {
            self.histogram.saturating_record(step as u64);
        }
        // Larger ones rank above all that the histogram holds.
    }

    /// The values at `ranks`, which ascend.
    fn at_ranks<const N: usize>(&self, ranks: [u64; N]) -> [Option<f64>; N] {
        let mut buckets = self.histogram.iter_recorded();
        let mut seen = self.below;
        let mut value = None;
        ranks.map(|rank| {
            while seen < rank {
                let Some(bucket) = buckets.next() else {
                    value = None;
                    break;
                };
                seen += bucket.count_since_last_iteration();
                let middle = self.histogram.median_equivalent(bucket.value_iterated_to());
                value = Some(middle as f64 * RESOLUTION);
            }
            value
        })
    }
}

/// The nearest rank of the `p`-th percentile of `count` values, from 1.
fn rank(p: u64, count: u64) -> u64 {
    let rank = (u128::from(count) * u128::from(p)).div_ceil(100).max(1);
    u64::try_from(rank).unwrap_or(count)
}

/// Statistics of something that could not be measured.
#[must_use]
pub fn unknown(unit: &str) -> MetricStats {
    MetricStats {
        unit: unit.to_owned(),
        count: 0,
        avg: None,
        min: None,
        max: None,
        std: None,
        p50: None,
        p90: None,
        p95: None,
        p99: None,
        relative_error: None,
        resolvable: None,
    }
}

/// Statistics of the one value that a whole phase has (a throughput, a ratio):
/// count 1, every statistic that value, deviation 0. Unknown if there is none.
#[must_use]
pub fn single(value: Option<f64>, unit: &str) -> MetricStats {
    let mut series = Series::with_limit(1);
    if let Some(value) = value {
        series.push(value);
    }
    series.stats(unit)
}

#[cfg(test)]
mod tests;
