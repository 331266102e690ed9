//! Flags of `phasegate run`. Published names: a changed one keeps its old name
//! as an alias.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use phasegate_runtime::config::{EndpointType, ExportLevel, InputFormat};
use phasegate_runtime::secret::Secret;

use super::gate::{GateArgs, TelemetryArgs};
use super::parse::{self, Levels, OutputLength};

/// Examples, at the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  phasegate run --demo
      Measures a simulated server on loopback; needs nothing
  phasegate run -u http://127.0.0.1:8000 -c 16 -n 200 --warmup-request-count 16
      16 requests at a time, 200 in all, after a warm-up
  phasegate run -u http://127.0.0.1:8000 --request-rate 20 -d 60s --goodput 'ttft:200 tpot:50'
      Poisson arrivals at 20 requests per second for a minute
  phasegate run -u http://127.0.0.1:8000 -c 1,2,4,8,16 -d 30s --warmup-request-count 16
      A sweep: a phase for each concurrency, a table of all, and the knee
  phasegate run -u http://127.0.0.1:8000 --request-rate 1..100 --slo 'ttft:p99:200 tpot:p95:50'
      Searches for the highest rate that holds, a phase and two gates for each probe
  phasegate run --config bench.yaml --dry-run
      Prints the plan of a file and sends nothing

Flags win over environment variables, those over the file, that over defaults.
Exit codes: 0 done, 1 a condition failed or no request succeeded, 2 wrong usage
(nothing was sent), 3 the endpoint never became ready, 130 interrupted.";

/// Arguments of `phasegate run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub load: LoadArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub input: InputArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub gate: GateArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The server under test.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Endpoint")]
pub struct EndpointArgs {
    /// Base URL of the server; user and password in it are sent as a header. Several, with commas
    /// between or repeated, are sent to in turn
    #[arg(long, short, value_name = "URL", aliases = ["base-url", "target"],
          value_delimiter = ',', value_parser = secret)]
    pub url: Vec<Secret>,
    /// The model [default: the first that /v1/models lists]
    #[arg(long, short)]
    pub model: Option<String>,
    /// Which API is spoken [default: chat]
    #[arg(long, value_name = "TYPE")]
    pub endpoint_type: Option<EndpointTypeArg>,
    /// Ask for a stream of events (the default; never for embeddings and rerank)
    #[arg(long, overrides_with = "no_streaming")]
    pub streaming: bool,
    /// Ask for one answer
    #[arg(long, overrides_with = "streaming")]
    pub no_streaming: bool,
    /// A header to send with every request; may be repeated
    #[arg(long, value_name = "NAME:VALUE", value_parser = secret)]
    pub header: Vec<Secret>,
    /// Sent as a bearer token, to Anthropic's API as x-api-key; better given by the variable, which
    /// no process list shows [env: OPENAI_API_KEY], for messages [env: ANTHROPIC_API_KEY]
    #[arg(long, value_name = "KEY", value_parser = secret)]
    pub api_key: Option<Secret>,
    /// Give a request up after this long [default: 10m]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub request_timeout: Option<Duration>,
    /// Wait this long for the endpoint to become ready; 0 does not ask [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub ready_timeout: Option<Duration>,
    /// Measure a simulated server on loopback, with simulated GPUs
    #[arg(long, conflicts_with_all = ["url", "config"])]
    pub demo: bool,
}

