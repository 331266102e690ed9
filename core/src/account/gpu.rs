//! What one GPU did in a phase.
//!
//! Energy is the energy counter at the END reading less at the START reading:
//! of the time between the two readings, the idle time at the gates included.
//! Power, utilisation, memory and temperature are gauges: from the readings in
//! the phase, each holding until the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delta::{Mark, Sample, Track, between};
use super::gauge::{Gauge, Span};
use super::result::{AvgMax, Delta, GpuResult, Max};
use crate::message::BaselineKind;
use crate::reading::GpuSample;
use crate::time::Tick;

/// One GPU over all phases.
#[derive(Debug, Clone, Default)]
pub struct GpuBook {
    index: Option<u32>,
    name: Option<String>,
    energy: Track,
    /// The boundary readings that had this GPU; `None` where it gave no energy.
    marks: BTreeMap<(usize, BaselineKind), Option<Arc<Mark>>>,
    power_w: Gauge,
    utilization_pct: Gauge,
    memory_used_mib: Gauge,
    temperature_c: Gauge,
}

/// How a GPU's energy between two boundaries stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Energy {
    /// In joules.
    Known(f64),
    /// The GPU or the exporter has no energy counter, or its source was not
    /// read at both boundaries: why.
    Unknown(String),
    /// The GPU was in only one of the two readings: why.
    Lost(String),
    /// The counter fell: from, to, in joules.
    Reset(f64, f64),
}

impl GpuBook {
    /// Takes in a sample from a reading in `[start, end]`, of which `middle` is
    /// the middle, and which was taken for the boundary at `mark`.
    pub fn observe(
        &mut self,
        spans: &[Option<Span>],
        sample: &GpuSample,
        (start, middle, end): (Tick, Tick, Tick),
        mark: Option<(usize, BaselineKind)>,
    ) {
        self.index = sample.index.or(self.index);
        self.name = sample.name.clone().or(self.name.take());
        let energy = sample.energy_mj.and_then(|mj| Sample::single(mj as f64));
        if let Some(energy) = &energy {
            self.energy.observe(energy, start, end);
        }
        if let Some(key) = mark {
            let mark = energy.map(|energy| self.energy.mark(&energy));
            self.marks.insert(key, mark);
        }
        let watts = sample.power_mw.map(|mw| mw as f64 / 1000.0);
        let gauges = [
            (&mut self.power_w, watts),
            (&mut self.utilization_pct, sample.utilization_pct),
            (&mut self.memory_used_mib, sample.memory_used_mib),
            (&mut self.temperature_c, sample.temperature_c),
        ];
        for (gauge, value) in gauges {
            match value {
                Some(value) => gauge.set(spans, middle, value),
                // Not known any more: the old value does not hold on.
                None => gauge.gone(spans, middle),
            }
        }
    }

    /// The GPU was not in a reading of its source.
    pub fn gone(&mut self, spans: &[Option<Span>], at: Tick) {
        let gauges = [
            &mut self.power_w,
            &mut self.utilization_pct,
            &mut self.memory_used_mib,
            &mut self.temperature_c,
        ];
        for gauge in gauges {
            gauge.gone(spans, at);
        }
    }

    /// Its energy in a phase whose two boundary readings were usable.
    #[must_use]
    pub fn energy(&self, phase: usize) -> Energy {
        let at = |kind| self.marks.get(&(phase, kind));
        let (start, end) = match (at(BaselineKind::Start), at(BaselineKind::End)) {
            (None, None) => return Energy::Lost("it was in neither boundary reading".to_owned()),
            (Some(_), None) => {
                return Energy::Lost(
                    "it was in the START reading and not in the END reading".to_owned(),
                );
            }
            (None, Some(_)) => {
                return Energy::Lost(
                    "it was in the END reading and not in the START reading".to_owned(),
                );
            }
            (Some(start), Some(end)) => (start, end),
        };
        let (Some(start), Some(end)) = (start, end) else {
            let side = match (start, end) {
                (None, None) => "it gives no energy",
                (None, Some(_)) => "it gave no energy at START",
                (Some(_), _) => "it gave no energy at END",
            };
            return Energy::Unknown(side.to_owned());
        };
        let change = between(Some(start), end);
        match (change.reset, change.delta(None)) {
            (true, _) => {
                let (from, to) = change.fall.unwrap_or((f64::NAN, f64::NAN));
                Energy::Reset(from / 1000.0, to / 1000.0)
            }
            (false, Ok(Delta::Counter { total, .. })) => Energy::Known(total / 1000.0),
            (false, Ok(Delta::Histogram { .. } | Delta::Summary { .. })) => {
                Energy::Unknown("its energy is not a counter".to_owned())
            }
            (false, Err(why)) => Energy::Unknown(why),
        }
    }

