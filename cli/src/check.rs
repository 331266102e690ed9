//! Whether phasegate kept its own rules: the invariants, held against what a run
//! left. At the end of every run, and again by `phasegate replay`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use phasegate_core::account::attribution::Attributed;
use phasegate_core::account::result::RunResult;
use phasegate_core::account::{Attribution, Evidence};
use phasegate_core::journal::ReplayError;
use phasegate_core::reading::Reading;
use phasegate_runtime::session::audit::{Audited, Ended};
use phasegate_sim::invariants::replay::{self, Checked};
use phasegate_sim::invariants::{Violation, g06, result};

/// A longer journal is not replayed at the end of its run, where somebody waits
/// for the result.
pub const LONGEST: u64 = 256 * 1024 * 1024;

/// The files that hold readings.
const READINGS: [&str; 2] = ["server_metrics.jsonl", "gpu_telemetry.jsonl"];

/// Checks a run at its end.
#[must_use]
pub fn audit(ended: &Ended<'_>) -> Audited {
    let mut audited = Audited::default();
    let mut broken = match journal(ended) {
        Ok(violations) => violations.iter().map(ToString::to_string).collect(),
        Err(Skipped::Broken(how)) => vec![how],
        Err(Skipped::NotChecked(why)) => {
            audited.notes.push(why);
            Vec::new()
        }
    };
    broken.extend(over_artifacts(ended).iter().map(ToString::to_string));
    audited.broken = broken.iter().map(|what| accuse(what)).collect();
    audited
}

/// A broken rule as a sentence for whoever ran it.
#[must_use]
pub fn accuse(what: &str) -> String {
    format!(
        "phasegate itself broke a rule: {what}. This is a bug, please report it with journal.bin."
    )
}

enum Skipped {
    NotChecked(String),
    Broken(String),
}

fn journal(ended: &Ended<'_>) -> Result<Vec<Violation>, Skipped> {
    // An incomplete journal is said to be so already, and proves nothing.
    if !ended.journal_complete {
        return Ok(Vec::new());
    }
    let path = ended.dir.join("journal.bin");
    let unreadable = |error| {
        Skipped::NotChecked(format!(
            "{} was not checked: {error}; `phasegate replay` checks it",
            path.display()
        ))
    };
    let there = path.metadata().map_err(unreadable)?;
    if !there.is_file() {
        // A FIFO: whoever reads it has the journal, and to read here would wait for ever.
        let why = format!("{} was not checked: it is no file to be read again", path.display());
        return Err(Skipped::NotChecked(why));
    }
    if there.len() > LONGEST {
        let (name, mib) = (path.display(), there.len() / (1024 * 1024));
        return Err(Skipped::NotChecked(format!(
            "{name} was not checked at the end of the run: {mib} MiB; `phasegate replay` checks it"
        )));
    }
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    let checked = replay::check(&bytes).map_err(|error| {
        Skipped::Broken(match error {
            ReplayError::Mismatch(found) => format!("G11 violated at {}: {found}", found.at),
            ReplayError::Journal(error) => format!("G11 violated: {error}"),
        })
    })?;
    let mut violations = checked.violations;
    if checked.cut_off {
        let last = checked.controller.boundaries.iter().map(|b| b.closed).max();
        let what = "the session is over, and the controller never ended";
        violations.push(Violation::new("G9", last.unwrap_or_default(), what));
    }
    Ok(violations)
}

fn over_artifacts(ended: &Ended<'_>) -> Vec<Violation> {
    let mut broken = result::check_result(ended.result, ended.controller);
    let baselines = each_reading(ended.dir, true, |_| {});
    broken.extend(g06::check(ended.attributed, &baselines).1);
    broken.extend(g06::check_windows(ended.result, ended.attributed));
    broken
}

/// Goes through the readings of a run, or only through those that a boundary
/// asked for. What cannot be read is left out: the result says so.
fn each_reading(
    dir: &Path,
    boundaries_only: bool,
    mut feed: impl FnMut(&Reading),
) -> g06::Baselines {
    let mut baselines = g06::Baselines::default();
    for name in READINGS {
        let Ok(file) = File::open(dir.join(name)) else { continue };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            if boundaries_only && !line.contains("\"boundary\":") {
                continue;
            }
            if let Ok(reading) = serde_json::from_str::<Reading>(&line) {
                feed(&reading);
                baselines.feed(reading);
            }
        }
    }
    baselines
}

/// What a directory's artifacts say, held against its journal.
#[derive(Debug)]
pub struct OverDirectory {
    /// What is broken.
    pub violations: Vec<Violation>,
    /// How many series' windows were summed (G6).
    pub series: usize,
    /// There is a `run.json`, and it was checked (G7, G10, G13).
    pub result: bool,
}

/// Checks the artifacts in `dir` by what the replayed machines know.
///
/// # Errors
/// Why `run.json` cannot be read, if there is one.
pub fn directory(dir: &Path, checked: &Checked) -> Result<OverDirectory, String> {
    let evidence = Evidence {
        plan: &checked.plan,
        controller: &checked.controller,
        conductor: &checked.conductor,
        ledger: &checked.ledger,
    };
    let mut attribution = Attribution::new(&evidence);
    let baselines = each_reading(dir, false, |reading| attribution.feed(reading));
    let attributed: Attributed = attribution.finish();
    let (series, mut violations) = g06::check(&attributed, &baselines);
    let path = dir.join("run.json");
    let result = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(bytes) => {
            let read: RunResult = serde_json::from_slice(&bytes)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            violations.extend(result::check_result(&read, &checked.controller));
            violations.extend(g06::check_windows(&read, &attributed));
            true
        }
    };
    Ok(OverDirectory { violations, series, result })
}
