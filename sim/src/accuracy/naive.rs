//! What a tool reports that reads on a timer and asks nobody: the difference between
//! the last reading before a phase began and the last before it ended.
//!
//! It is computed from the periodic readings of the gated run. A tool without gates
//! does not pause between two phases, so that its readings are older still than these.

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

/// The phase in `span` by every reading on a timer of `ms` milliseconds.
pub(super) fn of(
    readings: &[Reading],
    ms: u64,
    (start, end): (Tick, Tick),
    truth: &Counts,
    (gpus, energies): (&[String], &[f64]),
) -> Naive {
    let mut sources: Vec<&str> = readings.iter().map(|reading| reading.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let mut counts: [Option<f64>; 3] = [None; 3];
    let mut joules = None;
    for source in sources {
        let taken = on_a_timer(readings.iter().filter(|reading| reading.source == source), ms);
        let before = |at: Tick| taken.iter().rev().find(|reading| reading.end <= at);
        // A tool that has nothing from before the phase takes the first one within.
        let first = before(start).or_else(|| taken.iter().find(|reading| reading.end > start));
        let (Some(first), Some(last)) = (first, before(end)) else { continue };
        match (&first.body, &last.body) {
            (ReadingBody::Families(_), ReadingBody::Families(_)) => {
                let names =
                    ["vllm:request_success", "vllm:prompt_tokens", "vllm:generation_tokens"];
                for (count, name) in counts.iter_mut().zip(names) {
                    if let (Some(a), Some(b)) = (counter(first, name), counter(last, name)) {
                        *count.get_or_insert(0.0) += b - a;
                    }
                }
            }
            (ReadingBody::Gpus(_), ReadingBody::Gpus(_)) => {
                for uuid in gpus {
                    if let (Some(a), Some(b)) = (energy(first, uuid), energy(last, uuid)) {
                        *joules.get_or_insert(0.0) += b - a;
                    }
                }
            }
            _ => {}
        }
    }
    let all: f64 = energies.iter().sum();
    let energy = joules.filter(|_| all > 0.0).map(|joules| joules / all - 1.0);
    Naive { counts: against(counts, truth), energy }
}

/// The periodic readings that began at least `ms` apart.
fn on_a_timer<'a>(readings: impl Iterator<Item = &'a Reading>, ms: u64) -> Vec<&'a Reading> {
    // A timer is not kept to the nanosecond.
    let gap = Tick::from_millis(ms.saturating_sub(50));
    let mut taken: Vec<&Reading> = Vec::new();
    for reading in readings.filter(|reading| reading.boundary.is_none()) {
        let last = taken.last().map(|last| last.start);
        if last.is_none_or(|last| reading.start.0.saturating_sub(last.0) >= gap.0) {
            taken.push(reading);
        }
    }
    taken
}

fn counter(reading: &Reading, name: &str) -> Option<f64> {
    let ReadingBody::Families(families) = &reading.body else { return None };
    let family = families.iter().find(|family| family.name == name)?;
    let series = family.series.iter().filter(|series| {
        let reason = series.labels.get("finished_reason").map(String::as_str);
        !matches!(reason, Some("abort" | "error"))
    });
    let values = series.map(|series| match &series.value {
        Value::Value(value) => *value,
        Value::Histogram(_) | Value::Summary { .. } => 0.0,
    });
    Some(values.sum())
}

fn energy(reading: &Reading, uuid: &str) -> Option<f64> {
    let ReadingBody::Gpus(gpus) = &reading.body else { return None };
    let gpu = gpus.iter().find(|gpu| gpu.uuid == uuid)?;
    gpu.energy_mj.map(|energy| energy as f64 / 1000.0)
}
