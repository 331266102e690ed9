//! The messages.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BoundaryOutcome, Capability, CollectError, ReadingMark};
use crate::engines::Unit;
use crate::id::{Domain, PhaseId};
use crate::search::ProbeMeasured;
use crate::time::Tick;

/// Which side of a phase a baseline belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineKind {
    /// Before the phase's first credit.
    Start,
    /// After its last credit is back.
    End,
}

/// The text is neither `start` nor `end`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a baseline is 'start' or 'end', not {0:?}")]
pub struct BaselineKindError(pub String);

impl FromStr for BaselineKind {
    type Err = BaselineKindError;
    fn from_str(text: &str) -> Result<Self, BaselineKindError> {
        if text.eq_ignore_ascii_case("start") {
            Ok(Self::Start)
        } else if text.eq_ignore_ascii_case("end") {
            Ok(Self::End)
        } else {
            Err(BaselineKindError(text.to_owned()))
        }
    }
}

impl fmt::Display for BaselineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::End => "end",
        })
    }
}

/// A service makes itself known. Idempotent, and allowed at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Which life of the service this is: a restart under the same id has a
    /// higher one.
    #[serde(default)]
    pub incarnation: u64,
}

/// How a service says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ServiceStatus {
    /// Registered, not ready yet.
    Starting,
    /// Ready to be asked.
    Ready,
    /// It will take no part in this run.
    Disabled {
        /// Why.
        reason: String,
    },
    /// It has ended in good order.
    Stopped,
    /// It has ended because it could not go on.
    Failed {
        /// Why.
        reason: String,
    },
    /// A status that this version does not know; treated as no change.
    #[serde(other)]
    Unknown,
}

/// Sign of life. It repeats registration and status, so that whatever of them
/// was lost is repaired by the next heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// As registered.
    pub register: Register,
    /// As it stands now.
    pub status: ServiceStatus,
}

/// The client's own count at the moment a boundary was asked for: what the
/// server should have counted once it has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests sent since the run started.
    pub sent: u64,
    /// Of these, completed.
    pub completed: u64,
    /// Of these, ended by an error.
    pub errors: u64,
    /// Of these, cancelled.
    pub cancelled: u64,
    /// Of these, still in flight.
    pub in_flight: u64,
    /// Prompt tokens of completed requests, where every one of them has a
    /// count.
    pub prompt_tokens: Option<u64>,
    /// Output tokens of completed requests, where every one of them has a
    /// count.
    pub output_tokens: Option<u64>,
}

impl Tally {
    /// What was added to the tally since `base`, which is an earlier one of the
    /// same run. What was in flight then is counted where it has gone to since.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        let tokens = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            sent: self.sent.saturating_sub(base.sent),
            completed: self.completed.saturating_sub(base.completed),
            errors: self.errors.saturating_sub(base.errors),
            cancelled: self.cancelled.saturating_sub(base.cancelled),
            in_flight: self.in_flight,
            prompt_tokens: tokens(self.prompt_tokens, base.prompt_tokens),
            output_tokens: tokens(self.output_tokens, base.output_tokens),
        }
    }

    /// The least and the most that a server which has settled may have counted of
    /// this; no most where it is not known. `None` where the client has no count.
    ///
    /// A request that failed, was cancelled or is in flight may be counted by the
    /// server or not, and its tokens as far as it came, which the client does not
    /// know.
    #[must_use]
    pub fn bounds(&self, unit: Unit) -> Option<(u64, Option<u64>)> {
        let unfinished = self.errors.saturating_add(self.cancelled).saturating_add(self.in_flight);
        let tokens = |sum: u64| (sum, (unfinished == 0).then_some(sum));
        match unit {
            Unit::Requests => {
                Some((self.completed, Some(self.completed.saturating_add(unfinished))))
            }
            Unit::PromptTokens => self.prompt_tokens.map(tokens),
            Unit::OutputTokens => self.output_tokens.map(tokens),
        }
    }
}

