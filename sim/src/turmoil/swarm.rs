//! The situations that have a name.
