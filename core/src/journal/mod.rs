//! Every input that the core was given, in order; encode, decode, replay.
//!
//! - [`frame`]: the file: header, checksummed blocks, a torn tail recognised.
//! - [`entry`]: one input or timeout of one node, and the digest of the effects
//!   it caused.
//! - [`mod@replay`]: feeds a journal to fresh machines and finds the first
//!   difference.
//! - [`envelope`], [`compact`], [`exact`]: how envelopes, request records and
//!   floating-point numbers are written.

pub mod compact;
pub mod entry;
pub mod envelope;
pub mod exact;
pub mod frame;
pub mod replay;
mod varint;

pub use entry::{Entry, Kind, decode_input, digest, encode_input};
pub use frame::{Encoder, Entries, Header, Journal, JournalError, Tail};
pub use replay::{Mismatch, Node, Problem, Replay, ReplayError, Replayed, Step, replay};
