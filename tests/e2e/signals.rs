//! Ctrl-C in every state: artifacts written, outcome `cancelled`, exit 130. And
//! `kill -9`: what was written is whole.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Mock, Ran, boundary, replay, start};

/// Cancelled, in time, with its artifacts.
fn assert_cancelled(ran: &Ran) -> Value {
    ran.assert_code(130);
    let result = ran.assert_sound();
    assert_eq!(result["outcome"], "cancelled", "{result:#}");
    assert!(ran.took < Duration::from_secs(40), "{:?}", ran.took);
    assert!(ran.path("metrics.csv").exists());
    result
}

#[test]
fn while_waiting_for_the_endpoint() {
    let mock = Mock::start(&["--hazard", "not-ready"]);
    let run = mock.load("-n 4 --ready-timeout 60s", &[]);
    run.when("journal.bin", |text| !text.is_empty());
    std::thread::sleep(Duration::from_millis(300));
    run.signal(Signal::INT);
    let result = assert_cancelled(&run.finish());
    assert_eq!(result["phases"][0]["start_ns"], Value::Null);
}

#[test]
fn while_waiting_at_a_gate() {
    let mock = Mock::start(&["--hazard", "metrics-hang"]);
    let run = mock.load("-n 4 --gate-timeout 60s", &[]);
    run.when("journal.bin", |text| text.contains("baseline_request"));
    run.signal(Signal::INT);
    let ran = run.finish();
    let result = assert_cancelled(&ran);
    assert_eq!(result["phases"][0]["requests"]["sent"], 0, "no load after a cancelled gate");
    assert!(ran.took < Duration::from_secs(30), "the gate was not left: {:?}", ran.took);
}

#[test]
fn while_sending() {
    let mock = Mock::start(&["--ttft", "20ms", "--itl", "1ms"]);
    let run = mock.load_in_the_middle(8, "-c 4 --gpu-telemetry none", &[]);
    run.signal(Signal::INT);
    let ran = run.finish();
    let result = assert_cancelled(&ran);
    let phase = &result["phases"][0];
    let records = ran.lines("records.jsonl").len() as u64;
    assert_eq!(phase["requests"]["sent"].as_u64(), Some(records), "a record each");
    assert!(phase["metrics"]["request_latency"]["count"].as_u64().unwrap() >= 8);
    // The END gate is asked on cancellation too.
    assert_eq!(boundary(&result, "profiling", "end")["released_by"], "all_acked");
}

#[test]
fn while_draining() {
    let mock = Mock::start(&["--ttft", "60s"]);
    let run = mock.load("-c 2 -n 2 --gpu-telemetry none", &[]);
    run.when("journal.bin", |text| text.contains("sending_complete"));
    run.signal(Signal::TERM);
    let result = assert_cancelled(&run.finish());
    assert_eq!(result["phases"][0]["requests"]["cancelled"], 2);
}

#[test]
fn a_second_one_ends_at_once() {
    let mock = Mock::start(&["--ttft", "60s"]);
    let run = mock.load("-c 2 -n 2", &[]);
    run.when("journal.bin", |text| text.contains("sending_complete"));
    run.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    run.signal(Signal::INT);
    let ran = run.finish();
    ran.assert_code(130);
}

#[test]
fn killed_in_the_middle_what_was_written_is_whole() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let run = mock.load_in_the_middle(50, "-c 8", &[]);
    run.when("server_metrics.jsonl", |text| text.lines().count() > 2);
    let ran = run.kill();
    assert!(ran.lines("records.jsonl").len() > 50);
    assert!(ran.lines("server_metrics.jsonl").len() > 2);
    // The journal replays up to its torn tail.
    let replayed = replay(&ran.path(""));
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

#[test]
fn a_port_that_accepts_and_says_nothing_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let run = start(&["-u", &url, "-m", "mock", "-n", "1", "--ready-timeout", "2s"]);
    let ran = run.finish();
    ran.assert_code(3);
}
