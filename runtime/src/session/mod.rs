//! One run, from a resolved configuration to its artifacts.
//!
//! - [`execute`]: wires machines, sources, engine and files, and waits.
//! - [`executors`]: carry out the effects of each machine.
//! - [`collect`]: the same for collectors, whose readings wait for their mark.
//! - [`handover`]: where finished requests go.
//! - `error`: why there is no result.
//! - `sources`: opens what is to be read.
//! - [`live`]: what a user interface may look at while the run goes.
//! - [`audit`]: the check that phasegate kept its own rules, made from outside.
//! - `files`: the artifact files that grow while it goes.
//! - `finish`: the result, from what the machines and the files know.
//! - `origin`: which run it is, for its journal's header.
//! - [`mod@recover`]: a run read back from its files, and a killed one finished.
//! - [`calibrate`]: the same load against a server that takes no time.
//! - [`meter`]: what the client measures of itself.
//! - `process`: what the operating system says of this process.

pub mod audit;
pub mod calibrate;
pub mod collect;
mod error;
mod execute;
pub mod executors;
mod files;
mod finish;
pub mod handover;
pub mod live;
pub mod meter;
mod origin;
mod process;
pub mod recover;
mod sources;

pub use error::SessionError;
pub use execute::{Done, execute};
pub use process::raise_file_limit;
