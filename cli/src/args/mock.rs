//! Flags of `phasegate mock`.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use phasegate_sim::server::Hazard;

use super::parse;

const EXAMPLE: &str = "\
Example:
  phasegate mock --port 8000 --ttft 50ms --itl 10ms --gpus 2
  phasegate mock --hazard publish-delay:1.5s --hazard energy-tick:100ms

Prints its address on standard output when it listens; stops on SIGINT or SIGTERM.";

/// The example, and every hazard.
fn long_help() -> String {
    let mut text = format!("{EXAMPLE}\n\nHazards ([…] may be left out):\n");
    for (form, what) in Hazard::KNOWN {
        text.push_str(&format!("  {form:<28} {what}\n"));
    }
    text.push_str("Those that strike one answer also take `every=K`: each Kth alone.");
    text
}

/// Arguments of `phasegate mock`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE, after_long_help = long_help())]
pub struct MockArgs {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// The name of the model that is served
    #[arg(long, default_value = "mock")]
    pub model: String,
    /// Time from the admission of a request to its first token, without its prompt's part
    #[arg(long, default_value = "20ms", value_name = "TIME", value_parser = parse::duration)]
    pub ttft: Duration,
    /// Time between two tokens of a request
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = parse::duration)]
    pub itl: Duration,
    /// Time that each prompt token adds to the first token
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = parse::duration)]
    pub prefill_per_token: Duration,
    /// Spread of these times, as a share of each
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = parse::share)]
    pub jitter: f64,
    /// Tokens in one streamed event
    #[arg(long, default_value = "1", value_name = "N", value_parser = parse::small_count)]
    pub tokens_per_chunk: u32,
    /// So many of the output tokens, the first, are reasoning
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub reasoning_tokens: u32,
    /// The most requests that are worked on at a time; others queue
    #[arg(long, default_value = "256", value_name = "N", value_parser = parse::small_count)]
    pub max_batch: u32,
    /// Simulated GPUs
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub gpus: u32,
    /// Seed of everything that is random
    #[arg(long, default_value = "0", value_name = "N", value_parser = parse::seed)]
    pub seed: u64,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
    /// A fault to inject; may be repeated; --help lists them
    #[arg(long, value_name = "HAZARD")]
    pub hazard: Vec<String>,
}
