//! How a run ended, and why.

use super::run::{Run, ms, vllm};
use crate::account::outcome::killed;
use crate::account::result::RunOutcome;
use crate::conductor::report::PhaseFailure;
use crate::controller::report::Eviction;
use crate::id::{Domain, ServiceId};
use crate::message::{GateRefusal, ProfileFinish, ShutdownReason};

fn ends(run: &Run, outcome: RunOutcome, reasons: &[&str]) {
    let result = run.result();
    assert_eq!((result.outcome, result.reasons.as_slice()), (outcome, strings(reasons).as_slice()));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn a_run_as_planned_is_completed_and_has_no_reasons() {
    ends(&Run::two_phases(), RunOutcome::Completed, &[]);
}

#[test]
fn an_eviction_degrades_the_run_unless_it_is_excused() {
    let mut run = Run::two_phases();
    let (service, reason) = (vllm(), "silent for 5 s".to_owned());
    run.controller.evictions.push(Eviction { service, reason, excused: true, at: ms(2000) });
    ends(&run, RunOutcome::Completed, &[]);
    run.controller.evictions[0].excused = false;
    let reason = "server_metrics/127.0.0.1:8000 was taken out at 2.000 s: silent for 5 s.";
    ends(&run, RunOutcome::Degraded, &[reason]);
}

#[test]
fn whatever_is_missing_degrades_the_run() {
    let mut run = Run::two_phases();
    run.ledger.finish = Some(ProfileFinish::Fallback);
    run.ledger.missing = 2;
    let fallback =
        "The client's books were closed by the credits-complete fallback, with 2 records missing.";
    ends(&run, RunOutcome::Degraded, &[fallback]);

    let mut run = Run::two_phases();
    run.ledger.finish = None;
    ends(&run, RunOutcome::Degraded, &["The client's books were not closed."]);

    let mut run = Run::two_phases();
    run.controller.not_ready.push(ServiceId::new("gpu_telemetry/dcgm"));
    ends(&run, RunOutcome::Degraded, &["gpu_telemetry/dcgm was not ready when the run began."]);

    let mut run = Run::two_phases();
    let domain = run.controller.domains.get_mut(&Domain::telemetry()).unwrap();
    domain.pending.push(ServiceId::new("gpu_telemetry/nvml"));
    ends(&run, RunOutcome::Degraded, &["gpu_telemetry/nvml still owes its telemetry result."]);
    assert_eq!(run.result().results_joined.get("telemetry"), Some(&false));

    let mut run = Run::two_phases();
    run.facts.reasons.push("the journal could not be written: disk full".to_owned());
    ends(&run, RunOutcome::Degraded, &["the journal could not be written: disk full."]);
}

#[test]
fn a_written_off_request_is_said_once_and_is_no_difference_in_the_books() {
    let mut run = Run::two_phases();
    let report = &mut run.conductor.phases[1];
    (report.counts.completed, report.counts.cancelled, report.written_off) = (4, 1, 1);
    let books = &mut run.ledger.phases[1].counts;
    (books.sent, books.completed) = (4, 4);
    let reason = "1 requests of phase 'steady' never came back and were written off.";
    ends(&run, RunOutcome::Degraded, &[reason]);
    assert_eq!(run.phase(1).requests.cancelled, 1);
}

#[test]
fn books_that_differ_from_what_was_sent_are_named_with_the_numbers() {
    let mut run = Run::two_phases();
    let books = &mut run.ledger.phases[1].counts;
    (books.sent, books.completed) = (4, 4);
    let difference = "the client's books differ from what was sent: 5 were sent, 4 of them \
                      recorded; 5 were completed, 4 of them recorded.";
    ends(&run, RunOutcome::Degraded, &[&format!("Phase 'steady': {difference}")]);
    assert!(run.phase(1).notes.iter().any(|n| n.ends_with(&difference[1..])));
    assert_eq!(run.phase(1).requests.sent, 5, "the conductor's count is reported");
}

#[test]
fn who_was_taken_out_is_said_once_however_many_lists_have_it() {
    let mut run = Run::two_phases();
    run.controller.not_ready.push(vllm());
    let domain = run.controller.domains.get_mut(&Domain::server_metrics()).unwrap();
    domain.evicted.insert(vllm(), "silent for 5 s".to_owned());
    let lists = [
        "server_metrics/127.0.0.1:8000 was not ready when the run began.",
        "server_metrics/127.0.0.1:8000 did not hand in its server_metrics result: silent for 5 s.",
    ];
    ends(&run, RunOutcome::Degraded, &lists);
    let (service, reason) = (vllm(), "silent for 5 s".to_owned());
    run.controller.evictions.push(Eviction { service, reason, excused: false, at: ms(2000) });
    let once = "server_metrics/127.0.0.1:8000 was taken out at 2.000 s: silent for 5 s.";
    ends(&run, RunOutcome::Degraded, &[once]);
}

#[test]
fn an_idle_phase_alone_is_no_run() {
    let mut run = Run::new(&[("idle", false, 100, 1000, 0), ("steady", false, 1100, 2000, 5)]);
    assert_eq!(run.result().outcome, RunOutcome::Completed);
    run.conductor.phases[1].start = None;
    let result = run.result();
    assert_eq!(result.outcome, RunOutcome::Failed);
    assert!(result.reasons.iter().any(|r| r == "No phase was started."), "{:?}", result.reasons);
    run.conductor.phases[1].start = Some(ms(1100));
    run.conductor.phases[0].start = None;
    assert_eq!(run.result().outcome, RunOutcome::Completed, "the load ran");
}

#[test]
fn a_failed_phase_fails_the_run() {
    let mut run = Run::two_phases();
    run.conductor.phases[1].failure = Some(PhaseFailure::StartRefused(GateRefusal::ShuttingDown));
    let reason = "Phase 'steady' failed: its START gate was refused: the run is shutting down.";
    ends(&run, RunOutcome::Failed, &[reason]);
}

#[test]
fn a_lost_conductor_fails_the_run() {
    let mut run = Run::two_phases();
    run.controller.shutdown = Some(ShutdownReason::ConductorLost);
    let reason = "The conductor was lost, so nothing more could be measured.";
    ends(&run, RunOutcome::Failed, &[reason]);
}

#[test]
fn a_run_in_which_no_phase_ran_failed() {
    let mut run = Run::two_phases();
    run.conductor.phases.clear();
    run.ledger.phases.clear();
    ends(&run, RunOutcome::Failed, &["No phase was started."]);
}

#[test]
fn an_interrupted_run_is_cancelled_whatever_else_happened() {
    let mut run = Run::two_phases();
    run.facts.interrupted = true;
    ends(&run, RunOutcome::Cancelled, &["The run was interrupted."]);
    run.controller.shutdown = Some(ShutdownReason::ConductorLost);
    assert_eq!(run.result().outcome, RunOutcome::Cancelled);
    let mut run = Run::two_phases();
    run.conductor.cancelled = true;
    assert_eq!(run.result().outcome, RunOutcome::Cancelled);
}

#[test]
fn a_killed_run_is_failed_and_says_until_when_it_was_recorded() {
    let mut result = Run::two_phases().result();
    killed(&mut result, ms(1234));
    assert_eq!(result.outcome, RunOutcome::Failed);
    let said = "The run was killed at 1.234 s or a moment later: its journal ends there.";
    assert_eq!(result.reasons, [said]);

    let mut run = Run::two_phases();
    run.conductor.cancelled = true;
    let mut result = run.result();
    killed(&mut result, ms(1234));
    assert_eq!(result.outcome, RunOutcome::Cancelled, "it had been interrupted before");
    assert_eq!(result.reasons, [said, "The run was interrupted."]);
}

#[test]
fn what_was_in_flight_when_the_conductor_was_cut_off_is_written_off() {
    let mut run = Run::two_phases();
    run.conductor.phases[1].counts.sent += 3;
    let report = run.conductor.clone().cut_off();
    let (before, after) = (&run.conductor.phases[1], &report.phases[1]);
    assert_eq!(after.counts.in_flight(), 0);
    assert_eq!(after.counts.cancelled, before.counts.cancelled + 3);
    assert_eq!(after.written_off, before.written_off + 3);
    assert_eq!(report.phases[0], run.conductor.phases[0]);
}
