//! Every input, in order; encode, decode, replay.
