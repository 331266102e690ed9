use super::*;
use crate::account::result::{MetricStats, PhaseResult};
use crate::account::stats::single;
use crate::plan::{GatePlan, Limits, PhaseSpec};

fn plan(phases: Vec<PhaseSpec>) -> RunPlan {
    RunPlan::new(0, phases, GatePlan::default(), Limits::default()).unwrap()
}

fn closed(name: &str, concurrency: u32) -> PhaseSpec {
    let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
    spec.concurrency = Some(concurrency);
    spec.requests = Some(1);
    spec
}

fn open(name: &str, rate: f64, cap: Option<u32>) -> PhaseSpec {
    let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
    (spec.request_rate, spec.concurrency, spec.requests) = (Some(rate), cap, Some(1));
    spec
}

fn warmup() -> PhaseSpec {
    PhaseSpec { kind: PhaseKind::Warmup, ..closed("warmup", 1) }
}

/// Results with these throughputs (req/s) and latencies (ms), phase by phase.
fn results(plan: &RunPlan, measured: &[(f64, f64)]) -> Vec<PhaseResult> {
    let stats = |value: f64, unit: &str| single(Some(value), unit);
    let mut measured = measured.iter();
    let phase = |(index, phase): (usize, &PhasePlan)| {
        let mut metrics: BTreeMap<String, MetricStats> = BTreeMap::new();
        if let Some((throughput, latency)) =
            measured.next().filter(|_| phase.kind == PhaseKind::Profiling)
        {
            metrics.insert("request_throughput".to_owned(), stats(*throughput, "req/s"));
            for name in ["request_latency", "scheduled_latency"] {
                metrics.insert(name.to_owned(), stats(*latency, "ms"));
            }
            metrics.insert("scheduled_time_to_first_token".to_owned(), stats(1.0, "ms"));
            metrics.insert("time_to_first_token".to_owned(), stats(0.5, "ms"));
        }
        PhaseResult {
            phase_id: phase.id,
            name: phase.name.clone(),
            kind: phase.kind,
            index,
            seamless: phase.seamless,
            start_ns: None,
            sending_complete_ns: None,
            end_ns: None,
            requests: Default::default(),
            metrics,
            errors: Default::default(),
            requests_by_url: Default::default(),
            efficiency: None,
            token_check: None,
            server_metrics: Vec::new(),
            gpus: Vec::new(),
            reconciliation: Vec::new(),
            verdict: Verdict::Clean,
            notes: Vec::new(),
        }
    };
    plan.phases().iter().enumerate().map(phase).collect()
}

fn of(phases: Vec<PhaseSpec>, measured: &[(f64, f64)]) -> Option<SweepResult> {
    let plan = plan(phases);
    sweep(&plan, &results(&plan, measured))
}

#[test]
fn phases_that_differ_in_their_rate_alone_are_a_sweep_in_ascending_order() {
    let phases = vec![
        warmup(),
        open("fast", 20.0, None),
        open("slow", 5.0, None),
        open("all", f64::INFINITY, None),
    ];
    let sweep = of(phases, &[(0.0, 0.0), (20.0, 100.0), (5.0, 100.0), (25.0, 900.0)]).unwrap();
    assert_eq!(sweep.by, SweepBy::RequestRate);
    let steps: Vec<_> = sweep.steps.iter().map(|s| (s.phase.as_str(), s.value)).collect();
    assert_eq!(steps, [("slow", Some(5.0)), ("fast", Some(20.0)), ("all", None)]);
    assert_eq!(sweep.steps[0].time_to_first_token_p99, Some(1.0), "from the planned time");
    assert_eq!(sweep.knee.as_deref(), Some("fast"));
}

#[test]
fn phases_that_differ_in_their_concurrency_alone_are_a_sweep() {
    let phases = vec![closed("c1", 1), closed("c4", 4)];
    let sweep = of(phases, &[(10.0, 100.0), (36.0, 110.0)]).unwrap();
    assert_eq!(sweep.by, SweepBy::Concurrency);
    assert_eq!(sweep.steps[1].power, Some(36.0 / 0.11));
    assert_eq!(sweep.steps[0].time_to_first_token_p99, Some(0.5), "from the start");
    assert_eq!(sweep.knee, None, "power still rises: {}", sweep.knee_reason);
    let caps = vec![open("a", 9.0, Some(1)), open("b", 9.0, Some(2))];
    assert_eq!(of(caps, &[(1.0, 1.0); 2]).map(|s| s.by), Some(SweepBy::Concurrency));
}

#[test]
fn phases_that_differ_otherwise_are_none() {
    let different = [
        vec![closed("a", 1)],
        vec![warmup(), closed("a", 2)],
        vec![closed("a", 1), closed("b", 1)],
        vec![closed("a", 1), open("b", 2.0, None)],
        vec![open("a", 1.0, None), open("b", 2.0, Some(4))],
        vec![open("a", 1.0, Some(1)), open("b", 2.0, Some(2))],
        vec![closed("a", 1), PhaseSpec { seamless: true, ..closed("b", 2) }],
    ];
    for phases in different {
        let names: Vec<_> = phases.iter().map(|p| p.name.clone()).collect();
        assert_eq!(of(phases, &[(1.0, 1.0); 2]), None, "{names:?}");
    }
}

#[test]
fn the_knee_is_where_throughput_over_latency_is_greatest() {
    let knee = |measured: &[(f64, f64)]| {
        let phases =
            (0..measured.len()).map(|i| closed(&format!("c{}", i + 1), i as u32 + 1)).collect();
        let sweep = of(phases, measured).unwrap();
        (sweep.knee, sweep.knee_reason)
    };
    // It saturates at the second.
    let (at, why) = knee(&[(10.0, 100.0), (20.0, 100.0), (21.0, 140.0), (21.0, 190.0)]);
    assert_eq!(at.as_deref(), Some("c2"), "{why}");
    assert!(why.ends_with("is greatest at c2."), "{why}");
    // From the first on, more load only costs.
    let (at, why) = knee(&[(10.0, 100.0), (11.0, 180.0)]);
    assert_eq!(at.as_deref(), Some("c1"));
    assert!(why.contains("at it or below"), "{why}");
    // A step that measured nothing leaves it open.
    let (at, why) = knee(&[(10.0, 100.0), (0.0, 0.0), (1.0, 1.0)]);
    assert_eq!(at, None);
    assert!(why.contains("no knee to tell"), "{why}");
}
