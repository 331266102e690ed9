//! Telemetry that hangs, lies, dies: the run ends within its gates, the result
//! names the collector and the reason, and nothing unknown becomes a number.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Mock, Ran, boundary, notes};

/// Gates that a reading which fails, or comes late, is far from: what is tested
/// does not hang on how fast the machine is. A run waits this long only where
/// something hangs.
const ROOMY: &str = "--gate-timeout 30s --settle-timeout 3s";
/// Gates that are waited for to their end.
const SHORT: &str = "--gate-timeout 1s --settle-timeout 0.5s";

/// A short run against a server with this hazard, with these gates.
fn with_gates(gates: &str, hazard: &str, more: &[&str]) -> Ran {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--hazard", hazard]);
    mock.run(&format!("-n 4 --osl 3 --gpu-telemetry none {gates}"), more)
}

fn short(hazard: &str, more: &[&str]) -> Ran {
    with_gates(ROOMY, hazard, more)
}

/// That the collector, which has no reading, gave this reason at a boundary. One that
/// gives up only because the gate's time is nearly over may be heard a moment after
/// that: its answer is then late, and says the same.
fn assert_failed(boundary: &Value, collector: &str, reason: &str) {
    let mut collectors = boundary["collectors"].as_array().unwrap().iter();
    let of = |c: &&Value| c["service_id"].as_str().unwrap().starts_with(collector);
    let found = collectors.find(of).unwrap_or_else(|| panic!("no {collector}: {boundary:#}"));
    let late = boundary["released_by"] == "timeout" && found["status"] == "late";
    assert!(late || found["status"] == "failed", "{boundary:#}");
    let error = found["error"].as_str().unwrap();
    assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    assert_eq!(found["reading_start_ns"], Value::Null);
}

/// The run went on to its end, and its telemetry is said to be missing.
fn assert_incomplete(ran: &Ran, reason: &str) -> Value {
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 4);
    assert_eq!(phase["verdict"], "incomplete", "{phase:#}");
    for kind in ["start", "end"] {
        assert_failed(boundary(&result, "profiling", kind), "server_metrics/", reason);
    }
    assert!(notes(phase).contains("server_metrics/"), "{}", notes(phase));
    assert_nothing_invented(phase);
    result
}

/// No delta of anything: a list that is empty, or `null` with a reason.
fn assert_nothing_invented(phase: &Value) {
    for metric in phase["server_metrics"].as_array().unwrap() {
        if metric["type"] != "gauge" {
            assert_eq!(metric["delta"], Value::Null, "{metric:#}");
            assert!(metric["reason"].is_string(), "{metric:#}");
        }
    }
}

#[test]
fn metrics_that_never_answer() {
    let ran = with_gates(SHORT, "metrics-hang", &[]);
    let result = assert_incomplete(&ran, "in time");
    // The gates were held for no longer than they may take, in the run's own time.
    for kind in ["start", "end"] {
        let boundary = boundary(&result, "profiling", kind);
        let at = |key: &str| boundary[key].as_u64().unwrap();
        let held = Duration::from_nanos(at("closed_ns") - at("requested_ns"));
        assert!(held < Duration::from_secs(20), "{held:?}");
    }
}

#[test]
fn metrics_that_are_garbage() {
    assert_incomplete(&short("metrics-garbage", &[]), "line 1");
}

#[test]
fn metrics_that_answer_500() {
    assert_incomplete(&short("metrics-500", &[]), "500");
}

