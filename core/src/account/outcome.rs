//! How the run ended, in words.

use super::assemble::{Evidence, RunFacts};
use super::boundary::{at, sentence};
use super::result::{RunOutcome, RunResult};
use crate::id::{PhaseId, ServiceId};
use crate::message::{ProfileFinish, ShutdownReason};
use crate::plan::PhaseKind;
use crate::time::Tick;

/// The outcome, and why it is not `completed`.
///
/// In this order: **cancelled** if the run was interrupted, whatever else
/// happened; **failed** if a phase failed, the conductor was lost, or no phase
/// ran at all; **degraded** if anything was evicted, missing, written off or
/// not ready; otherwise **completed**. The reasons hold all that was found, not
/// only what decided.
#[must_use]
pub fn outcome(evidence: &Evidence<'_>, facts: &RunFacts) -> (RunOutcome, Vec<String>) {
    let failures = failures(evidence);
    let mut losses = losses(evidence);
    losses.extend(facts.reasons.iter().map(sentence));
    let cancelled = evidence.conductor.cancelled || facts.interrupted;
    let mut reasons = Vec::new();
    if cancelled {
        reasons.push("The run was interrupted.".to_owned());
    }
    let idle = |phase: PhaseId| {
        let mut planned = evidence.plan.phases().iter();
        planned.any(|p| p.id == phase && p.kind == PhaseKind::Idle)
    };
    let ran = evidence.conductor.phases.iter().any(|p| p.start.is_some() && !idle(p.phase));
    let outcome = if cancelled {
        RunOutcome::Cancelled
    } else if !failures.is_empty() || !ran {
        RunOutcome::Failed
    } else if !losses.is_empty() {
        RunOutcome::Degraded
    } else {
        RunOutcome::Completed
    };
    reasons.extend(failures);
    if !ran {
        reasons.push("No phase was started.".to_owned());
    }
    reasons.extend(losses);
    (outcome, reasons)
}

/// Says of a result that was put together after the run's process had been
/// killed, `last` being the last
/// moment that was recorded, that it was. The run is then
/// `failed`, unless it had been interrupted before.
pub fn killed(result: &mut RunResult, last: Tick) {
    result.outcome = match result.outcome {
        RunOutcome::Cancelled => RunOutcome::Cancelled,
        RunOutcome::Completed | RunOutcome::Degraded | RunOutcome::Failed => RunOutcome::Failed,
    };
    let said =
        format!("The run was killed at {} or a moment later: its journal ends there.", at(last));
    result.reasons.insert(0, said);
}

/// What makes the run `failed`.
fn failures(evidence: &Evidence<'_>) -> Vec<String> {
    let mut failures = Vec::new();
    for report in &evidence.conductor.phases {
        if let Some(failure) = &report.failure {
            let name = phase_name(evidence, report.phase);
            failures.push(sentence(format!("Phase '{name}' failed: {failure}")));
        }
    }
    if evidence.controller.shutdown == Some(ShutdownReason::ConductorLost) {
        failures.push("The conductor was lost, so nothing more could be measured.".to_owned());
    }
    failures
}

/// What makes the run `degraded`.
fn losses(evidence: &Evidence<'_>) -> Vec<String> {
    let Evidence { controller, conductor, ledger, .. } = evidence;
    let mut losses = Vec::new();
    for e in controller.evictions.iter().filter(|e| !e.excused) {
        losses.push(sentence(format!("{} was taken out at {}: {}", e.service, at(e.at), e.reason)));
    }
    let named = |id: &ServiceId| controller.evictions.iter().any(|e| e.service == *id);
    for service in controller.not_ready.iter().filter(|s| !named(s)) {
        losses.push(format!("{service} was not ready when the run began."));
    }
    for (domain, report) in &controller.domains {
        for (service, why) in report.evicted.iter().filter(|(service, _)| !named(service)) {
            losses.push(sentence(format!("{service} did not hand in its {domain} result: {why}")));
        }
        for service in &report.pending {
            losses.push(format!("{service} still owes its {domain} result."));
        }
    }
    let finish = match ledger.finish {
        Some(ProfileFinish::Complete) => None,
        Some(ProfileFinish::Fallback) => {
            Some("The client's books were closed by the credits-complete fallback")
        }
        Some(ProfileFinish::Shutdown) => Some("The client's books were closed by the shutdown"),
        None => Some("The client's books were not closed"),
    };
    match (finish, ledger.missing) {
        (None, 0) => {}
        (Some(how), 0) => losses.push(format!("{how}.")),
        (Some(how), missing) => losses.push(format!("{how}, with {missing} records missing.")),
        (None, missing) => losses.push(format!("{missing} records are missing.")),
    }
    for report in &conductor.phases {
        let name = phase_name(evidence, report.phase);
        if report.written_off > 0 {
            losses.push(format!(
                "{} requests of phase '{name}' never came back and were written off.",
                report.written_off
            ));
        }
        if let Some(difference) = count_difference(evidence, report.phase) {
            losses.push(format!("Phase '{name}': {difference}"));
        }
    }
    losses
}

/// Says where the conductor's counts and the ledger's records differ by more
/// than the requests that were written off (those leave no record).
#[must_use]
pub fn count_difference(evidence: &Evidence<'_>, phase: PhaseId) -> Option<String> {
    let report = evidence.phase(phase)?;
    let (ours, books) =
        (report.counts, evidence.books(phase).map(|b| b.counts).unwrap_or_default());
    let pairs = [
        ("sent", ours.sent, books.sent, report.written_off),
        ("completed", ours.completed, books.completed, 0),
        ("failed", ours.errors, books.errors, 0),
        ("cancelled", ours.cancelled, books.cancelled, report.written_off),
    ];
    // A written-off request may still have a record, if it came back later.
    let differs = |(_, ours, books, may_lack): &&(&str, u64, u64, u64)| {
        books > ours || ours.saturating_sub(*books) > *may_lack
    };
    let differing: Vec<_> = pairs.iter().filter(differs).collect();
    let said = differing
        .iter()
        .map(|(what, ours, books, _)| format!("{ours} were {what}, {books} of them recorded"));
    let said: Vec<_> = said.collect();
    (!said.is_empty())
        .then(|| format!("the client's books differ from what was sent: {}.", said.join("; ")))
}

fn phase_name(evidence: &Evidence<'_>, phase: PhaseId) -> String {
    let planned = evidence.plan.phases().iter().find(|p| p.id == phase);
    planned.map_or_else(|| phase.to_string(), |p| p.name.clone())
}
