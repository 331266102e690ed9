//! The result, from what the machines know and what the files hold.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::SystemTime;

use phasegate_core::account::result::{ClientResult, RunResult};
use phasegate_core::account::{Attribution, Evidence as AccountEvidence, RunFacts, assemble};
use phasegate_core::conductor::report::ConductorReport;
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::reading::Reading;
use phasegate_core::seed::Seed;
use phasegate_core::time::Tick;
use tokio::sync::watch;

use super::audit::{self, Audit, Ended};
use super::execute::SessionError;
use super::live::Live;
use super::process;
use crate::config::RunConfig;
use crate::export::summary;
use crate::load::ConnectionCounts;

/// What the machines know.
pub(super) struct Evidence {
    pub controller: ControllerReport,
    pub conductor: ConductorReport,
    pub ledger: LedgerReport,
    pub connections: Option<ConnectionCounts>,
}

/// What the session knows beside that.
pub(super) struct Facts {
    pub started_at: SystemTime,
    pub never_ready: Option<String>,
    /// Sentences on artifacts that are incomplete.
    pub problems: Vec<String>,
    pub journal_complete: bool,
    pub audit: Audit,
    pub interrupt: watch::Receiver<bool>,
    pub live: Live,
    pub now: Tick,
}

/// Assembles the result, has it checked, and writes `run.json` and
/// `metrics.csv`.
pub(super) fn write(
    config: &RunConfig,
    evidence: &Evidence,
    facts: Facts,
) -> Result<RunResult, SessionError> {
    let dir = &config.artifacts.dir;
    let account = AccountEvidence {
        plan: &config.plan,
        controller: &evidence.controller,
        conductor: &evidence.conductor,
        ledger: &evidence.ledger,
    };
    let mut reasons = facts.problems;
    let mut attribution = Attribution::new(&account);
    for name in ["server_metrics.jsonl", "gpu_telemetry.jsonl"] {
        let path = dir.join(name);
        match read(&path, &mut attribution) {
            Ok(0) => {}
            Ok(bad) => reasons.push(format!("{bad} lines of {name} could not be read.")),
            Err(problem) => return Err(SessionError::Artifacts { path, problem }),
        }
    }
    if let Some(why) = &facts.never_ready {
        reasons.push(format!("The endpoint {} never became ready: {why}.", config.endpoint.url));
    }
    let artifacts = |path: &str| {
        let path = dir.join(path);
        move |problem| SessionError::Artifacts { path, problem }
    };
    let started = humantime::format_rfc3339_micros(facts.started_at).to_string();
    let run_id =
        Seed::root(config.plan.seed()).uuid(&format!("run/{started}/{}", std::process::id()));
    let run = RunFacts {
        run_id: run_id.to_string(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: started,
        finished_at: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        config: serde_json::to_value(config)
            .map_err(|error| artifacts("run.json")(io::Error::other(error)))?,
        client: ClientResult {
            dispatch_lag_us: evidence.ledger.dispatch_lag_us,
            cpu_s: Some(process::cpu_seconds()),
            peak_rss_mib: process::peak_rss_mib(),
            client_bound: None,
        },
        interrupted: *facts.interrupt.borrow(),
        reasons,
    };
    if let Some(connections) = &evidence.connections {
        tracing::debug!(?connections, "connections");
    }
    tracing::debug!(now = %facts.now, "assembling");
    let attributed = attribution.finish();
    let mut result = assemble(&account, &attributed, run);
    let audited = (facts.audit)(&Ended {
        dir,
        journal_complete: facts.journal_complete,
        result: &result,
        controller: &evidence.controller,
        attributed: &attributed,
    });
    for note in audited.notes {
        facts.live.note(note);
    }
    audit::hold_against(&mut result, audited.broken);
    summary::write_run_json(dir, &result).map_err(artifacts("run.json"))?;
    summary::write_metrics_csv(dir, &result).map_err(artifacts("metrics.csv"))?;
    drop(facts.live);
    Ok(result)
}

/// Feeds a file of readings; says how many of its lines could not be read.
fn read(path: &Path, attribution: &mut Attribution) -> io::Result<u64> {
    let mut bad = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        match serde_json::from_str::<Reading>(&line?) {
            Ok(reading) => attribution.feed(&reading),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a reading could not be read");
                bad += 1;
            }
        }
    }
    Ok(bad)
}
