//! Every input, in order; encode, decode, replay.

pub mod envelope;
