//! What must hold of a run that is over, and of its result.

use std::collections::BTreeSet;

use phasegate_core::account::result::{
    BoundaryStatus, Delta, PhaseResult, RunOutcome, RunResult, Verdict,
};
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::message::ReleasedBy;

use super::scenario::{Scenario, Source};
use crate::server::Tally;

/// What a run left behind.
pub struct Evidence<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// What the controller knows, if it lived to the end.
    pub controller: Option<&'a ControllerReport>,
    /// The result, if there is one.
    pub result: Option<&'a RunResult>,
    /// The ground truth of every life of the server.
    pub truth: &'a [Tally],
    /// The controller was lost at some time: it need not know how the run ended.
    pub controller_lost: bool,
}

/// What is wrong with it, in sentences.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let never = evidence.controller.is_some_and(|controller| controller.shutdown.is_none());
    if never && !evidence.controller_lost {
        wrong.push("the controller never ended the run".to_owned());
    }
    let Some(result) = evidence.result else { return wrong };
    for phase in &result.phases {
        let counts = phase.requests;
        if counts.sent != counts.completed + counts.errors + counts.cancelled {
            wrong.push(format!("phase {}: {counts:?} do not add up", phase.name));
        }
        if phase.verdict == Verdict::Clean {
            wrong.extend(clean(evidence, result, phase));
        }
    }
    wrong.extend(truth(evidence, result));
    if result.outcome == RunOutcome::Completed
        && let Some(controller) = evidence.controller
    {
        let lost = controller.evictions.iter().find(|eviction| !eviction.excused);
        if let Some(lost) = lost {
            wrong.push(format!("completed, though {} was taken out", lost.service));
        }
        for (domain, report) in &controller.domains {
            if !report.joined() {
                wrong.push(format!("completed, though {domain} was not joined"));
            }
        }
    }
    wrong
}

/// A verdict is never better than the evidence: what must be there where a phase
/// is called clean.
fn clean(evidence: &Evidence<'_>, result: &RunResult, phase: &PhaseResult) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = &phase.name;
    let mut said =
        |what: String| wrong.push(format!("phase {name} is called clean, though {what}"));
    let scenario = evidence.scenario;
    if phase.start_ns.is_some() && scenario.plan.gate().enabled && !scenario.collectors.is_empty() {
        let boundaries = result.boundaries.iter().filter(|b| b.phase_id == phase.phase_id);
        let mut kinds = BTreeSet::new();
        for boundary in boundaries {
            kinds.insert(boundary.kind);
            // A wait that was given up may have been answered all the same.
            let given_up =
                boundary.released_by == ReleasedBy::Cancelled && !boundary.collectors.is_empty();
            if boundary.released_by != ReleasedBy::AllAcked && !given_up {
                said(format!("its {} was released by {:?}", boundary.kind, boundary.released_by));
            }
            if boundary.in_flight > 0 {
                said(format!("{} were in flight at its {}", boundary.in_flight, boundary.kind));
            }
            for collector in &boundary.collectors {
                if collector.status != BoundaryStatus::Captured {
                    said(format!("{} is {:?}", collector.service_id, collector.status));
                }
            }
        }
        if kinds.len() != 2 {
            said(format!("it has only {kinds:?}"));
        }
    }
    if scenario.collectors.contains(&Source::Server)
        && let Some(counted) = counted(phase)
    {
        let sent = phase.requests.sent;
        let (completed, most) = (phase.requests.completed, most(result, phase));
        let settled = scenario.sees_all(Source::Server) && settled(evidence, phase);
        // An answer that was lost on its way, or given up, may be counted or not.
        // One that an earlier phase gave up is not in this one: its START was held
        // against the tally, too.
        let (least, most) = (completed, if settled { sent } else { most });
        let possible = |n: &f64| n + 0.5 >= least as f64 && n - 0.5 <= most as f64;
        if !counted.iter().any(possible) {
            let [counted, _] = counted;
            said(format!("the server counted {counted}, of {least} to {most} possible"));
        }
    }
    wrong
}

/// Whether the source that sees all requests was held against the client's tally at
/// both boundaries of the phase, as far as the controller knows.
fn settled(evidence: &Evidence<'_>, phase: &PhaseResult) -> bool {
    let boundaries = evidence.controller.into_iter().flat_map(|known| &known.boundaries);
    let server = Source::Server.domain();
    let of_server = boundaries
        .filter(|boundary| boundary.phase == phase.phase_id)
        .flat_map(|boundary| &boundary.collectors)
        .filter(|collector| collector.service.as_str().starts_with(server.as_str()));
    let settled: Vec<_> =
        of_server.map(|of| of.status.reading().and_then(|reading| reading.settled)).collect();
    settled == [Some(true), Some(true)]
}

/// The most that the server may have counted where it was not held against the tally:
/// what an earlier phase gave up may still be finished in this one. A server that
/// publishes late leads two equal readings astray; then the two ledgers differ, and the
/// phase is not clean.
fn most(result: &RunResult, phase: &PhaseResult) -> u64 {
    let phases = result.phases.iter().take_while(|other| other.index < phase.index);
    let given_up: u64 = phases.map(|p| p.requests.errors + p.requests.cancelled).sum();
    phase.requests.sent + given_up
}

/// The requests that the server says it finished within the phase, for whatever
/// reason: by the first endpoint that says so, and by all of them together. Collectors
/// may each meet another replica behind one address, or find it frozen.
fn counted(phase: &PhaseResult) -> Option<[f64; 2]> {
    let series = phase.server_metrics.iter().filter(|metric| metric.name == "vllm:request_success");
    let mut endpoints = std::collections::BTreeMap::<&str, f64>::new();
    for metric in series {
        if let Some(Delta::Counter { total, .. }) = metric.delta.known() {
            *endpoints.entry(&metric.endpoint).or_default() += total;
        }
    }
    Some([endpoints.values().next().copied()?, endpoints.into_values().sum()])
}

/// The client cannot have completed what the server never finished, and the
/// server cannot have received what the client never sent.
fn truth(evidence: &Evidence<'_>, result: &RunResult) -> Vec<String> {
    let completed: u64 = result.phases.iter().map(|phase| phase.requests.completed).sum();
    let sent: u64 = result.phases.iter().map(|phase| phase.requests.sent).sum();
    let finished: u64 = evidence.truth.iter().map(|tally| tally.finished).sum();
    let received: u64 = evidence.truth.iter().map(|tally| tally.received).sum();
    let mut wrong = Vec::new();
    if completed > finished {
        wrong.push(format!("{completed} requests completed, but the server finished {finished}"));
    }
    if received > sent {
        wrong.push(format!("{sent} requests were sent, but the server received {received}"));
    }
    wrong
}
