//! Power over time, integrated.
//!
//! Between two readings power is taken to go in a straight line (trapezoid). How
//! far that can be off is summed along: half of each step times the time that it
//! took, which is the most for a power that rises or falls without turning
//! between two readings.

use crate::time::Tick;

/// The integral of one GPU's power.
#[derive(Debug, Clone, Default)]
pub(super) struct PowerIntegral {
    last: Option<(Tick, f64)>,
    joules: f64,
    unsure: f64,
    /// Counts the gaps in which power was not known.
    life: u32,
    highest_w: f64,
}

/// The integral at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PowerMark {
    at: Tick,
    joules: f64,
    unsure: f64,
    life: u32,
    watts: f64,
}

/// What power amounts to between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Integrated {
    pub(super) joules: f64,
    /// What sampling alone can have missed.
    pub(super) unsure: f64,
    pub(super) seconds: f64,
    pub(super) from: Tick,
    pub(super) to: Tick,
}

impl PowerIntegral {
    /// Power at `at`. A reading that is older than the one before changes
    /// nothing.
    pub(super) fn observe(&mut self, at: Tick, watts: f64) {
        self.highest_w = self.highest_w.max(watts);
        if let Some((since, before)) = self.last {
            if at < since {
                return;
            }
            let seconds = at.since(since).as_secs_f64();
            self.joules += (watts + before) / 2.0 * seconds;
            self.unsure += (watts - before).abs() / 2.0 * seconds;
        }
        self.last = Some((at, watts));
    }

    /// Power is not known from here on.
    pub(super) fn gone(&mut self) {
        if self.last.take().is_some() {
            self.life = self.life.saturating_add(1);
        }
    }

    /// The highest power that was ever read.
    pub(super) fn highest_w(&self) -> f64 {
        self.highest_w
    }

    /// The integral at `at`, a moment near the latest reading: power is taken to
    /// be what it showed.
    pub(super) fn mark(&self, at: Tick) -> Option<PowerMark> {
        let (since, watts) = self.last?;
        let signed = at.since(since).as_secs_f64() - since.since(at).as_secs_f64();
        let (joules, unsure) = (self.joules + watts * signed, self.unsure);
        Some(PowerMark { at, joules, unsure, life: self.life, watts })
    }
}

impl PowerMark {
    /// What power amounts to from here to `end`; `None` where it was not known
    /// all the time.
    pub(super) fn until(&self, end: &Self) -> Option<Integrated> {
        (self.life == end.life && self.at < end.at).then(|| Integrated {
            joules: end.joules - self.joules,
            unsure: end.unsure - self.unsure,
            seconds: end.at.since(self.at).as_secs_f64(),
            from: self.at,
            to: end.at,
        })
    }

    /// Power there.
    pub(super) fn watts(&self) -> f64 {
        self.watts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Tick {
        Tick::from_millis(1000 * seconds)
    }

    #[test]
    fn a_ramp_is_integrated_exactly_and_a_step_to_within_what_is_unsure() {
        let mut power = PowerIntegral::default();
        power.observe(s(0), 0.0);
        let start = power.mark(s(0)).unwrap();
        power.observe(s(10), 100.0);
        power.observe(s(20), 100.0);
        let found = start.until(&power.mark(s(20)).unwrap()).unwrap();
        assert_eq!((found.joules, found.unsure, found.seconds), (1500.0, 500.0, 20.0));
    }

    #[test]
    fn nothing_is_known_across_a_gap() {
        let mut power = PowerIntegral::default();
        power.observe(s(0), 10.0);
        let start = power.mark(s(0)).unwrap();
        power.gone();
        assert_eq!(power.mark(s(1)), None);
        power.observe(s(2), 10.0);
        assert_eq!(start.until(&power.mark(s(2)).unwrap()), None);
    }

    #[test]
    fn an_older_reading_changes_nothing_and_of_two_at_one_moment_the_latter_holds() {
        for (second, at_20) in [((5, 0.0), 1000.0), ((10, 200.0), 2000.0)] {
            let mut power = PowerIntegral::default();
            power.observe(s(10), 100.0);
            power.observe(s(second.0), second.1);
            let watts = if second.0 < 10 { 100.0 } else { second.1 };
            power.observe(s(20), watts);
            assert_eq!(power.mark(s(20)).unwrap().joules, at_20, "{second:?}");
        }
    }

    #[test]
    fn a_mark_beside_the_latest_reading_takes_its_power_to_hold() {
        let mut power = PowerIntegral::default();
        power.observe(s(0), 100.0);
        power.observe(s(10), 100.0);
        let joules = |at| power.mark(s(at)).unwrap().joules;
        assert_eq!([joules(8), joules(10), joules(12)], [800.0, 1000.0, 1200.0]);
    }

    #[test]
    fn what_was_unsure_before_the_first_mark_is_not_of_the_time_after_it() {
        let mut power = PowerIntegral::default();
        power.observe(s(0), 0.0);
        power.observe(s(10), 100.0);
        let start = power.mark(s(10)).unwrap();
        assert_eq!(start.until(&start), None, "there is no power over no time");
        power.observe(s(20), 140.0);
        let found = start.until(&power.mark(s(20)).unwrap()).unwrap();
        assert_eq!((found.joules, found.unsure), (1200.0, 200.0));
    }
}
