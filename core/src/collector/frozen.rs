//! When an exporter has frozen: it answers, and nothing that it shows moves.
//!
//! A GPU that draws power has an energy counter that grows, however idle it is.
//! So where a source shows power above 0 and a counter, and nothing of any of its
//! GPUs has changed for long, what it shows is not what is there. Long is ten of
//! the longest times between two changes that were seen, and at least
//! [`AT_LEAST`]; where two changes were not seen yet, [`UNKNOWN`]: exporters that
//! refresh every 30 s are common.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engines::fingerprint::Fnv;
use crate::message::{CollectError, CollectErrorKind};
use crate::reading::GpuSample;
use crate::time::Tick;

/// A source is not called frozen before so long.
pub const AT_LEAST: Duration = Duration::from_secs(5);
/// The same where its period is not known.
pub const UNKNOWN: Duration = Duration::from_secs(60);
/// So many periods without a change are a standstill.
pub const PERIODS: u32 = 10;

/// What a reading of GPUs shows of whether its source is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// A digest of all values of all GPUs.
    pub digest: u64,
    /// Some GPU has an energy counter and draws power: the counter must grow.
    pub must_move: bool,
}

impl Pulse {
    /// What a reading of `gpus` shows.
    #[must_use]
    pub fn of(gpus: &[GpuSample]) -> Self {
        let mut hash = Fnv::default();
        let mut text = Vec::with_capacity(512);
        for gpu in gpus {
            // What it shows, not when it was read nor who was asked about.
            let shown =
                GpuSample { energy_from: None, energy_to: None, processes: None, ..gpu.clone() };
            text.clear();
            if serde_json::to_writer(&mut text, &shown).is_ok() {
                hash.bytes(&text);
            }
        }
        let grows =
            |gpu: &GpuSample| gpu.energy_mj.is_some() && gpu.power_mw.is_some_and(|mw| mw > 0);
        Self { digest: hash.0, must_move: gpus.iter().any(grows) }
    }
}

/// Follows the pulse of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Freshness {
    last: Option<u64>,
    /// When the latest change was seen, or the first reading was.
    changed: Tick,
    changes: u32,
    period: Duration,
}

impl Freshness {
    /// Takes in a reading that was complete at `at`.
    ///
    /// # Errors
    /// It is frozen: since when.
    pub(super) fn observe(&mut self, at: Tick, pulse: Pulse) -> Result<(), CollectError> {
        if self.last != Some(pulse.digest) {
            if self.last.is_some() {
                // The time from the first reading on is not one between changes.
                if self.changes > 0 {
                    self.period = self.period.max(at.since(self.changed));
                }
                self.changes = self.changes.saturating_add(1);
            }
            self.last = Some(pulse.digest);
            self.changed = at;
            return Ok(());
        }
        let still = at.since(self.changed);
        if !pulse.must_move || still <= self.limit() {
            return Ok(());
        }
        let message = format!(
            "it is frozen: no value of any GPU has changed for {:.1} s, though power is drawn and \
             energy must grow; restart the exporter",
            still.as_secs_f64()
        );
        Err(CollectError::new(CollectErrorKind::Lost, message))
    }

    fn limit(&self) -> Duration {
        if self.changes < 2 {
            return UNKNOWN;
        }
        AT_LEAST.max(self.period.saturating_mul(PERIODS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(freshness: &mut Freshness, ms: u64, digest: u64, must_move: bool) -> bool {
        freshness.observe(Tick::from_millis(ms), Pulse { digest, must_move }).is_ok()
    }

    #[test]
    fn a_source_whose_values_stand_though_energy_must_grow_is_frozen() {
        let mut freshness = Freshness::default();
        for n in 0..10 {
            assert!(feed(&mut freshness, n * 100, n, true));
        }
        assert!(feed(&mut freshness, 5900, 9, true));
        assert!(!feed(&mut freshness, 5901, 9, true));
        assert!(feed(&mut freshness, 5901, 9, false), "nothing must move without power");
        assert!(feed(&mut freshness, 6000, 10, true), "it lives again");
    }

    #[test]
    fn a_slow_exporter_is_not_frozen_before_ten_of_its_periods() {
        let mut freshness = Freshness::default();
        for n in 0..200 {
            assert!(feed(&mut freshness, n * 500, n / 4, true));
        }
        // The last change was at 98 s; the period is 2 s.
        assert!(feed(&mut freshness, 118_000, 49, true));
        assert!(!feed(&mut freshness, 118_001, 49, true));
    }

    #[test]
    fn one_change_tells_no_period() {
        let mut freshness = Freshness::default();
        assert!(feed(&mut freshness, 0, 1, true) && feed(&mut freshness, 50_000, 2, true));
        assert!(feed(&mut freshness, 110_000, 2, true), "one minute, as where none is known");
        assert!(!feed(&mut freshness, 110_001, 2, true));
        // The time from the first reading on is not one between changes.
        let mut freshness = Freshness::default();
        for (ms, digest) in [(0, 1), (50_000, 2), (50_100, 3), (55_100, 3)] {
            assert!(feed(&mut freshness, ms, digest, true));
        }
        assert!(!feed(&mut freshness, 55_101, 3, true));
    }

    #[test]
    fn a_period_that_is_not_known_may_be_half_a_minute() {
        let mut freshness = Freshness::default();
        for second in 0..=60 {
            assert!(feed(&mut freshness, second * 1000, 1, true));
        }
        assert!(!feed(&mut freshness, 61_000, 1, true));
    }

    #[test]
    fn the_pulse_is_of_what_is_shown_and_not_of_when_it_was_read() {
        let gpu = GpuSample { energy_mj: Some(5), power_mw: Some(1), ..GpuSample::default() };
        let later = GpuSample {
            energy_from: Some(Tick(1)),
            energy_to: Some(Tick(2)),
            processes: Some(Vec::new()),
            ..gpu.clone()
        };
        let pulse = Pulse::of(core::slice::from_ref(&gpu));
        assert!(pulse.must_move);
        assert_eq!(Pulse::of(&[later]), pulse);
        assert_ne!(
            Pulse::of(&[GpuSample { energy_mj: Some(6), ..gpu.clone() }]).digest,
            pulse.digest
        );
        assert!(!Pulse::of(&[GpuSample { power_mw: Some(0), ..gpu }]).must_move);
    }
}