#[test]
fn a_server_without_metrics_is_no_loss_unless_they_were_asked_for() {
    let ran = short("metrics-404", &[]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(result["outcome"], "completed", "{:#}", result["reasons"]);
    assert_eq!(phase["verdict"], "clean");
    assert!(notes(phase).contains("404"), "it is said all the same: {}", notes(phase));
    assert_eq!(result["results_joined"].get("server_metrics"), None);

    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--hazard", "metrics-404"]);
    let metrics = format!("{}/metrics", mock.url);
    let line = format!("-n 4 --osl 3 --gpu-telemetry none {ROOMY} --server-metrics");
    let ran = mock.run(&line, &[&metrics]);
    assert_incomplete(&ran, "404");
}

#[test]
fn metrics_of_200_megabytes() {
    let ran = short("metrics-huge:200MB", &[]);
    let result = assert_incomplete(&ran, "limit of");
    let peak = result["client"]["peak_rss_mib"].as_f64().unwrap();
    assert!(peak < 400.0, "{peak} MiB: the body was kept");
}

#[test]
fn metrics_that_trickle() {
    assert_incomplete(&with_gates(SHORT, "metrics-trickle:100", &[]), "in time");
}

#[test]
fn metrics_slower_than_the_gate() {
    assert_incomplete(&with_gates(SHORT, "metrics-delay:3s", &[]), "in time");
}

#[test]
fn metrics_that_are_slow_but_in_time_are_complete() {
    let ran = short("metrics-delay:300ms", &[]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["verdict"], "clean", "{:#}", result["phases"][0]);
    let reading = &boundary(&result, "profiling", "start")["collectors"][0];
    let span = |key: &str| reading[key].as_u64().unwrap();
    assert!(span("reading_end_ns") - span("reading_start_ns") >= 300_000_000);
    assert!(
        span("reading_start_ns")
            >= boundary(&result, "profiling", "start")["requested_ns"].as_u64().unwrap()
    );
}

#[test]
fn an_exporter_that_dies_between_start_and_end() {
    let mock = Mock::start(&["--ttft", "200ms", "--itl", "1ms"]);
    let exporter = Mock::start(&[]);
    let metrics = format!("{}/metrics", exporter.url);
    let line = format!("-n 15 -c 1 --osl 3 --gpu-telemetry none {ROOMY} --server-metrics");
    let running = mock.load(&line, &[&metrics]);
    running.when("records.jsonl", |text| text.lines().count() >= 1);
    drop(exporter);
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["verdict"], "incomplete");
    assert_eq!(boundary(&result, "profiling", "start")["collectors"][0]["status"], "captured");
    assert_eq!(boundary(&result, "profiling", "end")["collectors"][0]["status"], "failed");
    assert!(!phase["server_metrics"].as_array().unwrap().is_empty(), "what was known is listed");
    assert_nothing_invented(phase);
}

#[test]
fn a_gpu_exporter_that_hangs_leaves_energy_unknown() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--hazard", "gpu-hang"]);
    // Long enough for the other collector.
    let line = "-n 4 --gate-timeout 4s --settle-timeout 3s --gpu-telemetry";
    let ran = mock.run(line, &[&mock.gpus()]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["verdict"], "incomplete");
    let gpus = result["phases"][0]["gpus"].as_array().unwrap();
    assert!(gpus.iter().all(|gpu| gpu["energy_j"] == Value::Null));
    let end = boundary(&result, "profiling", "end");
    assert_failed(end, "gpu_telemetry/", "in time");
    let captured = end["collectors"].as_array().unwrap().iter();
    assert_eq!(captured.filter(|c| c["status"] == "captured").count(), 1, "{end:#}");
}

#[test]
fn a_counter_that_falls_inside_the_phase_contaminates_it() {
    // 20 requests of warm-up, and the server forgets them after the second
    // measured one.
    let ran = short("reset-counters:22", &["--warmup-request-count", "20"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["verdict"], "clean");
    let phase = &result["phases"][1];
    assert_eq!(phase["verdict"], "contaminated", "{}", notes(phase));
    let reset = |name: &str| {
        let metrics = phase["server_metrics"].as_array().unwrap();
        metrics.iter().filter(|m| m["name"] == name).any(|m| m["reset"] == true)
    };
    assert!(reset("vllm:prompt_tokens") || reset("vllm:request_success"), "{phase:#}");
}

#[test]
fn gates_that_are_off_read_nothing_at_the_boundaries_and_claim_nothing() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let ran = mock.run("-n 4 --no-gate --gpu-telemetry none", &[]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["verdict"], "incomplete");
    assert_eq!(boundary(&result, "profiling", "start")["released_by"], "disabled");
    assert_nothing_invented(&result["phases"][0]);
}

#[test]
fn strict_is_exit_1_unless_clean() {
    short("metrics-500", &["--strict"]).assert_code(1);
    short("metrics-delay:1ms", &["--strict"]).assert_code(0);
}
