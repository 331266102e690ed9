//! A file that grows by whole lines (or blocks) while the run goes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many pieces may wait for the disk before further ones are dropped.
const QUEUE: usize = 65_536;

/// What is collected before it is written.
const CHUNK: usize = 64 * 1024;

/// The thread sleeps so long when it has taken what there was. A sender that
/// finds it asleep on the queue instead would have to wake it, each time.
const PAUSE: Duration = Duration::from_millis(5);

/// What was written may lie so long in memory: the most that `kill -9` loses.
const FLUSH: Duration = Duration::from_millis(200);

/// Where the pieces go in. Cheap to clone; the file is complete when every
/// clone is gone and [`LineFile::finish`] has returned.
#[derive(Debug, Clone)]
pub struct LineSender {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl LineSender {
    /// A way in that leads into memory: at most `most` pieces wait in the
    /// receiver, further ones are dropped and counted.
    #[must_use]
    pub fn in_memory(most: usize) -> (Self, Receiver<Vec<u8>>) {
        let (queue, receiver) = sync_channel(most);
        (Self { queue, dropped: Arc::default() }, receiver)
    }

    /// Adds one piece, as it is. Never blocks: where the queue is full the piece
    /// is dropped and counted.
    pub fn send(&self, piece: Vec<u8>) {
        match self.queue.try_send(piece) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Adds one value as a line of JSON.
    pub fn send_json(&self, value: &impl serde::Serialize) {
        match serde_json::to_vec(value) {
            Ok(mut line) => {
                line.push(b'\n');
                self.send(line);
            }
            Err(error) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "a line could not be written as JSON");
            }
        }
    }
}

/// A file with a thread that writes to it.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    sender: LineSender,
    thread: JoinHandle<io::Result<()>>,
}

impl LineFile {
    /// Creates the file, empty, and starts its thread.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (queue, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("artifact".to_owned())
            .spawn(move || write_all(file, &receiver))?;
        let sender = LineSender { queue, dropped: Arc::default() };
        Ok(Self { path: path.to_owned(), sender, thread })
    }

    /// The way in.
    #[must_use]
    pub fn sender(&self) -> LineSender {
        self.sender.clone()
    }

    /// Waits until everything is written. Every clone of the sender must be
    /// gone, or this waits for it.
    ///
    /// # Errors
    /// One sentence that names the file: the disk's error, or how many pieces
    /// the disk was too slow for.
    pub fn finish(self) -> Result<(), String> {
        let LineSender { queue, dropped } = self.sender;
        drop(queue);
        let name = self.path.display();
        let written = self.thread.join().map_err(|_| format!("{name}: its writer died."))?;
        written.map_err(|error| format!("{name} is incomplete: {error}."))?;
        match dropped.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(format!("{name} is incomplete: the disk was too slow for {n} entries.")),
        }
    }
}

/// Takes pieces until every sender is gone; after an error it goes on taking
/// them, so that senders see a slow disk and a full one alike.
fn write_all(mut file: File, queue: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut result = Ok(());
    // Since when the oldest piece has been in the chunk.
    let mut since: Option<Instant> = None;
    loop {
        let left = since.map_or(FLUSH, |since| FLUSH.saturating_sub(since.elapsed()));
        let open = match queue.recv_timeout(left) {
            Ok(piece) => {
                since.get_or_insert_with(Instant::now);
                chunk.extend_from_slice(&piece);
                while chunk.len() < CHUNK {
                    let Ok(piece) = queue.try_recv() else { break };
                    chunk.extend_from_slice(&piece);
                }
                if chunk.len() < CHUNK {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
        if !chunk.is_empty() && result.is_ok() {
            result = file.write_all(&chunk);
        }
        chunk.clear();
        since = None;
        if !open {
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_there_after_finish() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.jsonl");
        let file = LineFile::create(&path)?;
        let sender = file.sender();
        for n in 0..10_000 {
            sender.send_json(&n);
        }
        drop(sender);
        file.finish()?;
        let text = std::fs::read_to_string(&path)?;
        assert!(text.lines().enumerate().all(|(n, line)| line == n.to_string()));
        assert_eq!(text.lines().count(), 10_000);
        Ok(())
    }

    #[test]
    fn lines_reach_the_disk_while_the_run_goes_on() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.jsonl");
        let file = LineFile::create(&path)?;
        let sender = file.sender();
        sender.send_json(&1);
        for _ in 0..500 {
            if std::fs::read(&path)? == b"1\n" {
                drop(sender);
                return Ok(file.finish()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the line never reached the disk".into())
    }

    #[test]
    fn a_steady_trickle_reaches_the_disk_too() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.jsonl");
        let file = LineFile::create(&path)?;
        let sender = file.sender();
        for n in 0..500 {
            // Never idle for as long as a line may lie in memory.
            sender.send_json(&n);
            std::thread::sleep(FLUSH / 10);
            if std::fs::metadata(&path)?.len() > 0 {
                drop(sender);
                return Ok(file.finish()?);
            }
        }
        Err("500 lines, and none of them on the disk".into())
    }

    #[test]
    fn a_disk_that_fails_is_named() {
        // /dev/full refuses every write with ENOSPC.
        let Ok(file) = LineFile::create(Path::new("/dev/full")) else { return };
        file.sender().send_json(&1);
        let error = file.finish().err().unwrap_or_default();
        assert!(error.contains("/dev/full") && error.contains("incomplete"), "{error}");
    }
}
