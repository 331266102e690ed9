//! What the conductor is told, asks for and says.

use serde::{Deserialize, Serialize};

use crate::machine::TimerKey;
use crate::message::{BaselineKind, Envelope, PhaseCounts, ReleasedBy};
use crate::record::{Credit, CreditReturn};
use crate::search::Outcome;

/// What the conductor is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConductorInput {
    /// Begin: register and wait for the others.
    Start,
    /// A message arrived.
    Message(#[serde(with = "crate::journal::envelope")] Envelope),
    /// A credit is back.
    Returned(CreditReturn),
    /// The run is to be cancelled (Ctrl-C).
    Cancel,
}

/// What the conductor asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConductorEffect {
    /// Send a message.
    Send(#[serde(with = "crate::journal::envelope")] Envelope),
    /// Send a request.
    Issue(Credit),
    /// Cancel every request of this phase that is in flight.
    CancelCredits {
        /// The phase's index in the plan.
        phase: u16,
    },
    /// Something worth telling whoever watches; nothing depends on it.
    Event(ConductorEvent),
    /// The conductor is done. Said once, last.
    Finished,
}

/// What happened, for whoever watches. Phases are named by their index in the
/// plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConductorEvent {
    /// The run began.
    Began {
        /// Every expected service was ready; otherwise the wait ran out.
        ready: bool,
    },
    /// A gate is waited for.
    GateAsked {
        /// The phase.
        phase: u16,
        /// Its start or its end.
        kind: BaselineKind,
    },
    /// A gate is not waited for any more.
    GateReleased {
        /// The phase.
        phase: u16,
        /// Its start or its end.
        kind: BaselineKind,
        /// Why.
        by: ReleasedBy,
    },
    /// A gate was refused.
    GateRefused {
        /// The phase.
        phase: u16,
        /// Its start or its end.
        kind: BaselineKind,
        /// Why, in words.
        reason: String,
    },
    /// A phase may send.
    PhaseStarted {
        /// The phase.
        phase: u16,
    },
    /// A phase sends no more.
    SendingComplete {
        /// The phase.
        phase: u16,
        /// Its requests.
        counts: PhaseCounts,
    },
    /// Credits that never came back were written off.
    WrittenOff {
        /// The phase.
        phase: u16,
        /// How many.
        credits: u64,
    },
    /// Nothing of a phase is in flight.
    PhaseComplete {
        /// The phase.
        phase: u16,
        /// Its requests.
        counts: PhaseCounts,
    },
    /// More requests of a phase failed than it may: the run is cut short.
    BudgetExceeded {
        /// The phase.
        phase: u16,
        /// Its requests.
        counts: PhaseCounts,
    },
    /// A phase is over, its END gate included.
    PhaseEnded {
        /// The phase.
        phase: u16,
    },
    /// The run is being cancelled.
    Cancelling,
    /// Every phase is over.
    CreditsComplete,
    // The last ones: a journal holds digests of the events by their places.
    /// A phase is the next probe of a search.
    Probing {
        /// The phase.
        phase: u16,
        /// Its load, in words.
        load: String,
        /// How many requests it is to send.
        requests: u64,
    },
    /// A probe was judged.
    Probed {
        /// The phase.
        phase: u16,
        /// What it came to.
        outcome: Outcome,
        /// Why it did not hold.
        reasons: Vec<String>,
    },
}

/// Why the conductor wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConductorTimer {
    /// A sign of life is due.
    Heartbeat,
    /// The readiness barrier was waited for long enough.
    Begin,
    /// A gate is to be asked for again, or was waited for long enough.
    Gate,
    /// A credit is planned, or a slot is added.
    Arrival,
    /// A phase has sent for as long as it may.
    Stop,
    /// A grace period is over.
    Grace,
    /// Cancelled credits were waited for long enough.
    Drain,
    /// The controller was waited for long enough.
    Leave,
    /// The ledger is to be asked for a probe again, or was waited for long enough.
    Probe,
}

impl TimerKey for ConductorTimer {
    const ALL: &'static [Self] = &[
        Self::Heartbeat,
        Self::Begin,
        Self::Gate,
        Self::Arrival,
        Self::Stop,
        Self::Grace,
        Self::Drain,
        Self::Leave,
        Self::Probe,
    ];
}
