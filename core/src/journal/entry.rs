//! One entry: what one node was given, when, and the digest of what it did.

use core::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::JournalError;
use super::varint::{put, take, unzigzag, zigzag};
use crate::time::Tick;

/// One input or timeout of one node.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node: its place in [`Header::nodes`](super::Header::nodes).
    pub node: u8,
    /// The moment that the machine was told.
    pub at: Tick,
    /// What it was given.
    pub kind: Kind,
    /// The [`digest`] of the effects that this caused; 0 if it caused none.
    pub effects: u32,
}

/// What a node was given.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// An input, as [`encode_input`] wrote it.
    Input(Vec<u8>),
    /// `handle_timeout`.
    Timeout,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} at {}: {:?}, effects {:08x}",
            self.node, self.at, self.kind, self.effects
        )
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(bytes) => write!(f, "input of {} bytes", bytes.len()),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

/// Writes an input as it stands in the journal (postcard).
///
/// # Errors
/// [`JournalError::Encode`] if the type is one that postcard cannot hold:
/// flattened or internally tagged, without a `with` module of its own.
pub fn encode_input<T: Serialize>(input: &T) -> Result<Vec<u8>, JournalError> {
    let bytes = Bytes(Vec::with_capacity(ROOM));
    postcard::serialize_with_flavor(input, bytes).map_err(|e| JournalError::Encode(e.to_string()))
}

/// A credit or a record needs no more than this.
const ROOM: usize = 64;

/// Bytes with room from the start.
struct Bytes(Vec<u8>);

impl Flavor for Bytes {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// The CRC-32 of bytes that nobody keeps.
struct Checksum {
    hasher: crc32fast::Hasher,
    /// What is not hashed yet.
    waiting: [u8; ROOM],
    used: usize,
}

impl Checksum {
    fn hash(&mut self) {
        self.hasher.update(self.waiting.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

impl Flavor for Checksum {
    type Output = u32;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.used + bytes.len() > ROOM {
            self.hash();
        }
        match self.waiting.get_mut(self.used..self.used + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.used += bytes.len();
            }
            None => self.hasher.update(bytes),
        }
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<u32> {
        self.hash();
        Ok(self.hasher.finalize())
    }
}

/// Reads what [`encode_input`] wrote.
///
/// # Errors
/// [`JournalError::Decode`] if the bytes are not exactly one `T`.
pub fn decode_input<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JournalError> {
    match postcard::take_from_bytes(bytes) {
        Ok((input, [])) => Ok(input),
        Ok((_, rest)) => Err(JournalError::Decode(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(JournalError::Decode(error.to_string())),
    }
}

/// The CRC-32 of the postcard encoding of `effects`, never 0 unless there are
/// none.
///
/// # Errors
/// [`JournalError::Encode`] as for [`encode_input`].
pub fn digest<E: Serialize>(effects: &[E]) -> Result<u32, JournalError> {
    if effects.is_empty() {
        return Ok(0);
    }
    let checksum = Checksum { hasher: crc32fast::Hasher::new(), waiting: [0; ROOM], used: 0 };
    let digest = postcard::serialize_with_flavor(&effects, checksum);
    digest.map(|digest| digest.max(1)).map_err(|e| JournalError::Encode(e.to_string()))
}

/// The head's bits; the node's number is above them.
const TIMEOUT: u64 = 1;
const EFFECTS: u64 = 2;
const NODE_SHIFT: u32 = 2;

impl Entry {
    /// Appends the entry: head (node, kind, whether there are effects), the
    /// moment as the zigzag of its difference to `last`, the input with its
    /// length, the digest.
    pub(super) fn put(&self, last: Tick, out: &mut Vec<u8>) {
        let timeout = match self.kind {
            Kind::Input(_) => 0,
            Kind::Timeout => TIMEOUT,
        };
        let effects = if self.effects == 0 { 0 } else { EFFECTS };
        put(out, u64::from(self.node) << NODE_SHIFT | effects | timeout);
        put(out, zigzag(self.at.0, last.0));
        match &self.kind {
            Kind::Input(bytes) => {
                put(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Kind::Timeout => {}
        }
        if self.effects != 0 {
            out.extend_from_slice(&self.effects.to_le_bytes());
        }
    }

    /// Takes an entry off the front of `bytes`; `None` if they are not one.
    pub(super) fn take(last: Tick, bytes: &mut &[u8]) -> Option<Self> {
        let head = take(bytes)?;
        let node = u8::try_from(head >> NODE_SHIFT).ok()?;
        let at = Tick(unzigzag(take(bytes)?, last.0));
        let kind = if head & TIMEOUT != 0 {
            Kind::Timeout
        } else {
            let len = usize::try_from(take(bytes)?).ok()?;
            let (input, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Kind::Input(input.to_vec())
        };
        let effects = if head & EFFECTS != 0 {
            let (digest, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            u32::from_le_bytes(*digest)
        } else {
            0
        };
        Some(Self { node, at, kind, effects })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_effects_are_zero_and_effects_are_not() {
        assert_eq!(digest::<u8>(&[]), Ok(0));
        assert_ne!(digest(&[0_u8]), Ok(0));
        assert_ne!(digest(&[1_u8, 2]), digest(&[2_u8, 1]));
    }

    #[test]
    fn a_digest_is_the_checksum_of_what_the_effects_would_be_written_as() {
        let long = "a long text ".repeat(40);
        for texts in [vec!["a"], vec!["b"; 70], vec!["c", &long, "d"], vec![long.as_str(); 3]] {
            let written = encode_input(&texts.as_slice()).unwrap();
            assert_eq!(digest(&texts), Ok(crc32fast::hash(&written)));
        }
    }

    #[test]
    fn single_bytes_stand_in_an_input_as_the_others_do() {
        let input = (Some(7_u8), true, None::<u32>, "text".to_owned());
        let bytes = encode_input(&input).unwrap();
        assert_eq!(bytes, [&[1, 7, 1, 0, 4], &b"text"[..]].concat());
        assert_eq!(decode_input(&bytes), Ok(input.clone()));
        assert_eq!(digest(&[input]), Ok(crc32fast::hash(&[&[1], &bytes[..]].concat())));
    }

    #[test]
    fn an_input_with_bytes_left_over_is_refused() {
        let mut bytes = encode_input(&7_u32).unwrap();
        assert_eq!(decode_input::<u32>(&bytes), Ok(7));
        bytes.push(0);
        let error = decode_input::<u32>(&bytes).unwrap_err();
        assert_eq!(error, JournalError::Decode("1 bytes too many".to_owned()));
    }
}