/// Asks a collector for its (phase, kind) reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRequest {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
    /// 1 for the first time this is asked, 2 for its first repetition, …
    pub attempt: u32,
    /// How much of the gate's time is left: a reading that takes longer is
    /// late.
    #[serde(with = "crate::time::seconds")]
    pub budget: Duration,
    /// How long to wait at most for the source to settle; part of `budget`.
    /// Zero asks for one reading as it is.
    #[serde(with = "crate::time::seconds")]
    pub settle: Duration,
    /// The client's own count.
    #[serde(default)]
    pub tally: Tally,
}

/// A collector's answer; a failure is an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineAck {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
    /// When the reading was taken, or why there is none.
    pub outcome: Result<ReadingMark, CollectError>,
}

/// Asks the controller for a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCommand {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
    /// The client's own count.
    #[serde(default)]
    pub tally: Tally,
}

/// Why a gate was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum GateRefusal {
    /// The run is shutting down.
    #[error("the run is shutting down")]
    ShuttingDown,
    /// A reason that this version does not know.
    #[error("the controller refused the gate for a reason that this version does not know")]
    #[serde(other)]
    Unknown,
}

/// Answers a [`GateCommand`], and every repetition of it, with what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateGranted {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
    /// The boundary as it stood when it was closed, or why there is none.
    pub outcome: Result<BoundaryOutcome, GateRefusal>,
}

/// A phase's requests. `sent = completed + errors + cancelled + in flight` at
/// every instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PhaseCounts {
    /// Credits issued.
    pub sent: u64,
    /// Of these, answered in full.
    pub completed: u64,
    /// Of these, ended by an error.
    pub errors: u64,
    /// Of these, cancelled (those written off are among them).
    pub cancelled: u64,
}

impl PhaseCounts {
    /// Credits issued and not returned.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent - self.completed - self.errors - self.cancelled
    }
}

/// How far a phase is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseProgress {
    /// The phase.
    pub phase: PhaseId,
    /// When this happened.
    pub at: Tick,
    /// Its requests at that moment.
    pub counts: PhaseCounts,
}

/// All phases are over: no credit will be issued any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreditsComplete {
    /// The final counts of every phase that was started, in order. A written-off
    /// credit is among the cancelled ones and may have no record.
    pub phases: Vec<(PhaseId, PhaseCounts)>,
}

/// How the ledger was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileFinish {
    /// All credits are complete and every record is in.
    Complete,
    /// The credits-complete fallback ran out with records missing.
    Fallback,
    /// The run was shut down before credits were known complete.
    Shutdown,
}

/// What a producer hands in at the end. The readings and records themselves
/// are in the artifacts; this says that they are all there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum DomainSummary {
    /// The client's records.
    Records {
        /// How many.
        records: u64,
        /// How many are known to be missing.
        missing: u64,
        /// How the ledger was closed.
        finish: ProfileFinish,
    },
    /// A collector's readings.
    Readings {
        /// How many succeeded.
        readings: u64,
        /// How many failed.
        failed: u64,
    },
}

/// A producer hands in its result. Repeated with its heartbeats until the run
/// ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainResult {
    /// The domain.
    pub domain: Domain,
    /// What is handed in.
    pub summary: DomainSummary,
}

/// Why the controller ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownReason {
    /// Every result domain is joined or evicted.
    AllJoined,
    /// The conductor is gone: nothing can be measured any more.
    ConductorLost,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Asks the ledger what it has of a probe of a search, whose phase is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureProbe {
    /// The phase.
    pub phase: PhaseId,
    /// Credits that were issued.
    pub sent: u64,
    /// Of these, those that were written off and may have no record.
    pub written_off: u64,
}

