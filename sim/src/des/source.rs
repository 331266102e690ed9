//! A model of the sources that collectors read.

use core::time::Duration;
use std::sync::Arc;

use phasegate_core::collector::ReadStamp;
use phasegate_core::engines::{Count, Engine, Observed, Part, Unit};
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::time::Tick;

use super::config::{Pace, is_gpu};
use super::dice::Dice;
use super::load::Load;
use crate::faults::Faults;

/// The family that counts requests; every source that has it counts all of them.
const COUNTER: &str = "vllm:request_success";

/// The server's counter, as a reading shows it.
pub(crate) fn counter_of(seen: &Observed) -> u64 {
    let count = seen.counts.iter().find(|count| count.family == COUNTER);
    count.map_or(0, |count| count.value as u64)
}

/// The source of one collector.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The collector's place.
    place: usize,
    /// What the last reading showed.
    last: Option<Arc<Observed>>,
    /// A family that no engine's table knows, where a source moves for no reason.
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
            return Ok(ReadStamp { start, end, seen: None, moved: Vec::new(), pulse: None });
        }
        let counter = load.counter(start);
        let (known, others) = (counter + 1, self.noise);
        let mut moved = Vec::new();
        if let Some(last) = &self.last {
            if (last.known, last.others) == (known, others) {
                let seen = Some(Arc::clone(last));
                return Ok(ReadStamp { start, end, seen, moved, pulse: None });
            }
            if last.known != known {
                moved.push(COUNTER.to_owned());
            }
            if last.others != others {
                moved.push("noise".to_owned());
            }
        }
        let count = Count {
            engine: Engine::Vllm,
            family: COUNTER.into(),
            part: Part::Value,
            unit: Unit::Requests,
            value: counter as f64,
        };
        let seen = Arc::new(Observed { counts: vec![count], busy: Vec::new(), others, known });
        self.last = Some(Arc::clone(&seen));
        Ok(ReadStamp { start, end, seen: Some(seen), moved, pulse: None })
    }
}
