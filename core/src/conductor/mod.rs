//! Phases in order: lifecycle, gate client, arrivals, stop conditions, ramps.
//!
//! - [`lifecycle`]: the states of a phase and of the run, as tables.
//! - [`gate`]: asks the controller for gates and waits for the answer, or not.
//! - [`ramp`], [`arrivals`], [`backoff`]: when credits are planned.
//! - `phase`: one phase's credits, counts and times; `outstanding`: those of
//!   its credits that are in flight.
//! - [`event`]: what the conductor is told, asks for and says.
//! - [`machine`]: the conductor; `steps`: what it does with its phases.
//! - [`report`]: what the conductor knows at the end.

pub mod arrivals;
pub mod backoff;
pub mod event;
pub mod gate;
pub mod lifecycle;
pub mod machine;
mod outstanding;
mod phase;
pub mod ramp;
pub mod report;
mod steps;
#[cfg(test)]
mod tests;

pub use event::{ConductorEffect, ConductorEvent, ConductorInput, ConductorTimer};
pub use machine::Conductor;
