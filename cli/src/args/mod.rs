//! Arguments. One file a command ([`run`], [`mock`], [`sim`], the small ones here);
//! [`gate`] has the flags that several share, [`parse`] the values' languages,
//! [`mod@env`] the environment.

pub mod env;
pub mod gate;
pub mod mock;
pub mod parse;
pub mod run;
pub mod sim;
pub mod slo;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use mock::MockArgs;
pub use run::RunArgs;
pub use sim::SimArgs;

/// A benchmark for LLM-inference servers whose every phase stands between two
/// acknowledged readings.
#[derive(Debug, Parser)]
#[command(
    name = "phasegate",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    infer_long_args = false,
    after_help = "\
Examples:
  phasegate run --demo
  phasegate run --url http://127.0.0.1:8000 --concurrency 16 --request-count 200
  phasegate doctor --url http://127.0.0.1:8000

'phasegate COMMAND -h' is short, 'phasegate COMMAND --help' is long."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a server, phase by phase, each phase between two gates
    Run(Box<RunArgs>),
    /// Serve a simulated inference server, with metrics, GPUs and faults
    Mock(MockArgs),
    /// Run the whole orchestration in deterministic simulation, with faults
    Sim(SimArgs),
    /// Feed a recorded journal to the core again and compare every output
    Replay(ReplayArgs),
    /// Write report.html and metrics.csv of a run, even of one that was killed
    Report(ReportArgs),
    /// Say what can be measured from here, with a remedy for what cannot
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Arguments of `phasegate replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The artifact directory of a run
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,
    /// Print the journal as text instead
    #[arg(long)]
    pub print: bool,
}

/// Arguments of `phasegate report`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  phasegate report artifacts/my-model-20260101T120000Z

Exit codes: 0 written, 1 a file could not be read or written, 2 there is no run
in that directory, or it is still going on.")]
pub struct ReportArgs {
    /// The artifact directory of a run
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,
}

/// Arguments of `phasegate doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  phasegate doctor --url http://127.0.0.1:8000 --concurrency 256

Exit codes: 0 nothing stands in the way, 1 something does.")]
pub struct DoctorArgs {
    /// Base URL of the server that is to be measured
    #[arg(long, short, value_name = "URL", aliases = ["base-url", "target"])]
    pub url: Option<String>,
    /// The concurrency that is planned
    #[arg(long, short, value_name = "N", default_value = "64", aliases = ["max-concurrency"],
          value_parser = parse::small_count)]
    pub concurrency: u32,
    /// Prometheus endpoints that are to be read [default: /metrics of the server's host]
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub server_metrics: Vec<String>,
    /// DCGM exporters that are to be read
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub dcgm: Vec<String>,
    /// The NVML library to load instead of the system's
    #[arg(long, value_name = "PATH", hide = true)]
    pub nvml_lib: Option<PathBuf>,
}

/// Arguments of `phasegate completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  phasegate completions bash > ~/.local/share/bash-completion/completions/phasegate")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// The whole command line as clap sees it, for completions and tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
