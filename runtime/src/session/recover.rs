//! A run read back from its artifact directory: its `run.json`, or, where it was
//! killed before that was written, the result put together from its journal and
//! its readings.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use phasegate_core::account::RunFacts;
use phasegate_core::account::outcome::killed;
use phasegate_core::account::result::{ClientResult, RunResult, SCHEMA_VERSION};
use phasegate_core::conductor::Conductor;
use phasegate_core::controller::Controller;
use phasegate_core::journal::{Entry, Journal, Mismatch, Node, Replay};
use phasegate_core::ledger::Ledger;
use phasegate_core::plan::RunPlan;
use phasegate_core::setup::{Settings, node};
use phasegate_core::time::Tick;

use super::error::SessionError;
use super::finish::{self, Evidence};
use super::origin::Origin;
use crate::export::journal::open_again;

/// A result that was read back.
#[derive(Debug)]
pub struct Recovered {
    /// What `run.json` holds.
    pub result: RunResult,
    /// There was no `run.json`: the run had been killed, and its result was put
    /// together and written now.
    pub finished: bool,
}

/// Why a directory has no result.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is neither a result nor a journal.
    #[error(
        "{0} holds no run: neither run.json nor journal.bin is there; give the artifact directory \
         that 'phasegate run' printed"
    )]
    NoRun(PathBuf),
    /// The run has not ended.
    #[error("the run in {0} is still going on; wait for its end, or end it with Ctrl-C")]
    UnderWay(PathBuf),
    /// `run.json` is not what this version writes.
    #[error(
        "{path}: {problem}; use the phasegate that wrote it, or move the file away to have the \
         result put together again from journal.bin"
    )]
    Result {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The journal does not tell how far the run was.
    #[error("{path}: {problem}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An artifact could not be read or written.
    #[error(transparent)]
    Artifacts(#[from] SessionError),
}

/// Writes `report.html` and `metrics.csv` of the run in `dir`. A killed run is
/// finished first: it gets its `run.json`. One that is there is never changed.
///
/// # Errors
/// Where there is no run, or it cannot be read or written.
pub fn report(dir: &Path) -> Result<Recovered, RecoverError> {
    let recovered = open(dir)?;
    if recovered.finished {
        finish::write(dir, &recovered.result)?;
    } else {
        finish::write_report(dir, &recovered.result)?;
    }
    Ok(recovered)
}

/// The result of the run in `dir`, without writing anything.
///
/// # Errors
/// Where there is no run, or it cannot be read.
pub fn open(dir: &Path) -> Result<Recovered, RecoverError> {
    let path = dir.join("run.json");
    match fs::read(&path) {
        Ok(bytes) => {
            let result = parse(&bytes).map_err(|problem| RecoverError::Result { path, problem })?;
            same_run(dir, &result)?;
            Ok(Recovered { result, finished: false })
        }
        Err(error) if absent(&error) => Ok(Recovered { result: finished(dir)?, finished: true }),
        Err(problem) => Err(SessionError::Artifacts { path, problem }.into()),
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a `run.json`.
fn parse(bytes: &[u8]) -> Result<RunResult, String> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("this is no result: {error}"))?;
    let version = value.get("schema_version").and_then(serde_json::Value::as_str);
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    match version {
        None => return Err("this is no result of phasegate: it has no schema_version".to_owned()),
        Some(version) if major(version) != major(SCHEMA_VERSION) => {
            return Err(format!(
                "its schema_version is {version}, this phasegate reads {SCHEMA_VERSION}"
            ));
        }
        Some(_) => {}
    }
    serde_json::from_value(value).map_err(|error| format!("this is no result: {error}"))
}

/// A directory that was used twice may hold the result of one run beside the
/// files of another, which was killed.
fn same_run(dir: &Path, result: &RunResult) -> Result<(), RecoverError> {
    /// More than any header.
    const HEAD: u64 = 16 << 20;
    let mut head = Vec::new();
    let read = open_again(&dir.join("journal.bin"))
        .and_then(|file| file.take(HEAD).read_to_end(&mut head).map(|_| ()));
    let journal = read.ok().and_then(|()| Journal::open(&head).ok());
    match journal.and_then(|journal| Origin::of(&journal.header)) {
        Some(origin) if origin.run_id != result.run_id => Err(RecoverError::Result {
            path: dir.join("run.json"),
            problem: format!(
                "this is the result of run {}, but the other files are of run {}, which was \
                 killed or is still going on",
                result.run_id, origin.run_id
            ),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The machines whose reports make the result. Collectors and readiness hand
/// in nothing that the result needs.
struct Machines {
    controller: Node<Controller>,
    conductor: Node<Conductor>,
    ledger: Node<Ledger>,
}

impl Machines {
    fn new(settings: &Settings, plan: &RunPlan) -> Self {
        Self {
            controller: Node::new(settings.controller(plan)),
            conductor: Node::new(settings.conductor(plan)),
            ledger: Node::new(settings.ledger(plan)),
        }
    }

    fn step(&mut self, entry: &Entry) -> Result<(), Mismatch> {
        match entry.node {
            node::CONTROLLER => self.controller.step(entry).map(|_| ()),
            node::CONDUCTOR => self.conductor.step(entry).map(|_| ()),
            node::LEDGER => self.ledger.step(entry).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn evidence(self) -> Evidence {
        Evidence {
            controller: self.controller.machine().report(),
            conductor: self.conductor.machine().report().cut_off(),
            ledger: self.ledger.into_machine().report(),
        }
    }
}

/// The result of a killed run.
fn finished(dir: &Path) -> Result<RunResult, RecoverError> {
    let path = dir.join("journal.bin");
    let unreadable = |problem: String| RecoverError::Journal { path: path.clone(), problem };
    let mut file = match open_again(&path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Err(RecoverError::NoRun(dir.to_owned())),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    // The run holds a lock on its journal for as long as its process lives.
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock_shared() {
        return Err(RecoverError::UnderWay(dir.to_owned()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    let journal = Journal::open(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let settings =
        Settings::from_header(&journal.header).map_err(|error| unreadable(error.to_string()))?;
    let origin = Origin::of(&journal.header).ok_or_else(|| {
        unreadable(
            "its header does not say which run it is of; use the phasegate that wrote it".into(),
        )
    })?;
    let plan = &journal.header.plan;

    let mut machines = Machines::new(&settings, plan);
    let mut reasons = Vec::new();
    let mut last = Tick::ZERO;
    for entry in journal.entries() {
        match entry {
            Ok(entry) => {
                last = last.max(entry.at);
                machines.step(&entry).map_err(|difference| {
                    unreadable(format!(
                        "the run cannot be followed to its end, since the journal does not replay \
                         (use the phasegate that wrote it): {difference}"
                    ))
                })?;
            }
            Err(damage) => {
                reasons.push(format!("Nothing after {last} could be used: {damage}."));
                break;
            }
        }
    }
    if settings.streaming {
        reasons.push(
            "The gaps between streamed events are not in the journal, so inter_chunk_latency is \
             not known."
                .to_owned(),
        );
    }
    if origin.config.pointer("/input/tokenizer").is_some_and(|path| !path.is_null()) {
        reasons.push(
            "The texts are not in the journal, so their tokens were not counted here.".to_owned(),
        );
    }
    let facts = RunFacts {
        notes: origin.notes(),
        run_id: origin.run_id,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        finished_at: later(&origin.started_at, last),
        started_at: origin.started_at,
        config: origin.config,
        client: ClientResult::default(),
        interrupted: false,
        reasons,
    };
    let (mut result, _) = finish::put_together(dir, plan, &machines.evidence(), facts)?;
    killed(&mut result, last);
    Ok(result)
}

/// `started`, and `after` more.
fn later(started: &str, after: Tick) -> String {
    let started_at = humantime::parse_rfc3339(started);
    let at = started_at.ok().and_then(|at| at.checked_add(Duration::from_nanos(after.as_nanos())));
    at.map_or_else(|| started.to_owned(), |at| humantime::format_rfc3339_micros(at).to_string())
}
