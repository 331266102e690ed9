//! `journal.bin`: every input that the core was given, in order.
//!
//! Nodes encode their own inputs and hand them to one thread, which seals them
//! into checksummed blocks. What a slow disk cannot take is dropped and counted:
//! such a journal says at its end that it is incomplete.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use phasegate_core::Tick;
use phasegate_core::journal::{Encoder, Entry, Header, JournalError, Kind, digest, encode_input};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;

use super::writer::{Format, LAST, Queue, Writer};

/// One node's way into the journal.
#[derive(Debug, Clone)]
pub struct Recorder {
    node: u8,
    queue: Queue<Entry>,
}

impl Recorder {
    /// A recorder of node `node` that records into memory: at most `most` entries
    /// wait in the receiver, further ones are dropped and counted. Where the
    /// receiver is gone, nothing is recorded.
    #[must_use]
    pub fn in_memory(node: u8, most: usize) -> (Self, Receiver<Entry>) {
        let (queue, receiver) = Queue::new(most);
        (Self { node, queue }, receiver)
    }

    /// The bytes of an input, to be recorded once its effects are known.
    #[must_use]
    pub fn encode<I: Serialize>(&self, input: &I) -> Option<Vec<u8>> {
        self.counted(encode_input(input))
    }

    /// Records an input and what it caused.
    pub fn input<E: Serialize>(&self, at: Tick, input: Option<Vec<u8>>, effects: &[E]) {
        if let Some(input) = input {
            self.push(at, Kind::Input(input), effects);
        }
    }

    /// Records that a deadline came, and what that caused.
    pub fn timeout<E: Serialize>(&self, at: Tick, effects: &[E]) {
        self.push(at, Kind::Timeout, effects);
    }

    fn push<E: Serialize>(&self, at: Tick, kind: Kind, effects: &[E]) {
        let Some(effects) = self.counted(digest(effects)) else { return };
        self.queue.send(Entry { node: self.node, at, kind, effects });
    }

    fn counted<T>(&self, encoded: Result<T, JournalError>) -> Option<T> {
        encoded
            .inspect_err(|error| {
                self.queue.lost();
                tracing::error!(%error, "an input has no journal form");
            })
            .ok()
    }
}

/// Creates the file, or empties it. A FIFO has to have a reader: one without would be
/// waited for.
fn open(path: &Path) -> io::Result<File> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).custom_flags(no_wait);
    let file = options.open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => {
            let problem = "is a FIFO or a socket that nobody reads, not a file; remove it, or \
                           give another --artifact-dir";
            io::Error::new(error.kind(), problem)
        }
        _ => error,
    })?;
    // A slow reader is waited for, by the thread that writes.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens the journal of a run that is over.
///
/// # Errors
/// If it cannot be opened, or is no file: to open a FIFO would wait for who writes to it,
/// and nobody does.
pub fn open_again(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        let problem = "it is not a file; whatever read it during the run has the journal";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    File::open(path)
}

/// The journal's file and its thread.
#[derive(Debug)]
pub struct JournalFile(Writer<Entry>);

impl JournalFile {
    /// Creates the file, writes its header, and starts its thread.
    ///
    /// # Errors
    /// If the file cannot be created or written to.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut file = open(path)?;
        // Held for as long as this process has the file open: who finds the
        // journal unlocked knows that the run is over. A file system without
        // locks must not stop a run.
        let _ = file.try_lock();
        let mut head = Vec::new();
        let encoder = Encoder::new(header, &mut head).map_err(io::Error::other)?;
        file.write_all(&head)?;
        Writer::start(path, file, "journal", Blocks(encoder)).map(Self)
    }

    /// The recorder of the node with this number.
    #[must_use]
    pub fn recorder(&self, node: u8) -> Recorder {
        Recorder { node, queue: self.0.queue() }
    }

    /// Waits until everything is written. Every recorder must be gone.
    ///
    /// # Errors
    /// One sentence that names the file and what it lacks.
    pub fn finish(self) -> Result<(), String> {
        self.finish_by(Instant::now() + LAST)
    }

    /// The same, at most until `deadline`.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_by(self, deadline: Instant) -> Result<(), String> {
        self.0.finish(deadline)
    }
}

/// Seals entries into blocks; a block is written as soon as it is full.
struct Blocks(Encoder);

impl Format for Blocks {
    type Item = Entry;

    fn take(&mut self, entry: Entry, out: &mut Vec<u8>) -> io::Result<bool> {
        self.0.push(&entry, out).map_err(io::Error::other)?;
        Ok(!out.is_empty())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.flush(out).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};

    use super::super::writer::FLUSH;
    use super::*;

    #[test]
    fn a_steady_trickle_reaches_the_disk_too() -> Result<(), Box<dyn std::error::Error>> {
        let mut phase = PhaseSpec::new("p", PhaseKind::Profiling);
        (phase.concurrency, phase.requests) = (Some(1), Some(1));
        let plan = RunPlan::new(0, vec![phase], GatePlan::default(), Limits::default())?;
        let (nodes, settings) = (vec!["n".to_owned()], serde_json::Value::Null);
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("journal.bin");
        let file = JournalFile::create(&path, &Header { seed: 0, plan, nodes, settings })?;
        let header = std::fs::metadata(&path)?.len();
        let recorder = file.recorder(0);
        for n in 0..500 {
            // Never idle for as long as an entry may lie in memory.
            recorder.timeout::<u8>(Tick(n), &[]);
            std::thread::sleep(FLUSH / 10);
            if std::fs::metadata(&path)?.len() > header {
                drop(recorder);
                return Ok(file.finish()?);
            }
        }
        Err("500 entries, and none of them on the disk".into())
    }
}
