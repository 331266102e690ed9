//! A model of the sources that collectors read.

use core::time::Duration;

use phasegate_core::collector::{Fingerprint, ReadStamp};
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::time::Tick;

use super::config::{Pace, is_gpu};
use super::dice::Dice;
use super::load::Load;
use crate::faults::Faults;

/// Below this bit of a fingerprint is the server's counter, above it noise.
const NOISE: u32 = 32;

/// The server's counter, as a fingerprint holds it.
pub(crate) fn counter_of(fingerprint: u64) -> u64 {
    fingerprint & ((1 << NOISE) - 1)
}

/// The source of one collector.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The collector's place.
    place: usize,
    last: Option<u64>,
    /// Adds itself to the counter where a source moves for no reason.
    noise: u64,
}

impl Source {
    pub(crate) fn new(place: usize) -> Self {
        Self { place, last: None, noise: 0 }
    }

    /// Begins a reading: when it ends; `None` if it never does.
    pub(crate) fn begin(
        now: Tick,
        faults: Option<&Faults>,
        pace: &Pace,
        dice: &mut Dice,
    ) -> Option<Tick> {
        let mut takes = dice.between(pace.reading.0, pace.reading.1);
        if let Some(faults) = faults {
            if dice.chance(faults.hanging_source) {
                return None;
            }
            if dice.chance(faults.slow_source) {
                takes = dice.skewed(takes, 20_000_000_000);
            }
        }
        Some(now + Duration::from_nanos(takes))
    }

    /// The reading `[start, end]` is over: what came of it.
    pub(crate) fn end(
        &mut self,
        (start, end): (Tick, Tick),
        load: &Load,
        faults: Option<&Faults>,
        dice: &mut Dice,
    ) -> Result<ReadStamp, CollectError> {
        if let Some(faults) = faults {
            let down = end.0.checked_div(faults.flapping).is_some_and(|turn| turn % 2 == 1);
            if down || dice.chance(faults.failing_source) {
                return Err(CollectError::new(CollectErrorKind::Unreachable, "refused"));
            }
            self.noise += u64::from(dice.chance(faults.moving_source));
        }
        if is_gpu(self.place) {
            return Ok(ReadStamp { start, end, seen: None, moved: Vec::new() });
        }
        let hash = load.counter(start) + (self.noise << NOISE);
        let moved = self.last.is_some_and(|last| last != hash);
        self.last = Some(hash);
        let moved = if moved { vec!["requests".to_owned()] } else { Vec::new() };
        Ok(ReadStamp { start, end, fingerprint: Some(Fingerprint { hash }), moved })
    }
}
