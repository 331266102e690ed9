//! What a gauge did in a phase, weighted by time.
//!
//! A reading says what the value was somewhere in its interval. It is taken to
//! hold from the middle of that interval until the middle of the next reading
//! that has another value; the value at the start of a phase is the one that
//! held then. Values that are not finite are skipped: the one before holds on.

use super::result::GaugeStats;
use crate::time::Tick;

/// A phase's time, from its first possible credit to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The start.
    pub start: Tick,
    /// The end.
    pub end: Tick,
}

impl Span {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Tick) -> bool {
        self.start <= at && at <= self.end
    }
}

/// The middle of a reading: where its values are taken to begin.
#[must_use]
pub fn middle(start: Tick, end: Tick) -> Tick {
    start + end.since(start) / 2
}

/// One gauge over all phases. Its size is that of the phases, not of the
/// readings.
#[derive(Debug, Clone, Default)]
pub struct Gauge {
    current: Option<(Tick, f64)>,
    /// One a phase, where the gauge had a value in it.
    sums: Vec<Option<Sum>>,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    avg: f64,
    nanos: f64,
    min: f64,
    max: f64,
    last: f64,
}

impl Sum {
    fn add(sum: &mut Option<Self>, value: f64, nanos: f64) {
        let fresh = Self { avg: value, nanos: 0.0, min: value, max: value, last: value };
        let sum = sum.get_or_insert(fresh);
        sum.nanos += nanos;
        if sum.nanos > 0.0 {
            // A running average: the product of a large value and a time in
            // nanoseconds would overflow.
            sum.avg += (value - sum.avg) * (nanos / sum.nanos);
        } else {
            sum.avg = value;
        }
        sum.min = sum.min.min(value);
        sum.max = sum.max.max(value);
        sum.last = value;
    }

    fn stats(&self) -> GaugeStats {
        // Rounding must not put the average outside of what was seen.
        let avg = self.avg.clamp(self.min, self.max);
        GaugeStats { avg, min: self.min, max: self.max, last: self.last }
    }
}

impl Gauge {
    /// The value from `at` on. A value that is not finite changes nothing. One
    /// that is older than the current value (two readings overlapped) takes
    /// effect with it.
    pub fn set(&mut self, spans: &[Option<Span>], at: Tick, value: f64) {
        if !value.is_finite() {
            return;
        }
        let at = self.current.map_or(at, |(since, _)| at.max(since));
        self.hold_until(spans, at);
        self.current = Some((at, value));
    }

    /// The latest value; `None` if there is none, or the gauge is gone.
    #[must_use]
    pub fn current(&self) -> Option<f64> {
        self.current.map(|(_, value)| value)
    }

    /// The gauge is gone from `at` on.
    pub fn gone(&mut self, spans: &[Option<Span>], at: Tick) {
        self.hold_until(spans, at);
        self.current = None;
    }

    fn hold_until(&mut self, spans: &[Option<Span>], until: Tick) {
        let Some((since, value)) = self.current else { return };
        self.sums.resize(spans.len().max(self.sums.len()), None);
        for (sum, span) in self.sums.iter_mut().zip(spans) {
            if let Some(nanos) = span.and_then(|span| shared(span, since, until)) {
                Sum::add(sum, value, nanos);
            }
        }
    }

    /// What it did in the phase at `index` of `spans`; `None` if it had no value
    /// in it. The average is over the time for which there was a value.
    #[must_use]
    pub fn stats(&self, spans: &[Option<Span>], index: usize) -> Option<GaugeStats> {
        let span = spans.get(index).copied().flatten()?;
        let mut sum = self.sums.get(index).copied().flatten();
        if let Some((since, value)) = self.current
            && let Some(nanos) = shared(span, since, Tick::NEVER)
        {
            Sum::add(&mut sum, value, nanos);
        }
        sum.map(|sum| sum.stats())
    }
}

