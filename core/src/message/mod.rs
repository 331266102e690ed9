//! What services say to each other.
//!
//! - [`envelope`]: who to whom, and in what order.
//! - [`body`]: the messages.
//! - [`capability`]: what a service can do.
//! - [`boundary`]: what happened at a gate.
//! - [`member`]: what every service says about itself: registration, status,
//!   heartbeat.
//!
//! Delivery is at most once: anything here may be lost, duplicated, reordered
//! or late. The wire form is JSON; unknown fields and unknown message types are
//! ignored, so that a newer service can talk to an older one.

pub mod body;
pub mod boundary;
pub mod capability;
pub mod envelope;
pub mod member;

pub use body::{
    BaselineAck, BaselineKind, BaselineRequest, CreditsComplete, DomainResult, DomainSummary,
    GateCommand, GateGranted, GateRefusal, Heartbeat, MeasureProbe, Message, PhaseCounts,
    PhaseProgress, ProfileFinish, Register, ServiceStatus, ShutdownReason, Tally,
};
pub use boundary::{
    BoundaryOutcome, CollectError, CollectErrorKind, CollectorOutcome, CollectorStatus,
    ReadingMark, ReleasedBy,
};
pub use capability::Capability;
pub use envelope::{Envelope, Outbox};
pub use member::Member;
