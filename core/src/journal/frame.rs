//! The journal's file: a header, then blocks of entries with checksums.
//!
//! ```text
//! header   "PGJ1" | version u16 | length u32 | crc32 u32 | JSON
//! block    length u32 | crc32 u32 | entries
//! ```
//! Whole numbers are little-endian; a checksum covers everything of its header
//! or block but the magic and itself. A block is sealed at about
//! [`BLOCK`] bytes or when it is flushed, is never empty, and is read only
//! once its checksum is right. Moments within a block are differences, the
//! first of them to 0, so that each block stands alone.

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::plan::RunPlan;
use crate::time::Tick;

/// The first bytes of a journal.
pub const MAGIC: [u8; 4] = *b"PGJ1";
/// The version that this code writes and reads.
pub const VERSION: u16 = 1;
/// A block is sealed once its entries take this many bytes.
pub const BLOCK: usize = 4096;

const HEADER_PREFIX: usize = 14;
const BLOCK_PREFIX: usize = 8;

/// What a journal begins with: enough to build the machines again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The run's seed.
    pub seed: u64,
    /// The run's plan.
    pub plan: RunPlan,
    /// The names of the nodes; an entry names its node by its place here.
    pub nodes: Vec<String>,
    /// Whatever else the machines were built from (goodput limits, sources, …),
    /// as whoever builds them wants it.
    #[serde(default)]
    pub settings: serde_json::Value,
}

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The file does not begin like a journal.
    #[error("this is not a journal: it does not begin with \"PGJ1\"; give a run's journal.bin")]
    NotAJournal,
    /// The header is not whole.
    #[error("the journal's header is cut off: the run was ended before anything was recorded")]
    HeaderTorn,
    /// The header's checksum or content is wrong.
    #[error("the journal's header is damaged ({0}); nothing after it can be replayed")]
    HeaderDamaged(String),
    /// The journal is of another version.
    #[error(
        "the journal is of version {0}, this phasegate reads version 1; use the one that wrote it"
    )]
    Version(u16),
    /// A block that is not the last one is damaged.
    #[error("the journal is damaged in its block at byte {offset}: {reason}")]
    Damaged {
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Something could not be written.
    #[error("an input or effect cannot be written into the journal: {0}")]
    Encode(String),
    /// An input could not be read.
    #[error("an input of the journal cannot be read: {0}")]
    Decode(String),
}

/// How a journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// With a whole block.
    Clean,
    /// In the middle of a block: the run was killed while it was being written.
    Torn {
        /// Where the broken block begins: the journal is good up to here.
        offset: u64,
        /// What is missing or wrong.
        reason: &'static str,
    },
}

/// Turns entries into the bytes of a journal. The caller appends what comes out
/// to the file; what is not yet out is lost with the process.
#[derive(Debug, Default)]
pub struct Encoder {
    block: Vec<u8>,
    last: Tick,
}

impl Encoder {
    /// The encoder of a new journal, with the header in `out`.
    ///
    /// # Errors
    /// [`JournalError::Encode`] if the header is beyond 4 GiB or no JSON.
    pub fn new(header: &Header, out: &mut Vec<u8>) -> Result<Self, JournalError> {
        let json = serde_json::to_vec(header).map_err(|e| JournalError::Encode(e.to_string()))?;
        let length = length_of(&json)?.to_le_bytes();
        let version = VERSION.to_le_bytes();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&version);
        out.extend_from_slice(&length);
        out.extend_from_slice(&checksum(&[&version, &length, &json]).to_le_bytes());
        out.extend_from_slice(&json);
        Ok(Self::default())
    }

    /// Takes an entry; a block that is now full goes to `out`.
    ///
    /// # Errors
    /// [`JournalError::Encode`] if the block is beyond 4 GiB.
    pub fn push(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), JournalError> {
        entry.put(self.last, &mut self.block);
        self.last = entry.at;
        if self.block.len() >= BLOCK { self.flush(out) } else { Ok(()) }
    }

    /// Seals the block that is being filled, if there is anything in it.
    ///
    /// # Errors
    /// [`JournalError::Encode`] if the block is beyond 4 GiB.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), JournalError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = length_of(&self.block)?.to_le_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&checksum(&[&length, &self.block]).to_le_bytes());
        out.extend_from_slice(&self.block);
        self.block.clear();
        self.last = Tick::ZERO;
        Ok(())
    }
}

