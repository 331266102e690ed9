//! Cumulative Prometheus histograms with vLLM's bucket bounds.
//!
//! Bounds: `vllm/v1/metrics/loggers.py` of vllm-project/vllm.

/// Bounds of `vllm:time_to_first_token_seconds`.
pub(crate) const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Bounds of the times between tokens.
pub(crate) const INTER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Bounds of the times of whole requests and of their parts.
pub(crate) const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Bounds of token counts: 1, 2, 5, 10, … up to the context length.
pub(crate) fn token_bounds(max_model_len: u32) -> Vec<f64> {
    let decades = (0..10).map(|exponent| 10_u64.pow(exponent));
    decades
        .flat_map(|ten| [ten, 2 * ten, 5 * ten])
        .take_while(|bound| *bound <= u64::from(max_model_len))
        .map(|bound| bound as f64)
        .collect()
}

/// A histogram: observations, by the bound they stay within.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    /// Observations in each bucket alone; the last is the one without a bound.
    buckets: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), buckets: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket] += 1;
        self.sum += value;
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }

    /// Each bound with the number of observations that are not above it; the
    /// last is infinity.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().scan(0, |total, bucket| {
            *total += bucket;
            Some(*total)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for value in [0.1, 0.5, 1.0, 3.0] {
            histogram.observe(value);
        }
        let buckets: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(buckets, [(0.1, 1), (1.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum() - 4.6).abs() < 1e-12);
    }

    #[test]
    fn token_bounds_end_at_the_context_length() {
        assert_eq!(token_bounds(60), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
    }
}
