//! What goes into the controller and what comes out of it.

use serde::{Deserialize, Serialize};

use super::join::JoinChange;
use super::report::Eviction;
use crate::id::{PhaseId, ServiceId};
use crate::message::{BaselineKind, BoundaryOutcome, Envelope, PhaseProgress, ShutdownReason};

/// What the controller is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControllerInput {
    /// The run begins: the time in which services have to be ready runs from
    /// here.
    Start,
    /// A message has arrived.
    Message(#[serde(with = "crate::journal::envelope")] Envelope),
}

/// What the controller asks to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControllerEffect {
    /// Deliver this, at most once.
    Send(#[serde(with = "crate::journal::envelope")] Envelope),
    /// Show or log this.
    Report(ControllerEvent),
    /// The run is over. Said once; messages that still arrive are answered.
    Finished,
}

/// What a UI or a log wants to know. Each change is said once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControllerEvent {
    /// A service is ready, for the first time or again.
    Ready {
        /// The service.
        service: ServiceId,
    },
    /// The readiness barrier is open: the conductor may begin.
    BarrierOpen {
        /// Expected services that are not ready.
        not_ready: Vec<ServiceId>,
    },
    /// A boundary was asked for.
    BoundaryOpened {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
        /// Who was asked for a reading.
        collectors: Vec<ServiceId>,
    },
    /// A boundary waits for these; they have been asked again.
    Waiting {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
        /// Who has not answered.
        collectors: Vec<ServiceId>,
    },
    /// A boundary is closed.
    BoundaryClosed(BoundaryOutcome),
    /// A collector answered after its boundary was closed.
    LateAck {
        /// The collector.
        service: ServiceId,
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
    },
    /// A gate was asked for a phase that the plan does not have; nothing was
    /// answered.
    UnknownPhase {
        /// Who asked.
        from: ServiceId,
        /// The phase.
        phase: PhaseId,
    },
    /// A service was taken out.
    Evicted(Eviction),
    /// A result domain stands differently.
    Join(JoinChange),
    /// The conductor says how far a phase is.
    Phase(Milestone, PhaseProgress),
    /// All phases are over; results are waited for.
    CreditsComplete,
    /// The run is shut down.
    Shutdown {
        /// Why.
        reason: ShutdownReason,
    },
}

/// The moments of a phase that the conductor announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Milestone {
    /// Its first credit may be issued.
    Started,
    /// No more credits are issued.
    SendingComplete,
    /// Nothing of it is in flight.
    Complete,
}
