//! What a plan with a search refuses.

use super::*;
use crate::account::sweep::SweepBy;
use crate::search::{Objective, SearchPlan};

fn search() -> SearchPlan {
    let percentile = Some("p90".parse().unwrap());
    SearchPlan {
        by: SweepBy::RequestRate,
        low: 1.0,
        high: 64.0,
        tolerance: 0.05,
        requests: 100,
        most_requests: 400,
        objectives: vec![Objective { metric: "request_latency".into(), percentile, limit: 9.5 }],
    }
}

fn probe(name: &str) -> PhaseSpec {
    let mut spec = PhaseSpec::new(name, PhaseKind::Profiling);
    (spec.request_rate, spec.requests) = (Some(64.0), Some(400));
    spec
}

fn planned(phases: Vec<PhaseSpec>, search: SearchPlan) -> Result<RunPlan, PlanError> {
    RunPlan::new(7, phases, GatePlan::default(), Limits::default())?.with_search(search)
}

#[test]
fn a_plan_with_a_search_reads_back_and_knows_its_probes() {
    let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
    (warmup.concurrency, warmup.requests) = (Some(1), Some(1));
    let plan = planned(vec![warmup, probe("a"), probe("b")], search()).unwrap();
    assert_eq!(plan.probes().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(plan.search(), Some(&search()));
    let mut idle = PhaseSpec::idle("idle", Duration::from_secs(1));
    idle.name = "before".to_owned();
    let none = planned(vec![idle, PhaseSpec { kind: PhaseKind::Warmup, ..probe("w") }], search());
    assert!(none.is_err_and(|e| e.problem == "has no probe"));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RunPlan>(&json).unwrap(), plan);
    let wrong = json.replace("\"high\":64.0", "\"high\":65.0");
    assert!(serde_json::from_str::<RunPlan>(&wrong).is_err());
}

#[test]
fn the_bounds_of_what_may_be_searched_belong_to_it() {
    let most = f64::from(u32::MAX);
    let closed = |high: f64| {
        let mut phase = PhaseSpec::new("a", PhaseKind::Profiling);
        (phase.concurrency, phase.requests) = (Some(high as u32), Some(400));
        planned(vec![phase], SearchPlan { by: SweepBy::Concurrency, high, ..search() }).is_ok()
    };
    assert!(closed(most) && !closed(most + 1.0));
    let requests = |requests, most_requests| {
        let mut phase = probe("a");
        phase.requests = Some(most_requests);
        planned(vec![phase], SearchPlan { requests, most_requests, ..search() }).is_ok()
    };
    assert!(requests(400, 400) && requests(100, MAX_REQUESTS) && !requests(401, 400));
    let tolerance = |tolerance| planned(vec![probe("a")], SearchPlan { tolerance, ..search() });
    assert!(tolerance(1.0).is_ok() && tolerance(1.1).is_err());
    let low = |low| planned(vec![probe("a")], SearchPlan { low, ..search() });
    assert!(low(0.0).is_err() && low(63.9).is_ok());
    let mut search = SearchPlan { requests: 100, ..search() };
    search.most_requests = MAX_REQUESTS + 1;
    let phase = PhaseSpec { requests: Some(MAX_REQUESTS), ..probe("a") };
    assert!(planned(vec![phase], search).is_err_and(|e| e.path == "requests"));
}

#[test]
fn every_contradiction_is_named_with_its_remedy() {
    let wrong = |change: fn(&mut SearchPlan)| {
        let mut search = search();
        change(&mut search);
        planned(vec![probe("a")], search).unwrap_err().to_string()
    };
    let other = |change: fn(&mut PhaseSpec)| {
        let mut phase = probe("b");
        change(&mut phase);
        planned(vec![probe("a"), phase], search()).unwrap_err().to_string()
    };
    let errors = [
        wrong(|s| s.objectives.clear()),
        wrong(|s| s.objectives.push(s.objectives[0].clone())),
        wrong(|s| s.objectives[0].metric = "dispatch_lg".into()),
        wrong(|s| s.objectives[0].metric = "error_rate".into()),
        wrong(|s| s.objectives[0].metric = "time_to_first_output_token".into()),
        wrong(|s| s.objectives[0].percentile = None),
        wrong(|s| s.objectives[0].limit = 0.0),
        wrong(|s| {
            s.objectives[0] =
                Objective { metric: "error_rate".into(), percentile: None, limit: 0.0 };
        }),
        wrong(|s| s.low = 64.0),
        wrong(|s| s.high = f64::INFINITY),
        wrong(|s| (s.by, s.low) = (SweepBy::Concurrency, 1.5)),
        wrong(|s| s.tolerance = 0.0),
        wrong(|s| s.requests = 99),
        wrong(|s| s.most_requests = 99),
        wrong(|s| s.by = SweepBy::Concurrency),
        other(|p| p.requests = Some(10)),
        other(|p| p.seamless = true),
        other(|p| p.max_error_rate = Some(0.1)),
        other(|p| p.duration = Some(core::time::Duration::from_secs(1))),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
