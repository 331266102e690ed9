//! Tier 2: the real nodes on a simulated network, scenario by scenario, a swarm
//! of seeds, and the same seed in two processes.
#![cfg(feature = "turmoil")]

use std::process::Command;
use std::time::Duration;

use phasegate_core::account::result::{
    BoundaryCollector, BoundaryResult, BoundaryStatus, RunOutcome, RunResult, Verdict,
};
use phasegate_core::message::{BaselineKind, ReleasedBy, ShutdownReason};
use phasegate_sim::turmoil::verdict::{Evidence, judge};
use phasegate_sim::turmoil::{Outcome, Scenario, named, run, swarm};

/// Runs a named scenario; whatever the rules find wrong fails the test.
fn clean(name: &str) -> (Scenario, Outcome) {
    let scenario = named::named(name, 1).expect("a name of the list");
    let outcome = run(&scenario, false);
    assert!(outcome.failures.is_empty(), "{name}: {:#?}", outcome.failures);
    assert!(outcome.steps > 0 && outcome.elapsed < scenario.bound());
    (scenario, outcome)
}

fn result(name: &str) -> RunResult {
    let (_, outcome) = clean(name);
    assert!(outcome.replayed > 0);
    outcome.result.expect("a result")
}

fn boundary(result: &RunResult, phase: usize, kind: BaselineKind) -> &BoundaryResult {
    let id = result.phases[phase].phase_id;
    let mut found = result.boundaries.iter().filter(|b| b.phase_id == id && b.kind == kind);
    found.next().expect("the boundary")
}

fn collector(boundary: &BoundaryResult, place: usize) -> &BoundaryCollector {
    let place = format!("/{place}");
    let mut found = boundary.collectors.iter().filter(|c| c.service_id.as_str().ends_with(&place));
    found.next().expect("the collector")
}

fn verdicts(result: &RunResult) -> Vec<Verdict> {
    result.phases.iter().map(|phase| phase.verdict).collect()
}

fn noted(result: &RunResult, phase: usize, what: &str) {
    let notes = &result.phases[phase].notes;
    assert!(notes.iter().any(|note| note.contains(what)), "{what:?} is not in {notes:#?}");
}

#[test]
fn a_calm_run_is_completed_and_clean() {
    let result = result("calm");
    assert_eq!((result.outcome, result.reasons.len()), (RunOutcome::Completed, 0));
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
    assert!(result.phases[1].requests.completed > 50);
    assert!(result.boundaries.iter().all(|b| b.released_by == ReleasedBy::AllAcked));
}

/// The calm run with a server that publishes so late, and what its END boundaries
/// took to settle.
fn late(publishing: Duration) -> (RunResult, Vec<u32>) {
    let mut scenario = named::named("calm", 1).expect("a name of the list");
    scenario.server.publish_delay = publishing;
    let outcome = run(&scenario, false);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    let controller = outcome.controller.expect("the controller's report");
    let ends = controller.boundaries.iter().filter(|b| b.kind == BaselineKind::End);
    let readings = ends.flat_map(|b| &b.collectors).filter_map(|c| c.status.reading());
    let server = readings.filter(|reading| reading.settled.is_some());
    (outcome.result.expect("a result"), server.map(|reading| reading.readings).collect())
}

#[test]
fn a_server_that_publishes_late_is_waited_for_and_one_that_does_not_costs_one_reading() {
    let (result, readings) = late(Duration::ZERO);
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
    assert_eq!(readings, [1, 1]);
    // Two readings 20 ms apart are equal long before.
    let (result, readings) = late(Duration::from_millis(700));
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
    assert!(readings.iter().all(|readings| *readings > 2), "{readings:?}");
}

#[test]
fn a_server_that_publishes_too_late_is_unsettled_and_what_it_lacks_is_named() {
    let (result, _) = late(Duration::from_millis(1500));
    assert_eq!(verdicts(&result)[0], Verdict::Unsettled);
    noted(&result, 0, "vllm:request_success: expected 6, seen ");
}

