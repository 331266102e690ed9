use phasegate_core::account::result::{
    AvgMax, BoundaryCollector, ClientResult, Efficiency, GpuResult, IdleBaseline, IdleGpu,
    IdleSide, Reconciliation, RequestCounts, SCHEMA_VERSION, Tool,
};
use phasegate_core::id::PhaseId;
use phasegate_core::reading::PowerKind;
use phasegate_core::seed::Seed;
use phasegate_core::{ServiceId, Tick};

use super::*;

fn stats(unit: &str, count: u64, values: Option<[f64; 7]>) -> MetricStats {
    let at = |i: usize| values.map(|v| v[i]);
    MetricStats {
        unit: unit.to_owned(),
        count,
        avg: at(0),
        min: at(1),
        max: at(2),
        std: None,
        p50: at(3),
        p90: at(4),
        p95: at(5),
        p99: at(6),
        relative_error: None,
        resolvable: None,
    }
}

fn boundary(phase: PhaseId, kind: BaselineKind, statuses: &[BoundaryStatus]) -> BoundaryResult {
    let collector = |(i, status): (usize, &BoundaryStatus)| BoundaryCollector {
        service_id: ServiceId::new(["gpu_telemetry/nvml", "server_metrics/h:8000"][i]),
        status: *status,
        error: None,
        attempts: 1,
        reading_start_ns: None,
        reading_end_ns: None,
    };
    let all = statuses.iter().all(|s| *s == BoundaryStatus::Captured);
    BoundaryResult {
        phase_id: phase,
        kind,
        requested_ns: Tick::from_millis(10),
        closed_ns: Tick::from_millis(if all { 22 } else { 5010 }),
        released_by: if all { ReleasedBy::AllAcked } else { ReleasedBy::Timeout },
        settled: Some(all),
        in_flight: if all { 0 } else { 3 },
        skew_ns: None,
        collectors: statuses.iter().enumerate().map(collector).collect(),
    }
}

fn phase(id: PhaseId, name: &str, kind: PhaseKind) -> PhaseResult {
    PhaseResult {
        phase_id: id,
        name: name.to_owned(),
        kind,
        index: 0,
        seamless: false,
        start_ns: Some(Tick::from_millis(22)),
        sending_complete_ns: Some(Tick::from_millis(4000)),
        end_ns: Some(Tick::from_millis(4253)),
        requests: RequestCounts { sent: 102, completed: 100, errors: 2, cancelled: 0 },
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
    }
}

/// A phase with these lines of reconciliation.
pub(super) fn phase_with(reconciliation: Vec<Reconciliation>) -> PhaseResult {
    let id = PhaseId::derive(&Seed::root(7), 0, "a");
    PhaseResult { reconciliation, ..phase(id, "steady", PhaseKind::Profiling) }
}