fn length_of(bytes: &[u8]) -> Result<u32, JournalError> {
    u32::try_from(bytes.len())
        .map_err(|_| JournalError::Encode(format!("{} bytes are too many", bytes.len())))
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// A journal in memory.
#[derive(Debug, Clone)]
pub struct Journal<'a> {
    /// What it begins with.
    pub header: Header,
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Journal<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(bytes: &'a [u8]) -> Result<Self, JournalError> {
        let magic = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
        if !MAGIC.starts_with(magic) {
            return Err(JournalError::NotAJournal);
        }
        let rest = bytes.get(MAGIC.len()..).ok_or(JournalError::HeaderTorn)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(JournalError::HeaderTorn)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(JournalError::HeaderTorn)?;
        let (crc, rest) = rest.split_first_chunk::<4>().ok_or(JournalError::HeaderTorn)?;
        if u16::from_le_bytes(*version) != VERSION {
            return Err(JournalError::Version(u16::from_le_bytes(*version)));
        }
        let json = usize::try_from(u32::from_le_bytes(*length)).ok().and_then(|n| rest.get(..n));
        let json = json.ok_or(JournalError::HeaderTorn)?;
        if checksum(&[version, length, json]) != u32::from_le_bytes(*crc) {
            return Err(JournalError::HeaderDamaged("its checksum is wrong".to_owned()));
        }
        let header = serde_json::from_slice(json)
            .map_err(|error| JournalError::HeaderDamaged(error.to_string()))?;
        Ok(Self { header, bytes, start: HEADER_PREFIX + json.len() })
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        let (bytes, offset) = (self.bytes, self.start);
        Entries { bytes, offset, current: offset, block: &[], last: Tick::ZERO, tail: None }
    }
}

/// The entries of a journal. An error is the last item; without one,
/// [`Entries::tail`] says how the journal ends.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    /// Where the next block begins.
    offset: usize,
    /// Where the block at hand begins.
    current: usize,
    /// What is left of the block at hand.
    block: &'a [u8],
    last: Tick,
    tail: Option<Tail>,
}

impl Entries<'_> {
    /// How the journal ends; `None` until all entries were taken, and after an
    /// error.
    #[must_use]
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// Goes on to the next block: whether there is one.
    fn advance(&mut self) -> Result<bool, JournalError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            self.tail.get_or_insert(Tail::Clean);
            return Ok(false);
        }
        let (length, crc, after) = match split_prefix(rest) {
            Some(parts) => parts,
            None => return Ok(self.torn("its length and checksum are cut off")),
        };
        let size = usize::try_from(u32::from_le_bytes(length)).ok();
        let Some((block, beyond)) = size.and_then(|n| after.split_at_checked(n)) else {
            return Ok(self.torn("it is shorter than its length says"));
        };
        // Bytes that were promised to the file but never written read as zero.
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(self.torn("only zeros were written"));
        }
        if checksum(&[&length, block]) != crc {
            if beyond.is_empty() {
                return Ok(self.torn("its checksum is wrong"));
            }
            return Err(self.damaged(self.offset, "its checksum is wrong"));
        }
        self.current = self.offset;
        self.offset += BLOCK_PREFIX + block.len();
        self.block = block;
        self.last = Tick::ZERO;
        Ok(true)
    }

    /// The journal ends here.
    fn torn(&mut self, reason: &'static str) -> bool {
        self.tail = Some(Tail::Torn { offset: self.offset as u64, reason });
        self.offset = self.bytes.len();
        false
    }

    /// Nothing can be read from here on.
    fn damaged(&mut self, offset: usize, reason: &str) -> JournalError {
        self.offset = usize::MAX;
        self.block = &[];
        JournalError::Damaged { offset: offset as u64, reason: reason.to_owned() }
    }
}

/// A block's length, its checksum, and all that follows.
fn split_prefix(bytes: &[u8]) -> Option<([u8; 4], u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    Some((*length, u32::from_le_bytes(*crc), rest))
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.block.is_empty() {
            if self.offset == usize::MAX {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        match Entry::take(self.last, &mut self.block) {
            Some(entry) => {
                self.last = entry.at;
                Some(Ok(entry))
            }
            None => Some(Err(self.damaged(self.current, "it holds something that is no entry"))),
        }
    }
}

#[cfg(test)]
mod tests;
