//! Phases in order: lifecycle, gate client, arrivals, stop conditions, ramps.
//!
//! - [`lifecycle`]: the states of a phase and of the run, as tables.
//! - [`gate`]: asks the controller for gates and waits for the answer, or not.
//! - [`ramp`], [`stages`], [`arrivals`], [`backoff`]: when credits are planned.
//! - `items`: which item of the input is sent; `sessions`: those of several
//!   turns.
//! - [`budget`]: when too many have failed.
//! - `phase`: one phase's credits, counts and times; `outstanding`: those of
//!   its credits that are in flight.
//! - [`probing`]: the probes of a search, whose load earlier ones decide.
//! - [`event`]: what the conductor is told, asks for and says.
//! - [`machine`]: the conductor; `steps`: what it does with its phases.
//! - [`report`]: what the conductor knows at the end.

pub mod arrivals;
pub mod backoff;
pub mod budget;
pub mod event;
pub mod gate;
mod items;
pub mod lifecycle;
pub mod machine;
mod outstanding;
mod phase;
pub mod probing;
pub mod ramp;
pub mod report;
mod sessions;
pub mod stages;
mod steps;
#[cfg(test)]
mod tests;

pub use event::{ConductorEffect, ConductorEvent, ConductorInput, ConductorTimer};
pub use machine::Conductor;
pub use sessions::SessionCounts;
