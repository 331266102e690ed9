//! G13 over `run.json`: a verdict is never better than the evidence; and what
//! G7 and G10 promise of the numbers in it.

use std::collections::BTreeSet;

use phasegate_core::account::result::{
    BoundaryStatus, Maybe, PhaseResult, Reconciliation, ReconciliationStatus, RunOutcome,
    RunResult, Verdict,
};
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::id::ServiceId;
use phasegate_core::message::{BaselineKind, BoundaryOutcome, CollectorStatus, ReleasedBy};
use phasegate_core::search::Outcome;
use phasegate_core::time::Tick;

use super::Violation;

/// Holds the assembled result against what the controller knows.
#[must_use]
pub fn check_result(result: &RunResult, controller: &ControllerReport) -> Vec<Violation> {
    let mut broken = Vec::new();
    for phase in &result.phases {
        let r = phase.requests;
        if r.sent != r.completed + r.errors + r.cancelled {
            let what = format!("phase '{}' has the counts {r:?}", phase.name);
            broken.push(Violation::new("G7", end(phase), what));
        }
        let (worst, why) = evidence(result, controller, phase);
        if phase.verdict < worst {
            let what = format!(
                "phase '{}' is called {:?}; at best it is {worst:?}: {why}",
                phase.name, phase.verdict
            );
            broken.push(Violation::new("G13", end(phase), what));
        }
        let odd = phase.reconciliation.iter().filter_map(|line| ledgers(result, phase, line));
        broken.extend(odd.map(|what| Violation::new("G13", end(phase), what)));
        if phase.verdict != Verdict::Clean && phase.notes.is_empty() {
            let what = format!("phase '{}' is {:?} without a note", phase.name, phase.verdict);
            broken.push(Violation::new("G13", end(phase), what));
        }
    }
    broken
        .extend(outcome(result, controller).map(|what| Violation::new("G13", last(result), what)));
    broken.extend(searched(result).map(|what| Violation::new("G13", last(result), what)));
    // Where no phase began, nobody had to hand in anything.
    let began = result.phases.iter().any(|phase| phase.start_ns.is_some());
    for (domain, report) in controller.domains.iter().filter(|_| began) {
        let excused = |service: &ServiceId| {
            controller.evictions.iter().any(|e| e.excused && e.service == *service)
        };
        let lost = report.evicted.keys().any(|service| !excused(service));
        let producers = report.results.len() + report.pending.len();
        let owed = (lost || producers > 0).then_some(!lost && report.pending.is_empty());
        if result.results_joined.get(domain.as_str()) != owed.as_ref() {
            let what = format!("whether {domain} was joined is not what the controller knows");
            broken.push(Violation::new("G10", last(result), what));
        }
    }
    broken
}

/// What is wrong with the answer of a search: one that no probe showed, or a number
/// that decided and is not the one that the phase reports.
fn searched(result: &RunResult) -> Option<String> {
    let slo = result.slo.as_ref()?;
    for probe in &slo.probes {
        let phase = result.phases.iter().find(|phase| phase.name == probe.phase);
        for measured in probe.objectives.iter().filter(|m| m.unanswered == 0) {
            let stats = phase.and_then(|phase| phase.metrics.get(&measured.metric))?;
            let percentile = measured.percentile.map(|p| p.to_string());
            let reported = match percentile.as_deref() {
                Some("p50") => stats.p50,
                Some("p90") => stats.p90,
                Some("p95") => stats.p95,
                Some("p99") => stats.p99,
                Some(_) | None => measured.value,
            };
            if reported != measured.value {
                let (metric, value) = (&measured.metric, measured.value);
                return Some(format!(
                    "{metric} of {} decided at {value:?} and is reported as {reported:?}",
                    probe.phase
                ));
            }
        }
    }
    let answer = slo.answer?;
    let shown = slo.probes.iter().any(|probe| {
        let within =
            slo.objectives.iter().zip(&probe.objectives).all(|(objective, measured)| {
                measured.high.is_some_and(|high| high <= objective.limit)
            });
        probe.value == answer
            && probe.outcome == Some(Outcome::Held)
            && probe.verdict != Verdict::Contaminated
            && probe.objectives.len() == slo.objectives.len()
            && within
    });
    (!shown).then(|| format!("the search answers {answer}, which no probe shows"))
}

