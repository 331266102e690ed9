//! The artifact files that grow while the run goes.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use phasegate_core::setup::Settings;

use super::error::SessionError;
use super::origin::Origin;
use crate::config::{ExportLevel, RunConfig};
use crate::export::LAST;
use crate::export::journal::JournalFile;
use crate::export::lines::LineFile;
use crate::export::report;

/// What a run writes and reads again, also what it writes at its end only: it has to be
/// known before the load whether it can be. What ends in `part` is moved to its place.
/// The journal is not read again, and may be a FIFO that has a reader.
const ALL: [&str; 8] = [
    "records.jsonl",
    "server_metrics.jsonl",
    "gpu_telemetry.jsonl",
    "run.json",
    "run.part",
    "metrics.csv",
    "metrics.part",
    report::FILE,
];

/// An error where there is something that no file can be written to: to open a FIFO
/// waits for its reader, for ever, and a directory takes no file's place.
fn in_the_way(path: &Path) -> io::Result<()> {
    let there = match fs::metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let what = match () {
        () if there.is_fifo() => "a FIFO",
        () if there.is_dir() => "a directory",
        () if there.is_socket() => "a socket",
        () if there.is_block_device() => "a block device",
        () => return Ok(()),
    };
    let problem = format!("is {what}, not a file; remove it, or give another --artifact-dir");
    Err(io::Error::new(io::ErrorKind::AlreadyExists, problem))
}

/// Artifact files that grow while the run goes.
pub(super) struct Files {
    pub(super) journal: JournalFile,
    pub(super) records: Option<LineFile>,
    pub(super) server_metrics: LineFile,
    pub(super) gpu_telemetry: LineFile,
}

impl Files {
    pub(super) fn create(
        config: &RunConfig,
        settings: &Settings,
        origin: &Origin,
    ) -> Result<Self, SessionError> {
        let dir = &config.artifacts.dir;
        let at = |path: PathBuf| move |problem| SessionError::Artifacts { path, problem };
        fs::create_dir_all(dir).map_err(at(dir.clone()))?;
        for name in ALL {
            let path = dir.join(name);
            in_the_way(&path).map_err(at(path))?;
        }
        let lines = |name: &str| {
            let path = dir.join(name);
            LineFile::create(&path).map_err(at(path))
        };
        let journal = dir.join("journal.bin");
        let mut header = settings.header(&config.plan);
        origin.put(&mut header);
        Ok(Self {
            journal: JournalFile::create(&journal, &header).map_err(at(journal))?,
            records: (config.artifacts.export_level > ExportLevel::Summary)
                .then(|| lines("records.jsonl"))
                .transpose()?,
            server_metrics: lines("server_metrics.jsonl")?,
            gpu_telemetry: lines("gpu_telemetry.jsonl")?,
        })
    }

    /// Waits until everything is written; whether the journal is complete, and a
    /// sentence for each file that is not.
    pub(super) fn finish(self) -> (bool, Vec<String>) {
        let deadline = Instant::now() + LAST;
        let journal = self.journal.finish_by(deadline);
        let complete = journal.is_ok();
        let finished = [
            journal,
            self.server_metrics.finish_by(deadline),
            self.gpu_telemetry.finish_by(deadline),
            self.records.map_or(Ok(()), |records| records.finish_by(deadline)),
        ];
        (complete, finished.into_iter().filter_map(Result::err).collect())
    }
}
