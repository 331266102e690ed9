//! Golden journals: runs of the binary, recorded once, that every later version
//! must replay to the same effects, byte for byte, with every invariant kept.
//!
//! Where the protocol changes on purpose, they are recorded again:
//!
//! ```text
//! RECORD_GOLDEN=1 cargo test -p phasegate --test golden record
//! ```
//!
//! and the commit says what changed.

#[allow(dead_code)]
#[path = "e2e/harness.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use phasegate_cli::check;
use phasegate_core::account::{Attribution, Evidence};
use phasegate_core::journal::{Encoder, Journal, Kind, ReplayError, Tail, encode_input};
use phasegate_core::message::{CollectorStatus, ReleasedBy};
use phasegate_core::setup::{Settings, node};
use phasegate_runtime::session::audit::{Audited, Ended};
use phasegate_sim::invariants::replay::{self, Checked, Replayer};
use phasegate_sim::trace::Call;
use rustix::process::Signal;

use harness::{Mock, Ran, run, start};

/// The most that one of them may take in the repository.
const LARGEST: usize = 100 * 1024;

const SEAMLESS: &str = "
phases:
  - {name: warmup, kind: warmup, concurrency: 2, requests: 4}
  - {name: steady, kind: profiling, concurrency: 3, requests: 8, seamless: true}
  - {name: stress, kind: profiling, concurrency: 4, requests: 12, seamless: true}
";

/// Cancelled requests have no time to come back.
const WRITTEN_OFF: &str = "
phases:
  - {name: steady, kind: profiling, concurrency: 3, duration: 300ms, grace_period: 50ms}
limits: {drain: 0s}
";

/// A name, and what makes the journal worth keeping.
type Golden = (&'static str, fn(&Checked));

const GOLDEN: [Golden; 5] = [
    ("two-phases", |run| {
        assert_eq!(run.plan.phases().len(), 2);
        assert_eq!(run.controller.boundaries.len(), 4);
        assert!(run.controller.boundaries.iter().all(|b| b.collectors.len() == 2));
        assert_eq!(statuses(run, |s| s.reading().is_some()), 8, "every one was read");
    }),
    ("seamless", |run| {
        let shared = run.controller.boundaries.iter().filter(|b| b.in_flight > 0).count();
        assert!(shared >= 2, "two boundaries with requests in flight");
    }),
    ("cancelled", |run| assert!(run.conductor.cancelled && run.conductor.phases[0].end.is_some())),
    ("hung-exporter", |run| {
        assert_eq!(statuses(run, |s| s.reading().is_none()), 2, "no reading at either boundary");
        assert!(run.controller.boundaries.iter().all(|b| b.released_by != ReleasedBy::Disabled));
        assert!(run.conductor.phases[0].counts.completed > 0, "load went on");
    }),
    ("written-off", |run| assert!(run.conductor.phases[0].written_off > 0)),
];

fn statuses(run: &Checked, which: fn(&CollectorStatus) -> bool) -> usize {
    let all = run.controller.boundaries.iter().flat_map(|b| &b.collectors);
    all.filter(|c| which(&c.status)).count()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{name}.bin"))
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

#[test]
fn every_golden_journal_replays_byte_for_byte_and_keeps_every_invariant() {
    for (name, worth) in GOLDEN {
        let bytes = golden(name);
        let checked = replay::check(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checked.violations, [], "{name}");
        assert_eq!((checked.tail.clone(), checked.cut_off), (Tail::Clean, false), "{name}");
        assert!(bytes.len() < LARGEST, "{name} has {} bytes", bytes.len());
        worth(&checked);
    }
    let kept = fs::read_dir(path("x").parent().unwrap()).unwrap().count();
    assert_eq!(kept, GOLDEN.len(), "a journal that nobody replays");
}

#[test]
fn every_input_of_the_golden_journals_is_written_again_as_it_was() {
    let mut inputs = 0;
    for (name, _) in GOLDEN {
        let bytes = golden(name);
        let journal = Journal::open(&bytes).unwrap();
        let settings = Settings::from_header(&journal.header).unwrap();
        let mut replayer = Replayer::new(&settings, &journal.header.plan);
        for entry in journal.entries() {
            let entry = entry.unwrap();
            let mut again = None;
            let mut see = |call: Call<'_>| {
                again = match call {
                    Call::Controller { input, .. } => input.map(encode_input),
                    Call::Conductor { input, .. } => input.map(encode_input),
                    Call::Ledger { input, .. } => input.map(encode_input),
                    Call::Collector { input, .. } => input.map(encode_input),
                };
            };
            replayer.step(&entry, &mut |step| see(step.call)).unwrap();
            if let (Kind::Input(bytes), Some(again)) = (&entry.kind, again) {
                assert_eq!(*bytes, again.unwrap(), "{name}: {entry:?}");
                inputs += 1;
            }
        }
    }
    assert!(inputs > 350, "{inputs}");
}

/// The journal without the entries that `keep` is false for.
fn without(bytes: &[u8], keep: impl Fn(usize, u8) -> bool) -> Vec<u8> {
    let journal = Journal::open(bytes).unwrap();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&journal.header, &mut out).unwrap();
    for (number, entry) in journal.entries().enumerate() {
        let entry = entry.unwrap();
        if keep(number, entry.node) {
            encoder.push(&entry, &mut out).unwrap();
        }
    }
    encoder.flush(&mut out).unwrap();
    out
}