/// The load of a run without phases in a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Requests in flight at a time; with --request-rate, the most there may be. Several, as
    /// 1,2,4,8, are a sweep: a phase each; 1..64 is the range of --slo [default: 1 without a rate]
    #[arg(long, short, value_name = "N", aliases = ["max-concurrency"],
          value_parser = parse::concurrencies)]
    pub concurrency: Option<Levels<u32>>,
    /// Requests per second, whether or not earlier ones are answered; or inf, all at once. Several,
    /// as 5,10,20, are a sweep: a phase each; 1..100 is the range of --slo
    #[arg(long, value_name = "RATE", aliases = ["rate"], value_parser = parse::rates)]
    pub request_rate: Option<Levels<f64>>,
    /// How arrivals at a rate are spaced [default: poisson, or gamma with --burstiness]
    #[arg(long, value_name = "PROCESS", aliases = ["arrival-pattern", "request-rate-mode"])]
    pub arrival: Option<ArrivalArg>,
    /// Shape of gamma arrivals: 1 is Poisson, below is burstier, above is more even [default: 1]
    #[arg(long, hide_short_help = true, value_name = "SHAPE", value_parser = parse::positive)]
    pub burstiness: Option<f64>,
    /// Stop after this many requests [default without --duration: 2 x concurrency, at least 10]
    #[arg(long, short = 'n', value_name = "N", aliases = ["num-prompts", "num-requests"],
          value_parser = parse::count)]
    pub request_count: Option<u64>,
    /// Stop sending after this long; with --request-count, at whichever is reached first
    #[arg(long, short, value_name = "TIME", aliases = ["benchmark-duration", "max-seconds"],
          value_parser = parse::duration)]
    pub duration: Option<Duration>,
    /// How long requests in flight may go on after sending stopped
    /// [default: 30s with --duration, no limit without]
    #[arg(long, value_name = "TIME", aliases = ["benchmark-grace-period"],
          value_parser = parse::duration)]
    pub grace_period: Option<Duration>,
    /// Let concurrency or rate grow linearly to its value over this time [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub ramp: Option<Duration>,
    /// Stop after this many conversations [default with --dataset-type conversation and no other
    /// end: each of the file once]
    #[arg(long, value_name = "N", aliases = ["num-sessions", "num-conversations",
          "conversation-num"], value_parser = parse::count)]
    pub session_count: Option<u64>,
    /// Send each line of the file at its timestamp
    #[arg(long, conflicts_with_all = ["request_rate", "arrival", "burstiness", "ramp"])]
    pub fixed_schedule: bool,
    /// Cancel this percentage of the requests, drawn from the seed; not in the warm-up
    #[arg(long, hide_short_help = true, value_name = "PERCENT", value_parser = parse::percent)]
    pub request_cancellation_rate: Option<f64>,
    /// Cancel them so long after they were sent [default: 0s]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub request_cancellation_delay: Option<Duration>,
    /// Put a warm-up phase of this many requests before what is measured
    #[arg(long, value_name = "N", aliases = ["num-warmups", "warmup-requests"],
          value_parser = parse::count)]
    pub warmup_request_count: Option<u64>,
    /// Put a warm-up phase of this length before what is measured
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub warmup_duration: Option<Duration>,
    /// Seed of prompts, lengths and arrivals [default: 0]
    #[arg(long, value_name = "N", aliases = ["random-seed"], value_parser = parse::seed)]
    pub seed: Option<u64>,
    /// Phases and everything else, in YAML; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is sent.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Mean prompt length in tokens [default: 128]
    #[arg(long, value_name = "TOKENS", value_parser = parse::small_count,
          aliases = ["input-len", "random-input-len", "synthetic-input-tokens-mean"])]
    pub isl: Option<u32>,
    /// Its standard deviation [default: 0]
    #[arg(long, hide_short_help = true, value_name = "TOKENS", value_parser = parse::not_negative)]
    pub isl_stddev: Option<f64>,
    /// Mean of max_tokens; none leaves the length to the server [default: 64, or what the file says]
    #[arg(long, value_name = "TOKENS", value_parser = parse::output_length,
          aliases = ["output-len", "random-output-len", "output-tokens-mean"])]
    pub osl: Option<OutputLength>,
    /// Its standard deviation [default: 0]
    #[arg(long, hide_short_help = true, value_name = "TOKENS", value_parser = parse::not_negative)]
    pub osl_stddev: Option<f64>,
    /// Ask the server to generate exactly the output length
    #[arg(long)]
    pub ignore_eos: bool,
    /// Merged into every request body: a JSON object, or key:value; may be repeated
    #[arg(long, value_name = "JSON", aliases = ["extra-body"])]
    pub extra_inputs: Vec<String>,
    /// Prompts from a file instead of synthetic ones
    #[arg(long, value_name = "FILE")]
    pub input_file: Option<PathBuf>,
    /// Its format [default: jsonl]
    #[arg(long, value_name = "FORMAT", aliases = ["custom-dataset-type"])]
    pub dataset_type: Option<InputFormatArg>,
    /// Begin each synthetic prompt with one of so many shared prefixes [default: 0]
    #[arg(long, value_name = "N", aliases = ["num-prefix-prompts"], value_parser = parse::whole)]
    pub prefix_count: Option<u32>,
    /// Length of the shared prefixes in tokens, in addition to --isl
    #[arg(long, value_name = "TOKENS", aliases = ["prefix-prompt-length", "random-prefix-len"],
          value_parser = parse::small_count)]
    pub prefix_length: Option<u32>,
    /// Send the same prompts in every phase; otherwise no prompt is sent by two phases, which the
    /// server's prefix cache would answer
    #[arg(long, hide_short_help = true)]
    pub repeat_prompts: bool,
    /// How long the user of a conversation thinks before the next turn, where the file does not
    /// say [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub think_time: Option<Duration>,
    /// Send the file's lines faster by this factor than their timestamps say [default: 1]
    #[arg(long, hide_short_help = true, value_name = "FACTOR", value_parser = parse::positive)]
    pub schedule_speed: Option<f64>,
    /// Leave out lines with a timestamp before this one, which is then the start of the schedule
    /// (otherwise the first line's is)
    #[arg(long, hide_short_help = true, value_name = "MS", value_parser = parse::not_negative,
          aliases = ["fixed-schedule-start-offset"])]
    pub schedule_start: Option<f64>,
    /// Leave out lines with a timestamp after this one
    #[arg(long, hide_short_help = true, value_name = "MS", value_parser = parse::not_negative,
          aliases = ["fixed-schedule-end-offset"])]
    pub schedule_end: Option<f64>,
    /// What --fixed-schedule does anyway: the first timestamp is the start
    #[arg(long, hide = true, conflicts_with = "schedule_start")]
    pub fixed_schedule_auto_offset: bool,
    /// A tokenizer.json that sizes synthetic prompts exactly; only in builds with the feature
    /// tokenizers
    #[arg(long, hide_short_help = true, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
}

