//! The energy of a phase, between which moments, and how well it is known.
//!
//! The counter's values at START and END became true at two moments `m₀` and
//! `m₁`, each known to within half of the interval that `counter`
//! gives it (`h₀`, `h₁`). Energy is `v₁ − v₀`, of the time from `m₀` to `m₁`. The
//! energy of exactly that time differs by at most
//! `h₀ · P + h₁ · P + 1 mJ` (the counter is cut to whole millijoules), with `P`
//! the highest power that the GPU can have had: its limit, or what was seen of
//! it if that is more. Where the counter's neighbouring values leave less, that
//! holds.

use core::time::Duration;

use super::counter::CounterMark;
use super::power::{Integrated, PowerMark};
use crate::account::gauge::Span;
use crate::account::result::EnergySource;
use crate::time::Tick;

/// A phase shorter than so many periods of an exporter is given no energy.
pub const PERIODS: u32 = 10;
/// The counter and integrated power may differ by so much.
pub const TOLERANCE: f64 = 0.05;
/// The time over which averaged power is averaged.
pub const AVERAGING: Duration = Duration::from_secs(1);
/// The counter's resolution, in joules.
const RESOLUTION: f64 = 0.001;

/// An energy that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// In joules.
    pub joules: f64,
    /// The energy between the two moments is within so much of it.
    pub error_j: f64,
    /// The moment from which on it is.
    pub from: Tick,
    /// The moment until which it is.
    pub to: Tick,
    /// What it was taken from.
    pub source: EnergySource,
    /// What may lie in the phase and outside of the two moments, or the reverse,
    /// in joules.
    pub coverage_j: f64,
    /// Integrated power over the same time, where it is known, and how far that
    /// may be off.
    pub integral: Option<(f64, f64)>,
}

/// What an energy is computed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) span: Option<Span>,
    /// The intervals of the START and the END reading.
    pub(super) readings: [(Tick, Tick); 2],
    /// The highest power that the GPU can have had, in watts.
    pub(super) highest_w: f64,
    /// The range of its power in the phase, where that is averaged; else 0.
    pub(super) averaged_range_w: f64,
    /// How often the exporter is refreshed; `None` where it is never seen to lag.
    pub(super) period: Option<Duration>,
}

impl Scope {
    /// Energy of `joules` by the counter, from `start` to `end`.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn by_counter(&self, [start, end]: [CounterMark; 2]) -> Result<Measured, String> {
        let period = self.period.filter(|_| !(start.point.direct && end.point.direct));
        if let Some(period) = period {
            self.long_enough(period)?;
        }
        let dated = |mut mark: CounterMark, name: &str| {
            let mut before_zero = Duration::ZERO;
            if let (Some(period), false) = (period, mark.point.direct) {
                // What was copied may have been a period old, and what was never
                // seen to change was copied within one before it was read.
                let (from, back) = match mark.point.from {
                    Some(from) => (from, period),
                    None => (mark.point.read, period.saturating_mul(2)),
                };
                mark.point.from = Some(from - back);
                before_zero = back.saturating_sub(from.since(Tick::ZERO));
            }
            let (moment, half) = mark.point.moment().ok_or_else(|| {
                format!(
                    "its energy was not seen to change before its {name} reading, so that it is not \
                     known how old what it showed was"
                )
            })?;
            // There is no moment before the run's zero, but it may be from then.
            let moment = (moment, half.saturating_add(before_zero));
            Ok::<_, String>((mark, moment))
        };
        let (start, (from, start_half)) = dated(start, "START")?;
        let (end, (to, end_half)) = dated(end, "END")?;
        if to <= from {
            return Err("its energy did not change between START and END".to_owned());
        }
        // Of the points themselves: of two readings that overlapped, the older one is
        // taken to show what the newer one does.
        let millijoules = end.point.mj.checked_sub(start.point.mj);
        let joules = millijoules.ok_or("its two readings have no order")? as f64 / 1000.0;
        let lags = |mark: &CounterMark| period.is_some() && !mark.point.direct;
        let error_j = start.error_j(self.highest_w, from, start_half, lags(&start))
            + end.error_j(self.highest_w, to, end_half, lags(&end))
            + RESOLUTION;
        let integral = start.point.power.zip(end.point.power);
        let integral = integral.and_then(|(a, b)| a.until(&b)).map(|i| (i.joules, self.unsure(&i)));
        let coverage_j = self.coverage(from, to);
        let source = EnergySource::Counter;
        Ok(Measured { joules, error_j, from, to, source, coverage_j, integral })
    }

    /// Energy by integrated power.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn by_power(
        &self,
        start: Option<PowerMark>,
        end: Option<PowerMark>,
    ) -> Result<Measured, String> {
        let lacks = |side| format!("it gives no energy, and no power at {side}");
        let (start, end) = match (start, end) {
            (Some(start), Some(end)) => (start, end),
            (None, Some(_)) => return Err(lacks("START")),
            (Some(_), None) => return Err(lacks("END")),
            (None, None) => return Err("it gives no energy and no power".to_owned()),
        };
        let integrated = start.until(&end).ok_or_else(|| {
            "it gives no energy, and its power was not known all the time".to_owned()
        })?;
        let reading = |(start, end): (Tick, Tick)| end.since(start).as_secs_f64() / 2.0;
        let [first, last] = self.readings.map(reading);
        let dating = first * start.watts() + last * end.watts();
        Ok(Measured {
            joules: integrated.joules,
            error_j: self.unsure(&integrated) + dating,
            from: integrated.from,
            to: integrated.to,
            source: EnergySource::PowerIntegral,
            coverage_j: self.coverage(integrated.from, integrated.to),
            integral: None,
        })
    }

    /// How far integrated power may be off: by what sampling missed, and by the
    /// averaging, which shifts power by up to its time.
    fn unsure(&self, integrated: &Integrated) -> f64 {
        integrated.unsure + self.averaged_range_w * AVERAGING.as_secs_f64()
    }

    fn long_enough(&self, period: Duration) -> Result<(), String> {
        let [(_, first), (last, _)] = self.readings;
        let length = self.span.map_or(last.since(first), |span| span.end.since(span.start));
        if length >= period.saturating_mul(PERIODS) {
            return Ok(());
        }
        Err(format!(
            "the phase took {:.3} s, and its exporter shows new values only about every {:.3} s: \
             shorter than {PERIODS} such periods is too short",
            length.as_secs_f64(),
            period.as_secs_f64(),
        ))
    }

    /// Energy of what the two moments leave out of the phase, and of what they
    /// have of the time before START was read and after END was.
    fn coverage(&self, from: Tick, to: Tick) -> f64 {
        let [(start, start_end), (end, end_end)] = self.readings;
        let span = self.span.unwrap_or(Span { start: start_end, end });
        let late = from.since(span.start.max(start)) + span.end.min(end_end).since(to);
        let early = start.since(from) + to.since(end_end);
        (late + early).as_secs_f64() * self.highest_w
    }
}

#[cfg(test)]
#[path = "tests/energy.rs"]
mod tests;