/// Everything that services say to each other. What is long stands in a box: a
/// message is moved from machine to machine, and most of them are short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// Any service → controller.
    Register(Register),
    /// Any service → controller.
    Status(ServiceStatus),
    /// Any service → controller.
    Heartbeat(Heartbeat),
    /// Controller → conductor: the readiness barrier is open. Repeated in
    /// answer to every heartbeat of a conductor that has started no phase.
    Begin,
    /// Conductor → controller.
    GateCommand(Box<GateCommand>),
    /// Controller → collector.
    BaselineRequest(Box<BaselineRequest>),
    /// Collector → controller.
    BaselineAck(Box<BaselineAck>),
    /// Controller → conductor.
    GateGranted(Box<GateGranted>),
    /// Conductor → controller, ledger.
    PhaseStarted(PhaseProgress),
    /// Conductor → controller, ledger: no more credits of this phase.
    SendingComplete(PhaseProgress),
    /// Conductor → controller, ledger: nothing of it is in flight.
    PhaseComplete(PhaseProgress),
    /// Conductor → controller; controller → every result producer, and again
    /// in answer to the heartbeats of those that still owe theirs.
    CreditsComplete(CreditsComplete),
    /// Producer → controller.
    DomainResult(DomainResult),
    /// Conductor → ledger; again until it is answered.
    MeasureProbe(MeasureProbe),
    /// Ledger → conductor: as it stands at that moment.
    ProbeMeasured(Box<ProbeMeasured>),
    /// Controller → every service, and again in answer to any heartbeat after
    /// that.
    Shutdown {
        /// Why.
        reason: ShutdownReason,
    },
    /// A message that this version does not know; ignored.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baseline_kind_parses_in_any_case() {
        assert_eq!("START".parse(), Ok(BaselineKind::Start));
        assert_eq!("End".parse(), Ok(BaselineKind::End));
        assert!("stop".parse::<BaselineKind>().is_err());
        for kind in [BaselineKind::Start, BaselineKind::End] {
            assert_eq!(kind.to_string().parse(), Ok(kind), "as it is shown");
        }
    }

    #[test]
    fn a_request_that_did_not_complete_may_be_counted_or_not() {
        let clean = Tally {
            sent: 5,
            completed: 5,
            prompt_tokens: Some(50),
            output_tokens: Some(20),
            ..Tally::default()
        };
        assert_eq!(clean.bounds(Unit::Requests), Some((5, Some(5))));
        assert_eq!(clean.bounds(Unit::PromptTokens), Some((50, Some(50))));
        assert_eq!(clean.bounds(Unit::OutputTokens), Some((20, Some(20))));
        let cut = Tally { sent: 11, errors: 1, cancelled: 2, in_flight: 3, ..clean };
        assert_eq!(cut.bounds(Unit::Requests), Some((5, Some(11))));
        assert_eq!(cut.bounds(Unit::PromptTokens), Some((50, None)));
        let silent = Tally { prompt_tokens: None, ..clean };
        assert_eq!(silent.bounds(Unit::PromptTokens), None, "no count is not 0");
        assert_eq!(silent.since(&clean).prompt_tokens, None);
        assert_eq!(cut.since(&clean).bounds(Unit::Requests), Some((0, Some(6))));
    }

    #[test]
    fn unknown_messages_fields_and_statuses_are_ignored() {
        let unknown = r#"{"type":"rebalance","to":["a"],"n":1}"#;
        assert_eq!(serde_json::from_str::<Message>(unknown).ok(), Some(Message::Unknown));
        let unit = r#"{"type":"rebalance"}"#;
        assert_eq!(serde_json::from_str::<Message>(unit).ok(), Some(Message::Unknown));
        let more = r#"{"type":"register","capabilities":[],"zone":"a"}"#;
        let register = Register { capabilities: vec![], incarnation: 0 };
        assert_eq!(serde_json::from_str::<Message>(more).ok(), Some(Message::Register(register)));
        let status = r#"{"type":"status","status":"paused","until":5}"#;
        let parsed = serde_json::from_str::<Message>(status).ok();
        assert_eq!(parsed, Some(Message::Status(ServiceStatus::Unknown)));
        let reason = r#"{"type":"shutdown","reason":"because"}"#;
        let parsed = serde_json::from_str::<Message>(reason).ok();
        assert_eq!(parsed, Some(Message::Shutdown { reason: ShutdownReason::Unknown }));
    }
}
