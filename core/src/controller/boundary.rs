//! One boundary: who was asked, how each stands, when it was closed.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{MessageId, ServiceId};
use crate::machine::{Step, Transitions};
use crate::message::{
    BaselineAck, BaselineRequest, BoundaryOutcome, CollectorOutcome, CollectorStatus, GateCommand,
    ReleasedBy,
};
use crate::plan::GatePlan;
use crate::planted::{Bug, is_planted};
use crate::reading::BoundaryMark;
use crate::small::SmallMap;
use crate::time::Tick;

/// The first repetition of an unanswered request comes after this long.
pub const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The time between repetitions doubles up to this.
pub const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// How a boundary stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoundaryState {
    /// Nobody has asked for it.
    Unasked,
    /// Collectors have been asked; the gate holds.
    Open,
    /// The gate was granted.
    Closed,
}

/// What may happen to a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundaryEvent {
    /// A gate command for it arrives.
    Command,
    /// An acknowledgement for it arrives.
    Ack,
    /// A collector of it is taken out.
    Evict,
    /// Nobody is left to wait for.
    Resolved,
    /// The gate timeout runs out.
    Timeout,
    /// The run is shut down.
    Cancel,
}

impl Transitions for BoundaryState {
    type Event = BoundaryEvent;
    const STATES: &'static [Self] = &[Self::Unasked, Self::Open, Self::Closed];
    const EVENTS: &'static [BoundaryEvent] = &[
        BoundaryEvent::Command,
        BoundaryEvent::Ack,
        BoundaryEvent::Evict,
        BoundaryEvent::Resolved,
        BoundaryEvent::Timeout,
        BoundaryEvent::Cancel,
    ];

    fn step(self, event: BoundaryEvent) -> Step<Self> {
        use BoundaryEvent as E;
        match (self, event) {
            (Self::Unasked, E::Command) => Step::To(Self::Open),
            (Self::Unasked, E::Evict | E::Cancel) => Step::NoOp,
            (Self::Unasked, E::Ack | E::Resolved | E::Timeout) => Step::Invalid,
            (Self::Open, E::Command | E::Ack | E::Evict) => Step::NoOp,
            (Self::Open, E::Resolved | E::Timeout | E::Cancel) => Step::To(Self::Closed),
            (Self::Closed, E::Command | E::Ack | E::Evict | E::Cancel) => Step::NoOp,
            (Self::Closed, E::Resolved | E::Timeout) => Step::Invalid,
        }
    }
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckEffect {
    /// It is the answer.
    Answered,
    /// It came after the boundary was closed, and is now in the record.
    Late,
    /// It came after its collector was taken out.
    AfterEviction,
    /// Its collector had answered before.
    Duplicate,
    /// Its collector was not asked.
    Unknown,
}

/// One collector at a boundary.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) status: CollectorStatus,
    pub(super) attempts: u32,
    /// The request's message id, once it was sent: repetitions keep it.
    pub(super) message: Option<MessageId>,
}

impl Asked {
    fn is_pending(&self) -> bool {
        matches!(self.status, CollectorStatus::Pending)
    }
}

/// A boundary that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Boundary {
    pub(super) asker: ServiceId,
    pub(super) state: BoundaryState,
    pub(super) deadline: Tick,
    pub(super) retry: Tick,
    pub(super) asked: SmallMap<ServiceId, Asked>,
    /// The last list of unanswered collectors that was reported.
    pub(super) said: Option<Vec<ServiceId>>,
    command: GateCommand,
    settle: Duration,
    requested: Tick,
    closed: Option<(Tick, ReleasedBy)>,
    backoff: Duration,
}

impl Boundary {
    pub(super) fn open(
        now: Tick,
        gate: &GatePlan,
        asker: ServiceId,
        command: GateCommand,
        collectors: Vec<ServiceId>,
        unheld: bool,
    ) -> Self {
        let asked =
            |id| (id, Asked { status: CollectorStatus::Pending, attempts: 0, message: None });
        // With load in flight, or about to be, the counters move anyway: settling is
        // not asked for.
        let load = unheld || command.tally.in_flight > 0;
        let settle = if load { Duration::ZERO } else { gate.settle_timeout };
        let mut boundary = Self {
            asker,
            state: BoundaryState::Unasked,
            deadline: now + gate.timeout,
            retry: Tick::NEVER,
            asked: collectors.into_iter().map(asked).collect(),
            said: None,
            command,
            settle,
            requested: now,
            closed: None,
            backoff: FIRST_RETRY,
        };
        boundary.step(BoundaryEvent::Command);
        boundary.plan_retry(now);
        boundary
    }

    pub(super) fn mark(&self) -> BoundaryMark {
        BoundaryMark { phase: self.command.phase, kind: self.command.kind }
    }

