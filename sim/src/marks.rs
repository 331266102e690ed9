//! Marks: interesting situations, and how often each of them came about.
//!
//! An invariant says what must always hold; a mark says what must *sometimes*
//! happen, so that a green run is known to have been somewhere (TigerBeetle's
//! `testing/marks.zig`, Antithesis' *sometimes* assertions). They are read off
//! the step stream.

use core::fmt;

use phasegate_core::collector::{CollectorEffect, CollectorInput, Purpose};
use phasegate_core::conductor::lifecycle::{PhaseState, RunState};
use phasegate_core::conductor::{ConductorEffect, ConductorEvent, ConductorInput};
use phasegate_core::controller::{ControllerEffect, ControllerEvent, ControllerInput};
use phasegate_core::id::{PhaseId, ServiceId};
use phasegate_core::ledger::machine::Refusal;
use phasegate_core::ledger::{LedgerEffect, LedgerEvent, LedgerInput};
use phasegate_core::message::{
    BaselineKind, BoundaryOutcome, CollectErrorKind, CollectorStatus, Envelope, Message,
    ProfileFinish, ReleasedBy, ShutdownReason,
};

use phasegate_core::search::Outcome;

use crate::trace::{Call, Step};

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An interesting situation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// Every mark.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it says.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

marks! {
    RequestRepeated = "a baseline request was sent again",
    AckRepeated = "an acknowledgement was lost or late, and sent again",
    LateAck = "an acknowledgement came after its boundary was closed",
    DuplicateAck = "an acknowledgement came twice",
    TimedOutWithOneMissing = "a gate timed out with one collector missing",
    TimedOutWithSeveralMissing = "a gate timed out with several collectors missing",
    EvictedInsideGate = "a collector was evicted inside a gate",
    AnsweredWithError = "a collector answered a boundary with an error",
    AnsweredByMargin = "a collector answered shortly before the gate's time ran out",
    DisabledInsideGate = "a collector was disabled while a boundary waited for it",
    ReadAgainAfterFailure = "a boundary's reading failed and was tried again",
    SettledLater = "a source settled after more than two readings",
    NeverSettled = "a boundary was closed unsettled",
    PeriodicUnderWay = "a request came while a periodic reading was under way",
    NobodyToAsk = "a gate was granted because there was nobody to ask",
    TwoBoundariesOpen = "two boundaries were open at a time",
    CommandRepeated = "a gate was asked for again",
    GrantRepeated = "a grant was repeated",
    ReleasedByClient = "a grant was lost, and the client released the gate itself",
    GateRefused = "a gate was refused",
    EndOnFailure = "an END was asked for after a refused START",
    EndOnCancel = "an END was asked for after a cancellation",
    SeamlessWithLoad = "a seamless phase began with requests in flight",
    CancelledAtGate = "the run was cancelled while a START gate held load",
    CancelledEarly = "the run was cancelled before it began",
    WrittenOff = "credits that never came back were written off",
    LateReturn = "a credit came back after it was written off, or twice",
    CancelledByPlan = "a request was sent that is to be cancelled",
    BudgetExceeded = "too many requests of a phase failed, and the run was cut short",
    ProbeHeld = "a probe of a search held",
    ProbeFailed = "a probe of a search failed",
    FinalisedComplete = "the ledger finalised with every record",
    FinalisedByFallback = "the ledger finalised by the fallback",
    FinalisedByShutdown = "the ledger finalised because the run was shut down",
    RecordAfterClose = "a record came after the books were closed",
    RecordTwice = "a record came twice",
    BarrierTimedOut = "the readiness barrier opened with services missing",
    BeganAlone = "the conductor began without the controller's word",
    BeginRepeated = "begin was repeated",
    CreditsRepeated = "credits-complete was repeated to a producer",
    SilentEviction = "a service was evicted because it was silent",
    JoinEviction = "a producer was evicted because it owed its result for too long",
    Excused = "a collector that was never asked said that it is disabled",
    CameBack = "an evicted service came back",
    Restarted = "a collector was restarted under its id",
    ConductorLost = "the conductor was lost, and the run was shut down",
    LeftAlone = "the conductor left because the controller did not end the run",
    ShutdownRepeated = "the shutdown was repeated in answer to a heartbeat",
    ResetFlagged = "counters were reset inside a phase, and it says so",
    ForeignFlagged = "foreign traffic was counted in a phase, and it is called contaminated",
    ReplicasRefused = "a source that answers as several processes was refused",
    LateAwaited = "an END waited for a late publication, and settled",
    LateOutlived = "a publication outlived an END's settling, which was closed unsettled",
}