#[test]
fn a_lost_acknowledgement_is_asked_for_again_and_costs_nothing_but_time() {
    let result = result("lost-acks");
    let start = boundary(&result, 1, BaselineKind::Start);
    assert_eq!(start.released_by, ReleasedBy::AllAcked);
    let lost = collector(start, 0);
    assert_eq!(lost.status, BoundaryStatus::Captured);
    assert!(lost.attempts > 1, "{lost:?}");
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
}

#[test]
fn a_collector_that_cannot_be_reached_holds_a_gate_no_longer_than_its_timeout() {
    let result = result("gate-timeout");
    let start = boundary(&result, 1, BaselineKind::Start);
    assert_eq!(start.released_by, ReleasedBy::Timeout);
    assert_ne!(collector(start, 1).status, BoundaryStatus::Captured);
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Incomplete]);
    noted(&result, 1, "telemetry/1 has no reading at the START boundary");
    noted(&result, 1, "The START gate was released by its timeout");
}

#[test]
fn a_collector_that_hears_and_is_not_heard_is_late_and_named() {
    let result = result("gate-timeout-oneway");
    let end = boundary(&result, 1, BaselineKind::End);
    assert_eq!(end.released_by, ReleasedBy::Timeout);
    assert_eq!(collector(end, 1).status, BoundaryStatus::Late);
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Incomplete]);
    noted(&result, 1, "telemetry/1 has no reading at the END boundary");
}

#[test]
fn a_seamless_phase_shares_a_window_and_says_so() {
    let result = result("seamless-overlap");
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Overlapped, Verdict::Overlapped]);
    assert!(boundary(&result, 2, BaselineKind::Start).in_flight > 0);
    let both = ["steady", "stress"];
    assert!(result.windows.iter().any(|window| window.phases == both), "{:?}", result.windows);
}

#[test]
fn an_exporter_that_hangs_fails_its_boundaries_and_no_gate() {
    let result = result("hanging-exporter");
    assert_eq!(result.outcome, RunOutcome::Completed);
    for phase in 0..2 {
        assert_eq!(result.phases[phase].verdict, Verdict::Incomplete);
        noted(&result, phase, "telemetry/1 has no reading");
        for kind in [BaselineKind::Start, BaselineKind::End] {
            let boundary = boundary(&result, phase, kind);
            assert_eq!(boundary.released_by, ReleasedBy::AllAcked);
            assert_eq!(collector(boundary, 1).status, BoundaryStatus::Failed);
            assert_eq!(collector(boundary, 0).status, BoundaryStatus::Captured);
        }
    }
}

#[test]
fn a_collector_that_comes_back_inside_a_gate_answers_it() {
    let result = result("collector-crash");
    let start = boundary(&result, 1, BaselineKind::Start);
    let back = collector(start, 0);
    assert_eq!((back.status, start.released_by), (BoundaryStatus::Captured, ReleasedBy::AllAcked));
    assert!(back.attempts > 1, "{back:?}");
}

#[test]
fn a_collector_that_stays_away_is_evicted_and_named() {
    let result = result("collector-lost");
    assert_eq!(result.outcome, RunOutcome::Degraded);
    assert!(result.reasons.iter().any(|why| why.contains("server_metrics/0 was taken out")));
    assert_eq!(result.results_joined.get("server_metrics"), Some(&false));
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Incomplete]);
}

#[test]
fn what_was_kept_back_and_then_delivered_changes_nothing() {
    let result = result("held");
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
    let start = boundary(&result, 1, BaselineKind::Start);
    assert_eq!(start.released_by, ReleasedBy::AllAcked);
}

#[test]
fn slow_links_make_a_slow_and_clean_run() {
    let result = result("slow-links");
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Clean]);
    let ttft = &result.phases[1].metrics["time_to_first_token"];
    // A segment there and one back at least, of a quarter second each.
    assert!(ttft.min.is_some_and(|ms| ms >= 500.0), "{ttft:?}");
}

#[test]
fn a_server_that_comes_back_at_zero_contaminates_its_phase() {
    let result = result("server-crash");
    assert_eq!(verdicts(&result), [Verdict::Clean, Verdict::Contaminated]);
    assert!(result.phases[1].requests.errors > 0);
    noted(&result, 1, "set back inside the phase");
}

