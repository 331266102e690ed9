use std::collections::BTreeMap;

use super::*;
use crate::invariants::testing::ms;
use phasegate_core::account::result::{
    BoundaryCollector, BoundaryResult, ClientResult, Delta, RequestCounts, SCHEMA_VERSION,
    ServerMetric, Tool, Window,
};
use phasegate_core::controller::report::{DomainReport, Eviction};
use phasegate_core::engines::Unit;
use phasegate_core::id::{Domain, PhaseId};
use phasegate_core::message::BaselineKind::{End, Start};
use phasegate_core::message::{CollectorOutcome, DomainSummary, ReadingMark};
use phasegate_core::plan::PhaseKind;
use phasegate_core::reading::FamilyType;
use phasegate_core::seed::Seed;

fn phase_id() -> PhaseId {
    PhaseId::derive(&Seed::root(7), 0, "steady")
}

fn gpu() -> ServiceId {
    ServiceId::new("gpu_telemetry/nvml")
}

fn captured(settled: Option<bool>) -> CollectorStatus {
    let (start, end) = (ms(1), ms(2));
    let reading = ReadingMark { start, end, readings: 1, settled, unsettled: vec![] };
    CollectorStatus::Captured { reading }
}

/// A clean run of one phase with one collector.
pub(in crate::invariants) fn run() -> (RunResult, ControllerReport) {
    let phase = PhaseResult {
        phase_id: phase_id(),
        name: "steady".to_owned(),
        kind: PhaseKind::Profiling,
        index: 0,
        seamless: false,
        start_ns: Some(ms(10)),
        sending_complete_ns: Some(ms(90)),
        end_ns: Some(ms(100)),
        requests: RequestCounts { sent: 3, completed: 2, errors: 1, cancelled: 0 },
        metrics: BTreeMap::new(),
        errors: BTreeMap::new(),
        requests_by_url: BTreeMap::new(),
        token_check: None,
        server_metrics: vec![],
        gpus: vec![],
        efficiency: None,
        reconciliation: vec![],
        verdict: Verdict::Clean,
        notes: vec![],
    };
    let outcome = |kind| BoundaryOutcome {
        phase: phase_id(),
        kind,
        requested: ms(1),
        closed: ms(9),
        released_by: ReleasedBy::AllAcked,
        in_flight: 0,
        collectors: vec![CollectorOutcome {
            service: gpu(),
            status: captured(Some(true)),
            attempts: 1,
        }],
    };
    let mut report = ControllerReport {
        boundaries: vec![outcome(Start), outcome(End)],
        ..ControllerReport::default()
    };
    let handed_in = DomainSummary::Readings { readings: 2, failed: 0 };
    let results = BTreeMap::from([(gpu(), handed_in)]);
    report.domains.insert(Domain::telemetry(), DomainReport { results, ..Default::default() });
    let boundary = |kind| BoundaryResult {
        phase_id: phase_id(),
        kind,
        requested_ns: ms(1),
        closed_ns: ms(9),
        released_by: ReleasedBy::AllAcked,
        settled: Some(true),
        in_flight: 0,
        skew_ns: None,
        collectors: vec![],
    };
    let result = RunResult {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "phasegate".to_owned(), version: "0".to_owned() },
        run_id: String::new(),
        seed: 7,
        outcome: RunOutcome::Completed,
        reasons: vec![],
        notes: vec![],
        started_at: String::new(),
        finished_at: String::new(),
        config: serde_json::Value::Null,
        phases: vec![phase],
        sweep: None,
        slo: None,
        idle_baseline: None,
        boundaries: vec![boundary(Start), boundary(End)],
        windows: vec![],
        results_joined: BTreeMap::from([("telemetry".to_owned(), true)]),
        client: ClientResult::default(),
    };
    (result, report)
}

/// What is broken after a change, with the phase's verdict.
fn broken(verdict: Verdict, change: impl Fn(&mut RunResult, &mut ControllerReport)) -> Vec<String> {
    let (mut result, mut report) = run();
    result.phases[0].verdict = verdict;
    result.phases[0].notes.push("a note".to_owned());
    change(&mut result, &mut report);
    check_result(&result, &report).iter().map(ToString::to_string).collect()
}

/// The change needs at least this verdict, and the one better is a violation.
fn needs(worst: Verdict, better: Verdict, change: impl Fn(&mut RunResult, &mut ControllerReport)) {
    assert_eq!(broken(worst, &change), [""; 0]);
    let seen = broken(better, &change);
    assert!(seen.len() == 1 && seen[0].starts_with("G13 violated"), "{seen:?}");
}

#[test]
fn a_clean_run_is_good() {
    assert_eq!(broken(Verdict::Clean, |_, _| {}), [""; 0]);
}

#[test]
fn a_reading_that_is_lost_late_or_failed_is_at_best_incomplete() {
    for status in [
        CollectorStatus::Missing,
        CollectorStatus::Late { reading: None, error: None, at: ms(50) },
        CollectorStatus::Evicted { reason: "silent".to_owned() },
    ] {
        needs(Verdict::Incomplete, Verdict::Unsettled, |_, report| {
            report.boundaries[1].collectors[0].status = status.clone();
        });
    }
    needs(Verdict::Incomplete, Verdict::Clean, |_, r| r.boundaries[1].collectors.clear());
    needs(Verdict::Incomplete, Verdict::Clean, |_, r| drop(r.boundaries.pop()));
    needs(Verdict::Incomplete, Verdict::Clean, |result, _| {
        result.boundaries[0].released_by = ReleasedBy::Timeout;
    });
    needs(Verdict::Incomplete, Verdict::Clean, |result, _| result.phases[0].start_ns = None);
}

