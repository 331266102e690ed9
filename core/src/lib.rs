//! The phasegate protocol and all of its arithmetic, as pure state machines.
//!
//! Nothing in this crate reads a clock, opens a socket, spawns a task or asks
//! the operating system for randomness: time comes in as a [`Tick`], events as
//! inputs, and whatever must happen goes out as effects. The same inputs give
//! the same effects, byte for byte, so that a run can be replayed from its
//! journal and simulated by the million.
//!
//! Who lives here:
//! - [`time`], [`id`], [`seed`]: the small types everything is named and
//!   ordered by.
//! - [`machine`], [`timers`]: the shape of a machine and its timer table.
//! - [`message`]: what services say to each other, and the envelope.
//! - [`plan`]: a validated description of a run.
//! - [`record`], [`reading`]: what the client and the telemetry observed.
//! - [`controller`], [`conductor`], [`collector`], [`ledger`], [`readiness`]:
//!   the machines.
//! - [`engines`]: what the metrics of the known inference engines count.
//! - [`account`]: deltas, windows, statistics, verdicts, and `run.json`.
//! - [`setup`]: the machines of one run, from one description.
//! - `small`: maps and sets of a few entries.
//! - [`planted`]: bugs for the tests of the tests, absent from every build that
//!   does not ask for them.
//! - [`journal`]: every input, in order; encode, decode, replay.

pub mod account;
pub mod collector;
pub mod conductor;
pub mod controller;
pub mod engines;
pub mod id;
pub mod journal;
pub mod ledger;
pub mod machine;
pub mod message;
pub mod plan;
pub mod planted;
pub mod readiness;
pub mod reading;
pub mod record;
pub mod search;
pub mod seed;
pub mod setup;
mod small;
pub mod time;
pub mod timers;

pub use id::{CreditId, PhaseId, ServiceId};
pub use machine::{Deadline, Machine, Sink};
pub use time::Tick;