#[test]
fn an_interrupted_run_keeps_what_it_measured() {
    let result = result("interrupted");
    assert_eq!(result.outcome, RunOutcome::Cancelled);
    assert!(result.phases[1].requests.completed > 0);
    assert_eq!(boundary(&result, 1, BaselineKind::End).released_by, ReleasedBy::AllAcked);
}

#[test]
fn without_its_bench_the_run_is_ended_by_the_controller() {
    let (_, outcome) = clean("bench-lost");
    assert!(outcome.result.is_none());
    let controller = outcome.controller.expect("the controller's report");
    assert_eq!(controller.shutdown, Some(ShutdownReason::ConductorLost));
}

#[test]
fn a_controller_that_forgot_everything_makes_no_phase_clean_and_ends_the_run() {
    let (_, outcome) = clean("controller-crash");
    let result = outcome.result.expect("a result");
    assert_ne!(result.phases[1].verdict, Verdict::Clean);
    assert_eq!(outcome.controller.and_then(|c| c.shutdown), Some(ShutdownReason::AllJoined));
}

#[test]
fn every_name_has_its_scenario_and_its_description() {
    for (name, what) in named::NAMES {
        assert!(named::named(name, 0).is_some() && !what.is_empty(), "{name}");
    }
    assert!(named::named("no such name", 0).is_none());
}

/// Seeds of the ordinary test run.
const SWARM: u64 = 25;

#[test]
fn a_swarm_of_unlucky_runs_breaks_no_rule_and_always_ends() {
    for seed in 0..SWARM {
        let outcome = run(&swarm::swarm(seed).expect("a plan"), false);
        let failures = outcome.failures;
        assert!(failures.is_empty(), "cargo sim2 -- --seed {seed} --trace\n{failures:#?}");
    }
}

/// Seeds that found something; what it was is in docs/testing.md.
const FAILED: &[u64] =
    &[7, 8, 112, 146, 4126, 7896, 8351, 5098, 9335, 9442, 1425, 1726, 5503, 6734];

#[test]
fn seeds_that_once_failed_stay_clean() {
    for seed in FAILED {
        let outcome = run(&swarm::swarm(*seed).expect("a plan"), false);
        assert!(outcome.failures.is_empty(), "seed {seed}: {:#?}", outcome.failures);
    }
}

#[test]
fn the_same_seed_gives_the_same_steps_in_two_processes() {
    let trace = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_sim2")).args(args).arg("--trace").output();
        let out = out.expect("sim2 runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8(out.stdout).expect("text")
    };
    for args in [["--seed", "3"], ["--seed", "11"], ["--scenario", "collector-crash"]] {
        let (one, other) = (trace(&args), trace(&args));
        assert!(one.lines().count() > 100, "{args:?} has hardly any steps");
        if one != other {
            let differs = one.lines().zip(other.lines()).find(|(a, b)| a != b);
            panic!("{args:?} differs first in {differs:#?}");
        }
    }
    assert_ne!(trace(&["--seed", "3"]), trace(&["--seed", "4"]));
}

#[test]
fn a_panic_in_a_task_fails_the_run() {
    let died = std::panic::catch_unwind(|| {
        let mut sim = turmoil::Builder::new().build();
        sim.client("one", async {
            drop(tokio::spawn(async { panic!("on purpose") }));
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        sim.run().is_ok()
    });
    assert!(!matches!(died, Ok(true)), "the panic was swallowed");
}

#[test]
fn a_verdict_that_is_better_than_its_evidence_is_caught() {
    let (scenario, outcome) = clean("gate-timeout");
    let mut result = outcome.result.expect("a result");
    let judged = |result: &RunResult| {
        judge(&Evidence {
            scenario: &scenario,
            controller: outcome.controller.as_ref(),
            result: Some(result),
            truth: &[],
            controller_lost: false,
        })
    };
    let before = judged(&result).len();
    result.phases[1].verdict = Verdict::Clean;
    let wrong = judged(&result);
    assert!(wrong.len() > before && wrong.iter().any(|w| w.contains("called clean")), "{wrong:?}");
    result.phases[0].requests.completed += 1;
    assert!(judged(&result).iter().any(|w| w.contains("do not add up")));
}