    /// What it did in the phase at `phase`, with the energy as it stands.
    ///
    /// `energy_error_j` is not known: beside the width of the two readings, the
    /// error depends on the tick of the energy counter, which nothing has
    /// measured here.
    #[must_use]
    pub fn result(
        &self,
        uuid: &str,
        phase: usize,
        spans: &[Option<Span>],
        energy: &Energy,
    ) -> GpuResult {
        let avg_max = |gauge: &Gauge| {
            let stats = gauge.stats(spans, phase);
            AvgMax { avg: stats.map(|s| s.avg), max: stats.map(|s| s.max) }
        };
        let max = |gauge: &Gauge| Max { max: gauge.stats(spans, phase).map(|s| s.max) };
        let (energy_j, reason) = match energy {
            Energy::Known(joules) => (Some(*joules), None),
            Energy::Unknown(why) | Energy::Lost(why) => (None, Some(why.clone())),
            Energy::Reset(from, to) => {
                let fell = format!("its energy counter fell from {from} J to {to} J");
                (None, Some(fell))
            }
        };
        GpuResult {
            uuid: uuid.to_owned(),
            index: self.index,
            name: self.name.clone(),
            energy_j,
            energy_error_j: None,
            power_w: avg_max(&self.power_w),
            utilization_pct: avg_max(&self.utilization_pct),
            memory_used_mib: max(&self.memory_used_mib),
            temperature_c: max(&self.temperature_c),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::BaselineKind::{End, Start};

    const SPANS: [Option<Span>; 1] = [Some(Span { start: Tick(100), end: Tick(200) })];

    fn book(samples: &[(u64, Option<u64>, Option<BaselineKind>)]) -> GpuBook {
        let mut book = GpuBook::default();
        for (at, energy_mj, mark) in samples {
            let sample = GpuSample {
                energy_mj: *energy_mj,
                power_mw: Some(1000 * at),
                ..GpuSample::default()
            };
            let times = (Tick(*at), Tick(*at), Tick(*at));
            book.observe(&SPANS, &sample, times, mark.map(|kind| (0, kind)));
        }
        book
    }

    #[test]
    fn energy_is_the_counter_at_end_less_at_start() {
        let book = book(&[(90, Some(1500), Some(Start)), (210, Some(4000), Some(End))]);
        assert_eq!(book.energy(0), Energy::Known(2.5));
        let result = book.result("u", 0, &SPANS, &book.energy(0));
        assert_eq!((result.energy_j, result.energy_error_j), (Some(2.5), None));
    }

    #[test]
    fn an_energy_counter_that_was_set_back_gives_no_energy() {
        let book = book(&[
            (90, Some(1500), Some(Start)),
            (150, Some(10), None),
            (210, Some(4000), Some(End)),
        ]);
        assert_eq!(book.energy(0), Energy::Reset(1.5, 0.01));
        assert_eq!(book.result("u", 0, &SPANS, &book.energy(0)).energy_j, None);
    }

    #[test]
    fn a_gpu_without_an_energy_counter_has_no_energy_and_says_so() {
        let book = book(&[(90, None, Some(Start)), (210, None, Some(End))]);
        let result = book.result("u", 0, &SPANS, &book.energy(0));
        assert_eq!(result.energy_j, None);
        assert_eq!(result.reason.as_deref(), Some("it gives no energy"));
    }

    #[test]
    fn a_gpu_that_is_gone_at_end_is_lost() {
        let book = book(&[(90, Some(1), Some(Start))]);
        assert!(matches!(book.energy(0), Energy::Lost(_)));
    }

    #[test]
    fn power_is_weighted_by_time_over_the_phase() {
        let book = book(&[(50, None, None), (150, None, None), (250, None, None)]);
        let power = book.result("u", 0, &SPANS, &book.energy(0)).power_w;
        assert_eq!(power, AvgMax { avg: Some(100.0), max: Some(150.0) });
    }

    #[test]
    fn a_field_that_is_not_given_is_null() {
        let book = book(&[(50, None, None)]);
        let result = book.result("u", 0, &SPANS, &book.energy(0));
        assert_eq!(result.temperature_c, Max { max: None });
        assert_eq!(result.utilization_pct, AvgMax { avg: None, max: None });
    }
}
