//! A phase's numbers against the truth.

use phasegate_core::account::result::{Delta, PhaseResult, Verdict};
use phasegate_core::plan::PhaseKind;

use super::naive::{self, Naive};
use super::truth::{Counts, RunTruth};
use crate::turmoil::{Outcome, Scenario};

/// One phase of one run.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Whether it is called clean.
    pub clean: bool,
    /// What it says of itself.
    pub notes: Vec<String>,
    /// What it reports less what is true: requests, prompt tokens, output tokens. `None`
    /// where it reports no number.
    pub counts: [Option<f64>; 3],
    /// Each GPU.
    pub energies: Vec<Energy>,
    /// What a timer of so many milliseconds would have reported; of measured phases.
    pub naive: Vec<(u64, Naive)>,
}

/// A GPU's energy in a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Energy {
    /// No number is given.
    Refused,
    /// A number, the error that is given with it, and what is true.
    Given {
        /// As reported, in joules.
        reported: f64,
        /// Half the width of its bounds.
        error: Option<f64>,
        /// Between the same two moments.
        truth: f64,
        /// Between which moments of the run, in seconds.
        span_s: (f64, f64),
    },
}

impl Energy {
    /// Reported less true, as a share of what is true.
    #[must_use]
    pub fn relative(&self) -> Option<f64> {
        match self {
            Self::Given { reported, truth, .. } if *truth > 0.0 => Some(reported / truth - 1.0),
            Self::Given { .. } | Self::Refused => None,
        }
    }

    /// Whether the truth lies within the bounds; `None` without a number.
    #[must_use]
    pub fn inside(&self) -> Option<bool> {
        match self {
            // A joule counts to a millionth of it: f64 and picojoules.
            Self::Given { reported, error, truth, .. } => {
                Some((reported - truth).abs() <= error.unwrap_or(0.0) + 1e-6)
            }
            Self::Refused => None,
        }
    }
}

impl Measured {
    /// It is called clean, and a count is missing or is not what happened.
    #[must_use]
    pub fn silently_wrong(&self) -> bool {
        self.clean && self.counts.iter().any(|error| *error != Some(0.0))
    }
}

/// Every phase of a run against the truth.
///
/// # Errors
/// If there is no result, or no truth.
pub fn measure(scenario: &Scenario, outcome: &Outcome) -> Result<Vec<Measured>, String> {
    let result = outcome.result.as_ref().ok_or("there is no result")?;
    let truth = RunTruth::new(scenario, outcome, result)?;
    let gpus = truth.gpus();
    let mut measured = Vec::new();
    for (phase, counts) in result.phases.iter().zip(&truth.phases) {
        let reported = [
            total(phase, "vllm:request_success"),
            total(phase, "vllm:prompt_tokens"),
            total(phase, "vllm:generation_tokens"),
        ];
        let (Some(start), Some(end)) = (phase.start_ns, phase.end_ns) else {
            return Err(format!("phase {} never ran", phase.name));
        };
        let span = (start, end);
        let whole = truth.energy_j(start, end).ok_or("the load was not kept")?;
        // Nobody reports a warm-up.
        let timers: &[u64] = if phase.kind == PhaseKind::Profiling { &[333, 1000] } else { &[] };
        let timer = |ms: &u64| (*ms, naive::of(&outcome.readings, *ms, span, counts, &whole));
        measured.push(Measured {
            name: phase.name.clone(),
            clean: phase.verdict == Verdict::Clean,
            notes: phase.notes.clone(),
            counts: against(reported, counts),
            energies: energies(phase, &truth, &gpus)?,
            naive: timers.iter().map(timer).collect(),
        });
    }
    Ok(measured)
}

/// Reported less true.
pub(super) fn against(reported: [Option<f64>; 3], truth: &Counts) -> [Option<f64>; 3] {
    let truth = [truth.requests, truth.prompt_tokens, truth.output_tokens];
    let mut errors = [None; 3];
    for ((error, reported), truth) in errors.iter_mut().zip(reported).zip(truth) {
        *error = reported.map(|reported| reported - truth as f64);
    }
    errors
}

/// What a counter did in the phase, over all endpoints and series; `None` where one of
/// them has no number.
fn total(phase: &PhaseResult, name: &str) -> Option<f64> {
    let series = phase.server_metrics.iter().filter(|metric| {
        let reason = metric.labels.get("finished_reason").map(String::as_str);
        metric.name == name && !matches!(reason, Some("abort" | "error"))
    });
    let mut sum = None;
    for metric in series {
        match metric.delta.known() {
            Some(Delta::Counter { total, .. }) => *sum.get_or_insert(0.0) += total,
            Some(Delta::Histogram { .. } | Delta::Summary { .. }) | None => return None,
        }
    }
    sum
}

fn energies(
    phase: &PhaseResult,
    truth: &RunTruth<'_>,
    gpus: &[String],
) -> Result<Vec<Energy>, String> {
    let mut energies = Vec::new();
    for (place, uuid) in gpus.iter().enumerate() {
        let Some(gpu) = phase.gpus.iter().find(|gpu| gpu.uuid == *uuid) else {
            energies.push(Energy::Refused);
            continue;
        };
        let Some(reported) = gpu.energy_j else {
            energies.push(Energy::Refused);
            continue;
        };
        let interval = gpu.energy_from_ns.zip(gpu.energy_to_ns);
        let (from, to) = interval.ok_or("an energy without its interval")?;
        let all = truth.energy_j(from, to).ok_or("the load was not kept")?;
        let truth = all.get(place).copied().ok_or("a GPU that the server has not")?;
        let span_s = (from.as_secs_f64(), to.as_secs_f64());
        energies.push(Energy::Given { reported, error: gpu.energy_error_j, truth, span_s });
    }
    Ok(energies)
}
