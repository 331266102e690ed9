//! What the conductor knows of the phases when it is done.

use serde::{Deserialize, Serialize};

use super::sessions::SessionCounts;
use crate::id::PhaseId;
use crate::message::{BaselineKind, GateRefusal, PhaseCounts, ReleasedBy};
use crate::search::SearchReport;
use crate::time::Tick;

/// Every phase of the plan, in order, whether it was started or not.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConductorReport {
    /// One entry a phase of the plan.
    pub phases: Vec<PhaseReport>,
    /// The run was cancelled before it was done.
    pub cancelled: bool,
    /// What the search came to, where the run is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchReport>,
}

impl ConductorReport {
    /// The report of a conductor that was ended in the middle of a run, with its
    /// process. What was in flight never comes back: it is written off, as a
    /// request that does not come back in time is, so that every request sent is
    /// completed, failed or cancelled.
    #[must_use]
    pub fn cut_off(mut self) -> Self {
        for phase in &mut self.phases {
            let lost = phase.counts.in_flight();
            phase.counts.cancelled += lost;
            phase.written_off += lost;
        }
        self
    }
}

/// What became of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// The phase.
    pub phase: PhaseId,
    /// The moment of its first possible credit; `None` if it never started.
    pub start: Option<Tick>,
    /// When it stopped sending.
    pub sending_complete: Option<Tick>,
    /// When its last request was back or written off.
    pub end: Option<Tick>,
    /// Its requests.
    pub counts: PhaseCounts,
    /// Of the cancelled ones, those that never came back.
    pub written_off: u64,
    /// Open loop: arrivals whose planned time had come and that were not sent
    /// when the phase stopped sending, because the concurrency cap was binding.
    /// Exact up to 65,536, beyond that by expectation. An infinite rate without
    /// a number of requests plans no number of arrivals, and has 0 here.
    pub unsent: u64,
    /// Requests (first turns, where there are sessions) that sent an item of the
    /// input which the run had sent before, because it has no more of them.
    #[serde(default)]
    pub repeated: u64,
    /// Its sessions, where the input has some.
    #[serde(default)]
    pub sessions: Option<SessionCounts>,
    /// Requests that were drawn to be cancelled by the client (those that were
    /// answered before that completed).
    pub drawn_to_cancel: u64,
    /// Why it failed, if it did.
    pub failure: Option<PhaseFailure>,
    /// The gates as the gate client saw them, in the order in which they were
    /// released.
    pub gates: Vec<GateWait>,
}

/// Why a phase failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PhaseFailure {
    /// Its START gate was refused.
    #[error("its START gate was refused: {0}")]
    StartRefused(GateRefusal),
    /// More of its requests failed than its error budget allows: it was cut
    /// short.
    #[error(
        "{errors} of {ended} requests that ended so far failed, which exceeds its error budget"
    )]
    ErrorBudget {
        /// Failed.
        errors: u64,
        /// Completed or failed.
        ended: u64,
    },
}

/// One wait at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateWait {
    /// The phase's start or its end.
    pub kind: BaselineKind,
    /// When the gate was asked for.
    pub asked: Tick,
    /// When the phase went on.
    pub released: Tick,
    /// Why. `Timeout` here means that no grant came in time, which the
    /// controller's own record of the boundary may not know.
    pub by: ReleasedBy,
    /// Requests in flight when it was asked for.
    pub in_flight: u64,
}