/// How often each mark was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// How often.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Those that were never hit.
    #[must_use]
    pub fn never(&self) -> Vec<Mark> {
        Mark::ALL.iter().copied().filter(|mark| self.count(*mark) == 0).collect()
    }

    /// Adds what another run hit.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    pub(crate) fn hit_if(&mut self, condition: bool, mark: Mark) {
        self.0[mark as usize] += u64::from(condition);
    }
}

/// A table: how often, what.
impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in Mark::ALL {
            writeln!(f, "{:>12}  {}", self.count(*mark), mark.text())?;
        }
        Ok(())
    }
}

/// Reads marks off one run's steps.
#[derive(Debug, Default)]
pub struct Observer {
    /// What was hit so far.
    pub marks: Marks,
    open: u32,
    cancelled: bool,
    evicted: Vec<ServiceId>,
    ended: bool,
    /// By collector: the periodic reading under way.
    periodic: Vec<bool>,
    last_said: Said,
}

/// The last message id of each kind that a repetition keeps.
#[derive(Debug, Default)]
struct Said {
    begin: bool,
    grants: Vec<u64>,
    commands: Vec<u64>,
    acks: Vec<(usize, u64)>,
    /// Acknowledgements that the controller heard.
    heard: Vec<(ServiceId, PhaseId, BaselineKind)>,
    credits: Vec<u64>,
}

/// Whether `id` was in `said` already; it is afterwards.
fn again<T: PartialEq>(said: &mut Vec<T>, id: T) -> bool {
    let known = said.contains(&id);
    if !known {
        said.push(id);
    }
    known
}

impl Observer {
    /// Sees a step.
    pub fn see(&mut self, step: &Step<'_>) {
        match &step.call {
            Call::Controller { input, effects, .. } => self.controller(*input, effects),
            Call::Conductor { input, effects, machine } => {
                let state = machine.state();
                self.conductor(*input, effects, state);
                if effects.iter().any(is_end_command) {
                    let failing =
                        (0..8).any(|phase| machine.phase_state(phase) == Some(PhaseState::Failing));
                    self.marks.hit_if(failing, Mark::EndOnFailure);
                    self.marks.hit_if(self.cancelled, Mark::EndOnCancel);
                }
            }
            Call::Ledger { input, effects, .. } => self.ledger(*input, effects),
            Call::Collector { index, input, effects, .. } => {
                self.collector(*index, *input, effects);
            }
        }
    }

    fn controller(&mut self, input: Option<&ControllerInput>, effects: &[ControllerEffect]) {
        let incoming = match input {
            Some(ControllerInput::Message(envelope)) => Some(envelope),
            Some(ControllerInput::Start) | None => None,
        };
        if self.ended && incoming.is_some_and(|e| matches!(e.body, Message::Heartbeat(_))) {
            self.marks.hit_if(!effects.is_empty(), Mark::ShutdownRepeated);
        }
        if let Some(Envelope { body: Message::Register(register), .. }) = incoming {
            self.marks.hit_if(register.incarnation > 0, Mark::Restarted);
        }
        if let Some(Envelope { from, body: Message::BaselineAck(ack), .. }) = incoming {
            let heard = (from.clone(), ack.phase, ack.kind);
            let twice = again(&mut self.last_said.heard, heard);
            self.marks.hit_if(twice, Mark::DuplicateAck);
        }
        for effect in effects {
            match effect {
                ControllerEffect::Report(event) => self.event(event),
                ControllerEffect::Send(envelope) => self.said(envelope),
                ControllerEffect::Finished => self.ended = true,
            }
        }
    }

