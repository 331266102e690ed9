//! Searches: what flags and file make of them, and what is refused.

use phasegate_core::account::sweep::SweepBy;
use phasegate_core::plan::{Arrival, ArrivalProcess, PhaseKind};

use super::tests::{config, error};

const URL: &str = "--url=http://h:1";
const SLO: [&str; 3] = [URL, "--slo", "ttft:p99:200 error_rate:1%"];

#[test]
fn a_search_is_a_warm_up_at_the_lowest_load_and_so_many_probes() {
    let line = ["--request-rate", "2..64", "--warmup-request-count", "5", "--slo-probes", "3"];
    let config = config(&[&SLO[..], &line].concat(), &[], "");
    let search = config.plan.search().unwrap();
    assert_eq!((search.by, search.low, search.high), (SweepBy::RequestRate, 2.0, 64.0));
    assert_eq!((search.tolerance, search.requests, search.most_requests), (0.05, 1000, 4000));
    let phases = config.plan.phases();
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, ["warmup", "probe-1", "probe-2", "probe-3"]);
    assert!(matches!(phases[0].arrival, Arrival::Rate { rate: 2.0, .. }));
    assert_eq!(config.plan.probes().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn slots_are_searched_as_rates_are_and_a_cap_holds_for_every_rate() {
    let line = ["-c", "1..600", "--slo-tolerance", "10%"];
    let plan = config(&[&SLO[..], &line].concat(), &[], "").plan;
    let search = plan.search().unwrap();
    assert_eq!((search.by, search.tolerance), (SweepBy::Concurrency, 0.1));
    assert_eq!(search.requests, 1200, "two a slot at the highest");
    let line = ["--request-rate", "1..8", "-c", "30", "--arrival", "constant", "-n", "2000"];
    let plan = config(&[&SLO[..], &line].concat(), &[], "").plan;
    assert!(matches!(
        plan.phases()[0].arrival,
        Arrival::Rate { process: ArrivalProcess::Constant, max_concurrency: Some(30), .. }
    ));
    assert_eq!(plan.search().unwrap().requests, 2000);
}

#[test]
fn an_error_budget_is_an_objective_of_a_search_and_ends_no_probe() {
    let line = [URL, "--slo", "tpot:p90:50", "--request-rate", "1..8", "--max-error-rate", "2%"];
    let config = config(&line, &[], "");
    assert_eq!(config.max_error_rate, None);
    assert!(config.plan.phases().iter().all(|phase| phase.max_error_rate.is_none()));
    let search = config.plan.search().unwrap();
    let shown: Vec<String> = search.objectives.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["p90 of inter_token_latency", "error_rate"]);
    assert_eq!(search.requests, 500, "ten failures at the limit");
}

const FILE: &str = "endpoint: {url: 'http://h:1'}\n\
    slo:\n  objectives: ['ttft:p90:200']\n  request_rate: 1..50\n";

#[test]
fn the_file_asks_for_a_search_as_flags_do_and_flags_win() {
    let yaml = format!(
        "{FILE}  tolerance: 10%\n  probes: 4\nphases:\n  - {{name: w, kind: warmup, concurrency: 1, requests: 2}}\n"
    );
    let plan = config(&[], &[], &yaml).plan;
    let search = plan.search().unwrap();
    assert_eq!((search.high, search.tolerance, plan.phases().len()), (50.0, 0.1, 5));
    assert_eq!(plan.phases()[0].kind, PhaseKind::Warmup);
    let plan = config(&["--slo", "ttft:p50:9", "--request-rate", "3..4"], &[], &yaml).plan;
    let search = plan.search().unwrap();
    assert_eq!((search.high, search.objectives[0].limit), (4.0, 9.0));
    let idle = config(&["--idle-baseline", "1s"], &[], FILE).plan;
    assert_eq!(idle.probes().next(), Some(1), "after the idle phase");
}

#[test]
fn what_contradicts_a_search_is_refused_at_its_place() {
    let flags = |line: &[&str]| error(&[&SLO[..], line].concat(), &[], "");
    let plain = |line: &[&str]| error(&[&[URL], line].concat(), &[], "");
    let file = |more: &str| error(&[], &[], &format!("{FILE}{more}"));
    let range = ["--request-rate", "1..100"];
    let with = |line: &[&str]| flags(&[&range[..], line].concat());
    let errors = [
        flags(&[]),
        flags(&["--request-rate", "5,10"]),
        flags(&["--request-rate", "5"]),
        flags(&["-c", "4"]),
        flags(&["-c", "1..4", "--request-rate", "1..4"]),
        flags(&["-c", "1..4", "--request-rate", "7"]),
        flags(&["--request-rate", "1..4", "--slo-probes", "3", "-c", "7", "--session-count", "2"]),
        flags(&["--request-rate", "1..inf"]),
        with(&["-c", "1,2"]),
        with(&["-n", "100"]),
        with(&["-d", "30s"]),
        with(&["--ramp", "5s"]),
        with(&["--request-cancellation-rate", "5"]),
        with(&["--slo-tolerance", "0"]),
        with(&["--slo", "ttft:p99:100 ttft:p99:200"]),
        plain(&["--slo", "ttft:p99:1", "--request-rate", "1..4", "--max-error-rate", "0"]),
        plain(&["--slo", "ttft:200"]),
        plain(&range),
        plain(&["--slo-tolerance", "5%"]),
        file("  requests: 99\n"),
        file("  tolerance: 0\n"),
        file("  concurrency: 1..4\n"),
        file("  request_rat: 1..4\n"),
        file("phases:\n  - {name: a, kind: profiling, concurrency: 1, requests: 2}\n"),
        error(&[URL], &[], "slo: {request_rate: 1..2}\n"),
        error(&[URL], &[], "slo: {objectives: ['ttft:p90:200']}\n"),
        error(&[URL], &[], "slo: {objectives: ['tfft:p90:200'], request_rate: 1..2}\n"),
        error(&[URL], &[], "slo: {objectives: ['ttft:p90:200'], request_rate: 5}\n"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
