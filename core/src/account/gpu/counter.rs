//! An energy counter that is published in steps: when its values became true.
//!
//! A value that is read says what the energy was when it was published, which is
//! before it was read. When that was is known
//!
//! - from the sample itself, where its reader saw the counter step or knows how
//!   long its steps are;
//! - or from the readings: it was published between the beginning of the last
//!   reading with another value and the end of the first one with it. Where a
//!   value was seen in several readings the source is slower than its reader: the
//!   longest time that one value stood is the source's period, and what it copies
//!   may have been a period old when it was published.

use core::time::Duration;

use super::power::PowerMark;
use crate::account::gauge::middle;
use crate::reading::GpuSample;
use crate::time::Tick;

/// One value of the counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) mj: u64,
    /// It became true not before this; `None` where nothing was read before.
    pub(super) from: Option<Tick>,
    /// It became true not after this.
    pub(super) to: Tick,
    /// When the first reading that showed it began.
    pub(super) read: Tick,
    /// Read from the GPU, with steps whose length was measured.
    pub(super) direct: bool,
    /// Power, integrated up to the middle of the two.
    pub(super) power: Option<PowerMark>,
}

impl Point {
    /// The moment that the value is taken to be of, and how far the true one may
    /// be from it.
    pub(super) fn moment(&self) -> Option<(Tick, Duration)> {
        let from = self.from?.min(self.to);
        // Rounded up, as the middle is rounded down.
        let half = (self.to.since(from) + Duration::from_nanos(1)) / 2;
        Some((middle(from, self.to), half))
    }
}

/// The counter at one boundary, with its neighbours: the truth lies between
/// them, whatever power did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CounterMark {
    pub(super) point: Point,
    pub(super) before: Option<Point>,
    pub(super) after: Option<Point>,
}

impl CounterMark {
    /// How far energy at the point's moment can be from its value at power of at
    /// most `watts`, in joules. Where the source lags nobody has seen the power
    /// between two of its values, so that `watts` may have been exceeded: then only
    /// the values beside it bound it.
    pub(super) fn error_j(&self, watts: f64, moment: Tick, half: Duration, lags: bool) -> f64 {
        let by_power = watts * half.as_secs_f64();
        let joules = |mj: u64| mj as f64 / 1000.0;
        let value = joules(self.point.mj);
        let below = self.before.filter(|p| p.to <= moment && p.mj <= self.point.mj);
        let above =
            self.after.filter(|p| p.mj >= self.point.mj && p.from.is_some_and(|at| at >= moment));
        // The neighbours are cut to whole millijoules too.
        let down = below.map(|below| value - joules(below.mj) + 0.001);
        let up = above.map(|above| joules(above.mj) - value + 0.001);
        match (down, up) {
            (Some(down), Some(up)) if lags => down.max(up),
            (Some(down), Some(up)) => by_power.min(down.max(up)),
            (Some(one), None) | (None, Some(one)) if lags => by_power.max(one),
            (Some(_) | None, None) | (None, Some(_)) => by_power,
        }
    }
}

/// Follows the counter through the readings.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    last: Option<Last>,
    /// The longest time that a value stood in more than one reading of an
    /// exporter, as far as that can be told.
    period: Duration,
    /// The highest power that the counter shows between two of its values.
    highest_w: f64,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    point: Point,
    /// The value before, and the middle of the last reading with that.
    before: Option<(Point, Tick)>,
    /// The middle of the first reading with it, and of the latest.
    since: Tick,
    latest: Tick,
    /// When the latest reading with it began.
    start: Tick,
    readings: u32,
}

impl Counter {
    /// Takes in the value of a sample read in `reading`; `power` is the integral
    /// as a function of time. What it is a point of.
    pub(super) fn observe(
        &mut self,
        sample: &GpuSample,
        reading: (Tick, Tick),
        power: impl Fn(Tick) -> Option<PowerMark>,
    ) -> Option<CounterMark> {
        let mj = sample.energy_mj?;
        let (start, end) = reading;
        let at = middle(start, end);
        let direct = sample.energy_tick_ns.is_some();
        let own = sample.energy_from.zip(sample.energy_to);
        let fresh = |from: Option<Tick>, to: Tick| {
            let (from, to) = own.map_or((from, to), |(from, to)| (Some(from), to));
            let power = power(from.map_or(to, |from| middle(from.min(to), to)));
            Point { mj, from, to, read: start, direct, power }
        };
        let Some(last) = &mut self.last else {
            let last = Last::new(fresh(None, end), None, (start, at));
            return Some(self.last.insert(last).mark());
        };
        if !direct {
            self.period = self.period.max(last.stood(at, last.point.mj == mj));
        }
        if last.point.mj == mj {
            if own.is_some() {
                last.point = fresh(None, end);
            }
            last.readings = last.readings.saturating_add(1);
            last.start = last.start.max(start);
            last.latest = last.latest.max(at);
            return Some(last.mark());
        }
        if mj < last.point.mj && start < last.since {
            // Two readings overlapped: this is the older one.
            return Some(last.mark());
        }
        let before = last.point;
        let point = fresh(Some(last.start), end);
        *last = Last::new(point, Some((before, last.latest)), (start, at));
        self.highest_w = self.highest_w.max(mean_watts(&before, &point));
        Some(last.mark())
    }

