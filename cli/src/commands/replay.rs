//! `phasegate replay`: feeds a recorded journal to the core again, checks that
//! every effect is the same, and holds every step, and the artifacts beside the
//! journal, against the invariants.

use std::io::Read;
use std::path::Path;

use phasegate_core::journal::{Journal, ReplayError, Tail};
use phasegate_core::setup::Settings;
use phasegate_runtime::export::journal::open_again;
use phasegate_sim::invariants::replay::{self, Checked};

use crate::args::ReplayArgs;
use crate::check;
use crate::exit::{Exit, complain};
use crate::output::print;

/// Replays, or prints.
#[must_use]
pub fn run(args: &ReplayArgs) -> Exit {
    let path = args.run_dir.join("journal.bin");
    let done = if args.print { text(&path) } else { replayed(&args.run_dir, &path) };
    match done {
        Ok(report) => print(&report),
        Err(Failure::Unreadable(problem)) => {
            complain(format!("{}: {problem}", path.display()));
            Exit::Usage
        }
        Err(Failure::Broken(report, problems)) => {
            let printed = print(&report);
            for problem in problems {
                complain(format!("{}: {problem}", path.display()));
            }
            if printed == Exit::Done { Exit::ConditionFailed } else { printed }
        }
    }
}

enum Failure {
    Unreadable(String),
    /// What was good until then, and what is not.
    Broken(String, Vec<String>),
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::Unreadable(error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open_again(path).and_then(|mut journal| journal.read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| unreadable(&error))
}

fn replayed(dir: &Path, path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    let checked = replay::check(&bytes).map_err(|error| match error {
        ReplayError::Journal(error) => unreadable(&error),
        ReplayError::Mismatch(found) => {
            Failure::Broken(String::new(), vec![format!("the first difference is {found}")])
        }
    })?;
    let Checked { replayed, machines, seed, .. } = &checked;
    let mut report = format!(
        "replayed {} inputs with {} effects on {machines} machines: all the same (seed {seed})\n",
        replayed.entries, replayed.effects,
    );
    if let Tail::Torn { offset, reason } = &checked.tail {
        report.push_str(&format!("the journal ends torn at byte {offset}: {reason}\n"));
    }
    if checked.cut_off {
        report.push_str("the run did not end: what must hold at its end was not checked\n");
    }
    let artifacts = check::directory(dir, &checked).map_err(Failure::Unreadable)?;
    let mut broken: Vec<String> = checked.violations.iter().map(ToString::to_string).collect();
    broken.extend(artifacts.violations.iter().map(ToString::to_string));
    if !broken.is_empty() {
        let broken = broken.iter().map(|what| check::accuse(what)).collect();
        return Err(Failure::Broken(report, broken));
    }
    report.push_str(&format!(
        "every invariant holds: every step, the windows of {} series{}\n",
        artifacts.series,
        if artifacts.result { ", run.json" } else { " (there is no run.json)" },
    ));
    Ok(report)
}

fn text(path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    let journal = Journal::open(&bytes).map_err(|error| unreadable(&error))?;
    let settings = Settings::from_header(&journal.header).map_err(|error| unreadable(&error))?;
    let nodes = settings.replayers(&journal.header.plan);
    let mut entries = journal.entries();
    let mut report = String::new();
    for (number, entry) in entries.by_ref().enumerate() {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let place = usize::from(entry.node);
        let name = journal.header.nodes.get(place).map_or("?", String::as_str);
        let said = nodes.get(place).map_or_else(String::new, |node| node.describe(&entry));
        report.push_str(&format!("{number:>8} {} {name:<32} {said}\n", entry.at));
    }
    if let Some(Tail::Torn { offset, reason }) = entries.tail() {
        report.push_str(&format!("the journal ends torn at byte {offset}: {reason}\n"));
    }
    Ok(report)
}
