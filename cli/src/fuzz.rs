//! What the fuzzer of the configuration file does with its bytes; the target in
//! `fuzz/` only calls this, and an ordinary test replays the committed inputs.

use std::time::UNIX_EPOCH;

use clap::Parser;
use phasegate_core::plan::RunPlan;

use crate::args::env::Environment;
use crate::args::{Cli, Command};
use crate::config::FileConfig;
use crate::resolve::resolve_with;

/// Reads `bytes` as a configuration file and resolves it as `run` does.
///
/// # Panics
/// Where what is wrong is not one message with the file's name and a place, or
/// what is right gives a plan that does not survive its own journal.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = match FileConfig::parse("f.yaml", text) {
        Ok(file) => file,
        Err(error) => {
            let message = error.to_string();
            message_with_place(&message);
            return;
        }
    };
    let Ok(Cli { command: Command::Run(args) }) =
        Cli::try_parse_from(["phasegate", "run", "--url=http://h:1"])
    else {
        panic!("the smallest command line");
    };
    match resolve_with(&args, &Environment::of([]), &file, UNIX_EPOCH) {
        Ok(resolved) => survives(&resolved.config.plan),
        Err(error) => {
            let message = error.to_string();
            message_with_place(&message);
        }
    }
}

fn message_with_place(message: &str) {
    let rest = message.strip_prefix("f.yaml:").unwrap_or_else(|| panic!("no file: {message}"));
    let place = rest.split(' ').next().unwrap_or_default();
    let numbers = place.split(':').filter(|part| !part.is_empty());
    let known = numbers.clone().count() == 2 && numbers.clone().all(|n| n.parse::<u64>().is_ok());
    assert!(known, "no place: {message}");
    assert!(rest.len() > place.len() + 1, "no message: {message}");
}

fn survives(plan: &RunPlan) {
    let json = serde_json::to_string(plan).expect("every plan can be written");
    let back: RunPlan = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(back.phases().len(), plan.phases().len(), "{json}");
}
