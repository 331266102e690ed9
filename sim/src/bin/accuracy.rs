//! Measures what docs/accuracy.md states.
//!
//! ```text
//! cargo run --release -p phasegate-sim --features turmoil --bin accuracy
//! … -- --runs 50 --seed 0              every case, the table on standard output
//! … -- --case late-1s --runs 5         one of them; `--case list` names them
//! … -- --case late-1s --runs 1 --seed 7 --phases   one run, phase by phase
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use phasegate_sim::accuracy::cases::CASES;
use phasegate_sim::accuracy::{Case, Row, measure::Energy, ran, table};

const USAGE: &str = "usage: accuracy [--case NAME|list] [--runs N] [--seed S] [--phases]";

struct Args {
    cases: Vec<Case>,
    runs: u64,
    seed: u64,
    phases: bool,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Some(args)) if go(&args) => ExitCode::SUCCESS,
        Ok(Some(_)) => ExitCode::FAILURE,
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut parsed = Args { cases: Vec::new(), runs: 50, seed: 0, phases: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{arg}: {text:?} is no number from 0 on"))
        };
        match arg.as_str() {
            "--case" => match value()?.as_str() {
                "list" => {
                    for case in CASES {
                        println!("{:<18} {}", case.name, case.what);
                    }
                    return Ok(None);
                }
                name => {
                    let case = Case::named(name);
                    let none = || format!("there is no case {name:?}; --case list names them");
                    parsed.cases.push(case.ok_or_else(none)?);
                }
            },
            "--runs" => parsed.runs = number(value()?)?,
            "--seed" => parsed.seed = number(value()?)?,
            "--phases" => parsed.phases = true,
            other => return Err(format!("{other} is unknown")),
        }
    }
    if parsed.cases.is_empty() {
        parsed.cases = CASES.to_vec();
    }
    Ok(Some(parsed))
}

/// Whether every case is as it must be.
fn go(args: &Args) -> bool {
    let mut good = true;
    let mut rows = Vec::new();
    for case in &args.cases {
        let began = Instant::now();
        let mut row = Row::default();
        for seed in args.seed..args.seed.saturating_add(args.runs) {
            good &= one(case, seed, args.phases, &mut row);
        }
        if !row.bounds_hold() {
            good = false;
            println!("{}: the truth lay inside {} of {} bounds", case.name, row.inside, row.given);
        }
        eprintln!("{:<18} {:.1} s", case.name, began.elapsed().as_secs_f64());
        rows.push((*case, row));
    }
    print!("{}", table::markdown(&rows));
    good
}

fn one(case: &Case, seed: u64, phases: bool, row: &mut Row) -> bool {
    let repro = format!("--case {} --runs 1 --seed {seed} --phases", case.name);
    let scenario = match case.scenario(seed) {
        Ok(scenario) => scenario,
        Err(why) => {
            println!("BROKEN ({why}): accuracy {repro}");
            return false;
        }
    };
    let Ok(ran) = catch_unwind(AssertUnwindSafe(|| ran(&scenario))) else {
        println!("BROKEN (panicked): accuracy {repro}");
        return false;
    };
    let mut good = true;
    for why in &ran.broken {
        good = false;
        println!("BROKEN ({why}): accuracy {repro}");
    }
    for phase in &ran.phases {
        if phases {
            println!("{phase:#?}");
        }
        if phase.silently_wrong() {
            good = false;
            println!("SILENTLY WRONG ({} {:?}): accuracy {repro}", phase.name, phase.counts);
        }
        for energy in &phase.energies {
            if let (Energy::Given { reported, error, truth, span_s }, Some(false)) =
                (energy, energy.inside())
            {
                println!(
                    "OUTSIDE ({} {reported:.3} J ± {error:?}, true {truth:.3} J from {span_s:?} s): accuracy \
                     {repro}",
                    phase.name
                );
            }
        }
    }
    row.add(&ran);
    good
}
