//! What a tool reports that reads on a timer and asks nobody: the difference between
//! the last reading before a phase began and the last before it ended.
//!
//! It is computed from the periodic readings of the gated run. A tool without gates
//! does not pause between two phases, so that its readings are older still than these.

use std::collections::BTreeMap;

use phasegate_core::reading::{Reading, ReadingBody, Value};
use phasegate_core::time::Tick;

use super::measure::against;
use super::truth::Counts;

/// A phase as a timer saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Naive {
    /// What it reports less what is true; `None` where it has no two readings.
    pub counts: [Option<f64>; 3],
    /// Of all GPUs together, as a share of what is true.
    pub energy: Option<f64>,
}

/// What is compared, in the order of [`Counts`].
const NAMES: [&str; 3] = ["vllm:request_success", "vllm:prompt_tokens", "vllm:generation_tokens"];

/// What one source showed at a reading. A reading is written with what has changed since
/// the one before it alone; this is all of it.
#[derive(Debug, Clone, Default)]
struct Shown {
    start: Tick,
    end: Tick,
    /// By name and labels.
    counters: BTreeMap<(usize, String), f64>,
    /// By GPU, in joules.
    joules: BTreeMap<String, f64>,
}

impl Shown {
    fn take(&mut self, reading: &Reading) {
        (self.start, self.end) = (reading.start, reading.end);
        match &reading.body {
            ReadingBody::Families(families) => {
                for (place, name) in NAMES.iter().enumerate() {
                    let Some(family) = families.iter().find(|family| family.name == *name) else {
                        continue;
                    };
                    for series in &family.series {
                        let reason = series.labels.get("finished_reason").map(String::as_str);
                        if let Value::Value(value) = &series.value
                            && !matches!(reason, Some("abort" | "error"))
                        {
                            let labels = format!("{:?}", series.labels);
                            self.counters.insert((place, labels), *value);
                        }
                    }
                }
            }
            ReadingBody::Gpus(gpus) => {
                for gpu in gpus {
                    if let Some(energy) = gpu.energy_mj {
                        self.joules.insert(gpu.uuid.clone(), energy as f64 / 1000.0);
                    }
                }
            }
            ReadingBody::Error(_) => {}
        }
    }

    fn counts(&self, place: usize) -> Option<f64> {
        let of = self.counters.iter().filter(|((name, _), _)| *name == place);
        of.map(|(_, value)| *value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

/// The phase in `span` by every reading on a timer of `ms` milliseconds.
pub(super) fn of(
    readings: &[Reading],
    ms: u64,
    (start, end): (Tick, Tick),
    truth: &Counts,
    energies: &[f64],
) -> Naive {
    let mut sources: Vec<&str> = readings.iter().map(|reading| reading.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let mut counts: [Option<f64>; 3] = [None; 3];
    let mut joules = None;
    for source in sources {
        let taken = on_a_timer(readings.iter().filter(|reading| reading.source == source), ms);
        let before = |at: Tick| taken.iter().rev().find(|shown| shown.end <= at);
        // A tool that has nothing from before the phase takes the first one within.
        let first = before(start).or_else(|| taken.iter().find(|shown| shown.end > start));
        let (Some(first), Some(last)) = (first, before(end)) else { continue };
        for (place, count) in counts.iter_mut().enumerate() {
            if let (Some(a), Some(b)) = (first.counts(place), last.counts(place)) {
                *count.get_or_insert(0.0) += b - a;
            }
        }
        for (uuid, b) in &last.joules {
            if let Some(a) = first.joules.get(uuid) {
                *joules.get_or_insert(0.0) += b - a;
            }
        }
    }
    let all: f64 = energies.iter().sum();
    let energy = joules.filter(|_| all > 0.0).map(|joules| joules / all - 1.0);
    Naive { counts: against(counts, truth), energy }
}

/// What was shown at the periodic readings that began at least `ms` apart.
fn on_a_timer<'a>(readings: impl Iterator<Item = &'a Reading>, ms: u64) -> Vec<Shown> {
    // A timer is not kept to the nanosecond.
    let gap = ms.saturating_sub(50) * 1_000_000;
    let mut shown = Shown::default();
    let mut taken: Vec<Shown> = Vec::new();
    for reading in readings.filter(|reading| !matches!(reading.body, ReadingBody::Error(_))) {
        shown.take(reading);
        let due = taken.last().is_none_or(|last| reading.start.0 >= last.start.0 + gap);
        if due && reading.boundary.is_none() {
            taken.push(shown.clone());
        }
    }
    taken
}
