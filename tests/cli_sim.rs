//! `phasegate sim`, as a user and as a script sees it.

use std::process::{Command, Output};

use clap::Parser;
use phasegate_cli::args::{Cli, Command as Wanted};
use phasegate_cli::commands::sim;
use phasegate_cli::exit::Exit;
use phasegate_core::planted::{Bug, plant};
use phasegate_sim::des::Request;
use phasegate_sim::faults::{Kind, Kinds};

fn phasegate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phasegate"));
    command.args(args).env_clear().output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("utf-8")
}

fn parse(words: &str) -> Request {
    let words = ["phasegate", "sim"].into_iter().chain(words.split(' '));
    match Cli::parse_from(words).command {
        Wanted::Sim(args) => sim::request(&args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["3", "7784", "71b168fcafe"] {
        let run = || phasegate(&["sim", "--seed", seed, "--trace", "--marks"]);
        let (first, second) = (run(), run());
        assert_eq!(first.status.code(), Some(0), "{}", text(&first));
        assert_eq!(first.stdout, second.stdout, "seed {seed}");
        let text = text(&first);
        assert!(text.starts_with("seed "), "the seed and its configuration come first");
        assert!(text.lines().count() > 50 && text.contains("\n   step "), "{text}");
    }
}

#[test]
fn the_journal_of_a_simulated_run_is_replayed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("utf-8");
    let run = phasegate(&["sim", "--scenario", "restart", "--artifact-dir", path]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    let replay = phasegate(&["replay", path]);
    assert_eq!(replay.status.code(), Some(0), "{replay:?}");
    assert!(text(&replay).contains("all the same"), "{replay:?}");
}

#[test]
fn many_seeds_are_counted_and_scenarios_are_listed() {
    let run = phasegate(&["sim", "--seeds", "64", "--from", "9", "--jobs", "2"]);
    assert_eq!(run.status.code(), Some(0));
    assert!(text(&run).contains("64 runs, "), "{}", text(&run));
    let list = text(&phasegate(&["sim", "--scenario", "list"]));
    for name in ["lost-ack", "gate-timeout", "seamless-overlap", "write-off"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
}

#[test]
fn wrong_usage_is_two_and_says_what_would_be_right() {
    for (args, right) in [
        (&["sim", "--scenario", "rain"][..], "'list' shows them"),
        (&["sim", "--faults", "rain"], "give all, none, or some of"),
        (&["sim", "--seed", "xyz"], "a git commit hash"),
        (&["sim", "--phases", "0"], "at least 1"),
    ] {
        let output = phasegate(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(right), "{args:?}: {error}");
    }
}

#[test]
fn the_line_that_reproduces_a_failure_asks_for_the_same_run() {
    let mut small = Request::new(7);
    assert_eq!(parse(&small.to_string()), small);
    small.faults = Kinds::NONE.with(Kind::Loss).with(Kind::Sleep);
    (small.phases, small.collectors, small.requests) = (1, 0, 2);
    small.calm = phasegate_core::Tick::from_millis(1500);
    assert_eq!(parse(&small.to_string()), small);
    assert_eq!(parse("--seed 5 --faults none").faults, Kinds::NONE);
}

#[test]
fn a_failure_is_one_and_leaves_its_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("failed");
    let path = path.to_str().expect("utf-8");
    let words = ["phasegate", "sim", "--seeds", "50", "--artifact-dir", path];
    let Wanted::Sim(args) = Cli::parse_from(words).command else { panic!("not sim") };
    // In this process: the binary that is shipped has no such bug to plant.
    plant(Some(Bug::EndBeforeDrain));
    let exit = sim::run(&args);
    plant(None);
    assert_eq!(exit, Exit::ConditionFailed);
    assert!(dir.path().join("failed/journal.bin").exists());
}

#[test]
fn no_bug_is_planted_in_what_is_shipped() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for package in ["core", "runtime", "sim", "cli"] {
        let manifest = std::fs::read_to_string(root.join(package).join("Cargo.toml")).unwrap();
        let (shipped, tests) = manifest.split_once("[dev-dependencies]").expect("both");
        let shipped = shipped.replace("planted = []", "");
        assert!(!shipped.contains("\"planted\""), "{package} turns it on");
        assert!(!shipped.contains("default = "), "{package} has a default feature: look here");
        let after = tests.split_once("\n[").map_or("", |(_, after)| after);
        assert!(!after.contains("planted"), "{package} turns it on");
    }
}
