//! The check that phasegate kept its own rules, made by whoever runs a session:
//! the rules are not known here.

use std::path::Path;

use phasegate_core::account::attribution::Attributed;
use phasegate_core::account::result::{RunOutcome, RunResult};
use phasegate_core::controller::report::ControllerReport;

/// A run that is over: its artifacts are written but for `run.json`.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Where the artifacts are.
    pub dir: &'a Path,
    /// `journal.bin` holds every input of the run.
    pub journal_complete: bool,
    /// The result as it is to be written.
    pub result: &'a RunResult,
    /// What the controller knows.
    pub controller: &'a ControllerReport,
    /// What the readings were made of.
    pub attributed: &'a Attributed,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audited {
    /// Sentences on what phasegate itself broke: each is a bug, and degrades
    /// the run.
    pub broken: Vec<String>,
    /// Sentences on what was not checked, and why.
    pub notes: Vec<String>,
}

/// Checks a run.
pub type Audit = fn(&Ended<'_>) -> Audited;

/// Writes what was broken into the result: a run that was completed is not.
pub(super) fn hold_against(result: &mut RunResult, broken: Vec<String>) {
    if !broken.is_empty() && result.outcome == RunOutcome::Completed {
        result.outcome = RunOutcome::Degraded;
    }
    result.reasons.extend(broken);
}