/// What the measurement is held against.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Conditions")]
pub struct JudgeArgs {
    /// Limits in milliseconds within which a request is good, as metric:limit; short names are
    /// ttft, tpot, itl, e2el
    #[arg(long, value_name = "LIMITS", num_args = 1..)]
    pub goodput: Vec<String>,
    /// Exit 1 if a profiling phase has a higher share of errors, e.g. 0.01 or 1%; the run ends as
    /// soon as that is certain
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    pub max_error_rate: Option<f64>,
    /// Search for the highest rate, or concurrency, of a range LOW..HIGH at which these objectives
    /// hold: metric:percentile:milliseconds, as ttft:p99:200, and error_rate:share
    #[arg(long, value_name = "OBJECTIVES", num_args = 1..)]
    pub slo: Vec<String>,
    /// The search ends once what failed is no more than this above what held [default: 5%]
    #[arg(long, hide_short_help = true, value_name = "SHARE", value_parser = parse::share)]
    pub slo_tolerance: Option<f64>,
    /// The most probes that the search takes, each a phase [default: 16]
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = parse::probes)]
    pub slo_probes: Option<u32>,
    /// Exit 1 unless every profiling phase's verdict is clean; of a search, unless a load was found
    /// that holds and its verdict is clean
    #[arg(long)]
    pub strict: bool,
    /// First measure the client's own floor, against a server that takes no time (about 3 s)
    #[arg(long)]
    pub calibrate: bool,
}

/// What is shown and written.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Where artifacts are written [default: artifacts/MODEL-TIME]
    #[arg(long, value_name = "DIR", aliases = ["result-dir"])]
    pub artifact_dir: Option<PathBuf>,
    /// How much of each request is written [default: records]
    #[arg(long, value_name = "LEVEL")]
    pub export_level: Option<ExportLevelArg>,
    /// How progress is shown on standard error [default: tui on a terminal, simple elsewhere]
    #[arg(long, value_name = "UI")]
    pub ui: Option<UiArg>,
    /// Print the plan and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[allow(clippy::unnecessary_wraps)]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// Implements the way from an argument's word to the runtime's type, and the
/// same words for the file.
macro_rules! words {
    ($arg:ident => $target:ty { $($variant:ident = $value:expr),+ $(,)? }) => {
        impl From<$arg> for $target {
            fn from(arg: $arg) -> Self {
                match arg { $($arg::$variant => $value),+ }
            }
        }
    };
}

/// See [`EndpointType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndpointTypeArg {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
    /// /v1/embeddings
    Embeddings,
    /// OpenAI's /v1/responses
    Responses,
    /// Anthropic's /v1/messages
    Messages,
    /// /v1/rerank
    Rerank,
}

words!(EndpointTypeArg => EndpointType {
    Chat = EndpointType::Chat,
    Completions = EndpointType::Completions,
    Embeddings = EndpointType::Embeddings,
    Responses = EndpointType::Responses,
    Messages = EndpointType::Messages,
    Rerank = EndpointType::Rerank,
});

/// The spacing of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalArg {
    /// Exponential gaps
    Poisson,
    /// Equal gaps
    Constant,
    /// Gamma-distributed gaps
    Gamma,
}

/// See [`InputFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormatArg {
    /// One object a line with prompt or messages, and optionally max_tokens
    Jsonl,
    /// One request body a line, passed through unchanged
    #[value(alias = "raw")]
    Openai,
    /// A JSON list of conversations, of which the first message is sent
    Sharegpt,
    /// One conversation a line with turns or messages, sent turn by turn with the server's answers
    #[value(alias = "multi_turn")]
    Conversation,
    /// One line of a Mooncake trace: timestamp, input_length, output_length, hash_ids
    #[value(alias = "mooncake_trace")]
    Mooncake,
}

words!(InputFormatArg => InputFormat {
    Jsonl = InputFormat::Jsonl,
    Openai = InputFormat::Openai,
    Sharegpt = InputFormat::Sharegpt,
    Conversation = InputFormat::Conversation,
    Mooncake = InputFormat::Mooncake,
});

/// See [`ExportLevel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportLevelArg {
    /// No line a request
    Summary,
    /// One line a request
    Records,
    /// With the time of each streamed event
    Events,
}

words!(ExportLevelArg => ExportLevel {
    Summary = ExportLevel::Summary,
    Records = ExportLevel::Records,
    Events = ExportLevel::Events,
});

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UiArg {
    /// A bar a phase
    Tui,
    /// A line every few seconds
    Simple,
    /// Nothing
    None,
}
