//! A file that grows by whole lines (or blocks) while the run goes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::writer::{Format, LAST, Queue, Writer};

/// What is collected before it is written.
const CHUNK: usize = 64 * 1024;

/// Room for a line from the start: a request's record without its events.
pub(super) const LINE: usize = 512;

/// Where the pieces go in. Cheap to clone; the file is complete when every
/// clone is gone and [`LineFile::finish`] has returned.
#[derive(Debug, Clone)]
pub struct LineSender(Queue<Vec<u8>>);

impl LineSender {
    /// A way in that leads into memory: at most `most` pieces wait in the
    /// receiver, further ones are dropped and counted.
    #[must_use]
    pub fn in_memory(most: usize) -> (Self, Receiver<Vec<u8>>) {
        let (queue, receiver) = Queue::new(most);
        (Self(queue), receiver)
    }

    /// Adds one piece, as it is. Never blocks: where the queue is full the piece
    /// is dropped and counted.
    pub fn send(&self, piece: Vec<u8>) {
        self.0.send(piece);
    }

    /// Adds one value as a line of JSON.
    pub fn send_json(&self, value: &impl serde::Serialize) {
        self.send_json_of(value, LINE);
    }

    /// The same, of about so many bytes.
    pub(super) fn send_json_of(&self, value: &impl serde::Serialize, length: usize) {
        let mut line = Vec::with_capacity(length);
        match serde_json::to_writer(&mut line, value) {
            Ok(()) => {
                line.push(b'\n');
                self.send(line);
            }
            Err(error) => {
                self.0.lost();
                tracing::warn!(%error, "a line could not be written as JSON");
            }
        }
    }
}

/// A file with a thread that writes to it.
#[derive(Debug)]
pub struct LineFile(Writer<Vec<u8>>);

impl LineFile {
    /// Creates the file, empty, and starts its thread.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Writer::start(path, File::create(path)?, "artifact", Pieces).map(Self)
    }

    /// The way in.
    #[must_use]
    pub fn sender(&self) -> LineSender {
        LineSender(self.0.queue())
    }

    /// Waits until everything is written. Every clone of the sender must be
    /// gone, or this waits for it.
    ///
    /// # Errors
    /// One sentence that names the file: the disk's error, or how many pieces
    /// the disk was too slow for.
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

/// Pieces as they are, written a chunk at a time.
struct Pieces;

impl Format for Pieces {
    type Item = Vec<u8>;

    fn take(&mut self, piece: Vec<u8>, out: &mut Vec<u8>) -> io::Result<bool> {
        out.extend_from_slice(&piece);
        Ok(out.len() >= CHUNK)
    }

    fn flush(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::writer::FLUSH;
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