    /// The GPU was not in a reading.
    pub(super) fn gone(&mut self) {
        self.last = None;
    }

    /// The period of an exporter; `None` where every reading showed a new value.
    pub(super) fn period(&self) -> Option<Duration> {
        (!self.period.is_zero()).then_some(self.period)
    }

    /// The highest mean power between two values of the counter.
    pub(super) fn highest_w(&self) -> f64 {
        self.highest_w
    }
}

/// Mean power between two values, over the longest time between them: a power
/// that was surely reached.
fn mean_watts(a: &Point, b: &Point) -> f64 {
    let Some(from) = a.from else { return 0.0 };
    let seconds = b.to.since(from).as_secs_f64();
    let joules = b.mj.saturating_sub(a.mj) as f64 / 1000.0;
    if seconds > 0.0 { joules / seconds } else { 0.0 }
}

impl Last {
    fn new(point: Point, before: Option<(Point, Tick)>, (start, at): (Tick, Tick)) -> Self {
        Self { point, before, since: at, latest: at, start, readings: 1 }
    }

    /// How long it stands at `at` (`still`), or stood until a reading there showed
    /// another value: halfway between the least and the most that the readings
    /// leave. Nothing where only one of them showed it.
    fn stood(&self, at: Tick, still: bool) -> Duration {
        if still {
            return at.since(self.since);
        }
        if self.readings < 2 {
            return Duration::ZERO;
        }
        let least = self.latest.since(self.since);
        let most = at.since(self.before.map_or(self.since, |(_, at)| at));
        (least + most) / 2
    }

