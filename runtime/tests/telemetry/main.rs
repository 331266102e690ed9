//! HTTP sources and the readiness probe over real sockets, against servers that
//! misbehave. Nothing here is timed: where a reading has to be given up, a short
//! wait stands for the collector's time limit.
#![allow(clippy::unwrap_used, missing_docs)]

mod probe;
mod server;
mod sources;
mod tls;