fn has_deltas(phase: &PhaseResult) -> bool {
    phase.server_metrics.iter().any(|metric| metric.delta.known().is_some())
}

/// What is wrong with a line of the reconciliation: a match whose numbers differ
/// or that stands where no endpoint was read and settled, a mismatch whose
/// numbers agree, something not known without a reason.
fn ledgers(result: &RunResult, phase: &PhaseResult, line: &Reconciliation) -> Option<String> {
    let said = || format!("phase '{}' has {line:?}", phase.name);
    // Sums of tokens are added up in floating point.
    const WHOLE: f64 = 1e-3;
    let within = line.client.zip(line.server).map(|(least, server)| {
        let most = match &line.client_max {
            Maybe::Absent => Some(least),
            Maybe::Unknown => None,
            Maybe::Known(most) => Some(*most),
        };
        server >= least - WHOLE && most.is_none_or(|most| server <= most + WHOLE)
    });
    let right = match line.status {
        ReconciliationStatus::Match => within == Some(true),
        ReconciliationStatus::Mismatch => within == Some(false),
        ReconciliationStatus::Unknown => true,
    };
    if !right {
        return Some(format!("{}, whose numbers say otherwise", said()));
    }
    if line.status != ReconciliationStatus::Match {
        return line.reason.is_none().then(|| format!("{}, without a reason", said()));
    }
    let first = line.phases.first().unwrap_or(&phase.name);
    let phases = |name: &String| result.phases.iter().find(|p| p.name == *name);
    let ends: Vec<_> = if line.phases.is_empty() {
        vec![(phases(first), BaselineKind::Start), (phases(first), BaselineKind::End)]
    } else {
        vec![(phases(first), BaselineKind::Start)]
    };
    for (phase, kind) in ends {
        let mut of = result.boundaries.iter();
        let boundary = of.find(|b| Some(b.phase_id) == phase.map(|p| p.phase_id) && b.kind == kind);
        let read = boundary.is_some_and(|b| {
            b.collectors.iter().any(|c| {
                // A reading in time whose acknowledgement was lost counts, also where its
                // collector was taken out for its silence, or where another life of it
                // answered that it could not read: then it has deltas all the same.
                let read = match c.status {
                    BoundaryStatus::Captured
                    | BoundaryStatus::Missing
                    | BoundaryStatus::Late
                    | BoundaryStatus::Evicted => true,
                    BoundaryStatus::Failed => phase.is_some_and(has_deltas),
                };
                read && c.service_id.as_str().starts_with("server_metrics")
            })
        });
        if !read {
            return Some(format!("{}, though no endpoint was read at its {kind}", said()));
        }
    }
    None
}

fn end(phase: &PhaseResult) -> Tick {
    phase.end_ns.or(phase.start_ns).unwrap_or(Tick::ZERO)
}

fn last(result: &RunResult) -> Tick {
    result.phases.iter().map(end).max().unwrap_or(Tick::ZERO)
}

/// Why the run is not `completed`, if it says that it is.
fn outcome(result: &RunResult, controller: &ControllerReport) -> Option<String> {
    if result.outcome != RunOutcome::Completed {
        return None;
    }
    let evicted = controller.evictions.iter().find(|e| !e.excused);
    let evicted = evicted.map(|e| format!("{} was evicted: {}", e.service, e.reason));
    let pending = controller.domains.values().flat_map(|d| &d.pending).next();
    let pending = pending.map(|service| format!("{service} owes its result"));
    let why = evicted.or(pending)?;
    Some(format!("the run is called completed, and {why}"))
}