/// The same, but the conductor was never started.
fn never_started(bytes: &[u8]) -> Vec<u8> {
    let journal = Journal::open(bytes).unwrap();
    let first = journal.entries().position(|e| e.is_ok_and(|e| e.node == node::CONDUCTOR));
    assert!(first.is_some());
    without(bytes, |number, _| Some(number) != first)
}

/// `phasegate replay` of this journal: exit code, output, errors.
fn replayed(bytes: &[u8]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.bin"), bytes).unwrap();
    let done = harness::replay(dir.path());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn replay_says_that_every_invariant_holds() {
    let (code, stdout, stderr) = replayed(&golden("two-phases"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("on 6 machines: all the same"), "{stdout}");
    assert!(stdout.contains("every invariant holds"), "{stdout}");
}

#[test]
fn replay_names_the_first_difference_with_its_input_and_effects() {
    let bytes = never_started(&golden("two-phases"));
    let Err(ReplayError::Mismatch(found)) = replay::check(&bytes) else { panic!("no difference") };
    let (code, _, stderr) = replayed(&bytes);
    assert_eq!(code, Some(1));
    let named = format!("the first difference is entry {} at {}", found.number, found.at);
    assert!(stderr.contains(&named), "{stderr}");
    assert!(stderr.contains("input: ") && stderr.contains("effects now: ["), "{stderr}");
}

#[test]
fn replay_accuses_phasegate_where_a_rule_was_broken() {
    // Every other machine does the same without the ledger's own entries.
    let bytes = without(&golden("two-phases"), |_, place| place != node::LEDGER);
    let (code, stdout, stderr) = replayed(&bytes);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("all the same"), "{stdout}");
    assert!(stderr.contains("phasegate itself broke a rule: G9 violated at"), "{stderr}");
    assert!(stderr.contains("please report it with journal.bin"), "{stderr}");
}

#[test]
fn replay_of_what_is_no_journal_is_wrong_usage() {
    let (code, _, stderr) = replayed(b"something else");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("this is not a journal"), "{stderr}");
    let done = harness::replay(Path::new("/nowhere/at/all"));
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn a_journal_that_was_cut_off_replays_up_to_there() {
    let bytes = golden("two-phases");
    let (code, stdout, _) = replayed(&bytes[..bytes.len() - 7]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("the journal ends torn at byte"), "{stdout}");
    assert!(stdout.contains("the run did not end"), "{stdout}");
}

/// What the end of a run finds, if this is its journal and its `run.json` is
/// that of `ran`.
fn audited(ran: &Ran, bytes: &[u8], journal_complete: bool) -> Audited {
    let checked = replay::check(&golden("two-phases")).unwrap();
    let evidence = Evidence {
        plan: &checked.plan,
        controller: &checked.controller,
        conductor: &checked.conductor,
        ledger: &checked.ledger,
    };
    let attributed = Attribution::new(&evidence).finish();
    let mut result: phasegate_core::account::result::RunResult =
        serde_json::from_value(ran.json()).unwrap();
    // Another run's phases and boundaries are not this controller's.
    result.phases.clear();
    result.results_joined =
        checked.controller.domains.iter().map(|(d, r)| (d.to_string(), r.joined())).collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.bin"), bytes).unwrap();
    check::audit(&Ended {
        dir: dir.path(),
        journal_complete,
        result: &result,
        controller: &checked.controller,
        attributed: &attributed,
    })
}

#[test]
fn the_end_of_a_run_finds_a_broken_rule_and_does_not_trust_half_a_journal() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "1ms"]);
    let ran = run(&["-u", &mock.url, "-n", "2", "--gpu-telemetry", "none"]);
    ran.assert_code(0);
    let good = golden("two-phases");
    assert_eq!(audited(&ran, &good, true), Audited::default());

    let unfinished = without(&good, |_, place| place != node::LEDGER);
    let found = audited(&ran, &unfinished, true);
    assert_eq!(found.broken.len(), 1, "{found:?}");
    assert!(found.broken[0].starts_with("phasegate itself broke a rule: G9 violated at "));
    assert!(found.broken[0].ends_with("please report it with journal.bin."));
    assert_eq!(audited(&ran, &unfinished, false), Audited::default());

    let found = audited(&ran, &never_started(&good), true);
    assert!(found.broken[0].contains("G11 violated at "), "{found:?}");
}

