//! `--slo`: the search for the highest load that keeps its objectives.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Mock, Running, boundary, phase, phasegate, run, start};

/// What `probes` came to: value and outcome.
fn outcomes(slo: &Value) -> Vec<(f64, &str)> {
    let probes = slo["probes"].as_array().unwrap().iter();
    probes
        .map(|p| (p["value"].as_f64().unwrap(), p["outcome"].as_str().unwrap_or("none")))
        .collect()
}

#[test]
fn the_highest_concurrency_that_holds_is_found_between_gates_and_replays() {
    // Two at a time, 50 ms each: n at a time take at least n · 25 ms, so that half
    // of 8 at a time cannot be within 175 ms.
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "5ms", "--max-batch", "2"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-c",
        "1..32",
        "-n",
        "40",
        "--slo",
        "e2el:p50:175ms",
        "--osl",
        "9",
        "--warmup-request-count",
        "2",
        "--gpu-telemetry",
        "none",
        "--slo-probes",
        "12",
        "--strict",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let slo = &result["slo"];
    let (answer, not_held) = (slo["answer"].as_f64().unwrap(), slo["not_held"].as_f64().unwrap());
    assert!((1.0..8.0).contains(&answer) && not_held <= 8.0, "{slo:#}");
    assert!(not_held - answer <= 1.0 || slo["end"] == "probes_spent", "{slo:#}");
    let outcomes = outcomes(slo);
    assert_eq!(outcomes[0].0, 1.0);
    assert!(outcomes.contains(&(answer, "held")));
    assert!(outcomes.iter().all(|(value, outcome)| *value < 8.0 || *outcome != "held"));
    // One phase and two gates for each probe, none for those that were not needed.
    let phases = result["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 1 + outcomes.len());
    let mut sent = 2;
    for (number, probe) in slo["probes"].as_array().unwrap().iter().enumerate() {
        let name = format!("probe-{}", number + 1);
        assert_eq!(probe["phase"], name.as_str());
        for kind in ["start", "end"] {
            assert_eq!(boundary(&result, &name, kind)["released_by"], "all_acked", "{name}");
        }
        let phase = phase(&result, &name);
        assert_eq!(phase["requests"]["sent"], probe["requests"], "{name}");
        sent += probe["requests"].as_u64().unwrap();
        // What decided is what is reported.
        let measured = &probe["objectives"][0];
        assert_eq!(measured["value"], phase["metrics"]["request_latency"]["p50"], "{name}");
        let [low, high] = ["low", "high"].map(|end| measured[end].as_f64().unwrap());
        assert!(low <= measured["value"].as_f64().unwrap() && high >= low);
        assert_eq!(probe["outcome"] == "held", high <= 175.0, "{probe}");
    }
    assert_eq!(mock.truth()["total"]["finished"], sent);
    assert!(result.get("sweep").is_none());
    assert!(ran.stdout.contains("search by concurrency"), "{}", ran.stdout);
    let line = format!("Highest concurrency that holds: {answer} at a time (held at {answer}");
    assert!(ran.stdout.contains(&line), "{}", ran.stdout);
    let report = std::fs::read_to_string(ran.path("report.html")).unwrap();
    for (value, _) in &outcomes {
        let load = format!("A profiling phase with {value} at a time");
        assert!(report.contains(&load), "{load:?} is not in the report");
    }
    assert!(report.contains("<h2>Search</h2>") && report.contains("Highest concurrency"));
}

#[test]
fn where_no_rate_holds_the_answer_is_null_and_strict_fails() {
    let mock = Mock::start(&["--ttft", "20ms", "--itl", "0"]);
    let mut line = vec!["-u", &mock.url, "--request-rate", "100..400"];
    line.extend(["--slo", "ttft:p50:2", "--osl", "2", "--gpu-telemetry", "none"]);
    let ran = run(&line);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let slo = &result["slo"];
    assert_eq!((&slo["answer"], &slo["held"]), (&Value::Null, &Value::Null));
    assert_eq!((&slo["not_held"], &slo["end"]), (&100.0.into(), &"lowest_failed".into()));
    assert_eq!(outcomes(slo).len(), 1);
    assert_eq!(result["phases"].as_array().unwrap().len(), 1, "the other probes were skipped");
    assert!(ran.stdout.contains("Not even the lowest request rate, 100 req/s"), "{}", ran.stdout);
    line.push("--strict");
    let strict = run(&line);
    strict.assert_code(1);
    assert!(strict.stderr.contains("Not even the lowest request rate"), "{}", strict.stderr);
}

#[test]
fn an_error_budget_fails_a_probe_and_not_the_run() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0", "--hazard", "status-500:every=2"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-c",
        "4..64",
        "-n",
        "100",
        "--slo",
        "latency:p50:60000",
        "--max-error-rate",
        "10%",
        "--osl",
        "2",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["outcome"], "completed", "{result:#}");
    let probe = &result["slo"]["probes"][0];
    assert_eq!((&probe["outcome"], &probe["requests"]), (&"failed".into(), &100.into()));
    let errors = &probe["objectives"][1];
    assert_eq!((&errors["metric"], &errors["value"]), (&"error_rate".into(), &0.5.into()));
    assert_eq!(phase(&result, "probe-1")["requests"]["sent"], 100, "none was left out");
}

/// A search that is at its second probe: 100 requests one after the other, 20 ms
/// each, are done, and some of the next 100 as well.
fn at_the_second_probe(mock: &Mock) -> Running {
    let mut line = vec!["-u", &mock.url, "-c", "1..50", "-n", "100", "--osl", "2"];
    line.extend(["--slo", "latency:p50:60000", "--gpu-telemetry", "none"]);
    let running = start(&line);
    running.when("records.jsonl", |text| text.lines().count() > 110);
    running
}

fn slow() -> Mock {
    Mock::start(&["--ttft", "20ms", "--itl", "0", "--max-batch", "1"])
}

#[test]
fn ctrl_c_keeps_the_probes_and_the_bracket_without_an_answer() {
    let mock = slow();
    let running = at_the_second_probe(&mock);
    running.signal(Signal::INT);
    let ran = running.finish();
    ran.assert_code(130);
    let result = ran.assert_sound();
    let slo = &result["slo"];
    assert_eq!((&slo["answer"], &slo["end"]), (&Value::Null, &Value::Null), "{slo:#}");
    assert_eq!((&slo["held"], &slo["not_held"]), (&1.0.into(), &Value::Null));
    assert_eq!(outcomes(slo), [(1.0, "held"), (2.0, "none")]);
    assert!(ran.stdout.contains("The search was cut short: held at 1 at a time"), "{}", ran.stdout);
}

#[test]
fn a_killed_search_is_finished_from_its_files() {
    let mock = slow();
    let running = at_the_second_probe(&mock);
    running.signal(Signal::KILL);
    let ran = running.finish();
    let report = phasegate(&["report", ran.path("").to_str().unwrap()]);
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let result = ran.assert_sound();
    let slo = &result["slo"];
    assert_eq!((&slo["answer"], &slo["held"]), (&Value::Null, &1.0.into()), "{slo:#}");
    assert_eq!(outcomes(slo), [(1.0, "held"), (2.0, "none")]);
    let first = phase(&result, "probe-1");
    assert_eq!(
        slo["probes"][0]["objectives"][0]["value"],
        first["metrics"]["request_latency"]["p50"]
    );
}
