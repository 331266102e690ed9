//! The `phasegate` binary, as a library so that its tests can reach it.
//!
//! - [`args`]: the command line and the environment.
//! - [`config`]: the configuration file.
//! - [`session`]: one run as the terminal sees it. [`demo`]: the server behind
//!   `run --demo`.
//! - [`resolve`]: flags over environment over file over defaults, checked.
//! - [`commands`]: one file a command.
//! - [`output`]: tables, progress, the plan of a dry run.
//! - [`check`]: whether phasegate kept its own rules.
//! - [`exit`]: exit codes; [`judge`]: from a result to one.
//! - [`mod@fuzz`]: what the fuzzer of the configuration file does.

pub mod args;
pub mod check;
pub mod commands;
pub mod config;
pub mod demo;
pub mod exit;
pub mod fuzz;
pub mod judge;
pub mod output;
pub mod resolve;
pub mod session;

use clap::Parser;

use args::{Cli, Command};
use exit::Exit;

/// Parses the command line and does what it says. Wrong usage ends the process
/// with 2 here, help and version with 0.
#[must_use]
pub fn main() -> Exit {
    match Cli::parse().command {
        Command::Run(args) => commands::run::run(*args),
        Command::Doctor(args) => commands::doctor::run(&args, Some(&commands::doctor::load_nvml)),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Mock(args) => commands::mock::run(&args),
        Command::Sim(args) => commands::sim::run(&args),
        Command::Replay(args) => commands::replay::run(&args),
        Command::Report(args) => commands::report::run(&args),
    }
}
