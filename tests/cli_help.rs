//! The help, as a user sees it where standard output is not a terminal.

use std::process::Command;

fn help(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phasegate"));
    command.args(args).env_clear();
    let output = command.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    let text = String::from_utf8(output.stdout).expect("utf-8");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
    text
}

#[test]
fn help_of_the_binary() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn long_help_of_run() {
    insta::assert_snapshot!(help(&["run", "--help"]));
}

#[test]
fn short_help_is_shorter_and_shows_no_alias() {
    let (short, long) = (help(&["run", "-h"]), help(&["run", "--help"]));
    assert!(short.lines().count() < long.lines().count());
    for alias in ["--num-prompts", "--max-concurrency", "--target", "--result-dir", "--rate "] {
        assert!(!short.contains(alias), "{alias}");
    }
    assert!(!long.contains("--nvml-lib"));
}
