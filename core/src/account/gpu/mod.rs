//! What one GPU did in a phase.
//!
//! - [`energy`]: its energy, with an error bar.
//! - `counter`: the energy counter, and when its values became true.
//! - `power`: power over time, integrated.
//! - `watch`: throttling, errors, foreign processes.
//! - `events`: what it reported by itself, XID errors above all.
//!
//! Power, utilisation, memory and temperature are gauges: from the readings in
//! the phase, each holding until the next.

use std::collections::BTreeMap;

use super::boundary::sentence;
use super::delta::Sample;
use super::gauge::{Gauge, Span};
use super::result::{AvgMax, Delta, GpuResult, Max, Verdict};
use super::source::Key;
use super::track::{Seen, Track};
use super::verdict::Finding;
use crate::message::BaselineKind;
use crate::reading::{GpuEvent, GpuSample, PowerKind};
use crate::time::Tick;

mod counter;
pub mod energy;
mod events;
mod power;
mod watch;

use counter::{Counter, CounterMark};
use energy::{Measured, Scope, TOLERANCE};
use events::Events;
use power::{PowerIntegral, PowerMark};
use watch::Watch;

/// One GPU over all phases.
#[derive(Debug, Clone, Default)]
pub struct GpuBook {
    index: Option<u32>,
    name: Option<String>,
    /// Sees where the energy counter is set back.
    energy: Track,
    counter: Counter,
    power: PowerIntegral,
    power_kind: Option<PowerKind>,
    limit_w: f64,
    /// The boundary readings that had this GPU.
    marks: BTreeMap<Key, GpuMark>,
    watches: BTreeMap<usize, Watch>,
    events: Events,
    power_w: Gauge,
    utilization_pct: Gauge,
    memory_used_mib: Gauge,
    temperature_c: Gauge,
}

/// A GPU at one boundary.
#[derive(Debug, Clone)]
struct GpuMark {
    reading: (Tick, Tick),
    /// `None` where it gave no energy.
    energy: Option<CounterMark>,
    power: Option<PowerMark>,
}

/// How a GPU's energy between two boundaries stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Energy {
    /// It is known.
    Known(Measured),
    /// The GPU or the exporter has no energy counter and no power, what it shows
    /// is too old, or its source was not read at both boundaries: why.
    Unknown(String),
    /// The GPU was in only one of the two readings: why.
    Lost(String),
    /// The counter fell: from, to, in joules.
    Reset(f64, f64),
}

