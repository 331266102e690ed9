//! Tier 1: discrete events over the pure core.
//!
//! One seed makes a plan, its services and its faults; the machines of core are
//! told what happens, one event after the other, until the run is over. Nothing
//! here waits for anything, so a run takes microseconds.
//!
//! - [`config`]: what a seed means. [`dice`]: its draws. [`scenario`]: named
//!   configurations. `searches`: runs that search for the highest load.
//! - `world`, `happen`: the machines and the one event queue (`queue`); `bus`,
//!   `load`, `source`: models of what lies around them. `server`: a model of the
//!   servers and GPUs that are read, where hazards are on.
//! - `watch`: who watches; [`status`]: the trace, a line a step.
//! - [`mod@bound`]: when a run must be over at the latest.
//! - [`run`]: one seed, run and judged. [`shrink`]: a failure made small.
//!   [`batch`]: many seeds on several threads.

pub mod batch;
pub mod bound;
mod bus;
pub mod config;
pub mod dice;
mod happen;
mod load;
mod queue;
pub mod run;
pub mod scenario;
mod searches;
pub(crate) mod server;
pub mod shrink;
pub(crate) mod source;
pub mod status;
mod watch;
mod world;

pub use config::{Config, Request};
pub use run::{Keep, Outcome, Runner};