    fn said(&mut self, envelope: &Envelope) {
        let id = envelope.message_id.0;
        match &envelope.body {
            Message::BaselineRequest(request) => {
                self.marks.hit_if(request.attempt > 1, Mark::RequestRepeated);
            }
            Message::GateGranted(grant) => {
                let repeated = again(&mut self.last_said.grants, id);
                self.marks.hit_if(repeated, Mark::GrantRepeated);
                self.marks.hit_if(grant.outcome.is_err(), Mark::GateRefused);
            }
            Message::Begin => {
                self.marks.hit_if(self.last_said.begin, Mark::BeginRepeated);
                self.last_said.begin = true;
            }
            Message::CreditsComplete(_) => {
                let repeated = again(&mut self.last_said.credits, id);
                self.marks.hit_if(repeated, Mark::CreditsRepeated);
            }
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::GateCommand(_)
            | Message::BaselineAck(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::DomainResult(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    fn event(&mut self, event: &ControllerEvent) {
        match event {
            ControllerEvent::Ready { service } => {
                self.marks.hit_if(self.evicted.contains(service), Mark::CameBack);
            }
            ControllerEvent::BarrierOpen { not_ready } => {
                self.marks.hit_if(!not_ready.is_empty(), Mark::BarrierTimedOut);
            }
            ControllerEvent::BoundaryOpened { .. } => {
                self.open += 1;
                self.marks.hit_if(self.open > 1, Mark::TwoBoundariesOpen);
            }
            ControllerEvent::BoundaryClosed(outcome) => {
                self.open = self.open.saturating_sub(1);
                self.closed(outcome);
            }
            ControllerEvent::Evicted(eviction) => {
                self.evicted.push(eviction.service.clone());
                let reason = eviction.reason.as_str();
                self.marks.hit_if(reason.starts_with("silent"), Mark::SilentEviction);
                self.marks.hit_if(reason.contains("result"), Mark::JoinEviction);
                self.marks.hit_if(eviction.excused, Mark::Excused);
            }
            ControllerEvent::Shutdown { reason: ShutdownReason::ConductorLost } => {
                self.marks.hit(Mark::ConductorLost);
            }
            ControllerEvent::LateAck { .. } => self.marks.hit(Mark::LateAck),
            ControllerEvent::Waiting { .. }
            | ControllerEvent::UnknownPhase { .. }
            | ControllerEvent::Join(_)
            | ControllerEvent::Phase(..)
            | ControllerEvent::CreditsComplete
            | ControllerEvent::Shutdown { .. } => {}
        }
    }

    fn closed(&mut self, outcome: &BoundaryOutcome) {
        let mut missing = 0;
        for collector in &outcome.collectors {
            match &collector.status {
                CollectorStatus::Missing => missing += 1,
                CollectorStatus::Evicted { .. } => self.marks.hit(Mark::EvictedInsideGate),
                CollectorStatus::Failed { error } => {
                    self.marks.hit(Mark::AnsweredWithError);
                    let by_margin = error.kind == CollectErrorKind::Timeout;
                    self.marks.hit_if(by_margin, Mark::AnsweredByMargin);
                }
                CollectorStatus::Captured { reading } => {
                    self.marks.hit_if(reading.settled == Some(false), Mark::NeverSettled);
                    let later = reading.settled == Some(true) && reading.readings > 2;
                    self.marks.hit_if(later, Mark::SettledLater);
                }
                CollectorStatus::Pending | CollectorStatus::Late { .. } => {}
            }
        }
        match outcome.released_by {
            ReleasedBy::Timeout => {
                self.marks.hit_if(missing == 1, Mark::TimedOutWithOneMissing);
                self.marks.hit_if(missing > 1, Mark::TimedOutWithSeveralMissing);
            }
            ReleasedBy::NoCollectors => self.marks.hit(Mark::NobodyToAsk),
            ReleasedBy::AllAcked | ReleasedBy::Disabled | ReleasedBy::Cancelled => {}
        }
    }

    fn conductor(
        &mut self,
        input: Option<&ConductorInput>,
        effects: &[ConductorEffect],
        state: RunState,
    ) {
        let mut finished = false;
        match input {
            Some(ConductorInput::Cancel) => {
                self.cancelled = true;
                self.marks.hit_if(
                    state == RunState::Complete && self.last_said.commands.is_empty(),
                    Mark::CancelledEarly,
                );
            }
            Some(ConductorInput::Returned(_)) => {
                self.marks.hit_if(state == RunState::Complete, Mark::LateReturn);
            }
            Some(ConductorInput::Start | ConductorInput::Message(_)) | None => {}
        }
        for effect in effects {
            match effect {
                ConductorEffect::Send(envelope) => {
                    if let Message::GateCommand(command) = &envelope.body {
                        let id = envelope.message_id.0;
                        let repeated = again(&mut self.last_said.commands, id);
                        self.marks.hit_if(repeated, Mark::CommandRepeated);
                        let shared =
                            command.kind == BaselineKind::Start && command.tally.in_flight > 0;
                        self.marks.hit_if(shared, Mark::SeamlessWithLoad);
                    }
                }
                ConductorEffect::Event(event) => self.conductor_event(event, input),
                ConductorEffect::Finished => finished = true,
                ConductorEffect::Issue(credit) => {
                    self.marks.hit_if(credit.cancel_after.is_some(), Mark::CancelledByPlan);
                }
                ConductorEffect::CancelCredits { .. } => {}
            }
        }
        self.marks
            .hit_if(finished && input.is_none() && state == RunState::Finished, Mark::LeftAlone);
    }

    fn conductor_event(&mut self, event: &ConductorEvent, input: Option<&ConductorInput>) {
        match event {
            ConductorEvent::Began { ready: false } => self.marks.hit(Mark::BeganAlone),
            ConductorEvent::GateReleased { kind, by, .. } => {
                let granted = matches!(input, Some(ConductorInput::Message(e))
                    if matches!(e.body, Message::GateGranted(_)));
                self.marks.hit_if(*by == ReleasedBy::Timeout && !granted, Mark::ReleasedByClient);
                let at_gate = input == Some(&ConductorInput::Cancel)
                    && *kind == BaselineKind::Start
                    && *by == ReleasedBy::Cancelled;
                self.marks.hit_if(at_gate, Mark::CancelledAtGate);
            }
            ConductorEvent::WrittenOff { .. } => self.marks.hit(Mark::WrittenOff),
            ConductorEvent::BudgetExceeded { .. } => self.marks.hit(Mark::BudgetExceeded),
            ConductorEvent::Probed { outcome, .. } => {
                self.marks.hit_if(*outcome == Outcome::Held, Mark::ProbeHeld);
                self.marks.hit_if(*outcome == Outcome::Failed, Mark::ProbeFailed);
            }
            ConductorEvent::Began { ready: true }
            | ConductorEvent::GateAsked { .. }
            | ConductorEvent::GateRefused { .. }
            | ConductorEvent::PhaseStarted { .. }
            | ConductorEvent::SendingComplete { .. }
            | ConductorEvent::PhaseComplete { .. }
            | ConductorEvent::PhaseEnded { .. }
            | ConductorEvent::Probing { .. }
            | ConductorEvent::Cancelling
            | ConductorEvent::CreditsComplete => {}
        }
    }

    fn ledger(&mut self, _input: Option<&LedgerInput>, effects: &[LedgerEffect]) {
        for effect in effects {
            match effect {
                LedgerEffect::Event(LedgerEvent::Finalised { finish, .. }) => {
                    self.marks.hit(match finish {
                        ProfileFinish::Complete => Mark::FinalisedComplete,
                        ProfileFinish::Fallback => Mark::FinalisedByFallback,
                        ProfileFinish::Shutdown => Mark::FinalisedByShutdown,
                    });
                }
                LedgerEffect::Event(LedgerEvent::Refused { reason, .. }) => match reason {
                    Refusal::Duplicate => self.marks.hit(Mark::RecordTwice),
                    Refusal::AfterFinalisation => self.marks.hit(Mark::RecordAfterClose),
                    Refusal::NoSuchPhase | Refusal::BeyondSent => {}
                },
                LedgerEffect::Send(_) | LedgerEffect::Finished => {}
            }
        }
    }

    fn collector(
        &mut self,
        index: usize,
        input: Option<&CollectorInput>,
        effects: &[CollectorEffect],
    ) {
        if self.periodic.len() <= index {
            self.periodic.resize(index + 1, false);
        }
        let mut acked = false;
        let mut reads = false;
        for effect in effects {
            match effect {
                CollectorEffect::Send(envelope) => {
                    if let Message::BaselineAck(_) = envelope.body {
                        acked = true;
                        let id = (index, envelope.message_id.0);
                        let repeated = again(&mut self.last_said.acks, id);
                        self.marks.hit_if(repeated, Mark::AckRepeated);
                    }
                }
                CollectorEffect::Read { purpose: Purpose::Periodic, .. } => {
                    self.periodic[index] = true;
                }
                CollectorEffect::Read { purpose: Purpose::Boundary { .. }, .. } => reads = true,
                CollectorEffect::Abort(_)
                | CollectorEffect::Baseline { .. }
                | CollectorEffect::Finished => {}
            }
        }
        match input {
            Some(CollectorInput::Message(e)) if matches!(e.body, Message::BaselineRequest(_)) => {
                self.marks.hit_if(reads && self.periodic[index], Mark::PeriodicUnderWay);
            }
            Some(CollectorInput::Disable { .. }) => {
                self.marks.hit_if(acked, Mark::DisabledInsideGate);
            }
            Some(CollectorInput::ReadDone { outcome, .. }) => {
                // A boundary's failure answers at once or pauses: the machine
                // says no more, so a pause is a failure without an answer.
                let paused = outcome.is_err() && !acked;
                self.marks.hit_if(paused && !self.periodic[index], Mark::ReadAgainAfterFailure);
                self.periodic[index] = false;
            }
            Some(CollectorInput::Start | CollectorInput::Stop | CollectorInput::Message(_))
            | None => {}
        }
    }
}

fn is_end_command(effect: &ConductorEffect) -> bool {
    match effect {
        ConductorEffect::Send(envelope) => {
            matches!(&envelope.body, Message::GateCommand(c) if c.kind == BaselineKind::End)
        }
        ConductorEffect::Issue(_)
        | ConductorEffect::CancelCredits { .. }
        | ConductorEffect::Event(_)
        | ConductorEffect::Finished => false,
    }
}
