//! `phasegate replay`: feeds a recorded journal to the core again and checks
//! that every effect is the same.

use std::path::Path;

use phasegate_core::journal::{Journal, Tail, replay};
use phasegate_core::setup::Settings;

use crate::args::ReplayArgs;
use crate::exit::{Exit, complain};
use crate::output::print;

/// Replays, or prints.
#[must_use]
pub fn run(args: &ReplayArgs) -> Exit {
    let path = args.run_dir.join("journal.bin");
    match open(&path, args.print) {
        Ok(report) => print(&report),
        Err(Failure::Unreadable(problem)) => {
            complain(format!("{}: {problem}", path.display()));
            Exit::Usage
        }
        Err(Failure::Differs(difference)) => {
            complain(format!("{}: {difference}", path.display()));
            Exit::ConditionFailed
        }
    }
}

enum Failure {
    Unreadable(String),
    Differs(String),
}

fn open(path: &Path, as_text: bool) -> Result<String, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::Unreadable(error.to_string());
    let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
    let journal = Journal::open(&bytes).map_err(|error| unreadable(&error))?;
    let settings = Settings::from_header(&journal.header).map_err(|error| unreadable(&error))?;
    let mut nodes = settings.replayers(&journal.header.plan);
    let mut entries = journal.entries();
    let mut report = String::new();
    if as_text {
        for (number, entry) in entries.by_ref().enumerate() {
            let entry = entry.map_err(|error| unreadable(&error))?;
            let place = usize::from(entry.node);
            let name = journal.header.nodes.get(place).map_or("?", String::as_str);
            let said = nodes.get(place).map_or_else(String::new, |node| node.describe(&entry));
            report.push_str(&format!("{number:>8} {} {name:<32} {said}\n", entry.at));
        }
    } else {
        let done = replay(entries.by_ref(), &mut nodes)
            .map_err(|difference| Failure::Differs(difference.to_string()))?;
        report = format!(
            "replayed {} inputs with {} effects on {} machines: all the same (seed {})\n",
            done.entries,
            done.effects,
            nodes.len(),
            journal.header.seed
        );
    }
    if let Some(Tail::Torn { offset, reason }) = entries.tail() {
        report.push_str(&format!("the journal ends torn at byte {offset}: {reason}\n"));
    }
    Ok(report)
}
