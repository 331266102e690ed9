//! Registry, baseline coordinator, result join, shutdown.
//!
//! - [`machine`]: the controller, which composes the other three and ends the
//!   run.
//! - `speaking`, `ending`: what it says; how services leave and the run ends.
//! - [`run`]: how far the run is.
//! - [`event`]: its inputs, its effects, and what it says to a UI or a log.
//! - [`registry`]: who is there, what each can do, who has gone silent.
//! - [`boundary`]: one boundary: who was asked and how each stands.
//! - [`baseline`]: the baseline coordinator: fan-out, retransmission, fan-in,
//!   timeout.
//! - [`join`]: the result join coordinator: who owes which domain.
//! - [`report`]: what the controller knows at the end.

pub mod baseline;
pub mod boundary;
mod ending;
pub mod event;
pub mod join;
pub mod machine;
pub mod registry;
pub mod report;
pub mod run;
mod speaking;

pub use event::{ControllerEffect, ControllerEvent, ControllerInput, Milestone};
pub use machine::{Controller, ControllerTimer, Expected};

#[cfg(test)]
mod tests;
