//! Tier 2 by hand: the real nodes on a simulated network.
//!
//! ```text
//! cargo sim2 -- --seed 7 --trace       one swarm seed, every step
//! cargo sim2 -- --seeds 1000 --from 5  many, a line for each that fails
//! cargo sim2 -- --scenario lost-acks   a named one; `list` names them
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use phasegate_sim::turmoil::{Outcome, Scenario, named, run, swarm};

const USAGE: &str = "usage: sim2 [--seed N | --seeds K [--from N] | --scenario NAME|list [--seed N]] \
     [--trace] [--quiet]";

#[derive(Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: u64,
    scenario: Option<String>,
    trace: bool,
    quiet: bool,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match go(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut parsed = Args::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{arg}: {text:?} is no number from 0 on"))
        };
        match arg.as_str() {
            "--seed" => parsed.seed = Some(number(value()?)?),
            "--seeds" => parsed.seeds = Some(number(value()?)?),
            "--from" => parsed.from = number(value()?)?,
            "--scenario" => parsed.scenario = Some(value()?),
            "--trace" => parsed.trace = true,
            "--quiet" => parsed.quiet = true,
            "--help" | "-h" => return Err("tier 2: the real nodes on a simulated network".into()),
            other => return Err(format!("{other} is unknown")),
        }
    }
    Ok(parsed)
}

fn go(args: &Args) -> Result<bool, String> {
    if args.scenario.as_deref() == Some("list") {
        for (name, what) in named::NAMES {
            println!("{name:<20} {what}");
        }
        return Ok(true);
    }
    if let Some(name) = &args.scenario {
        let seed = args.seed.unwrap_or(0);
        let scenario = named::named(name, seed)
            .ok_or_else(|| format!("there is no scenario {name:?}; --scenario list names them"))?;
        return Ok(one(&scenario, args, &format!("--scenario {name} --seed {seed}")).0);
    }
    let (from, seeds) = match (args.seed, args.seeds) {
        (Some(seed), _) => (seed, 1),
        (None, Some(seeds)) => (args.from, seeds),
        (None, None) => (args.from, 100),
    };
    let started = Instant::now();
    let (mut failed, mut simulated, mut steps) = (0_u64, Duration::ZERO, 0);
    for seed in from..from.saturating_add(seeds) {
        let scenario = swarm::swarm(seed).map_err(|error| format!("seed {seed}: {error}"))?;
        let quiet = Args { quiet: args.quiet || seeds > 1, trace: args.trace, ..Args::default() };
        let (clean, outcome) = one(&scenario, &quiet, &format!("--seed {seed}"));
        failed += u64::from(!clean);
        if let Some(outcome) = outcome {
            simulated += outcome.elapsed;
            steps += outcome.steps;
        }
    }
    let wall = started.elapsed();
    eprintln!(
        "{seeds} seeds from {from}: {failed} failed; {:.0} simulated s in {:.1} s: {:.0} a second; \
         {steps} steps",
        simulated.as_secs_f64(),
        wall.as_secs_f64(),
        simulated.as_secs_f64() / wall.as_secs_f64(),
    );
    Ok(failed == 0)
}

/// Runs one scenario; a panic in any task of it is a failure.
fn one(scenario: &Scenario, args: &Args, repro: &str) -> (bool, Option<Outcome>) {
    if !args.quiet {
        println!("{scenario:#?}");
    }
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(scenario, args.trace))) else {
        println!("FAILED (panicked): cargo sim2 -- {repro} --trace");
        return (false, None);
    };
    print!("{}", outcome.text);
    for failure in &outcome.failures {
        println!("{}: {failure}", scenario.name);
    }
    if !args.quiet {
        if let Some(result) = &outcome.result {
            println!("outcome {:?} {:?}", result.outcome, result.reasons);
            for phase in &result.phases {
                println!("{} {:?} {:?}", phase.name, phase.verdict, phase.requests);
                for note in &phase.notes {
                    println!("    {note}");
                }
            }
        }
        println!(
            "ended after {:?}, {} steps, {} entries replayed",
            outcome.elapsed, outcome.steps, outcome.replayed
        );
    }
    let clean = outcome.failures.is_empty();
    if !clean {
        println!("FAILED: cargo sim2 -- {repro} --trace");
    }
    (clean, Some(outcome))
}