/// How many nanoseconds of `span` lie in `[since, until)`; `None` if none does.
/// A span without length counts where it lies.
fn shared(span: Span, since: Tick, until: Tick) -> Option<f64> {
    let (from, to) = (span.start.max(since), span.end.min(until));
    let instant = span.start == span.end && since <= span.start && span.start < until;
    (from < to || instant).then(|| to.since(from).as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: u64, end: u64) -> Option<Span> {
        Some(Span { start: Tick(start), end: Tick(end) })
    }

    #[test]
    fn a_value_holds_until_the_next_and_is_weighted_by_time() {
        let spans = [span(100, 200)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(50), 1.0);
        gauge.set(&spans, Tick(175), 5.0);
        gauge.set(&spans, Tick(250), 99.0);
        let stats = gauge.stats(&spans, 0);
        assert_eq!(stats, Some(GaugeStats { avg: 2.0, min: 1.0, max: 5.0, last: 5.0 }));
    }

    #[test]
    fn the_value_at_the_start_is_the_one_that_held_then() {
        let spans = [span(100, 200)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(10), 7.0);
        let stats = gauge.stats(&spans, 0);
        assert_eq!(stats, Some(GaugeStats { avg: 7.0, min: 7.0, max: 7.0, last: 7.0 }));
        gauge.set(&spans, Tick(100), 3.0);
        assert_eq!(gauge.stats(&spans, 0).map(|s| s.max), Some(3.0), "replaced as it starts");
    }

    #[test]
    fn a_value_that_is_not_finite_is_skipped() {
        let spans = [span(0, 10)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(0), f64::NAN);
        assert_eq!(gauge.stats(&spans, 0), None);
        gauge.set(&spans, Tick(0), 2.0);
        gauge.set(&spans, Tick(5), f64::INFINITY);
        assert_eq!(gauge.stats(&spans, 0).map(|s| (s.avg, s.last)), Some((2.0, 2.0)));
    }

    #[test]
    fn readings_that_overlap_do_not_weigh_time_twice() {
        let spans = [span(0, 100)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(0), 1.0);
        // A slow reading whose middle is before that of the one fed earlier.
        gauge.set(&spans, Tick(60), 3.0);
        gauge.set(&spans, Tick(40), 9.0);
        gauge.set(&spans, Tick(80), 5.0);
        let stats = gauge.stats(&spans, 0).unwrap();
        assert!((stats.avg - (60.0 * 1.0 + 20.0 * 9.0 + 20.0 * 5.0) / 100.0).abs() < 1e-12);
    }

    #[test]
    fn a_gauge_that_is_gone_has_no_value() {
        let spans = [span(0, 10), span(20, 30), None];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(0), 4.0);
        gauge.gone(&spans, Tick(5));
        assert_eq!(gauge.stats(&spans, 0).map(|s| s.avg), Some(4.0));
        assert_eq!(gauge.stats(&spans, 1), None);
        assert_eq!(gauge.stats(&spans, 2), None, "a phase whose times are not known");
    }

    #[test]
    fn a_phase_without_length_has_the_value_of_its_moment() {
        let spans = [span(10, 10)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(0), 4.0);
        gauge.set(&spans, Tick(10), 6.0);
        gauge.set(&spans, Tick(20), 8.0);
        assert_eq!(gauge.stats(&spans, 0).map(|s| (s.avg, s.min, s.max)), Some((6.0, 6.0, 6.0)));
    }

    #[test]
    fn values_of_any_size_have_a_finite_average() {
        let spans = [span(0, 1 << 62)];
        let mut gauge = Gauge::default();
        gauge.set(&spans, Tick(0), 1e307);
        gauge.set(&spans, Tick(1 << 61), -1e307);
        assert_eq!(gauge.stats(&spans, 0).map(|s| s.avg), Some(0.0));
    }

    proptest! {
        #[test]
        fn agrees_with_a_sum_over_every_nanosecond(
            steps in proptest::collection::vec((0_u64..60, -9_i32..9), 1..12),
            start in 0_u64..40,
            length in 1_u64..40,
        ) {
            let mut steps = steps;
            steps.sort_by_key(|s| s.0);
            let spans = [span(start, start + length)];
            let mut gauge = Gauge::default();
            for (at, value) in &steps {
                gauge.set(&spans, Tick(*at), f64::from(*value));
            }
            let held: Vec<f64> = (start..start + length)
                .filter_map(|t| steps.iter().rev().find(|s| s.0 <= t).map(|s| f64::from(s.1)))
                .collect();
            match gauge.stats(&spans, 0) {
                None => prop_assert!(held.is_empty()),
                Some(stats) => {
                    let avg = held.iter().sum::<f64>() / held.len() as f64;
                    prop_assert!((stats.avg - avg).abs() < 1e-9);
                    prop_assert_eq!(Some(stats.last), held.last().copied());
                    prop_assert_eq!(stats.min, held.iter().copied().fold(f64::MAX, f64::min));
                    prop_assert_eq!(stats.max, held.iter().copied().fold(f64::MIN, f64::max));
                }
            }
        }
    }
}
