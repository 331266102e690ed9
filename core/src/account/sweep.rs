//! A sweep: phases that differ in their rate, or in their concurrency, set side
//! by side, and the knee among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::result::{MetricStats, PhaseResult, Verdict};
use crate::plan::{Arrival, ArrivalProcess, PhaseKind, PhasePlan, RunPlan};

/// What varies from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepBy {
    /// Requests per second of an open loop.
    RequestRate,
    /// Slots of a closed loop, or the cap of an open one.
    Concurrency,
}

/// The steps of a sweep, in ascending order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as in run.json
pub struct SweepResult {
    pub by: SweepBy,
    pub steps: Vec<SweepStep>,
    /// The phase of the step at the knee; `null` where the steps have none.
    pub knee: Option<String>,
    /// Why that step, or why none, in a sentence.
    pub knee_reason: String,
}

/// One step: one phase, in the numbers that are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SweepStep {
    pub phase: String,
    /// Its rate or concurrency; `null` is an infinite rate.
    pub value: Option<f64>,
    pub request_throughput: Option<f64>,
    pub output_token_throughput: Option<f64>,
    /// Of a rate from the planned time (`scheduled_time_to_first_token`), of a
    /// concurrency from the start of the request.
    pub time_to_first_token_p50: Option<f64>,
    pub time_to_first_token_p99: Option<f64>,
    pub inter_token_latency_p50: Option<f64>,
    /// The average from the planned time (rate) or the start (concurrency).
    pub latency_avg: Option<f64>,
    pub goodput: Option<f64>,
    /// `request_throughput ÷ latency_avg`, with the latency in seconds.
    pub power: Option<f64>,
    pub verdict: Verdict,
}

/// What a phase is of a sweep: its value, and what must be the same in all.
fn value_of(phase: &PhasePlan, by: SweepBy) -> Option<(f64, Fixed)> {
    let (value, rate, cap) = match (phase.arrival, by) {
        (Arrival::Concurrency { concurrency }, SweepBy::Concurrency) => {
            (f64::from(concurrency), None, None)
        }
        (Arrival::Concurrency { .. }, SweepBy::RequestRate) | (Arrival::Fixed { .. }, _) => {
            return None;
        }
        (Arrival::Rate { rate, process, max_concurrency }, SweepBy::RequestRate) => {
            (rate, Some((None, process)), max_concurrency)
        }
        (Arrival::Rate { rate, process, max_concurrency }, SweepBy::Concurrency) => {
            (f64::from(max_concurrency?), Some((Some(rate), process)), None)
        }
    };
    Some((value, Fixed { rate, cap }))
}

/// The rest of the load: the process of an open loop (with its rate, where the
/// cap varies), and its cap.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fixed {
    rate: Option<(Option<f64>, ArrivalProcess)>,
    cap: Option<u32>,
}

/// The sweep that `plan` has: its profiling phases, if they are two or more,
/// none of them seamless or in stages, and differ in their rate alone or in
/// their concurrency alone.
#[must_use]
pub fn sweep(plan: &RunPlan, results: &[PhaseResult]) -> Option<SweepResult> {
    let phases: Vec<(&PhasePlan, &PhaseResult)> = plan
        .phases()
        .iter()
        .zip(results)
        .filter(|(plan, _)| plan.kind == PhaseKind::Profiling)
        .collect();
    if phases.len() < 2 || phases.iter().any(|(p, _)| p.seamless || !p.stages.is_empty()) {
        return None;
    }
    [SweepBy::RequestRate, SweepBy::Concurrency].into_iter().find_map(|by| swept(&phases, by))
}

fn swept(phases: &[(&PhasePlan, &PhaseResult)], by: SweepBy) -> Option<SweepResult> {
    let mut steps = Vec::with_capacity(phases.len());
    let mut fixed: Option<Fixed> = None;
    for (plan, result) in phases {
        let (value, rest) = value_of(plan, by)?;
        if *fixed.get_or_insert(rest) != rest {
            return None;
        }
        steps.push((value, step(value, by, plan, result)));
    }
    steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    if steps.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return None;
    }
    let steps: Vec<SweepStep> = steps.into_iter().map(|(_, step)| step).collect();
    let (knee, knee_reason) = knee(&steps);
    Some(SweepResult { by, steps, knee, knee_reason })
}

fn step(value: f64, by: SweepBy, plan: &PhasePlan, result: &PhaseResult) -> SweepStep {
    let metrics: &BTreeMap<String, MetricStats> = &result.metrics;
    let of = |name: &str, statistic: fn(&MetricStats) -> Option<f64>| {
        metrics.get(name).and_then(statistic)
    };
    let (first_token, latency) = match plan.arrival {
        Arrival::Rate { .. } | Arrival::Fixed { .. } => {
            ("scheduled_time_to_first_token", "scheduled_latency")
        }
        Arrival::Concurrency { .. } => ("time_to_first_token", "request_latency"),
    };
    let throughput = of("request_throughput", |s| s.avg);
    let latency_avg = of(latency, |s| s.avg);
    let power = throughput.zip(latency_avg.filter(|ms| *ms > 0.0)).map(|(x, ms)| x / (ms / 1e3));
    // A rate may be infinite, which JSON has no number for.
    let value = Some(value).filter(|value| value.is_finite() || by == SweepBy::Concurrency);
    SweepStep {
        phase: plan.name.clone(),
        value,
        request_throughput: throughput,
        output_token_throughput: of("output_token_throughput", |s| s.avg),
        time_to_first_token_p50: of(first_token, |s| s.p50),
        time_to_first_token_p99: of(first_token, |s| s.p99),
        inter_token_latency_p50: of("inter_token_latency", |s| s.p50),
        latency_avg,
        goodput: of("goodput", |s| s.avg),
        power,
        verdict: result.verdict,
    }
}

/// The knee: the step of the greatest power, which is throughput divided by mean
/// latency (L. Kleinrock, "Power and deterministic rules of thumb for
/// probabilistic problems in computer communications", ICC 1979). Below it, more
/// load buys more throughput than it costs in latency; above it, less. A sweep
/// whose power is greatest at its last step has not reached a knee.
fn knee(steps: &[SweepStep]) -> (Option<String>, String) {
    let known: Vec<(&SweepStep, f64)> =
        steps.iter().filter_map(|step| Some((step, step.power?))).collect();
    if known.len() < 2 || known.len() < steps.len() {
        let reason = "Not every step has a throughput and a latency, so there is no knee to tell.";
        return (None, reason.to_owned());
    }
    // The lowest of equals.
    let best = known.iter().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
    match (best, known.last(), known.first()) {
        (Some((best, _)), Some((last, _)), _) if best.phase == last.phase => {
            let reason = "Throughput ÷ mean latency still rose at the last step: the knee is at it \
                          or beyond; add higher steps.";
            (None, reason.to_owned())
        }
        (Some((best, _)), _, Some((first, _))) if best.phase == first.phase => {
            let reason = "Throughput ÷ mean latency is greatest at the first step: the knee is at \
                          it or below.";
            (Some(best.phase.clone()), reason.to_owned())
        }
        (Some((best, _)), _, _) => {
            let reason = format!("Throughput ÷ mean latency is greatest at {}.", best.phase);
            (Some(best.phase.clone()), reason)
        }
        (None, _, _) => (None, "There are no steps.".to_owned()),
    }
}

#[cfg(test)]
mod tests;
