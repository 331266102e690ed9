//! `journal.bin`: every input that the core was given, in order.
//!
//! Nodes encode their own inputs and hand them to one thread, which seals them
//! into checksummed blocks. What a slow disk cannot take is dropped and counted:
//! such a journal says at its end that it is incomplete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use phasegate_core::Tick;
use phasegate_core::journal::{Encoder, Entry, Header, JournalError, Kind, digest, encode_input};
use serde::Serialize;

/// How many entries may wait for the disk before further ones are dropped.
const QUEUE: usize = 65_536;

/// The thread sleeps so long when it has taken what there was. A sender that
/// finds it asleep on the queue instead would have to wake it, each time.
const PAUSE: Duration = Duration::from_millis(5);

/// An entry may lie so long in memory.
const FLUSH: Duration = Duration::from_millis(200);

/// One node's way into the journal.
#[derive(Debug, Clone)]
pub struct Recorder {
    node: u8,
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder of node `node` that records into memory: at most `most` entries
    /// wait in the receiver, further ones are dropped and counted. Where the
    /// receiver is gone, nothing is recorded.
    #[must_use]
    pub fn in_memory(node: u8, most: usize) -> (Self, Receiver<Entry>) {
        let (queue, receiver) = sync_channel(most);
        (Self { node, queue, dropped: Arc::default() }, receiver)
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
        if self.queue.try_send(Entry { node: self.node, at, kind, effects }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted<T>(&self, encoded: Result<T, JournalError>) -> Option<T> {
        encoded
            .inspect_err(|error| {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "an input has no journal form");
            })
            .ok()
    }
}

/// The journal's file and its thread.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    queue: SyncSender<Entry>,
    thread: JoinHandle<io::Result<()>>,
    dropped: Arc<AtomicU64>,
}

impl JournalFile {
    /// Creates the file, writes its header, and starts its thread.
    ///
    /// # Errors
    /// If the file cannot be created or written to.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut file = File::create(path)?;
        // Held for as long as this process has the file open: who finds the
        // journal unlocked knows that the run is over. A file system without
        // locks must not stop a run.
        let _ = file.try_lock();
        let mut head = Vec::new();
        let encoder = Encoder::new(header, &mut head).map_err(io::Error::other)?;
        file.write_all(&head)?;
        let (queue, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(file, encoder, &receiver))?;
        Ok(Self { path: path.to_owned(), queue, thread, dropped: Arc::default() })
    }

    /// The recorder of the node with this number.
    #[must_use]
    pub fn recorder(&self, node: u8) -> Recorder {
        Recorder { node, queue: self.queue.clone(), dropped: Arc::clone(&self.dropped) }
    }

    /// Waits until everything is written. Every recorder must be gone.
    ///
    /// # Errors
    /// One sentence that names the file and what it lacks.
    pub fn finish(self) -> Result<(), String> {
        drop(self.queue);
        let name = self.path.display();
        let written = self.thread.join().map_err(|_| format!("{name}: its writer died."))?;
        written.map_err(|error| format!("{name} is incomplete: {error}."))?;
        match self.dropped.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(format!("{name} is incomplete: the disk was too slow for {n} entries.")),
        }
    }
}

fn write_all(mut file: File, mut encoder: Encoder, queue: &Receiver<Entry>) -> io::Result<()> {
    let mut result = Ok(());
    let mut out = Vec::new();
    // Since when the oldest entry has been in the encoder.
    let mut since: Option<Instant> = None;
    loop {
        let left = since.map_or(FLUSH, |since| FLUSH.saturating_sub(since.elapsed()));
        let (encoded, open) = match queue.recv_timeout(left) {
            Ok(entry) => {
                since.get_or_insert_with(Instant::now);
                let mut encoded = encoder.push(&entry, &mut out);
                let mut taken = 1;
                while encoded.is_ok() && taken < QUEUE {
                    let Ok(entry) = queue.try_recv() else { break };
                    encoded = encoder.push(&entry, &mut out);
                    taken += 1;
                }
                if taken < QUEUE {
                    std::thread::sleep(PAUSE);
                }
                if out.is_empty() && encoded.is_ok() {
                    continue;
                }
                (encoded, true)
            }
            Err(RecvTimeoutError::Timeout) => (encoder.flush(&mut out), true),
            Err(RecvTimeoutError::Disconnected) => (encoder.flush(&mut out), false),
        };
        // After an error entries are still taken: a full disk must look to the
        // nodes like a slow one.
        if result.is_ok() {
            result = encoded.map_err(io::Error::other).and_then(|()| file.write_all(&out));
        }
        out.clear();
        since = None;
        if !open {
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};

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
