//! What happened at a gate.

use serde::{Deserialize, Serialize};

use super::BaselineKind;
use crate::id::{PhaseId, ServiceId};
use crate::time::Tick;

/// When a boundary's reading was taken, and whether the source had settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingMark {
    /// The moment the reading began: never before the request arrived.
    pub start: Tick,
    /// The moment its last byte was in.
    pub end: Tick,
    /// How many readings it took to settle; 1 if the first one counted.
    pub readings: u32,
    /// Whether the source had stopped publishing; `None` where that was not
    /// asked (load in flight) or cannot be told (a source that always moves).
    pub settled: Option<bool>,
    /// What was still moving when the settle time ran out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<String>,
}

/// Why a collector has no reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CollectError {
    /// The class of the error.
    pub kind: CollectErrorKind,
    /// One sentence that names the place.
    pub message: String,
}

impl CollectError {
    /// An error of `kind` that says `message`.
    #[must_use]
    pub fn new(kind: CollectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// The classes of collection errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectErrorKind {
    /// No connection could be made.
    Unreachable,
    /// No complete answer in time.
    Timeout,
    /// An answer that says that there is nothing of the kind here (404, 405,
    /// 410, 501).
    Absent,
    /// An answer with another error status.
    Status,
    /// An answer that holds no metric that can be read.
    Malformed,
    /// An answer beyond the size limit.
    TooLarge,
    /// The device is gone.
    Lost,
    /// The collector is disabled.
    Disabled,
    /// Anything else.
    #[serde(other)]
    Other,
}

/// Why a gate was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleasedBy {
    /// Every collector answered.
    AllAcked,
    /// The gate timeout ran out.
    Timeout,
    /// No collector is registered.
    NoCollectors,
    /// Gates are disabled.
    Disabled,
    /// The run was cancelled or is shutting down.
    Cancelled,
}

/// A boundary: which collectors answered, when, how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundaryOutcome {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
    /// When the gate was asked for.
    pub requested: Tick,
    /// When it was closed.
    pub closed: Tick,
    /// Why it was closed.
    pub released_by: ReleasedBy,
    /// How many requests were in flight when it was asked for (0 unless a
    /// seamless neighbour was at work).
    pub in_flight: u64,
    /// One line a collector, in the order of their ids.
    pub collectors: Vec<CollectorOutcome>,
}

/// What one collector did at a boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorOutcome {
    /// The collector.
    pub service: ServiceId,
    /// What it did.
    pub status: CollectorStatus,
    /// How many times it was asked.
    pub attempts: u32,
}

/// How a collector stands at a boundary. `Late` is an answer that came after
/// the boundary was closed: it changes no decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CollectorStatus {
    /// Asked, not answered yet.
    Pending,
    /// It acknowledged a reading.
    Captured {
        /// When the reading was taken.
        reading: ReadingMark,
    },
    /// It acknowledged that it has none.
    Failed {
        /// Why.
        error: CollectError,
    },
    /// It had not answered when the boundary was closed.
    Missing,
    /// It answered after the boundary was closed.
    Late {
        /// Its reading, if it had one.
        reading: Option<ReadingMark>,
        /// Its error, if it had one.
        error: Option<CollectError>,
        /// When the answer came.
        at: Tick,
    },
    /// It was taken out while the boundary was open.
    Evicted {
        /// Why.
        reason: String,
    },
}

impl CollectorStatus {
    /// The reading, where there is one.
    #[must_use]
    pub fn reading(&self) -> Option<&ReadingMark> {
        match self {
            Self::Captured { reading } => Some(reading),
            Self::Late { reading, .. } => reading.as_ref(),
            Self::Pending | Self::Failed { .. } | Self::Missing | Self::Evicted { .. } => None,
        }
    }
}
