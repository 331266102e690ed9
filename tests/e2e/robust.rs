//! Servers that die and come back, crawl, reset connections, and answer faster
//! than is read: the accounts stay exact, and the run ends when it should. The
//! sizes are those of a shared machine; `phasegate-bench` has the full ones.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use phasegate_runtime::load::null::{NullAnswer, NullServer};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Mock, run, start, start_in};

/// Arguments that every run here has.
fn args<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["-u", url, "-m", "mock", "--gpu-telemetry", "none", "--no-server-metrics"];
    [&all[..], more].concat()
}

fn count(result: &Value, key: &str) -> u64 {
    result["phases"][0]["requests"][key].as_u64().unwrap()
}

#[test]
fn a_server_that_dies_and_comes_back_is_found_again_and_not_hammered_meanwhile() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = port.to_string();
    let mut mock = Mock::at(&port, &["--ttft", "2ms", "--itl", "1ms"]);
    let url = mock.url.clone();
    let load = ["-c", "8", "--duration", "6s", "--grace-period", "2s", "--osl", "4", "--isl", "8"];
    let running = start(&args(&url, &load));
    running.when("records.jsonl", |text| text.lines().count() > 20);
    mock.signal(Signal::KILL);
    mock.wait();
    running.when("records.jsonl", |text| text.contains("\"connect\""));
    std::thread::sleep(Duration::from_millis(500));
    let _mock = Mock::at(&port, &["--ttft", "2ms", "--itl", "1ms"]);
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let records = ran.lines("records.jsonl");
    assert_eq!(records.len() as u64, count(&result, "sent"));
    let outcome = |at: usize| records[at]["outcome"].as_str().unwrap();
    let last_error = (0..records.len()).rfind(|at| outcome(*at) == "error").unwrap();
    let after = (last_error..records.len()).filter(|at| outcome(*at) == "completed").count();
    assert!(after > 0, "nothing completed after the server was back");
    // Without pauses these would be tens of thousands.
    let errors = count(&result, "errors");
    assert!((1..2_000).contains(&errors), "{errors} errors");
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
}

#[test]
fn every_tenth_connection_is_cut_and_every_request_is_accounted_for() {
    let mock =
        Mock::start(&["--ttft", "1ms", "--itl", "1ms", "--hazard", "cut-mid-stream:2,every=10"]);
    let load = ["-c", "16", "-n", "400", "--osl", "6", "--isl", "8"];
    let ran = run(&args(&mock.url, &load));
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!((count(&result, "sent"), count(&result, "errors")), (400, 40));
    assert_eq!(result["phases"][0]["errors"]["stream_cut"], 40);
    let client = &result["client"]["connections"];
    // A connection that was cut is replaced, and no other.
    let opened = client["opened"].as_u64().unwrap();
    assert!((16..=56).contains(&opened), "{client}");
    assert_eq!(opened + client["reused"].as_u64().unwrap(), 400, "{client}");
}

#[test]
fn a_server_that_crawls_does_not_keep_the_run_from_its_end() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "30s"]);
    let load = ["-c", "4", "--duration", "1s", "--grace-period", "1s", "--osl", "64"];
    let ran = run(&args(&mock.url, &load));
    let result = ran.assert_sound();
    assert_eq!((count(&result, "sent"), count(&result, "cancelled")), (4, 4));
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
}

#[test]
fn an_answer_that_comes_faster_than_it_is_read_is_read_whole_in_bounded_memory() {
    // 32 times 3 MiB, written as fast as the socket takes them.
    let answer = NullAnswer { events: 20_000, gap: Duration::ZERO };
    let server = NullServer::start(([127, 0, 0, 1], 0).into(), answer).unwrap();
    let url = format!("http://{}", server.addr());
    let ran = run(&args(&url, &["-c", "16", "-n", "32", "--export-level", "summary"]));
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(count(&result, "completed"), 32);
    let chunks = &result["phases"][0]["metrics"]["inter_chunk_latency"]["count"];
    assert_eq!(chunks, 32 * 19_999);
    let peak = result["client"]["peak_rss_mib"].as_f64().unwrap();
    assert!(peak < 192.0, "{peak} MiB");
}

#[test]
fn the_client_says_what_it_measured_of_itself() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "1ms"]);
    let load = ["-c", "4", "-n", "40", "--osl", "4", "--isl", "8", "--calibrate"];
    let ran = run(&args(&mock.url, &load));
    ran.assert_code(0);
    let result = ran.assert_sound();
    let client = &result["client"];
    assert_eq!(client["connections"]["opened"], 4, "{client:#}");
    assert_eq!(client["connections"]["reused"], 36);
    for pointer in [
        "/cores",
        "/longest_stall_us",
        "/connection_wait_us/max",
        "/read_to_parsed_us/p99",
        "/phases/0/cpu_share",
        "/floor/request_throughput",
        "/floor/time_to_first_token_us/p99",
        "/floor/inter_chunk_error_us/p99",
    ] {
        assert!(client.pointer(pointer).is_some_and(|n| n.as_f64() > Some(0.0)), "{pointer}");
    }
    assert_eq!(client["floor"]["errors"], 0);
    assert!(client["client_bound"].is_boolean());
    assert!(!ran.path("calibration").exists());
    for record in ran.lines("records.jsonl") {
        let at = |name: &str| record[name].as_u64().unwrap();
        let moments = ["planned_ns", "started_ns", "connected_ns", "sent_ns", "first_byte_ns"];
        assert!(moments.windows(2).all(|pair| at(pair[0]) <= at(pair[1])), "{record}");
    }
}

#[test]
fn what_stands_in_an_artifacts_place_is_one_error_before_any_load() {
    let server = NullServer::start(
        ([127, 0, 0, 1], 0).into(),
        NullAnswer { events: 1, gap: Duration::ZERO },
    )
    .unwrap();
    let url = format!("http://{}", server.addr());
    let pipe = |path: &Path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let folder = |path: &Path| std::fs::create_dir(path).unwrap();
    type Put<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));
    let places: [Put<'_>; 6] = [
        ("records.jsonl", "a FIFO", &pipe),
        ("journal.bin", "a FIFO or a socket that nobody reads", &pipe),
        ("metrics.part", "a FIFO", &pipe),
        ("records.jsonl", "a directory", &folder),
        ("run.json", "a directory", &folder),
        ("report.html", "a directory", &folder),
    ];
    for (name, what, put) in places {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        put(&dir.path().join("run").join(name));
        let ran = start_in(dir, &args(&url, &["-c", "1", "-n", "1"])).finish();
        assert_ne!(ran.code, Some(0), "{name}: {what}");
        let errors: Vec<_> = ran.stderr.lines().filter(|line| line.contains(name)).collect();
        let says = format!("{name}: is {what}, not a file; remove it, or give another");
        assert!(errors.len() == 1 && errors[0].contains(&says), "{}", ran.stderr);
    }
    assert_eq!(server.first_request(), None, "nothing was sent");

    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("run/journal.bin")).unwrap();
    let ran = start_in(dir, &args(&url, &["-c", "1", "-n", "1"])).finish();
    assert!(ran.code != Some(0) && ran.stderr.contains("journal.bin: "), "{}", ran.stderr);
}
