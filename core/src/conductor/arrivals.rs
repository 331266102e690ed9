//! Planned times of an open loop: an absolute schedule from the phase's start.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};

use super::ramp::RateRamp;
use super::stages::RateStages;
use crate::plan::{ArrivalProcess, Stage};
use crate::seed::{Seed, open01};

/// How many arrivals [`Arrivals::planned_until`] counts one by one.
const COUNT_EXACTLY: u64 = 65_536;

/// The planned times of one phase, in order, without end.
///
/// Gaps are drawn in units of the mean gap and then placed on the clock by
/// [`RateRamp`] or [`RateStages`], so that a ramp stretches the process instead
/// of changing it.
/// Constant arrivals are at 0, 1, 2, … mean gaps; those of a random process
/// start with a gap.
#[derive(Debug, Clone)]
pub struct Arrivals {
    gaps: Gaps,
    rate: Rate,
    /// The index of the arrival that is planned next.
    index: u64,
    /// Its place, in mean gaps.
    place: f64,
    /// Its time, in nanoseconds after the phase's start.
    at_ns: u64,
}

/// The rate over time.
#[derive(Debug, Clone)]
enum Rate {
    Ramp(RateRamp),
    Stages(RateStages),
}

impl Rate {
    fn expected(&self, t: Duration) -> f64 {
        match self {
            Self::Ramp(ramp) => ramp.expected(t),
            Self::Stages(stages) => stages.expected(t),
        }
    }

    fn nanos_at(&self, u: f64) -> u64 {
        match self {
            Self::Ramp(ramp) => ramp.nanos_at(u),
            Self::Stages(stages) => stages.nanos_at(u),
        }
    }
}

#[derive(Debug, Clone)]
enum Gaps {
    Constant,
    Poisson(Box<ChaCha8Rng>),
    Gamma(Box<ChaCha8Rng>, Gamma<f64>),
}

impl Gaps {
    fn new(process: ArrivalProcess, seed: &Seed) -> Self {
        match process {
            ArrivalProcess::Constant => Self::Constant,
            ArrivalProcess::Poisson => Self::Poisson(Box::new(seed.rng())),
            ArrivalProcess::Gamma { shape } => match Gamma::new(shape, 1.0 / shape) {
                Ok(gamma) => Self::Gamma(Box::new(seed.rng()), gamma),
                // A plan refuses every shape that is refused here; even gaps
                // are what a growing shape tends to.
                Err(_) => Self::Constant,
            },
        }
    }

    /// The place of arrival `index`, the one before it being at `last`.
    fn place(&mut self, index: u64, last: f64) -> f64 {
        match self {
            // From the index, so that no rounding adds up.
            Self::Constant => index as f64,
            // The inverse of the exponential distribution.
            Self::Poisson(rng) => last - open01(rng).ln(),
            Self::Gamma(rng, gamma) => last + gamma.sample(rng),
        }
    }
}

impl Arrivals {
    /// Arrivals of `process` at `rate` per second (above 0, may be infinite),
    /// reached over `ramp`.
    #[must_use]
    pub fn new(rate: f64, process: ArrivalProcess, ramp: Duration, seed: &Seed) -> Self {
        Self::at_rate(Rate::Ramp(RateRamp::new(rate, ramp)), process, seed)
    }

    /// Arrivals of `process` at the rate that `stages` describe.
    #[must_use]
    pub fn staged(stages: &[Stage], process: ArrivalProcess, seed: &Seed) -> Self {
        Self::at_rate(Rate::Stages(RateStages::new(stages)), process, seed)
    }

    fn at_rate(rate: Rate, process: ArrivalProcess, seed: &Seed) -> Self {
        let mut gaps = Gaps::new(process, seed);
        let place = gaps.place(0, 0.0);
        Self { at_ns: rate.nanos_at(place), gaps, rate, index: 0, place }
    }

    /// When the next arrival is planned, in nanoseconds after the phase's
    /// start; `u64::MAX` if that is beyond any clock.
    #[must_use]
    pub fn peek_ns(&self) -> u64 {
        self.at_ns
    }

    /// Goes on to the arrival after it.
    pub fn advance(&mut self) {
        self.index += 1;
        self.place = self.gaps.place(self.index, self.place);
        // Where the ramp ends, its two formulas may round a nanosecond apart.
        self.at_ns = self.rate.nanos_at(self.place).max(self.at_ns);
    }

