//! The time between two readings, and how well it is known.
//!
//! A reading's value was true at some moment in its interval. So the time
//! between two readings in `[a₀, a₁]` and `[b₀, b₁]` lies between `b₀ − a₁` and
//! `b₁ − a₀`: that between their middles, give or take half of both widths.

use super::gauge::middle;
use crate::time::Tick;

/// The time between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elapsed {
    /// Between their middles.
    pub seconds: f64,
    /// The true time is within so much of it.
    pub error_s: f64,
}

impl Elapsed {
    /// Between two readings, by when each began and was complete.
    #[must_use]
    pub fn between(first: (Tick, Tick), last: (Tick, Tick)) -> Self {
        let width = |(start, end): (Tick, Tick)| end.since(start).as_secs_f64();
        Self {
            seconds: middle(last.0, last.1).since(middle(first.0, first.1)).as_secs_f64(),
            error_s: (width(first) + width(last)) / 2.0,
        }
    }

    /// The rate of `total` over this time; `None` over no time.
    #[must_use]
    pub fn rate(&self, total: f64) -> Option<f64> {
        Some(total / self.seconds).filter(|rate| rate.is_finite())
    }

    /// How far the true rate can be from [`Elapsed::rate`]: that over the
    /// shortest time that there can have been, less that one. `None` where that
    /// time is 0.
    #[must_use]
    pub fn rate_error(&self, total: f64) -> Option<f64> {
        let shortest = self.seconds - self.error_s;
        let most = (shortest > 0.0).then(|| total.abs() / shortest)?;
        Some(most - self.rate(total.abs())?).filter(|error| error.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_is_between_the_middles_give_or_take_half_of_both_widths() {
        let ms = Tick::from_millis;
        let elapsed = Elapsed::between((ms(0), ms(200)), (ms(1000), ms(1400)));
        assert!((elapsed.seconds - 1.1).abs() < 1e-12 && (elapsed.error_s - 0.3).abs() < 1e-12);
        assert!((elapsed.rate(11.0).unwrap() - 10.0).abs() < 1e-9);
        assert!((elapsed.rate_error(11.0).unwrap() - (11.0 / 0.8 - 10.0)).abs() < 1e-9);
    }

    #[test]
    fn readings_that_touch_have_a_rate_whose_error_is_not_known() {
        let elapsed = Elapsed::between((Tick(0), Tick(10)), (Tick(10), Tick(20)));
        assert!(elapsed.rate(1.0).is_some());
        assert_eq!(elapsed.rate_error(1.0), None);
        let none = Elapsed::between((Tick(5), Tick(5)), (Tick(5), Tick(5)));
        assert_eq!((none.rate(1.0), none.rate_error(1.0)), (None, None));
    }

    proptest! {
        #[test]
        fn the_true_rate_lies_within_the_error(
            widths in (0_u64..500, 0_u64..500),
            apart in 1_u64..5000,
            places in (0.0_f64..=1.0, 0.0_f64..=1.0),
            total in 0_u32..100_000,
        ) {
            let first = (Tick::from_millis(0), Tick::from_millis(widths.0));
            let begun = widths.0 + apart;
            let last = (Tick::from_millis(begun), Tick::from_millis(begun + widths.1));
            let within = |(a, b): (Tick, Tick), place: f64| {
                a.as_secs_f64() + (b.as_secs_f64() - a.as_secs_f64()) * place
            };
            let truth = f64::from(total) / (within(last, places.1) - within(first, places.0));
            let elapsed = Elapsed::between(first, last);
            let (rate, error) = (elapsed.rate(total.into()), elapsed.rate_error(total.into()));
            let (rate, error) = (rate.unwrap(), error.unwrap());
            prop_assert!((truth - rate).abs() <= error + 1e-6 * (1.0 + truth), "{rate} {error} {truth}");
        }
    }
}
