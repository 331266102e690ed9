//! A rate that changes over time, piece by piece.

use core::time::Duration;

use crate::plan::Stage;

/// One piece: from `from` to `to` requests per second over `over` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    /// When it begins, in seconds.
    start: f64,
    over: f64,
    from: f64,
    to: f64,
    /// Λ at its beginning.
    before: f64,
}

impl Piece {
    /// How many arrivals are expected in its first `t` seconds.
    fn expected(&self, t: f64) -> f64 {
        self.from * t + (self.to - self.from) * t * t / (2.0 * self.over)
    }

    /// The inverse. With k the slope, k·t²/2 + a·t = u has the root
    /// 2u / (a + √(a² + 2k·u)), which loses no digits where k is small.
    fn seconds_at(&self, u: f64) -> f64 {
        let slope = (self.to - self.from) / self.over;
        let root = (self.from * self.from + 2.0 * slope * u).max(0.0).sqrt();
        (2.0 * u / (self.from + root)).clamp(0.0, self.over)
    }
}

/// A piecewise linear rate. Arrivals are time-rescaled as those of a
/// [ramp](super::ramp::RateRamp) are: Λ is the integral of the rate, and the
/// `u`-th expected arrival comes at Λ⁻¹(u).
#[derive(Debug, Clone, PartialEq)]
pub struct RateStages {
    pieces: Vec<Piece>,
}

impl RateStages {
    /// The rate that `stages` describe; after the last it is 0.
    #[must_use]
    pub fn new(stages: &[Stage]) -> Self {
        let (mut start, mut rate, mut before) = (0.0, 0.0, 0.0);
        let pieces = stages.iter().map(|stage| {
            let over = stage.length.as_secs_f64();
            let from = if stage.linear { rate } else { stage.rate };
            let piece = Piece { start, over, from, to: stage.rate, before };
            start += over;
            rate = stage.rate;
            before += piece.expected(over);
            piece
        });
        Self { pieces: pieces.collect() }
    }

    /// Λ(t): the expected number of arrivals in `[0, t]`.
    #[must_use]
    pub fn expected(&self, t: Duration) -> f64 {
        let t = t.as_secs_f64();
        let place = self.pieces.partition_point(|piece| piece.start <= t);
        let piece = place.checked_sub(1).and_then(|place| self.pieces.get(place));
        piece.map_or(0.0, |piece| piece.before + piece.expected((t - piece.start).min(piece.over)))
    }

    /// Λ⁻¹(u) in nanoseconds, rounded to the nearest; `u64::MAX` where the last
    /// stage is over before.
    #[must_use]
    pub fn nanos_at(&self, u: f64) -> u64 {
        // The first piece that ends with at least u arrivals; a pause has none
        // of its own.
        let ends = |piece: &Piece| piece.before + piece.expected(piece.over);
        let place = self.pieces.partition_point(|piece| ends(piece) < u);
        let Some(piece) = self.pieces.get(place) else { return u64::MAX };
        let within = piece.seconds_at((u - piece.before).max(0.0));
        // A piece that starts at rate 0 gives 0/0 for its very beginning.
        let within = if within.is_nan() { 0.0 } else { within };
        // The cast saturates.
        ((piece.start + within) * 1e9).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stages(pieces: &[(f64, bool, u64)]) -> RateStages {
        let stage = |(rate, linear, ms): &(f64, bool, u64)| Stage {
            rate: *rate,
            linear: *linear,
            length: Duration::from_millis(*ms),
        };
        RateStages::new(&pieces.iter().map(stage).collect::<Vec<_>>())
    }

    #[test]
    fn stages_that_jump_plan_each_at_its_own_rate() {
        let rate = stages(&[(5.0, false, 2000), (10.0, false, 1000)]);
        assert_eq!(rate.expected(Duration::from_secs(3)), 20.0);
        assert_eq!(rate.expected(Duration::from_secs(9)), 20.0);
        assert_eq!(rate.nanos_at(1.0), 200_000_000);
        assert_eq!(rate.nanos_at(10.0), 2_000_000_000);
        assert_eq!(rate.nanos_at(11.0), 2_100_000_000);
        assert_eq!(rate.nanos_at(20.5), u64::MAX);
    }

    #[test]
    fn a_linear_stage_is_a_ramp_from_the_rate_before() {
        let rate = stages(&[(10.0, true, 4000), (0.0, true, 2000)]);
        // As the ramp to 10/s over 4 s: 20 arrivals, 5 of them in the first half.
        assert_eq!(rate.nanos_at(0.0), 0);
        assert_eq!(rate.nanos_at(5.0), 2_000_000_000);
        assert_eq!(rate.nanos_at(20.0), 4_000_000_000);
        assert_eq!(rate.expected(Duration::from_secs(6)), 30.0);
    }

    #[test]
    fn nothing_is_planned_in_a_pause() {
        let rate = stages(&[(2.0, false, 1000), (0.0, false, 5000), (2.0, false, 1000)]);
        assert_eq!(rate.nanos_at(2.0), 1_000_000_000);
        assert_eq!(rate.nanos_at(3.0), 6_500_000_000);
        assert_eq!(rate.expected(Duration::from_secs(4)), 2.0);
    }

    proptest! {
        #[test]
        fn the_inverse_is_the_inverse_and_never_goes_back(
            pieces in prop::collection::vec((0.1_f64..1e4, any::<bool>(), 1_u64..20_000), 1..8),
            u in prop::collection::vec(0.0_f64..1.0, 1..20),
        ) {
            let rate = stages(&pieces);
            let end = Duration::from_millis(pieces.iter().map(|p| p.2).sum());
            let all = rate.expected(end);
            let mut u: Vec<f64> = u.into_iter().map(|u| u * all).collect();
            u.sort_by(f64::total_cmp);
            let mut last = 0;
            for u in u {
                let at = rate.nanos_at(u);
                prop_assert!(at >= last && at <= crate::time::nanos(end) + 1);
                last = at;
                let back = rate.expected(Duration::from_nanos(at));
                prop_assert!((back - u).abs() <= 1e4 * 1e-9 + all * 1e-9, "{u} {back}");
            }
        }
    }
}