/// The best that a phase can be called, by what is known of its boundaries,
/// windows and counters, and why.
fn evidence(
    result: &RunResult,
    controller: &ControllerReport,
    phase: &PhaseResult,
) -> (Verdict, String) {
    let mut worst = (Verdict::Clean, String::new());
    let mut found = |verdict: Verdict, why: String| {
        if verdict > worst.0 {
            worst = (verdict, why);
        }
    };
    if phase.start_ns.is_none() {
        found(Verdict::Incomplete, "it was not started".to_owned());
        return worst;
    }
    for metric in phase.server_metrics.iter().filter(|m| m.reset) {
        found(Verdict::Contaminated, format!("{} was set back", metric.name));
    }
    for line in &phase.reconciliation {
        if line.status == ReconciliationStatus::Mismatch {
            let why = format!("{} differs from the client's count", line.server_metric);
            found(Verdict::Contaminated, why);
        }
    }
    // Without collectors there is no evidence to be worse than.
    if controller.boundaries.iter().all(|b| b.collectors.is_empty()) {
        return worst;
    }
    let own = |kind: BaselineKind| {
        let mut all = controller.boundaries.iter();
        all.find(|b| b.phase == phase.phase_id && b.kind == kind)
    };
    let both = [BaselineKind::Start, BaselineKind::End].map(|kind| (kind, own(kind)));
    let asked: BTreeSet<&ServiceId> = both
        .iter()
        .filter_map(|(_, b)| *b)
        .flat_map(|b| &b.collectors)
        .map(|c| &c.service)
        .collect();
    for (kind, boundary) in both {
        let Some(boundary) = boundary else {
            found(Verdict::Incomplete, format!("the controller has no {kind} boundary of it"));
            continue;
        };
        if boundary.in_flight > 0 {
            let why = format!("{} requests were in flight at its {kind}", boundary.in_flight);
            found(Verdict::Overlapped, why);
        }
        for service in &asked {
            let (verdict, how) = at_best(boundary, service);
            found(verdict, format!("{service} {how} at its {kind}"));
        }
    }
    for boundary in result.boundaries.iter().filter(|b| b.phase_id == phase.phase_id) {
        match boundary.released_by {
            ReleasedBy::Timeout => {
                found(Verdict::Incomplete, format!("its {} gate timed out", boundary.kind));
            }
            ReleasedBy::AllAcked
            | ReleasedBy::NoCollectors
            | ReleasedBy::Disabled
            | ReleasedBy::Cancelled => {}
        }
    }
    for window in result.windows.iter().filter(|w| w.phases.contains(&phase.name)) {
        if window.phases.len() > 1 {
            found(Verdict::Overlapped, format!("it shares a window: {:?}", window.phases));
        }
    }
    worst
}

fn at_best(boundary: &BoundaryOutcome, service: &ServiceId) -> (Verdict, &'static str) {
    let collector = boundary.collectors.iter().find(|c| c.service == *service);
    match collector.map(|c| &c.status) {
        Some(CollectorStatus::Captured { reading }) if reading.settled == Some(false) => {
            (Verdict::Unsettled, "was still moving")
        }
        Some(CollectorStatus::Captured { .. }) => (Verdict::Clean, "was read"),
        Some(CollectorStatus::Failed { .. }) => (Verdict::Incomplete, "failed"),
        Some(CollectorStatus::Pending | CollectorStatus::Missing) => {
            (Verdict::Incomplete, "did not answer")
        }
        Some(CollectorStatus::Late { .. }) => (Verdict::Incomplete, "answered too late"),
        Some(CollectorStatus::Evicted { .. }) => (Verdict::Incomplete, "was evicted"),
        None => (Verdict::Incomplete, "was not asked"),
    }
}

#[cfg(test)]
#[path = "result_tests.rs"]
pub(super) mod tests;
