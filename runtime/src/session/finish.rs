//! The result, from what the machines know and what the files hold: at the end
//! of a run, and again for one that was killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use phasegate_core::account::attribution::Attributed;
use phasegate_core::account::result::RunResult;
use phasegate_core::account::{Attribution, Evidence as AccountEvidence, RunFacts, assemble};
use phasegate_core::conductor::report::ConductorReport;
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::plan::RunPlan;
use phasegate_core::reading::Reading;

use super::error::SessionError;
use crate::export::{report, summary};

/// What the machines know.
pub(super) struct Evidence {
    pub controller: ControllerReport,
    pub conductor: ConductorReport,
    pub ledger: LedgerReport,
}

/// Goes through the readings in `dir` and puts the result together.
pub(super) fn put_together(
    dir: &Path,
    plan: &RunPlan,
    evidence: &Evidence,
    mut facts: RunFacts,
) -> Result<(RunResult, Attributed), SessionError> {
    let account = AccountEvidence {
        plan,
        controller: &evidence.controller,
        conductor: &evidence.conductor,
        ledger: &evidence.ledger,
    };
    let mut attribution = Attribution::new(&account);
    for name in ["server_metrics.jsonl", "gpu_telemetry.jsonl"] {
        let path = dir.join(name);
        match read(&path, &mut attribution) {
            Ok(0) => {}
            Ok(bad) => facts.reasons.push(format!("{bad} lines of {name} could not be read.")),
            Err(problem) => return Err(SessionError::Artifacts { path, problem }),
        }
    }
    let attributed = attribution.finish();
    Ok((assemble(&account, &attributed, facts), attributed))
}

/// Writes `run.json`, and what is made of it.
pub(super) fn write(dir: &Path, result: &RunResult) -> Result<(), SessionError> {
    summary::write_run_json(dir, result).map_err(artifact(dir, "run.json"))?;
    write_report(dir, result)
}

/// Writes what is made of a result: `metrics.csv` and `report.html`.
pub(super) fn write_report(dir: &Path, result: &RunResult) -> Result<(), SessionError> {
    summary::write_metrics_csv(dir, result).map_err(artifact(dir, "metrics.csv"))?;
    report::write(dir, result).map_err(artifact(dir, report::FILE))
}

/// An error that names the artifact.
pub(super) fn artifact(dir: &Path, name: &str) -> impl FnOnce(io::Error) -> SessionError + use<> {
    let path = dir.join(name);
    move |problem| SessionError::Unwritten { path, problem }
}

/// Feeds a file of readings; says how many of its lines could not be read. A
/// last line that was not finished is where the run was killed, and no loss.
fn read(path: &Path, attribution: &mut Attribution) -> io::Result<u64> {
    let mut bad = 0;
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(bad);
        }
        match serde_json::from_slice::<Reading>(&line) {
            Ok(reading) => attribution.feed(&reading),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a reading could not be read");
                bad += 1;
            }
        }
    }
}