/// Records one of them.
fn keep(name: &str, ran: &Ran) {
    fs::create_dir_all(path(name).parent().unwrap()).unwrap();
    fs::copy(ran.path("journal.bin"), path(name)).unwrap();
}

fn with_file(mock: &Mock, text: &str, more: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.yaml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let mut args = vec!["-u", &mock.url, "--config", file, "--osl", "4"];
    args.extend(more);
    run(&args)
}

/// Records them again, where that is asked for: see the head of this file.
#[test]
fn record() {
    if std::env::var_os("RECORD_GOLDEN").is_none() {
        return;
    }
    let gpus = |mock: &Mock| format!("dcgm:{}/gpu/metrics", mock.url);
    let none = ["--gpu-telemetry", "none"];
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let gpu = gpus(&mock);
    let args = ["-u", &mock.url, "-n", "12", "-c", "4", "--osl", "4"];
    let more = ["--warmup-request-count", "4", "--gpu-telemetry", &gpu];
    keep("two-phases", run(&[&args[..], &more].concat()).assert_code(0));

    let slow = Mock::start(&["--ttft", "40ms", "--itl", "10ms"]);
    let gpu = gpus(&slow);
    keep("seamless", with_file(&slow, SEAMLESS, &["--gpu-telemetry", &gpu]).assert_code(0));

    let args = ["-u", &slow.url, "-c", "2", "-d", "60s", "--osl", "4"];
    let running = start(&[&args[..], &none].concat());
    running.when("records.jsonl", |text| text.lines().count() > 4);
    running.signal(Signal::INT);
    keep("cancelled", running.finish().assert_code(130));

    let hung = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--hazard", "metrics-hang"]);
    let args = ["-u", &hung.url, "-n", "6", "-c", "2", "--osl", "4", "--gate-timeout", "500ms"];
    keep("hung-exporter", run(&[&args[..], &none].concat()).assert_code(0));

    let stuck = Mock::start(&["--ttft", "60s"]);
    keep("written-off", with_file(&stuck, WRITTEN_OFF, &none).assert_code(1));
}