impl GpuBook {
    /// Takes in a sample from a reading in `[start, end]`, of which `middle` is
    /// the middle, and which was taken for the boundary at `mark`. Whether it is
    /// `compared` with others in order says the book of its source.
    pub fn observe(
        &mut self,
        spans: &[Option<Span>],
        sample: &GpuSample,
        (start, middle, end): (Tick, Tick, Tick),
        mark: Option<Key>,
        compared: bool,
    ) {
        self.index = sample.index.or(self.index);
        self.name = sample.name.clone().or(self.name.take());
        self.power_kind = sample.power_kind.or(self.power_kind);
        let watts = sample.power_mw.map(|mw| mw as f64 / 1000.0);
        self.limit_w =
            sample.power_limit_mw.map_or(self.limit_w, |mw| self.limit_w.max(mw as f64 / 1000.0));
        match watts {
            Some(watts) => self.power.observe(middle, watts),
            None => self.power.gone(),
        }
        let energy = self.energy(sample, (start, end), mark, compared);
        if let Some(key) = mark {
            let power = self.power.mark(middle);
            self.marks.insert(key, GpuMark { reading: (start, end), energy, power });
        }
        for (index, span) in spans.iter().enumerate() {
            let in_it = span.is_some_and(|span| span.contains(middle));
            if in_it || mark.is_some_and(|(phase, _)| phase == index) {
                self.watches.entry(index).or_default().observe(sample);
            }
        }
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

    /// Follows the counter; how it stands.
    fn energy(
        &mut self,
        sample: &GpuSample,
        (start, end): (Tick, Tick),
        mark: Option<Key>,
        compared: bool,
    ) -> Option<CounterMark> {
        let value = Sample::single(sample.energy_mj? as f64)?;
        let seen = Seen { start, end, passed_over: !compared, ..Seen::default() };
        self.energy.observe(Some(&value), seen, mark);
        let power = &self.power;
        let stand = self.counter.observe(sample, (start, end), |at| power.mark(at))?;
        for mark in self.marks.values_mut().filter_map(|mark| mark.energy.as_mut()) {
            if mark.after.is_none() && mark.point.mj < stand.point.mj {
                mark.after = Some(stand.point);
            }
        }
        Some(stand)
    }

    /// Takes in what it reported by itself.
    pub fn event(&mut self, spans: &[Option<Span>], event: &GpuEvent) {
        self.events.observe(spans, event);
    }

    /// What it reported in none of the phases that `is_reported` knows, as
    /// sentences.
    #[must_use]
    pub fn outside(
        &self,
        uuid: &str,
        endpoint: &str,
        is_reported: &dyn Fn(usize) -> bool,
    ) -> Vec<String> {
        self.events.outside(&full_name(uuid, endpoint), is_reported)
    }

    /// Since when events of it cannot be seen, and why; `None` where they can.
    #[must_use]
    pub fn events_unseen(&self) -> Option<(Tick, &str)> {
        self.events.unseen()
    }

    /// The GPU was not in a reading of its source.
    pub fn gone(&mut self, spans: &[Option<Span>], at: Tick) {
        self.power.gone();
        self.counter.gone();
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
    pub fn energy_in(&self, spans: &[Option<Span>], phase: usize) -> Energy {
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
        let stats = self.power_w.stats(spans, phase);
        let averaged = self.power_kind == Some(PowerKind::Averaged);
        let scope = Scope {
            span: spans.get(phase).copied().flatten(),
            readings: [start.reading, end.reading],
            highest_w: self.limit_w.max(self.power.highest_w()).max(self.counter.highest_w()),
            averaged_range_w: stats.filter(|_| averaged).map_or(0.0, |s| s.max - s.min),
            period: self.counter.period(),
        };
        let known = |found: Result<Measured, String>| match found {
            Ok(measured) => Energy::Known(measured),
            Err(why) => Energy::Unknown(why),
        };
        let (first, last) = match (&start.energy, &end.energy) {
            (Some(start), Some(end)) => (start, end),
            (None, None) => return known(scope.by_power(start.power, end.power)),
            (None, Some(_)) => return Energy::Unknown("it gave no energy at START".to_owned()),
            (Some(_), None) => return Energy::Unknown("it gave no energy at END".to_owned()),
        };
        let [from, to] = [BaselineKind::Start, BaselineKind::End].map(|kind| (phase, kind));
        let Some(change) = self.energy.between(from, to, true) else {
            return Energy::Unknown("it gave no energy at END".to_owned());
        };
        match (change.reset, change.delta(None)) {
            (true, _) => {
                let (from, to) = change.fall().unwrap_or((f64::NAN, f64::NAN));
                Energy::Reset(from / 1000.0, to / 1000.0)
            }
            (false, Ok(Delta::Counter { .. })) => known(scope.by_counter([*first, *last])),
            (false, Ok(Delta::Histogram { .. } | Delta::Summary { .. })) => {
                Energy::Unknown("its energy is not a counter".to_owned())
            }
            (false, Err(why)) => Energy::Unknown(why),
        }
    }

    /// What is to be said of it in the phase at `phase`, with the energy as it
    /// stands; `endpoint` is where it was read.
    #[must_use]
    pub fn findings(
        &self,
        uuid: &str,
        endpoint: &str,
        (phase, span): (usize, Option<Span>),
        energy: &Energy,
    ) -> Vec<Finding> {
        let gpu = full_name(uuid, endpoint);
        let mut findings = Vec::new();
        match energy {
            Energy::Unknown(_) => {}
            Energy::Known(measured) => findings.extend(disagreement(&gpu, measured)),
            Energy::Lost(why) => {
                let note = sentence(format!("{gpu} has no energy: {why}"));
                findings.push(Finding::new(Verdict::Incomplete, note));
            }
            Energy::Reset(from, to) => {
                let note = format!(
                    "The energy counter of {gpu} fell from {from} J to {to} J inside the phase, so \
                     its energy is not known."
                );
                findings.push(Finding::new(Verdict::Contaminated, note));
            }
        }
        findings.extend(self.watches.get(&phase).into_iter().flat_map(|w| w.findings(&gpu)));
        findings.extend(self.events.findings(&gpu, phase, span));
        findings
    }

    /// What it did in the phase at `phase`, with the energy as it stands.
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
        let (measured, reason) = match energy {
            Energy::Known(measured) => (Some(measured), None),
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
            energy_j: measured.map(|m| m.joules),
            energy_error_j: measured.map(|m| m.error_j),
            energy_source: measured.map(|m| m.source),
            energy_from_ns: measured.map(|m| m.from),
            energy_to_ns: measured.map(|m| m.to),
            coverage_error_j: measured.map(|m| m.coverage_j),
            power_integral_j: measured.and_then(|m| m.integral).map(|(joules, _)| joules),
            net_energy_j: None,
            net_energy_error_j: None,
            power_kind: self.power_kind,
            power_w: avg_max(&self.power_w),
            utilization_pct: avg_max(&self.utilization_pct),
            memory_used_mib: max(&self.memory_used_mib),
            temperature_c: max(&self.temperature_c),
            reason,
        }
    }
}

fn full_name(uuid: &str, endpoint: &str) -> String {
    format!("GPU {uuid} of {endpoint}")
}

/// Says where the counter and integrated power differ by more than the tolerance
/// and by more than both may be off.
fn disagreement(gpu: &str, measured: &Measured) -> Option<Finding> {
    let (integral, unsure) = measured.integral?;
    let apart = (measured.joules - integral).abs();
    let allowed = (TOLERANCE * integral.abs()).max(unsure + measured.error_j);
    (apart > allowed).then(|| {
        let note = format!(
            "The energy counter of {gpu} says {:.3} J (± {:.3}), its power integrated over the same \
             time {integral:.3} J (± {unsure:.3}): they differ by {:.1} %.",
            measured.joules,
            measured.error_j,
            100.0 * apart / integral.abs().max(f64::MIN_POSITIVE),
        );
        Finding::new(Verdict::Clean, note)
    })
}

#[cfg(test)]
mod tests;
