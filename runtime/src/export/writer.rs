//! A thread that writes into one file what others hand it.
//!
//! Whoever hands something in never waits for the disk: what a slow disk cannot
//! take is dropped and counted, and the file says at its end that it is
//! incomplete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many items may wait for the disk before further ones are dropped.
const QUEUE: usize = 65_536;

/// What was handed in may lie so long in memory: the most that `kill -9` loses.
pub(super) const FLUSH: Duration = Duration::from_millis(200);

/// The thread sleeps so long when it has taken what there was. A sender that
/// finds it asleep on the queue instead would have to wake it, each time.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the disk has at the end of a run for what still waits. What is not
/// written then is lost, as what found no room: a disk that hangs must not keep the
/// run from its end.
pub(crate) const LAST: Duration = Duration::from_secs(10);

/// How often the end of the thread is looked for.
const POLL: Duration = Duration::from_millis(1);

/// Turns items into the bytes of a file.
pub(super) trait Format: Send + 'static {
    /// What is handed in.
    type Item: Send + 'static;

    /// Takes an item; what is to be written because of it is appended to `out`.
    /// Whether that is enough to write it now.
    fn take(&mut self, item: Self::Item, out: &mut Vec<u8>) -> io::Result<bool>;

    /// Appends what is held back to `out`.
    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
}

/// The way in.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: SyncSender<T>,
    /// Items that were not handed in.
    dropped: Arc<AtomicU64>,
    /// Items that were.
    handed_in: Arc<AtomicU64>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            dropped: Arc::clone(&self.dropped),
            handed_in: Arc::clone(&self.handed_in),
        }
    }
}

impl<T> Queue<T> {
    /// One in which at most `most` items wait, and its other end.
    pub(super) fn new(most: usize) -> (Self, Receiver<T>) {
        let (items, receiver) = sync_channel(most);
        (Self { items, dropped: Arc::default(), handed_in: Arc::default() }, receiver)
    }

    /// Hands an item in; where there is no room it is dropped and counted.
    pub(super) fn send(&self, item: T) {
        match self.items.try_send(item) {
            Ok(()) => drop(self.handed_in.fetch_add(1, Ordering::Relaxed)),
            Err(_) => self.lost(),
        }
    }

    /// Counts an item that could not be handed in.
    pub(super) fn lost(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A file and the thread that writes into it.
#[derive(Debug)]
pub(super) struct Writer<T> {
    path: PathBuf,
    queue: Queue<T>,
    /// Items that are in the file.
    written: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts a thread called `name` that goes on writing into `file`.
    pub(super) fn start(
        path: &Path,
        file: File,
        name: &str,
        format: impl Format<Item = T>,
    ) -> io::Result<Self> {
        let (queue, receiver) = Queue::new(QUEUE);
        let written = Arc::<AtomicU64>::default();
        let count = Arc::clone(&written);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_all(file, format, &receiver, &count))?;
        Ok(Self { path: path.to_owned(), queue, written, thread })
    }

    /// The way in.
    pub(super) fn queue(&self) -> Queue<T> {
        self.queue.clone()
    }

    /// Waits until everything is written, at most until `deadline`. Every other way
    /// in must be gone, or this waits for it.
    ///
    /// # Errors
    /// One sentence that names the file: the disk's error, or how many items the
    /// disk was too slow for.
    pub(super) fn finish(self, deadline: Instant) -> Result<(), String> {
        let Queue { items, dropped, handed_in } = self.queue;
        drop(items);
        let name = self.path.display();
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                // It cannot be called back from a write; it ends with the process.
                let waiting = handed_in.load(Ordering::Relaxed);
                let waiting = waiting.saturating_sub(self.written.load(Ordering::Relaxed));
                let lost = dropped.load(Ordering::Relaxed) + waiting;
                return Err(too_slow(&self.path, lost));
            }
            std::thread::sleep(POLL);
        }
        let written = self.thread.join().map_err(|_| format!("{name}: its writer died."))?;
        written.map_err(|error| format!("{name} is incomplete: {error}."))?;
        match dropped.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(too_slow(&self.path, n)),
        }
    }
}

fn too_slow(path: &Path, lost: u64) -> String {
    format!("{} is incomplete: the disk was too slow for {lost} entries.", path.display())
}

/// Takes items until every way in is gone. After an error it goes on taking
/// them, so that a full disk looks to the senders like a slow one.
fn write_all<F: Format>(
    mut file: File,
    mut format: F,
    items: &Receiver<F::Item>,
    written: &AtomicU64,
) -> io::Result<()> {
    let mut result = Ok(());
    let mut out = Vec::new();
    // Taken since the last write.
    let mut held = 0;
    // Since when the oldest item has been in memory.
    let mut since: Option<Instant> = None;
    loop {
        let left = since.map_or(FLUSH, |since| FLUSH.saturating_sub(since.elapsed()));
        let (taken, open) = match items.recv_timeout(left) {
            Ok(item) => {
                since.get_or_insert_with(Instant::now);
                let mut full = format.take(item, &mut out);
                let mut taken = 1;
                while matches!(full, Ok(false)) && taken < QUEUE {
                    let Ok(item) = items.try_recv() else { break };
                    full = format.take(item, &mut out);
                    taken += 1;
                }
                held += taken as u64;
                match full {
                    Ok(true) => (Ok(()), true),
                    Err(error) => (Err(error), true),
                    Ok(false) if since.is_some_and(|since| since.elapsed() >= FLUSH) => {
                        (format.flush(&mut out), true)
                    }
                    Ok(false) => {
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => (format.flush(&mut out), true),
            Err(RecvTimeoutError::Disconnected) => (format.flush(&mut out), false),
        };
        if result.is_ok() {
            result = taken.and_then(|()| file.write_all(&out));
        }
        if result.is_ok() {
            written.fetch_add(held, Ordering::Relaxed);
        }
        held = 0;
        out.clear();
        since = None;
        if !open {
            return result;
        }
    }
}