#[test]
fn what_was_moving_shared_or_in_flight_is_not_clean() {
    needs(Verdict::Unsettled, Verdict::Overlapped, |_, report| {
        report.boundaries[0].collectors[0].status = captured(Some(false));
    });
    needs(Verdict::Overlapped, Verdict::Clean, |_, report| report.boundaries[0].in_flight = 2);
    needs(Verdict::Overlapped, Verdict::Clean, |result, _| {
        let phases = vec!["steady".to_owned(), "other".to_owned()];
        result.windows.push(Window {
            from_ns: ms(1),
            to_ns: ms(2),
            phases,
            server_metrics: vec![],
        });
    });
}

#[test]
fn a_match_needs_numbers_that_agree_and_an_endpoint_that_was_read() {
    let line = |client: f64, most: Maybe<f64>, server: f64, status| Reconciliation {
        server_metric: "vllm:request_success".to_owned(),
        unit: Unit::Requests,
        client: Some(client),
        client_max: most,
        server: Some(server),
        status,
        reason: (status != ReconciliationStatus::Match).then(|| "because".to_owned()),
        phases: vec![],
    };
    let with_deltas = |deltas: &[ServerMetric], line: Reconciliation, status: BoundaryStatus| {
        let verdict = match line.status {
            ReconciliationStatus::Mismatch => Verdict::Contaminated,
            ReconciliationStatus::Match | ReconciliationStatus::Unknown => Verdict::Clean,
        };
        broken(verdict, |result, _| {
            result.phases[0].reconciliation.push(line.clone());
            result.phases[0].server_metrics.extend_from_slice(deltas);
            for boundary in &mut result.boundaries {
                boundary.collectors.push(BoundaryCollector {
                    service_id: ServiceId::new("server_metrics/a"),
                    status,
                    error: None,
                    attempts: 1,
                    reading_start_ns: None,
                    reading_end_ns: None,
                });
            }
        })
    };
    let with = |line, status| with_deltas(&[], line, status);
    use BoundaryStatus::{Captured, Evicted, Failed};
    use ReconciliationStatus::{Match, Mismatch, Unknown};
    assert_eq!(with(line(5.0, Maybe::Absent, 5.0, Match), Captured), [""; 0]);
    // Its reading came in time, and its acknowledgement was lost.
    assert_eq!(with(line(5.0, Maybe::Absent, 5.0, Match), Evicted), [""; 0]);
    // The same, and another life of it could not read.
    let delta = ServerMetric {
        endpoint: "a".to_owned(),
        name: "vllm:request_success".to_owned(),
        kind: FamilyType::Counter,
        labels: Default::default(),
        delta: Maybe::Known(Delta::Counter {
            total: 5.0,
            rate_per_s: None,
            rate_error_per_s: None,
        }),
        stats: Maybe::Absent,
        own: None,
        shared: None,
        reason: None,
        reset: false,
    };
    assert_eq!(with_deltas(&[delta], line(5.0, Maybe::Absent, 5.0, Match), Failed), [""; 0]);
    assert_eq!(with(line(5.0, Maybe::Known(7.0), 6.0, Match), Captured), [""; 0]);
    assert_eq!(with(line(5.0, Maybe::Absent, 6.0, Mismatch), Captured), [""; 0]);
    assert_eq!(with(line(5.0, Maybe::Unknown, 9.0, Unknown), Failed), [""; 0]);
    for wrong in [
        with(line(5.0, Maybe::Absent, 5.0, Match), Failed),
        with(line(5.0, Maybe::Absent, 6.0, Match), Captured),
        with(line(5.0, Maybe::Known(7.0), 6.0, Mismatch), Captured),
        with(Reconciliation { reason: None, ..line(5.0, Maybe::Absent, 6.0, Unknown) }, Captured),
    ] {
        assert!(wrong.len() == 1 && wrong[0].starts_with("G13 violated"), "{wrong:?}");
    }
}

#[test]
fn without_collectors_there_is_no_evidence_to_be_worse_than() {
    let none = |_: &mut RunResult, report: &mut ControllerReport| report.boundaries.clear();
    assert_eq!(broken(Verdict::Clean, none), [""; 0]);
}

#[test]
fn a_run_with_an_eviction_is_not_completed_unless_it_was_excused() {
    for excused in [true, false] {
        let seen = broken(Verdict::Clean, |_, report| {
            let reason = "silent".to_owned();
            report.evictions.push(Eviction { service: gpu(), reason, excused, at: ms(5) });
        });
        assert_eq!(seen.is_empty(), excused, "{seen:?}");
    }
}

#[test]
fn counts_that_do_not_add_up_and_joins_that_are_not_known_are_violations() {
    let seen = broken(Verdict::Clean, |result, _| result.phases[0].requests.sent = 4);
    assert!(seen[0].starts_with("G7 violated at 0.1s"), "{seen:?}");
    let seen = broken(Verdict::Clean, |result, _| result.results_joined.clear());
    assert!(seen[0].starts_with("G10 violated"), "{seen:?}");
}