    /// How many of the next `most` arrivals are planned within `t` of the
    /// phase's start. Counted one by one up to 65,536; what is beyond is taken
    /// at its expectation, so that a plan of billions stops in bounded time.
    #[must_use]
    pub fn planned_until(&self, t: Duration, most: u64) -> u64 {
        let limit_ns = crate::time::nanos(t);
        let mut ahead = self.clone();
        let mut count = 0;
        while count < most && ahead.at_ns <= limit_ns {
            if count == COUNT_EXACTLY {
                let rest = (self.rate.expected(t) - ahead.place).max(0.0);
                return most.min(count.saturating_add(rest.round() as u64));
            }
            count += 1;
            ahead.advance();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(rate: f64, process: ArrivalProcess, ramp: Duration, seed: u64, n: usize) -> Vec<u64> {
        let seed = Seed::root(seed).child("arrivals/0/a");
        let mut arrivals = Arrivals::new(rate, process, ramp, &seed);
        let mut times = Vec::with_capacity(n);
        for _ in 0..n {
            times.push(arrivals.peek_ns());
            arrivals.advance();
        }
        times
    }

    #[test]
    fn first_planned_times_are_pinned() {
        // A change here changes what every seed means: a breaking change.
        let first = |process| times(10.0, process, Duration::ZERO, 7, 4);
        insta::assert_json_snapshot!([
            first(ArrivalProcess::Constant),
            first(ArrivalProcess::Poisson),
            first(ArrivalProcess::Gamma { shape: 0.5 }),
            first(ArrivalProcess::Gamma { shape: 4.0 }),
        ]);
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let times = times(7.0, ArrivalProcess::Constant, Duration::ZERO, 0, 700_001);
        assert_eq!(times[7], 1_000_000_000);
        assert_eq!(times[700_000], 100_000_000_000_000);
    }

    #[test]
    fn an_infinite_rate_plans_everything_at_once() {
        let times = times(f64::INFINITY, ArrivalProcess::Poisson, Duration::ZERO, 0, 1000);
        assert!(times.iter().all(|t| *t == 0));
    }

    #[test]
    fn what_is_planned_until_a_moment_is_counted_and_beyond_a_bound_expected() {
        let seed = Seed::root(0);
        let process = ArrivalProcess::Constant;
        let slow = Arrivals::new(10.0, process, Duration::ZERO, &seed);
        assert_eq!(slow.planned_until(Duration::from_secs(1), u64::MAX), 11);
        assert_eq!(slow.planned_until(Duration::from_secs(1), 3), 3);
        let fast = Arrivals::new(1e9, process, Duration::ZERO, &seed);
        assert_eq!(fast.planned_until(Duration::from_secs(10), u64::MAX), 10_000_000_000);
        assert_eq!(fast.planned_until(Duration::from_secs(10), 1_000_000), 1_000_000);
    }

    fn process() -> impl Strategy<Value = ArrivalProcess> {
        prop_oneof![
            Just(ArrivalProcess::Constant),
            Just(ArrivalProcess::Poisson),
            (0.3_f64..8.0).prop_map(|shape| ArrivalProcess::Gamma { shape }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn planned_times_never_go_back(
            rate in 0.001_f64..1e6, process in process(), ramp_ms in 0_u64..100_000, seed: u64,
        ) {
            let times = times(rate, process, Duration::from_millis(ramp_ms), seed, 500);
            prop_assert!(times.is_sorted());
        }

        #[test]
        fn the_mean_rate_is_the_rate(rate in 0.1_f64..1e5, process in process(), seed: u64) {
            let n = 20_000;
            let times = times(rate, process, Duration::ZERO, seed, n);
            let mean = times[n - 1] as f64 / 1e9 * rate / n as f64;
            // The deviation of the mean is 1/√(n·shape), at most 1.3 %; six of
            // them.
            prop_assert!((mean - 1.0).abs() < 0.08, "{mean}");
        }

        #[test]
        fn a_ramp_has_the_integral_of_its_rate(process in process(), seed: u64) {
            // 0 → 1000/s over 20 s: 10,000 arrivals in the ramp, 2,500 in its
            // first half.
            let times = times(1000.0, process, Duration::from_secs(20), seed, 30_000);
            let until = |s: u64| times.iter().filter(|t| **t <= s * 1_000_000_000).count() as f64;
            prop_assert!((until(20) / 10_000.0 - 1.0).abs() < 0.12, "{}", until(20));
            prop_assert!((until(10) / 2_500.0 - 1.0).abs() < 0.24, "{}", until(10));
        }

        #[test]
        fn one_seed_plans_the_same_times(process in process(), seed: u64) {
            let plan = || times(50.0, process, Duration::from_secs(1), seed, 100);
            prop_assert_eq!(plan(), plan());
        }
    }
}
