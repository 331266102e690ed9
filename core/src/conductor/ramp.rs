//! Linear ramps of rate and of concurrency.

use core::time::Duration;

use crate::time::nanos;

/// A rate that grows linearly from 0 to its value over the ramp and stays
/// there.
///
/// Arrivals are time-rescaled: the `u`-th expected arrival (a real number)
/// comes at `t` with Λ(t) = u, where Λ is the integral of the rate:
/// Λ(t) = R·t²/(2T) up to T, then R·T/2 + R·(t − T). (Time-rescaling theorem:
/// Brown et al., Neural Computation 14 (2002) 325.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateRamp {
    rate: f64,
    over: f64,
}

impl RateRamp {
    /// A ramp to `rate` (requests per second, above 0, may be infinite) over
    /// `over`; zero means at once.
    #[must_use]
    pub fn new(rate: f64, over: Duration) -> Self {
        Self { rate, over: over.as_secs_f64() }
    }

    /// Λ(t): the expected number of arrivals in `[0, t]`.
    #[must_use]
    pub fn expected(&self, t: Duration) -> f64 {
        let t = t.as_secs_f64();
        if t < self.over {
            self.rate * t * t / (2.0 * self.over)
        } else {
            self.rate * (t - self.over / 2.0)
        }
    }

    /// Λ⁻¹(u) in nanoseconds, rounded to the nearest; `u64::MAX` where it is
    /// beyond that. An infinite rate gives 0.
    #[must_use]
    pub fn nanos_at(&self, u: f64) -> u64 {
        if self.rate.is_infinite() {
            return 0;
        }
        let ns = if u < self.rate * self.over / 2.0 {
            (2.0 * u * self.over / self.rate).sqrt() * 1e9
        } else {
            // Dividing last keeps k/rate exact to the nanosecond where there
            // is no ramp.
            self.over * 5e8 + u * 1e9 / self.rate
        };
        // The cast saturates.
        ns.round() as u64
    }
}

/// Slots that grow linearly from 1 to their number over the ramp:
/// max(1, ⌈N·t/T⌉) up to N, in whole nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRamp {
    slots: u32,
    over_ns: u64,
}

impl SlotRamp {
    /// A ramp to `slots` over `over`; zero means at once.
    #[must_use]
    pub fn new(slots: u32, over: Duration) -> Self {
        Self { slots, over_ns: nanos(over) }
    }

    /// The slots at `t` after the start.
    #[must_use]
    pub fn at(&self, t: Duration) -> u32 {
        let t = nanos(t);
        if t >= self.over_ns {
            return self.slots;
        }
        let slots = (u128::from(self.slots) * u128::from(t)).div_ceil(u128::from(self.over_ns));
        u32::try_from(slots).unwrap_or(self.slots).max(1)
    }

    /// When, in nanoseconds after the start, there are more slots than at `t`;
    /// `None` if there never are.
    #[must_use]
    pub fn next_step_ns(&self, t: Duration) -> Option<u64> {
        let now = self.at(t);
        if now >= self.slots {
            return None;
        }
        // ⌈N·t/T⌉ > s  ⟺  t > s·T/N
        let after = u128::from(now) * u128::from(self.over_ns) / u128::from(self.slots);
        u64::try_from(after + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_ramp_the_kth_arrival_is_at_k_over_rate() {
        let ramp = RateRamp::new(3.0, Duration::ZERO);
        assert_eq!(ramp.nanos_at(1.0), 333_333_333);
        assert_eq!(ramp.nanos_at(3.0), 1_000_000_000);
        assert_eq!(ramp.nanos_at(3_000_000_000.0), 1_000_000_000_000_000_000);
    }

    #[test]
    fn half_of_the_arrivals_of_a_steady_rate_come_in_the_ramp() {
        let ramp = RateRamp::new(10.0, Duration::from_secs(4));
        assert_eq!(ramp.expected(Duration::from_secs(4)), 20.0);
        assert_eq!(ramp.expected(Duration::from_secs(2)), 5.0);
        assert_eq!(ramp.expected(Duration::from_secs(5)), 30.0);
        assert_eq!(ramp.nanos_at(5.0), 2_000_000_000);
        assert_eq!(ramp.nanos_at(20.0), 4_000_000_000);
        assert_eq!(ramp.nanos_at(30.0), 5_000_000_000);
    }

    #[test]
    fn an_infinite_rate_plans_everything_at_the_start() {
        let ramp = RateRamp::new(f64::INFINITY, Duration::from_secs(4));
        assert_eq!(ramp.nanos_at(1e9), 0);
    }

    #[test]
    fn slots_grow_in_equal_steps() {
        let ramp = SlotRamp::new(4, Duration::from_nanos(100));
        let steps: Vec<u32> = [0, 1, 25, 26, 50, 51, 75, 76, 99, 100, 1000]
            .map(|ns| ramp.at(Duration::from_nanos(ns)))
            .to_vec();
        assert_eq!(steps, [1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4]);
    }

    proptest! {
        #[test]
        fn the_inverse_is_the_inverse(
            rate in 0.01_f64..1e5, over_ms in 0_u64..100_000, u in 0.0_f64..1e5,
        ) {
            let ramp = RateRamp::new(rate, Duration::from_millis(over_ms));
            let t = ramp.nanos_at(u);
            let back = ramp.expected(Duration::from_nanos(t));
            // One rounding to a nanosecond moves Λ by at most rate·1 ns.
            prop_assert!((back - u).abs() <= rate * 1e-9 + u * 1e-9, "{u} {back}");
        }

        #[test]
        fn the_next_step_is_the_first_moment_with_more_slots(
            slots in 1_u32..10_000, over in 0_u64..10_000_000_000, t in 0_u64..12_000_000_000,
        ) {
            let ramp = SlotRamp::new(slots, Duration::from_nanos(over));
            let now = ramp.at(Duration::from_nanos(t));
            prop_assert!(now >= 1 && now <= slots);
            match ramp.next_step_ns(Duration::from_nanos(t)) {
                Some(step) => {
                    prop_assert!(step > t);
                    prop_assert!(ramp.at(Duration::from_nanos(step)) > now);
                    prop_assert_eq!(ramp.at(Duration::from_nanos(step - 1)), now);
                }
                None => prop_assert_eq!(now, slots),
            }
        }
    }
}
