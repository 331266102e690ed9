//! The search for the highest load that keeps its objectives, as `run.json` has
//! it: what each probe came to, and the answer.

use serde::{Deserialize, Serialize};

use super::assemble::Evidence;
use super::client::{self, CPU_SHARE};
use super::result::{ClientResult, PhaseResult, Verdict};
use super::sweep::SweepBy;
use crate::plan::PhaseKind;
use crate::search::interval::CONFIDENCE;
use crate::search::judge::{self, show};
use crate::search::{End, Estimate, Objective, Outcome, Percentile, ProbeReport, SearchPlan};

/// A search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as in run.json
pub struct SloResult {
    pub by: SweepBy,
    /// The range.
    pub low: f64,
    pub high: f64,
    pub tolerance: f64,
    /// Of every interval.
    pub confidence: f64,
    /// What had to hold.
    pub objectives: Vec<Objective>,
    /// In the order in which they were taken.
    pub probes: Vec<SloProbe>,
    /// The highest value that holds; `null` where none was shown to, or the search
    /// was cut short.
    pub answer: Option<f64>,
    /// The highest at which a probe held.
    pub held: Option<f64>,
    /// The lowest at which none did.
    pub not_held: Option<f64>,
    /// Why the search ended; `null` if it was cut short.
    pub end: Option<End>,
    /// The answer, or why there is none, in a sentence.
    pub reason: String,
}

/// One probe: one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SloProbe {
    pub phase: String,
    /// Its rate or concurrency.
    pub value: f64,
    /// The requests that it was to send.
    pub requests: u64,
    pub request_throughput: Option<f64>,
    pub objectives: Vec<SloMeasured>,
    /// `null` if the search was cut short before it was judged.
    pub outcome: Option<Outcome>,
    /// Why it did not hold.
    pub reasons: Vec<String>,
    pub client_bound: Option<bool>,
    /// Why it does not count though it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    pub verdict: Verdict,
}

/// One objective at one probe. A number that is `null` is not known, or is that
/// of a request which was not answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SloMeasured {
    pub metric: String,
    pub percentile: Option<Percentile>,
    pub samples: u64,
    /// Of the samples, requests that failed, were cut off, or never got that far.
    pub unanswered: u64,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub outcome: Outcome,
}

/// The result of the search, where the run is one.
#[must_use]
pub fn slo(
    evidence: &Evidence<'_>,
    client: &ClientResult,
    phases: &[PhaseResult],
) -> Option<SloResult> {
    let plan = evidence.plan.search()?;
    let report = evidence.conductor.search.clone().unwrap_or_default();
    let probes = report.probes.iter().filter_map(|probe| {
        let phase = phases.iter().find(|phase| phase.phase_id == probe.phase)?;
        Some(of_probe(evidence, plan, client, probe, phase))
    });
    let probes: Vec<SloProbe> = probes.collect();
    let decided = |probe: &&SloProbe| probe.outcome.is_some();
    let held = probes.iter().filter(|probe| probe.outcome == Some(Outcome::Held));
    let held: Option<&SloProbe> = held.max_by(|a, b| a.value.total_cmp(&b.value));
    let above = held.map_or(f64::NEG_INFINITY, |probe| probe.value);
    let beyond = probes.iter().filter(decided).filter(|probe| probe.value > above);
    let beyond: Option<&SloProbe> = beyond.min_by(|a, b| a.value.total_cmp(&b.value));
    let counts = |probe: &&SloProbe| probe.outcome == Some(Outcome::Held) && probe.doubt.is_none();
    let best = probes.iter().filter(counts).max_by(|a, b| a.value.total_cmp(&b.value));
    let best = best.filter(|_| report.end.is_some());
    let reason = reason(plan, report.end, best, held, beyond);
    Some(SloResult {
        by: plan.by,
        low: plan.low,
        high: plan.high,
        tolerance: plan.tolerance,
        confidence: CONFIDENCE,
        objectives: plan.objectives.clone(),
        answer: best.map(|probe| probe.value),
        held: held.map(|probe| probe.value),
        not_held: beyond.map(|probe| probe.value),
        end: report.end,
        reason,
        probes,
    })
}

/// Takes out the phases of probes that the search did not need.
pub(super) fn take_out(evidence: &Evidence<'_>, phases: &mut Vec<PhaseResult>) {
    let Some(report) = &evidence.conductor.search else { return };
    phases.retain(|phase| {
        phase.kind != PhaseKind::Profiling
            || report.probes.iter().any(|probe| probe.phase == phase.phase_id)
    });
}

