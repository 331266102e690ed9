//! Flags of `phasegate sim`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use phasegate_sim::des::config::MOST;
use phasegate_sim::faults::Kinds;

use super::parse;

/// Arguments of `phasegate sim`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  phasegate sim --seed 7 --trace
  phasegate sim --seeds 100000 --jobs 4
  phasegate sim --seed $(git rev-parse HEAD)
  phasegate sim --scenario lost-ack --trace

A failure is made small, its journal is written for 'phasegate replay', and the
last line is the command that makes it happen again.

Exit codes: 0 clean, 1 a property was violated, 2 wrong usage.")]
pub struct SimArgs {
    /// Run this seed: a whole number, or a git commit hash (its first 16 hex
    /// digits count) [default: 0]
    #[arg(long, value_name = "SEED", value_parser = seed, conflicts_with_all = ["seeds", "from"])]
    pub seed: Option<u64>,
    /// Run so many seeds, one after the other, up to the first failure
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// The first seed of --seeds [default: 0]
    #[arg(long, value_name = "SEED", value_parser = seed, requires = "seeds")]
    pub from: Option<u64>,
    /// Run a named situation instead of a drawn one; 'list' shows them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["faults", "phases", "collectors", "requests", "calm"])]
    pub scenario: Option<String>,
    /// Allow only these kinds of faults: all, none, or names with commas
    #[arg(long, value_name = "KIND,…", default_value = "all")]
    pub faults: Kinds,
    /// At most so many phases
    #[arg(long, value_name = "N", default_value_t = MOST.0)]
    pub phases: usize,
    /// At most so many collectors
    #[arg(long, value_name = "N", default_value_t = MOST.1)]
    pub collectors: usize,
    /// At most so many requests a phase
    #[arg(long, value_name = "N", default_value_t = MOST.2)]
    pub requests: u64,
    /// Faults stop at this moment at the latest
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub calm: Option<Duration>,
    /// Print a line a step
    #[arg(long)]
    pub trace: bool,
    /// Print how often each interesting situation came about
    #[arg(long)]
    pub marks: bool,
    /// Threads for --seeds [default: one a core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Where the journal goes [default: artifacts/sim-SEED, after a failure]
    #[arg(long, value_name = "DIR")]
    pub artifact_dir: Option<PathBuf>,
    /// Run without invariants and oracle, to measure what they cost
    #[arg(long, hide = true)]
    pub bare: bool,
}

/// A seed of the simulator: a whole number that fits 64 bits; otherwise a git
/// commit hash (7 to 64 hex digits), whose first 16 digits are the number.
///
/// # Errors
/// A text that is neither.
pub fn seed(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(seed) = text.parse() {
        return Ok(seed);
    }
    let hex = (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let first = text.get(..text.len().min(16)).filter(|_| hex);
    let seed = first.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    seed.ok_or_else(|| {
        format!("'{text}' is not a seed; give a whole number from 0, or a git commit hash")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_number_or_the_first_sixteen_digits_of_a_commit() {
        assert_eq!(seed("12345678"), Ok(12_345_678));
        assert_eq!(seed("71b168f"), Ok(0x071b_168f));
        assert_eq!(seed("deadbeefcafef00d0123456789abcdef01234567"), Ok(0xdead_beef_cafe_f00d));
        assert_eq!(seed("1234567890123456789012345678901234567890"), Ok(0x1234_5678_9012_3456));
        assert!(seed("-1").is_err() && seed("abc").is_err() && seed("").is_err());
    }
}
