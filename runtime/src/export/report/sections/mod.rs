//! The parts of the page, in their order.
//!
//! - [`head`]: what was measured, how it ended and why.
//! - [`summary`]: a line a phase; each phase's verdict in words.
//! - [`slo`]: the probes of a search, and its answer.
//! - [`sweep`]: the steps of a sweep, side by side.
//! - [`course`]: what happened when: timeline, latency, distribution.
//! - [`gpus`]: power and energy.
//! - [`server`]: the server's own metrics, and the client's count against them.
//! - [`boundaries`]: who answered, when, how; windows.
//! - [`setup`]: the configuration, and how to have the same run again.

pub(super) mod boundaries;
pub(super) mod course;
pub(super) mod gpus;
pub(super) mod head;
pub(super) mod server;
pub(super) mod setup;
pub(super) mod slo;
pub(super) mod summary;
pub(super) mod sweep;

use phasegate_core::account::result::{PhaseResult, RunResult};
use phasegate_core::id::PhaseId;

/// The name of a phase.
fn name_of(result: &RunResult, phase: PhaseId) -> String {
    let found = result.phases.iter().find(|other| other.phase_id == phase);
    found.map_or_else(|| phase.to_string(), |phase| phase.name.clone())
}

/// Whether a phase sends on a schedule, so that its latency counts from the
/// planned moment.
fn is_open_loop(result: &RunResult, phase: &PhaseResult) -> bool {
    let plan = result.config.pointer("/plan/phases").and_then(|phases| phases.get(phase.index));
    plan.and_then(|plan| plan.pointer("/arrival/load")).is_some_and(|load| load == "rate")
}
