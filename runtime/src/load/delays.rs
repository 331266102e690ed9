//! Short times, counted without a lock and in little memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use phasegate_core::account::result::LagStats;

/// Parts of each doubling: a value is known to within an eighth.
const PARTS: u32 = 8;
/// Doublings of a microsecond's eighth: up to an hour.
const BUCKETS: usize = 35 * PARTS as usize;

/// A histogram of durations. Percentiles are the upper bounds of their buckets;
/// the longest is exact.
#[derive(Debug)]
pub(crate) struct Delays {
    counts: Box<[AtomicU64]>,
    longest_ns: AtomicU64,
}

impl Default for Delays {
    fn default() -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Self { counts, longest_ns: AtomicU64::new(0) }
    }
}

impl Delays {
    pub(crate) fn add(&self, delay: Duration) {
        let ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket(ns)) {
            count.fetch_add(1, Relaxed);
        }
        if ns > self.longest_ns.load(Relaxed) {
            self.longest_ns.fetch_max(ns, Relaxed);
        }
    }

    /// In microseconds; unknown where there was none.
    pub(crate) fn stats(&self) -> LagStats {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return LagStats::default();
        }
        let longest = self.longest_ns.load(Relaxed) as f64 / 1e3;
        let percentile = |p: u64| {
            let rank = (all * p).div_ceil(100).max(1);
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            at.map(|at| upper_us(at).min(longest))
        };
        LagStats { p50: percentile(50), p99: percentile(99), max: Some(longest) }
    }
}

/// An eighth of a microsecond is bucket 0; then [`PARTS`] buckets a doubling.
fn bucket(ns: u64) -> usize {
    let eighths = ns / 125 + 1;
    let doubling = eighths.ilog2();
    // The three bits after the first.
    let part = ((eighths << 3) >> doubling) & 7;
    (doubling as usize * PARTS as usize + part as usize).min(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> f64 {
    let (doubling, part) = (bucket / PARTS as usize, bucket % PARTS as usize);
    let eighths = 2f64.powi(doubling as i32) * (1.0 + (part as f64 + 1.0) / f64::from(PARTS));
    eighths / 8.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_none_nothing_is_known() {
        assert_eq!(Delays::default().stats(), LagStats::default());
    }

    proptest! {
        #[test]
        fn a_value_is_in_its_bucket_and_known_to_an_eighth(ns in 0_u64..3_000_000_000_000) {
            let us = ns as f64 / 1e3;
            let upper = upper_us(bucket(ns));
            prop_assert!(us <= upper && upper <= us * 1.125 + 0.3, "{us} {upper}");
        }

        #[test]
        fn percentiles_are_never_below_the_true_one(
            mut values in prop::collection::vec(0_u64..1_000_000_000, 1..200),
        ) {
            let delays = Delays::default();
            for ns in &values {
                delays.add(Duration::from_nanos(*ns));
            }
            values.sort_unstable();
            let stats = delays.stats();
            for (p, got) in [(50, stats.p50), (99, stats.p99), (100, stats.max)] {
                let rank = (values.len() * p).div_ceil(100).max(1);
                let truth = values[rank - 1] as f64 / 1e3;
                prop_assert!(got.unwrap() >= truth - 1e-9);
            }
            prop_assert_eq!(stats.max, values.last().map(|ns| *ns as f64 / 1e3));
        }
    }
}
