//! `phasegate sim`: runs the whole orchestration in deterministic simulation.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use phasegate_core::time::{Tick, nanos};
use phasegate_sim::des::batch::Batch;
use phasegate_sim::des::scenario::{self, Scenario};
use phasegate_sim::des::shrink::shrink;
use phasegate_sim::des::{Config, Keep, Outcome, Request, Runner};

use crate::args::sim::SimArgs;
use crate::exit::{Exit, complain};
use crate::output::print;

/// Simulates.
#[must_use]
pub fn run(args: &SimArgs) -> Exit {
    let scenario = match args.scenario.as_deref() {
        None => None,
        Some("list") => return print(&list()),
        Some(name) => match scenario::find(name) {
            Some(found) => Some(found),
            None => {
                complain(format!("--scenario {name}: there is none; 'list' shows them"));
                return Exit::Usage;
            }
        },
    };
    let request = request(args);
    if args.phases == 0 || args.requests == 0 {
        complain("--phases and --requests: a run has at least 1 of each");
        return Exit::Usage;
    }
    match args.seeds {
        None => one(args, &request, scenario),
        Some(seeds) => many(args, &request, scenario, seeds),
    }
}

/// What the arguments ask for; with `--seeds`, the first of them.
#[must_use]
pub fn request(args: &SimArgs) -> Request {
    Request {
        seed: args.seed.or(args.from).unwrap_or_default(),
        faults: args.faults,
        phases: args.phases,
        collectors: args.collectors,
        requests: args.requests,
        calm: args.calm.map_or(Tick::NEVER, |calm| Tick(nanos(calm))),
    }
}

fn list() -> String {
    let mut text = String::new();
    for scenario in scenario::ALL {
        let _ = writeln!(text, "{:<26} {}", scenario.name, scenario.about);
    }
    text
}

fn batch(
    args: &SimArgs,
    request: &Request,
    scenario: Option<&'static Scenario>,
    seeds: u64,
) -> Batch {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(cores);
    Batch { request: *request, scenario, seeds, jobs, bare: args.bare }
}

fn configuration(request: &Request, scenario: Option<&'static Scenario>) -> String {
    let config = match scenario {
        Some(scenario) => scenario.config(request.seed),
        None => Config::draw(request),
    };
    match config {
        Ok(config) => format!("{config}\n"),
        Err(error) => format!("seed {}: {error}\n", request.seed),
    }
}

fn one(args: &SimArgs, request: &Request, scenario: Option<&'static Scenario>) -> Exit {
    let head = print(&configuration(request, scenario));
    if head != Exit::Done {
        return head;
    }
    let mut runner = Runner::default();
    let keep = Keep { journal: true, trace: args.trace, bare: args.bare };
    let outcome = batch(args, request, scenario, 1).one(&mut runner, request.seed, keep);
    let mut text = outcome.trace.clone().unwrap_or_default();
    if args.marks {
        let _ = write!(text, "{}", outcome.marks);
    }
    let _ = writeln!(text, "over at {} after {} steps", outcome.ended, outcome.steps);
    if print(&text) != Exit::Done {
        return Exit::ConditionFailed;
    }
    if outcome.violation.is_some() {
        return failed(args, request, scenario, outcome);
    }
    match &args.artifact_dir {
        None => Exit::Done,
        Some(dir) => written(dir.clone(), &outcome),
    }
}

fn many(
    args: &SimArgs,
    request: &Request,
    scenario: Option<&'static Scenario>,
    seeds: u64,
) -> Exit {
    let batch = batch(args, request, scenario, seeds);
    let (from, jobs) = (request.seed, batch.jobs);
    let kinds = request.faults;
    let head = match scenario {
        Some(scenario) => format!("{seeds} seeds from {from}, scenario {}", scenario.name),
        None => format!("{seeds} seeds from {from}, faults {kinds}"),
    };
    if print(&format!("{head}, {jobs} jobs\n")) != Exit::Done {
        return Exit::ConditionFailed;
    }
    let started = Instant::now();
    let done = batch.run();
    let took = started.elapsed().as_secs_f64().max(1e-9);
    let mut text = String::new();
    if args.marks {
        let _ = write!(text, "{}", done.marks);
    }
    let (runs, steps) = (done.runs as f64, done.steps as f64);
    let _ = writeln!(
        text,
        "{} runs, {} steps in {took:.1} s: {:.0} runs/s, {:.0} steps/s",
        done.runs,
        done.steps,
        runs / took,
        steps / took
    );
    if print(&text) != Exit::Done {
        return Exit::ConditionFailed;
    }
    let Some((offset, _)) = done.failure else { return Exit::Done };
    let request = Request { seed: from.wrapping_add(offset), ..*request };
    let outcome = batch.one(&mut Runner::default(), request.seed, Keep::default());
    failed(args, &request, scenario, outcome)
}

/// Makes a failure small, writes its journal, and says how to make it happen
/// again.
fn failed(
    args: &SimArgs,
    request: &Request,
    scenario: Option<&'static Scenario>,
    outcome: Outcome,
) -> Exit {
    let mut runner = Runner::default();
    let mut text = String::new();
    let request = match scenario {
        Some(_) => *request,
        None => {
            let shrunk = shrink(&mut runner, *request, outcome);
            let (runs, steps) = (shrunk.runs, shrunk.outcome.steps);
            let _ = writeln!(text, "made small in {runs} runs, to {steps} steps:");
            text.push_str(&configuration(&shrunk.request, None));
            shrunk.request
        }
    };
    let keep = Keep { journal: true, ..Keep::default() };
    let again = batch(args, &request, scenario, 1).one(&mut runner, request.seed, keep);
    let dir = args
        .artifact_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("artifacts/sim-{}", request.seed)));
    if let Some(violation) = &again.violation {
        let _ = writeln!(text, "{violation}");
    }
    if print(&text) != Exit::Done {
        return Exit::ConditionFailed;
    }
    let _ = written(dir, &again);
    let command = match scenario {
        Some(scenario) => format!("--scenario {} --seed {}", scenario.name, request.seed),
        None => request.to_string(),
    };
    let _ = print(&format!("phasegate sim {command}\n"));
    Exit::ConditionFailed
}

/// Writes the journal where `phasegate replay` finds it.
fn written(dir: PathBuf, outcome: &Outcome) -> Exit {
    let Some(bytes) = &outcome.journal else { return Exit::Done };
    let path = dir.join("journal.bin");
    match fs::create_dir_all(&dir).and_then(|()| fs::write(&path, bytes)) {
        Ok(()) => print(&format!("the journal is {}\n", path.display())),
        Err(error) => {
            complain(format!("{}: {error}", path.display()));
            Exit::ConditionFailed
        }
    }
}
