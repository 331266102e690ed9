//! Ten thousand streams at a time, and a disk that does not keep up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Resource, Signal, getrlimit};
use serde_json::json;

use crate::harness::{Mock, phase, replay, start, start_in};

const STREAMS: u64 = 10_000;

/// Requests that end at once, before and among the others.
const SHORT: u64 = 500;

#[test]
fn ten_thousand_streams_are_in_flight_at_once_and_all_are_accounted_for() {
    // Server and client are processes of their own, each with an end of every
    // connection and a few files more.
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < STREAMS + 200) {
        println!("skipped: this needs {} open files a process, {most:?} may be had", STREAMS + 200);
        return;
    }
    let batch = STREAMS.to_string();
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "3s", "--max-batch", &batch]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |tokens: u32| json!({"prompt": "a", "max_tokens": tokens}).to_string() + "\n";
    let lines = line(1).repeat(SHORT as usize) + &line(2_000).repeat(STREAMS as usize);
    std::fs::write(file.path(), lines).unwrap();
    let (path, all) = (file.path().to_str().unwrap(), (STREAMS + SHORT).to_string());
    let load = ["-c", &batch, "-n", &all, "--input-file", path];
    let telemetry = ["--gpu-telemetry", "none", "--no-server-metrics", "-m", "mock"];
    let running = start(&[&["-u", &mock.url][..], &load, &telemetry].concat());

    let started = Instant::now();
    let truth = loop {
        let truth = mock.truth();
        if truth["total"]["in_flight"] == STREAMS {
            break truth;
        }
        assert!(started.elapsed() < Duration::from_secs(80), "never in flight at once: {truth}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(truth["total"]["received"], STREAMS + SHORT, "each was sent once");
    running.signal(Signal::INT);
    let ran = running.finish();
    ran.assert_code(130);
    let result = ran.assert_sound();
    let requests = &phase(&result, "profiling")["requests"];
    assert_eq!(
        *requests,
        json!({"sent": STREAMS + SHORT, "completed": SHORT, "errors": 0, "cancelled": STREAMS})
    );
    assert_eq!(ran.lines("records.jsonl").len() as u64, STREAMS + SHORT);
    assert_eq!(result["client"]["connections"]["died"], 0);
}

/// A disk that takes `bytes` every 200 ms: the other end of a pipe that stands where
/// the journal is to be. Ends when it is not needed any more; how much it took.
fn slow_disk(pipe: File, bytes: usize, over: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut pipe, mut buffer, mut all) = (pipe, vec![0; bytes], 0);
        while !over.load(Relaxed) {
            match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => all += n,
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        all
    })
}

/// A FIFO in the journal's place below this directory: its end to read from, and one
/// that keeps it open.
fn journal_pipe(dir: &Path) -> (File, File) {
    let run_dir = dir.join("run");
    std::fs::create_dir(&run_dir).unwrap();
    let journal = run_dir.join("journal.bin");
    mknodat(CWD, &journal, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Opening it for both does not wait for a writer.
    let both = OpenOptions::new().read(true).write(true).open(&journal).unwrap();
    (File::open(&journal).unwrap(), both)
}

/// Fills a pipe, but for some kilobytes: it holds more than a short run on a machine at
/// work has to say.
fn fill(pipe: &mut File, reader: &mut File) {
    let flags = rustix::fs::fcntl_getfl(&*pipe).unwrap();
    rustix::fs::fcntl_setfl(&*pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while pipe.write(&[0; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&*pipe, flags).unwrap();
    reader.read_exact(&mut [0; 8192]).unwrap();
}

#[test]
fn a_reader_that_keeps_up_has_the_whole_journal_and_nobody_waits_for_more_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, both) = journal_pipe(dir.path());
    let over = Arc::new(AtomicBool::new(false));
    let disk = slow_disk(reader, 1 << 20, Arc::clone(&over));
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let args = ["-u", &mock.url, "-m", "mock", "-n", "20", "--gpu-telemetry", "none"];
    let ran = start_in(dir, &args).finish();
    over.store(true, Relaxed);
    drop(both);
    let written = disk.join().unwrap();
    ran.assert_code(0);
    assert_eq!(phase(&ran.json(), "profiling")["requests"]["completed"], 20);
    assert!(written > 0);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("journal.bin was not checked: it is no file"), "{said}");
    // Nor does anybody later.
    let replayed = replay(ran.path("run.json").parent().unwrap());
    assert_eq!(replayed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("journal.bin: it is not a file"));
}

#[test]
fn a_disk_that_does_not_keep_up_costs_entries_and_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, mut both) = journal_pipe(dir.path());
    fill(&mut both, &mut reader);

    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let load = ["-c", "8", "-d", "4s", "--isl", "4", "--osl", "2", "--grace-period", "2s"];
    let telemetry = ["--gpu-telemetry", "none", "--no-server-metrics", "-m", "mock"];
    let running = start_in(dir, &[&["-u", &mock.url][..], &load, &telemetry].concat());
    let over = Arc::new(AtomicBool::new(false));
    let disk = slow_disk(reader, 512, Arc::clone(&over));
    let ran = running.finish();
    over.store(true, Relaxed);
    drop(both);
    let written = disk.join().unwrap();
    ran.assert_code(0);
    let result = ran.json();
    assert_eq!(result["outcome"], "degraded");
    let reasons = result["reasons"].to_string();
    assert!(reasons.contains("journal.bin is incomplete"), "{reasons}");
    let lost = reasons.split("too slow for ").nth(1).and_then(|rest| rest.split(' ').next());
    let lost: u64 = lost.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{reasons}"));
    assert!(ran.stdout.contains("journal.bin is incomplete"), "{}", ran.stdout);

    // The load went on until the phase's end.
    let profiling = phase(&result, "profiling");
    let sent = profiling["requests"]["sent"].as_u64().unwrap();
    assert_eq!(profiling["requests"]["completed"], sent);
    assert!(lost > 0 && written < 256 << 10, "{lost} lost of {sent} requests, {written} written");
    let records = ran.lines("records.jsonl");
    assert_eq!(records.len() as u64, sent, "the other files have everything");
    let ns = |value: &serde_json::Value| value.as_u64().unwrap();
    let last = records.iter().map(|record| ns(&record["started_ns"])).max().unwrap();
    assert!(last > ns(&profiling["start_ns"]) + 2_000_000_000, "sending stopped with the disk");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_that_names_it_and_no_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("run/run.json/in the way");
    let mock = Mock::start(&["--ttft", "300ms", "--itl", "0ms"]);
    let args = ["-u", &mock.url, "-m", "mock", "-n", "3", "--gpu-telemetry", "none"];
    let running = start_in(dir, &args);
    running.when("records.jsonl", |text| text.lines().count() > 0);
    std::fs::create_dir_all(in_the_way).unwrap();
    let ran = running.finish();
    ran.assert_code(1);
    assert!(ran.stderr.contains("run.json: "), "{}", ran.stderr);
    assert_eq!(ran.lines("records.jsonl").len(), 3, "what was measured is there");
}