    pub(super) fn step(&mut self, event: BoundaryEvent) -> bool {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    /// Arms the next repetition.
    pub(super) fn plan_retry(&mut self, now: Tick) {
        self.retry = now + self.backoff;
        self.backoff = (self.backoff * 2).min(LONGEST_RETRY);
    }

    /// Who has not answered, in the order of the ids.
    pub(super) fn pending(&self) -> Vec<ServiceId> {
        let waiting = self.asked.iter().filter(|(_, asked)| asked.is_pending());
        waiting.map(|(id, _)| id.clone()).collect()
    }

    /// Whether everybody has answered.
    pub(super) fn resolved(&self) -> bool {
        !self.asked.values().any(Asked::is_pending)
    }

    /// Whether the answer of `collector` is waited for.
    pub(super) fn waits_for(&self, collector: &ServiceId) -> bool {
        self.asked.get(collector).is_some_and(Asked::is_pending)
    }

    /// The next request to everybody who has not answered, each with the
    /// message id of the ones before.
    pub(super) fn ask_pending(
        &mut self,
        now: Tick,
        mut ask: impl FnMut(&ServiceId, BaselineRequest, Option<MessageId>),
    ) {
        let request = self.request(now);
        for (collector, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.is_pending()) {
            asked.attempts = asked.attempts.saturating_add(1);
            ask(collector, BaselineRequest { attempt: asked.attempts, ..request }, asked.message);
        }
    }

    /// The next request to `collector`, with the message id of the ones before.
    pub(super) fn ask(
        &mut self,
        now: Tick,
        collector: &ServiceId,
    ) -> Option<(BaselineRequest, Option<MessageId>)> {
        let request = self.request(now);
        let asked = self.asked.get_mut(collector)?;
        asked.attempts = asked.attempts.saturating_add(1);
        Some((BaselineRequest { attempt: asked.attempts, ..request }, asked.message))
    }

    fn request(&self, now: Tick) -> BaselineRequest {
        let budget = self.deadline.since(now);
        BaselineRequest {
            phase: self.command.phase,
            kind: self.command.kind,
            attempt: 0,
            budget,
            settle: self.settle.min(budget),
            tally: self.command.tally,
        }
    }

    pub(super) fn ack(&mut self, now: Tick, from: &ServiceId, ack: BaselineAck) -> AckEffect {
        let Some(asked) = self.asked.get_mut(from) else {
            return AckEffect::Unknown;
        };
        match &asked.status {
            CollectorStatus::Pending => {
                asked.status = match ack.outcome {
                    Ok(reading) => CollectorStatus::Captured { reading },
                    Err(error) => CollectorStatus::Failed { error },
                };
                AckEffect::Answered
            }
            CollectorStatus::Missing if is_planted(Bug::LateIsInTime) => {
                asked.status = match ack.outcome {
                    Ok(reading) => CollectorStatus::Captured { reading },
                    Err(error) => CollectorStatus::Failed { error },
                };
                AckEffect::Late
            }
            CollectorStatus::Missing => {
                let (reading, error) = match ack.outcome {
                    Ok(reading) => (Some(reading), None),
                    Err(error) => (None, Some(error)),
                };
                asked.status = CollectorStatus::Late { reading, error, at: now };
                AckEffect::Late
            }
            CollectorStatus::Captured { .. }
            | CollectorStatus::Failed { .. }
            | CollectorStatus::Late { .. } => AckEffect::Duplicate,
            CollectorStatus::Evicted { .. } => AckEffect::AfterEviction,
        }
    }

    /// Takes `service` out, if its answer is waited for.
    pub(super) fn evict(&mut self, service: &ServiceId, reason: &str) -> bool {
        match self.asked.get_mut(service) {
            Some(asked) if asked.is_pending() => {
                asked.status = CollectorStatus::Evicted { reason: reason.to_owned() };
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn close(&mut self, now: Tick, by: ReleasedBy) {
        for asked in self.asked.values_mut() {
            if asked.is_pending() {
                asked.status = CollectorStatus::Missing;
            }
        }
        self.closed = Some((now, by));
        self.said = None;
    }

    /// The record. `as_granted` leaves out what came after the boundary was
    /// closed. One that is still open reads as cut off at `now`.
    pub(super) fn outcome(&self, now: Tick, as_granted: bool) -> BoundaryOutcome {
        let (closed, released_by) = self.closed.unwrap_or((now, ReleasedBy::Cancelled));
        let status = |status: &CollectorStatus| match status {
            CollectorStatus::Pending => CollectorStatus::Missing,
            CollectorStatus::Late { .. } if as_granted => CollectorStatus::Missing,
            CollectorStatus::Late { .. }
            | CollectorStatus::Captured { .. }
            | CollectorStatus::Failed { .. }
            | CollectorStatus::Missing
            | CollectorStatus::Evicted { .. } => status.clone(),
        };
        let collectors = self.asked.iter().map(|(id, asked)| CollectorOutcome {
            service: id.clone(),
            status: status(&asked.status),
            attempts: asked.attempts,
        });
        BoundaryOutcome {
            phase: self.command.phase,
            kind: self.command.kind,
            requested: self.requested,
            closed,
            released_by,
            in_flight: self.command.tally.in_flight,
            collectors: collectors.collect(),
        }
    }
}
