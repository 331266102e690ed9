//! `phasegate report`: on a finished run, on one that was killed, on one that is
//! still going on, and on what is no run at all.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Mock, Running, counter, notes, phase, phasegate, run};

fn report(dir: &Path) -> Output {
    phasegate(&["report", dir.to_str().unwrap()])
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_run_writes_its_page_and_report_writes_the_same_again_and_leaves_the_result_alone() {
    let ran = run(&["--demo"]);
    ran.assert_code(0);
    let dir = ran.path("");
    let (page, table) = (read(&dir, "report.html"), read(&dir, "metrics.csv"));
    let result = read(&dir, "run.json");
    for part in ["Summary", "Course of the run", "Latency", "GPUs", "Server metrics", "Boundaries"]
    {
        assert!(page.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
    for chart in ["timeline", "ttft", "latency", "ttft-cdf", "latency-cdf", "power"] {
        assert!(page.contains(&format!("aria-labelledby=\"{chart}-t")), "{chart}");
    }
    for file in ["report.html", "metrics.csv"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    let output = report(&dir);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("report.html"));
    assert_eq!(read(&dir, "report.html"), page);
    assert_eq!(read(&dir, "metrics.csv"), table);
    assert_eq!(read(&dir, "run.json"), result);
}

/// A run of two phases, in the middle of the second; its first is over.
fn in_the_middle(mock: &Mock) -> Running {
    let line = "-c 4 --warmup-request-count 8 --gpu-telemetry";
    mock.load_in_the_middle(40, line, &[&mock.gpus()])
}

#[test]
fn a_killed_run_is_finished_from_its_files() {
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "1ms"]);
    let run = in_the_middle(&mock);
    let dir = run.dir();

    let early = report(&dir);
    assert_eq!(early.status.code(), Some(2));
    assert!(said(&early).contains("still going on"), "{}", said(&early));
    assert!(!dir.join("run.json").exists(), "a run that goes on is not finished by somebody else");

    // What the files hold until now is there whatever is in flight to the disk.
    let ran = run.kill();
    let dir = ran.path("");
    assert!(!dir.join("run.json").exists());

    let output = report(&dir);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("run.json: put together now. The run was killed at"));
    let result = ran.assert_sound();
    assert_eq!(result["outcome"], "failed");
    assert!(result["reasons"][0].as_str().unwrap().starts_with("The run was killed at"));
    assert_eq!(result["config"]["endpoint"]["url"], mock.url.as_str());
    assert!(result["started_at"].as_str() < result["finished_at"].as_str());

    // The phase that was over is whole.
    let warmup = phase(&result, "warmup");
    assert_eq!(warmup["verdict"], "clean", "{}", notes(warmup));
    assert_eq!(warmup["requests"]["completed"], 8);
    assert_eq!(counter(warmup, "vllm:request_success"), Some(8.0));
    assert!(warmup["gpus"][0]["energy_j"].as_f64().unwrap() > 0.0);

    // The one that was not says so, and keeps what was measured.
    let profiling = phase(&result, "profiling");
    assert_eq!(
        (profiling["verdict"].as_str(), &profiling["end_ns"]),
        (Some("incomplete"), &Value::Null)
    );
    assert!(profiling["metrics"]["request_latency"]["count"].as_u64().unwrap() > 0);
    assert!(read(&dir, "report.html").contains("The run was killed at"));
    assert!(read(&dir, "metrics.csv").contains("request_latency"));

    // The second time it is a run like any other.
    let first = read(&dir, "run.json");
    let again = report(&dir);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(!said(&again).contains("put together"));
    assert_eq!(read(&dir, "run.json"), first);
}

#[test]
fn what_a_request_reasoned_is_in_the_result_of_a_killed_run_too() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "2ms", "--reasoning-tokens", "3"]);
    let line = "-c 2 --warmup-request-count 6 --osl 8 --gpu-telemetry none";

    // Killed while its second phase goes on: the first is as its records say.
    let running = mock.load(&format!("-d 600s {line}"), &[]);
    running.when("records.jsonl", |text| text.lines().count() > 20);
    let killed = running.kill();
    report(&killed.path(""));
    let result = killed.json();
    let metrics = &phase(&result, "warmup")["metrics"];
    let lines = killed.lines("records.jsonl");
    let warmup: Vec<&Value> = lines.iter().filter(|line| line["phase"] == "warmup").collect();
    assert_eq!(warmup.len(), 6);
    assert_eq!(metrics["reasoning_token_count"]["count"], 6);
    assert_eq!(metrics["reasoning_token_count"]["avg"], 3.0);
    let ns = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let answered = |line: &&Value| ns(line, "first_output_token_ns") - ns(line, "started_ns");
    let longest = warmup.iter().map(answered).max().unwrap() as f64 / 1e6;
    assert_eq!(metrics["time_to_first_output_token"]["max"].as_f64(), Some(longest));

    // Killed just before its result was written: every metric is the live one's,
    // but for the gaps between events.
    let ran = mock.run(&format!("-n 10 {line}"), &[]);
    let live = ran.assert_sound();
    std::fs::remove_file(ran.path("run.json")).unwrap();
    report(&ran.path(""));
    let rebuilt = ran.json();
    for name in ["warmup", "profiling"] {
        let of = |result: &Value| {
            let mut metrics = phase(result, name)["metrics"].as_object().unwrap().clone();
            assert!(metrics["reasoning_token_count"]["count"].as_u64() > Some(0));
            metrics.remove("inter_chunk_latency");
            metrics
        };
        assert_eq!(of(&rebuilt), of(&live), "{name}");
    }
}

#[test]
fn what_is_no_run_is_one_clear_error_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 5] = [
        ("nothing", b"", "holds no run"),
        ("run.json", b"{\"half\": ", "run.json: this is no result"),
        ("run.json", b"{}", "it has no schema_version"),
        ("run.json", b"{\"schema_version\": \"9.0\"}", "its schema_version is 9.0"),
        ("journal.bin", b"\x7fELF", "journal.bin: this is not a journal"),
    ];
    for (case, (file, content, says)) in cases.into_iter().enumerate() {
        let dir = dir.path().join(case.to_string());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(file), content).unwrap();
        let output = report(&dir);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let said = said(&output);
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "{says}: something was written");
    }
    let output = report(&dir.path().join("no such directory"));
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("holds no run"));
}

#[test]
fn the_result_of_another_run_is_not_taken_for_that_of_a_killed_one() {
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "1ms"]);
    let other = mock.run("-n 4 --gpu-telemetry none", &[]);
    other.assert_code(0);
    let killed = in_the_middle(&mock).kill();
    let dir = killed.path("");
    std::fs::copy(other.path("run.json"), dir.join("run.json")).unwrap();
    let output = report(&dir);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("but the other files are of run"), "{}", said(&output));
}