fn of_probe(
    evidence: &Evidence<'_>,
    plan: &SearchPlan,
    client: &ClientResult,
    report: &ProbeReport,
    phase: &PhaseResult,
) -> SloProbe {
    let seen = client.phases.iter().find(|seen| seen.name == phase.name);
    let planned = evidence.plan.phases().iter().find(|planned| planned.id == report.phase);
    let bound = planned.and_then(|p| client::bound(p, seen, phase.metrics.get("dispatch_lag")));
    let busy = seen.and_then(|seen| seen.cpu_share).is_some_and(|share| share >= CPU_SHARE);
    let estimates = report.measured.iter().flat_map(|measured| &measured.estimates);
    let measured = |(objective, estimate): (&Objective, &Estimate)| SloMeasured {
        metric: objective.metric.clone(),
        percentile: objective.percentile,
        samples: estimate.samples,
        unanswered: estimate.unanswered,
        value: estimate.value.known(),
        low: estimate.low.known(),
        high: estimate.high.known(),
        outcome: judge::objective(objective, estimate),
    };
    let throughput = phase.metrics.get("request_throughput");
    let mut probe = SloProbe {
        phase: phase.name.clone(),
        value: report.probe.value,
        requests: report.probe.requests,
        request_throughput: throughput.and_then(|stats| stats.avg),
        objectives: plan.objectives.iter().zip(estimates).map(measured).collect(),
        outcome: report.outcome,
        reasons: report.reasons.clone(),
        client_bound: bound.map(|reasons| !reasons.is_empty()),
        doubt: None,
        verdict: phase.verdict,
    };
    if probe.outcome == Some(Outcome::Held) {
        probe.doubt = doubt(phase.verdict, busy).map(str::to_owned);
    }
    probe
}

/// Why a probe is no evidence, though its numbers held: it was not the only load,
/// or the client was too busy to be sure that its load was sent and its answers were
/// read as they came. A client that stood still for a moment made latencies longer
/// and not shorter; that its requests were late was judged before.
fn doubt(verdict: Verdict, busy: bool) -> Option<&'static str> {
    if verdict == Verdict::Contaminated {
        return Some("its verdict is contaminated");
    }
    busy.then_some("the client had no CPU left")
}

/// A value with its unit.
#[must_use]
pub fn with_unit(by: SweepBy, value: f64) -> String {
    match by {
        SweepBy::RequestRate => format!("{value} req/s"),
        SweepBy::Concurrency => format!("{value} at a time"),
    }
}

fn reason(
    plan: &SearchPlan,
    end: Option<End>,
    best: Option<&SloProbe>,
    held: Option<&SloProbe>,
    beyond: Option<&SloProbe>,
) -> String {
    let unit = |value: f64| with_unit(plan.by, value);
    let at = |probe: Option<&SloProbe>| {
        probe.map_or_else(|| "at none".to_owned(), |probe| format!("at {}", unit(probe.value)))
    };
    let what = match plan.by {
        SweepBy::RequestRate => "request rate",
        SweepBy::Concurrency => "concurrency",
    };
    let Some(end) = end else {
        return format!("The search was cut short: held {}, not held {}.", at(held), at(beyond));
    };
    let Some(best) = best else {
        if let Some(held) = held {
            let why = held.doubt.as_deref().unwrap_or("it is in doubt");
            return format!("No {what} is shown to hold: held {}, but {why}.", at(Some(held)));
        }
        let why = beyond.map(|probe| probe.reasons.join("; ")).filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        return match end {
            End::LowestFailed => {
                format!("Not even the lowest {what}, {}, is shown to hold{why}.", unit(plan.low))
            }
            End::Found | End::HighestHeld | End::ProbesSpent => {
                format!("No {what} is shown to hold{why}.")
            }
        };
    };
    let numbers = plan.objectives.iter().zip(&best.objectives).map(|(objective, measured)| {
        let value = measured
            .value
            .map_or_else(|| "unknown".to_owned(), |value| show(crate::search::Point::At(value)));
        format!("{objective} {value} of {}{}", objective.limit, objective.unit())
    });
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let value = unit(best.value);
    let mut text = format!("Highest {what} that holds: {value} (held {}", at(Some(best)));
    if let Some(beyond) = beyond {
        text.push_str(&format!(", not {}", at(Some(beyond))));
    }
    text.push_str(&format!("; {numbers})"));
    text.push_str(match end {
        End::Found | End::LowestFailed => "",
        End::HighestHeld => "; it is the highest of the range, so the server may take more",
        End::ProbesSpent => {
            "; the probes were spent before the tolerance was reached, so it may be higher"
        }
    });
    if held.is_some_and(|held| held.value > best.value) {
        text.push_str("; probes that held above it are in doubt and do not count");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests;