/// A degraded run of two phases, the second with everything that can be shown.
pub(crate) fn result() -> RunResult {
    let root = Seed::root(7);
    let (warmup, steady) = (PhaseId::derive(&root, 0, "a"), PhaseId::derive(&root, 1, "b"));
    let mut first = phase(warmup, "warmup", PhaseKind::Warmup);
    first.start_ns = None;
    first.requests = RequestCounts::default();
    let mut second = phase(steady, "steady", PhaseKind::Profiling);
    second.seamless = true;
    let latency = [23.456, 9.8765, 123.456, 20.0, 99.99, 110.5, 123.456];
    let ms = |values| stats("ms", 100, Some(values));
    second.metrics = [
        ("time_to_first_token", ms(latency)),
        ("scheduled_time_to_first_token", ms(latency.map(|v| v * 100.0))),
        ("request_latency", ms(latency.map(|v| v * 1000.0))),
        ("dispatch_lag", ms(latency.map(|v| v / 1e6))),
        ("request_throughput", stats("req/s", 1, Some([23.64; 7]))),
        ("output_token_throughput_per_user", stats("tok/s", 100, Some([0.0; 7]))),
        ("output_sequence_length", stats("tokens", 0, None)),
    ]
    .map(|(name, stats)| (name.to_owned(), stats))
    .into();
    second.errors = [("status_429".to_owned(), 1), ("connect".to_owned(), 1)].into();
    second.verdict = Verdict::Incomplete;
    second.notes = vec!["server_metrics/h:8000 has no reading at END: timeout".to_owned()];
    let gpu = |index, energy: Option<f64>| GpuResult {
        uuid: format!("GPU-{index}"),
        index: Some(index),
        name: Some("NVIDIA H100".to_owned()),
        energy_j: energy,
        energy_error_j: energy.map(|_| 3.5),
        power_w: AvgMax { avg: energy.map(|_| 291.25), max: energy.map(|_| 350.0) },
        utilization_pct: AvgMax { avg: Some(87.5), max: Some(100.0) },
        reason: energy.is_none().then(|| "the GPU was lost".to_owned()),
        power_kind: Some(PowerKind::Averaged),
        net_energy_j: energy.map(|joules| joules - 400.0),
        net_energy_error_j: energy.map(|_| 12.0),
        ..GpuResult::default()
    };
    second.gpus = vec![gpu(0, Some(1234.5)), gpu(1, None)];
    second.efficiency = Some(Efficiency {
        energy_j: Some(1234.5),
        energy_error_j: Some(3.5),
        joules_per_request: Some(12.345),
        joules_per_request_error: Some(0.035),
        ..Efficiency::default()
    });
    let both = [BoundaryStatus::Captured, BoundaryStatus::Captured];
    let one = [BoundaryStatus::Captured, BoundaryStatus::Missing];
    RunResult {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "phasegate".to_owned(), version: "0".to_owned() },
        run_id: "r".to_owned(),
        seed: 7,
        outcome: RunOutcome::Degraded,
        reasons: vec!["server_metrics/h:8000 was evicted: silent for 5 s".to_owned()],
        notes: vec!["XID events cannot be seen by nvml: not supported.".to_owned()],
        started_at: String::new(),
        finished_at: String::new(),
        config: serde_json::Value::Null,
        phases: vec![first, second],
        sweep: None,
        slo: None,
        idle_baseline: Some(idle()),
        boundaries: vec![
            boundary(steady, BaselineKind::Start, &both),
            boundary(steady, BaselineKind::End, &one),
        ],
        windows: vec![],
        results_joined: BTreeMap::new(),
        client: ClientResult::default(),
    }
}

fn idle() -> IdleBaseline {
    let side = |watts| IdleSide {
        gpus: vec![IdleGpu {
            uuid: "GPU-0".to_owned(),
            index: Some(0),
            power_w: Some(watts),
            power_error_w: Some(0.25),
            energy_j: Some(watts * 10.0),
            energy_error_j: Some(2.5),
            reason: None,
        }],
        ..IdleSide::default()
    };
    IdleBaseline {
        before: side(70.0),
        after: side(77.0),
        drift_pct: Some(10.0),
        notes: vec!["Idle power went up.".to_owned()],
    }
}

#[test]
fn the_result_as_text() {
    insta::assert_snapshot!(render(&result(), Some(Path::new("artifacts/m-1"))));
}

#[test]
fn tables_fit_a_hundred_columns_and_have_no_control_characters() {
    let text = render(&result(), None);
    let table = text.lines().filter(|l| l.starts_with("  ") && l.contains(" ms "));
    assert!(table.clone().count() >= 4);
    for line in table {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn what_is_not_known_is_never_a_number() {
    assert_eq!(number(None), "n/a");
    assert_eq!(number(Some(0.0)), "0");
    assert_eq!(number(Some(0.000_02)), "2.0e-5");
    assert_eq!(number(Some(-12.345)), "-12.35");
    assert_eq!(number(Some(123.45)), "123.5");
    assert_eq!(number(Some(12_345.6)), "12346");
}
