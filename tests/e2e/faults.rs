//! Servers that refuse, stall, cut and answer nonsense: errors are classified,
//! the end is bounded, nothing is lost.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Mock, Ran, run};

/// Four requests against a server with this hazard on its API.
fn four(hazard: &str, more: &[&str]) -> Ran {
    let mock = Mock::start(&["--ttft", "3ms", "--itl", "1ms", "--hazard", hazard]);
    let mut args = vec!["-u", &mock.url, "-m", "mock", "-n", "4", "--osl", "8", "--isl", "8"];
    args.extend(["--gpu-telemetry", "none", "--no-server-metrics"]);
    args.extend(more);
    run(&args)
}

/// Every request ended with this error class, and each is on record.
fn assert_class(ran: &Ran, class: &str, detail: &str) -> Value {
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["sent"], 4);
    assert_eq!(phase["requests"]["errors"], 4, "{phase:#}");
    assert_eq!(phase["errors"][class], 4, "{:#}", phase["errors"]);
    let records = ran.lines("records.jsonl");
    assert_eq!(records.len(), 4, "a failed request has its line too");
    for record in records {
        let error = record["error"].as_str().unwrap();
        assert!(error.contains(detail), "{error:?} does not say {detail:?}");
    }
    ran.assert_code(1); // no request succeeded
    result
}

fn assert_all_completed(ran: &Ran) {
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 4, "{phase:#}");
    assert_eq!(phase["metrics"]["output_sequence_length"]["avg"], 8.0);
    assert_eq!(phase["metrics"]["inter_chunk_latency"]["count"], 4 * 7);
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let ran = run(&["-u", &url, "-m", "mock", "-n", "4", "--ready-timeout", "1s"]);
    ran.assert_code(3);
    let result = ran.json();
    assert_eq!(result["outcome"], "failed");
    assert!(ran.stderr.contains(&url), "{}", ran.stderr);
    assert_eq!(result["phases"][0]["start_ns"], Value::Null);

    // Not asked whether it is ready: every request is a connect error.
    let ran = run(&[
        "-u",
        &url,
        "-m",
        "mock",
        "-n",
        "4",
        "--ready-timeout",
        "0",
        "--gpu-telemetry",
        "none",
        "--no-server-metrics",
    ]);
    assert_class(&ran, "connect", "refused");
}

#[test]
fn a_server_that_never_becomes_ready() {
    let ran = four("not-ready", &["--ready-timeout", "1s"]);
    ran.assert_code(3);
    assert!(ran.stderr.contains("503"), "{}", ran.stderr);
}

#[test]
fn a_server_that_becomes_ready_is_waited_for() {
    let ran = four("not-ready:1s", &["--ready-timeout", "60s"]);
    assert_all_completed(&ran);
}

#[test]
fn stalls_mid_stream() {
    assert_class(
        &four("stall-mid-stream", &["--request-timeout", "500ms"]),
        "timeout",
        "timed out",
    );
}

#[test]
fn cuts_the_stream() {
    assert_class(&four("cut-mid-stream", &[]), "stream_cut", "ended");
}

#[test]
fn sends_half_an_event() {
    assert_class(&four("half-event", &[]), "stream_cut", "ended");
}

#[test]
fn answers_429_and_500() {
    assert_class(&four("status-429", &[]), "status_429", "429");
    assert_class(&four("status-500", &[]), "status_500", "500");
}

#[test]
fn sends_an_error_event() {
    let ran = four("error-event", &[]);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["requests"]["errors"], 4);
}

#[test]
fn sends_invalid_utf_8_or_broken_json() {
    assert_class(&four("invalid-utf8", &[]), "malformed", "UTF-8");
    assert_class(&four("malformed-json", &[]), "malformed", "not a chunk");
}

#[test]
fn ends_lines_as_the_standard_allows() {
    assert_all_completed(&four("crlf", &[]));
    assert_all_completed(&four("bare-cr", &[]));
}

#[test]
fn sends_an_event_of_a_megabyte() {
    assert_all_completed(&four("big-event:1MB", &[]));
}

#[test]
fn leaves_the_usage_out() {
    let ran = four("no-usage", &[]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let metrics = &result["phases"][0]["metrics"];
    // Events are not tokens: without usage there is no token count.
    assert_eq!(metrics["output_sequence_length"]["count"], 0);
    assert_eq!(metrics["output_sequence_length"]["avg"], Value::Null);
    assert_eq!(metrics["inter_token_latency"]["avg"], Value::Null);
    assert_eq!(metrics["inter_chunk_latency"]["count"], 4 * 7);
}

#[test]
fn some_fail_and_the_rest_is_measured() {
    let ran = four("status-500:every=2", &["--max-error-rate", "0.6"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 2);
    assert_eq!(phase["requests"]["errors"], 2);
    assert_eq!(phase["metrics"]["request_latency"]["count"], 2);
    assert_eq!(phase["metrics"]["error_rate"]["avg"], 0.5);
    four("status-500:every=2", &["--max-error-rate", "0.4"]).assert_code(1);
}

#[test]
fn a_phase_that_runs_out_of_grace_cancels_what_is_left() {
    let mock = Mock::start(&["--ttft", "60s"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-c",
        "3",
        "--duration",
        "300ms",
        "--grace-period",
        "200ms",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(1);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["requests"]["cancelled"], 3);
    assert_eq!(result["outcome"], "completed");
}
