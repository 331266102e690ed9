//! The result of a search, from what its probes came to.

use super::run::Run;
use crate::account::result::{ClientPhase, RunResult};
use crate::account::stats::single;
use crate::account::sweep::SweepBy;
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::search::{End, Objective, Outcome, Probe, ProbeReport, SearchPlan, SearchReport};

use Outcome::{Failed, Held, Undecided};

/// A run that searches with five probes, of which these were taken at these rates.
fn searched(probes: &[(f64, Outcome)], end: Option<End>) -> Run {
    let names = ["a", "b", "c", "d", "e"];
    let mut run = Run::new(&[
        ("warmup", false, 100, 1000, 1),
        ("a", false, 1100, 2000, 5),
        ("b", false, 2100, 3000, 5),
        ("c", false, 3100, 4000, 5),
        ("d", false, 4100, 5000, 5),
        ("e", false, 5100, 6000, 5),
    ]);
    let percentile = Some("p90".parse().unwrap());
    let search = SearchPlan {
        by: SweepBy::RequestRate,
        low: 1.0,
        high: 64.0,
        tolerance: 0.05,
        requests: 100,
        most_requests: 400,
        objectives: vec![Objective { metric: "request_latency".into(), percentile, limit: 9.5 }],
    };
    let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
    (warmup.concurrency, warmup.requests) = (Some(1), Some(1));
    let probe = |name| {
        let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
        (spec.request_rate, spec.requests) = (Some(64.0), Some(400));
        spec
    };
    let phases = std::iter::once(warmup).chain(names.map(probe)).collect();
    let plan = RunPlan::new(7, phases, GatePlan::default(), Limits::default()).unwrap();
    run.plan = plan.with_search(search).unwrap();
    let probes = probes.iter().zip(1..).map(|((value, outcome), index)| ProbeReport {
        phase: run.phase_id(index),
        probe: Probe { value: *value, requests: 100 },
        measured: None,
        outcome: Some(*outcome),
        reasons: Vec::new(),
    });
    run.conductor.search = Some(SearchReport { probes: probes.collect(), end });
    run
}

/// What the client saw of itself in a phase.
fn client(name: &str, cpu_share: f64) -> ClientPhase {
    let name = name.to_owned();
    ClientPhase { name, cpu_share: Some(cpu_share), cores: Some(1.0), ..ClientPhase::default() }
}

fn answer(result: &RunResult) -> (Option<f64>, Option<f64>, Option<f64>) {
    let slo = result.slo.as_ref().unwrap();
    (slo.answer, slo.held, slo.not_held)
}

#[test]
fn the_answer_is_the_highest_that_held_and_the_bound_is_the_lowest_above_it_that_did_not() {
    let probes = [(8.0, Held), (32.0, Failed), (16.0, Held), (24.0, Undecided)];
    let result = searched(&probes, Some(End::Found)).result();
    assert_eq!(answer(&result), (Some(16.0), Some(16.0), Some(24.0)));
    let slo = result.slo.unwrap();
    let order: Vec<_> = slo.probes.iter().map(|p| (p.phase.as_str(), p.value)).collect();
    assert_eq!(order, [("a", 8.0), ("b", 32.0), ("c", 16.0), ("d", 24.0)]);
    assert!(slo.probes.iter().all(|p| p.doubt.is_none() && p.client_bound.is_none()));

    let cut = searched(&probes, None).result();
    assert_eq!(answer(&cut), (None, Some(16.0), Some(24.0)), "cut short");
    let low = searched(&[(4.0, Failed), (8.0, Held), (16.0, Held)], Some(End::HighestHeld));
    assert_eq!(answer(&low.result()), (Some(16.0), Some(16.0), None), "below is no bound");
    let none = searched(&[(4.0, Failed), (1.0, Failed)], Some(End::LowestFailed));
    assert_eq!(answer(&none.result()), (None, None, Some(1.0)));
}

#[test]
fn the_phases_of_probes_that_were_not_taken_are_left_out() {
    let result = searched(&[(8.0, Held), (16.0, Failed)], Some(End::Found)).result();
    let names: Vec<_> = result.phases.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["warmup", "a", "b"]);
    let mut run = searched(&[], None);
    run.conductor.search = None;
    let result = run.result();
    assert_eq!(result.phases.len(), 6, "nothing is known of the search");
    assert_eq!(answer(&result), (None, None, None));
}

#[test]
fn a_probe_is_in_doubt_where_its_own_client_was_busy_and_bound_where_it_was_late() {
    let probes = [(8.0, Held), (32.0, Failed), (16.0, Held), (24.0, Failed), (4.0, Held)];
    let mut run = searched(&probes, Some(End::Found));
    run.facts.client.phases = vec![client("a", 0.1), client("c", 0.9), client("d", 0.95)];
    run.facts.client.phases.push(client("e", 0.89));
    let lag = single(Some(6.0), "ms");
    run.ledger.phases[1].metrics.insert("dispatch_lag".to_owned(), lag);
    let result = run.result();
    assert_eq!(answer(&result), (Some(8.0), Some(16.0), Some(24.0)));
    let slo = result.slo.unwrap();
    let said: Vec<_> = slo.probes.iter().map(|p| (p.client_bound, p.doubt.is_some())).collect();
    let expected = [
        (Some(true), false),
        (None, false),
        (Some(true), true),
        (Some(true), false),
        (Some(false), false),
    ];
    assert_eq!(said, expected, "only what held can be doubted");
}
