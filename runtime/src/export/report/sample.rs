//! Which of many requests are drawn: a sample that is the same for the same
//! run, of bounded size, and independent of any rhythm in the load.

/// One request of a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// When, in seconds on the run's clock.
    pub at: f64,
    /// How much.
    pub value: f64,
}

/// Holds every point as long as there are few; then every second one, every
/// fourth, and so on, chosen by a hash of their place.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    limit: usize,
    mask: u64,
    seen: u64,
    kept: Vec<(u64, Point)>,
}

impl Sample {
    /// An empty one that holds at most `limit` points.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(16), mask: 0, seen: 0, kept: Vec::new() }
    }

    pub(super) fn push(&mut self, point: Point) {
        let hash = mix(self.seen);
        self.seen += 1;
        if hash & self.mask != 0 {
            return;
        }
        self.kept.push((hash, point));
        while self.kept.len() > self.limit {
            self.mask = self.mask << 1 | 1;
            let mask = self.mask;
            self.kept.retain(|(hash, _)| hash & mask == 0);
        }
    }

    /// How many there were.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// One of so many is in the sample.
    pub(super) fn one_of(&self) -> u64 {
        self.mask + 1
    }

    pub(super) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        self.kept.iter().map(|(_, point)| *point)
    }

    /// At most `limit` of the points.
    pub(super) fn thinned(&self, limit: usize) -> Vec<Point> {
        let mut thin = Self { mask: 0, seen: 0, limit: limit.max(1), kept: Vec::new() };
        for point in self.points() {
            thin.push(point);
        }
        thin.kept.into_iter().map(|(_, point)| point).collect()
    }

    /// The values in order.
    pub(super) fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.points().map(|p| p.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }
}

/// The value of which a share `q` (above 0, at most 1) of ascending `values` is
/// not above it, by nearest rank.
pub(super) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): neighbours become
/// unrelated.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u32, limit: usize) -> Sample {
        let mut sample = Sample::new(limit);
        for i in 0..n {
            sample.push(Point { at: f64::from(i), value: f64::from(i % 8) });
        }
        sample
    }

    #[test]
    fn few_points_are_all_kept() {
        let few = sample(100, 100);
        assert_eq!((few.points().count(), few.one_of(), few.seen()), (100, 1, 100));
    }

    #[test]
    fn many_points_are_bounded_spread_and_free_of_the_loads_rhythm() {
        let many = sample(1_000_000, 4096);
        let kept = many.points().count();
        assert!((1024..=4096).contains(&kept), "{kept}");
        // Each of the eight slots of the rhythm has its share, and each tenth of
        // the time.
        for slot in 0..8 {
            let n = many.points().filter(|p| p.value == f64::from(slot)).count();
            assert!((kept / 16..kept / 4).contains(&n), "slot {slot}: {n} of {kept}");
        }
        for tenth in 0..10 {
            let n = many.points().filter(|p| (p.at / 1e5) as usize == tenth).count();
            assert!((kept / 20..kept / 5).contains(&n), "tenth {tenth}: {n} of {kept}");
        }
        assert!(many.thinned(500).len() <= 500);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.99), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