    fn mark(&self) -> CounterMark {
        CounterMark { point: self.point, before: self.before.map(|(p, _)| p), after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(counter: &mut Counter, mj: u64, ms: (u64, u64)) -> Point {
        let sample = GpuSample { energy_mj: Some(mj), ..GpuSample::default() };
        let reading = (Tick::from_millis(ms.0), Tick::from_millis(ms.1));
        counter.observe(&sample, reading, |_| None).unwrap().point
    }

    #[test]
    fn a_value_became_true_between_the_last_reading_without_and_the_first_with_it() {
        let mut counter = Counter::default();
        assert_eq!(feed(&mut counter, 5, (0, 10)).from, None);
        feed(&mut counter, 5, (100, 110));
        let point = feed(&mut counter, 9, (200, 210));
        assert_eq!(point.from, Some(Tick::from_millis(100)));
        assert_eq!(point.to, Tick::from_millis(210));
        // Seen again, it is no younger.
        assert_eq!(feed(&mut counter, 9, (300, 310)), point);
    }

    #[test]
    fn the_period_is_how_long_a_value_stood() {
        let mut counter = Counter::default();
        for n in 0..10 {
            feed(&mut counter, n, (n * 100, n * 100 + 10));
        }
        assert_eq!(counter.period(), None, "every reading showed a new value");
        feed(&mut counter, 9, (1000, 1010));
        feed(&mut counter, 9, (1500, 1510));
        assert_eq!(counter.period(), Some(Duration::from_millis(600)));
        // At least 600 ms, at most from 805 ms to 1905 ms.
        feed(&mut counter, 10, (1900, 1910));
        assert_eq!(counter.period(), Some(Duration::from_millis(850)));
    }

    #[test]
    fn a_counter_that_is_read_itself_has_no_period() {
        let mut counter = Counter::default();
        for ms in [0, 10, 20] {
            let sample = GpuSample {
                energy_mj: Some(7),
                energy_tick_ns: Some(100),
                energy_from: Some(Tick(1)),
                energy_to: Some(Tick(2)),
                ..GpuSample::default()
            };
            let at = Tick::from_millis(ms);
            counter.observe(&sample, (at, at), |_| None);
        }
        assert_eq!(counter.period(), None);
    }

    #[test]
    fn the_error_is_power_times_half_of_the_time_or_what_the_neighbours_leave() {
        let point = |mj, from: u64, to: u64| Point {
            mj,
            from: Some(Tick::from_millis(from)),
            to: Tick::from_millis(to),
            read: Tick::from_millis(to),
            direct: true,
            power: None,
        };
        let mark = CounterMark { point: point(1000, 100, 120), before: None, after: None };
        let (moment, half) = mark.point.moment().unwrap();
        assert_eq!(moment, Tick::from_millis(110));
        assert!((mark.error_j(500.0, moment, half, false) - 5.0).abs() < 1e-6);
        let (before, after) = (Some(point(700, 50, 60)), Some(point(1200, 150, 160)));
        let mark = CounterMark { before, after, ..mark };
        assert!((mark.error_j(500.0, moment, half, false) - 0.301).abs() < 1e-9);
        // An exporter that lags: 500 W may have been exceeded unseen.
        let lagging = |mark: CounterMark, watts| mark.error_j(watts, moment, half, true);
        assert!((lagging(mark, 1.0) - 0.301).abs() < 1e-9);
        assert!((lagging(CounterMark { after: None, ..mark }, 1.0) - 0.301).abs() < 1e-9);
        assert!((lagging(CounterMark { after: None, ..mark }, 500.0) - 5.0).abs() < 1e-6);
        // The larger side counts, whichever it is.
        let mark = CounterMark { after: Some(point(1400, 150, 160)), ..mark };
        assert!((mark.error_j(500.0, moment, half, false) - 0.401).abs() < 1e-9);
    }

    #[test]
    fn a_neighbour_that_is_not_surely_on_its_side_bounds_nothing() {
        let point = |mj, from: u64, to: u64| Point {
            mj,
            from: Some(Tick::from_millis(from)),
            to: Tick::from_millis(to),
            read: Tick::from_millis(to),
            direct: true,
            power: None,
        };
        let (before, after) = (point(900, 50, 60), point(1100, 150, 160));
        let mark = |before, after| CounterMark {
            point: point(1000, 100, 120),
            before: Some(before),
            after: Some(after),
        };
        let (moment, half) = mark(before, after).point.moment().unwrap();
        let by_power = 500.0 * half.as_secs_f64();
        for (before, after, joules) in [
            (before, after, 0.101),
            // At the moment itself they still do.
            (point(900, 50, 110), point(1100, 110, 160), 0.101),
            (point(900, 50, 111), after, by_power),
            (before, point(1100, 109, 160), by_power),
            (point(1001, 50, 60), after, by_power),
            (before, point(999, 150, 160), by_power),
        ] {
            let found = mark(before, after).error_j(500.0, moment, half, false);
            assert!((found - joules).abs() < 1e-9, "{before:?} {after:?}: {found}");
        }
    }

    #[test]
    fn the_counter_shows_the_mean_power_over_the_longest_time_between_two_values() {
        let mut counter = Counter::default();
        feed(&mut counter, 1000, (0, 0));
        // When the first became true is not known.
        feed(&mut counter, 3000, (400, 400));
        assert_eq!(counter.highest_w(), 0.0);
        feed(&mut counter, 5000, (500, 500));
        assert_eq!(counter.highest_w(), 4.0, "2 J from 0 ms to 500 ms");
        feed(&mut counter, 5500, (1400, 1400));
        assert_eq!(counter.highest_w(), 4.0);
        let at = |mj, ms| Point {
            mj,
            from: Some(Tick::from_millis(ms)),
            to: Tick::from_millis(ms),
            read: Tick::from_millis(ms),
            direct: true,
            power: None,
        };
        assert_eq!(mean_watts(&at(1, 5), &at(2, 5)), 0.0, "no power over no time");
    }

    #[test]
    fn two_readings_of_a_value_are_enough_to_tell_how_long_it_stood() {
        let mut counter = Counter::default();
        feed(&mut counter, 1, (0, 0));
        feed(&mut counter, 2, (100, 100));
        feed(&mut counter, 2, (200, 200));
        feed(&mut counter, 3, (300, 300));
        // At least from 100 ms to 200 ms, at most from 0 to 300 ms.
        assert_eq!(counter.period(), Some(Duration::from_millis(200)));
    }
}
