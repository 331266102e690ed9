//! The baseline coordinator: one boundary per (phase, kind), asked of every
//! collector, closed when all have answered or the gate's time is over.
//!
//! Nothing that arrives twice, late or from nowhere changes a decision; it is
//! counted and, where it says something about a boundary, recorded there.

use serde::{Deserialize, Serialize};

use super::boundary::{AckEffect, Boundary, BoundaryEvent, BoundaryState};
use super::report::OddAcks;
use crate::id::{MessageId, PhaseId, ServiceId};
use crate::machine::{Deadline, Machine, Sink, TimerKey};
use crate::message::{
    BaselineAck, BaselineKind, BaselineRequest, BoundaryOutcome, GateCommand, ReleasedBy,
};
use crate::plan::{GatePlan, PhasePlan};
use crate::planted::{Bug, is_planted};
use crate::reading::BoundaryMark;
use crate::small::{SmallMap, SmallSet};
use crate::time::Tick;
use crate::timers::TimerTable;

/// What the coordinator is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum BaselineInput {
    /// A gate was asked for.
    Command {
        /// Who is to be granted it.
        asker: ServiceId,
        /// The gate.
        command: GateCommand,
        /// Who is to be asked for a reading, if this is the first time.
        collectors: Vec<ServiceId>,
    },
    /// An acknowledgement has arrived.
    Ack {
        /// From whom.
        from: ServiceId,
        /// What it says.
        ack: BaselineAck,
    },
    /// A service was taken out.
    Evict {
        /// The service.
        service: ServiceId,
        /// Why.
        reason: String,
    },
    /// A service has begun a new life: what its old one was asked is lost.
    Restarted {
        /// The service.
        service: ServiceId,
    },
    /// The run is shut down: nothing is waited for any more.
    Cancel,
}

/// What the coordinator asks to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum BaselineEffect {
    /// Ask a collector for its reading. Where `message` is `None` the request
    /// is new; tell [`BaselineCoordinator::sent`] the id that it got.
    Ask {
        /// The collector.
        to: ServiceId,
        /// The request.
        request: Box<BaselineRequest>,
        /// The message that is repeated.
        message: Option<MessageId>,
    },
    /// A boundary was opened.
    Opened {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
        /// Who is asked.
        collectors: Vec<ServiceId>,
    },
    /// The gate still waits for these.
    Waiting {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
        /// Who has not answered.
        collectors: Vec<ServiceId>,
    },
    /// The gate is granted; again, where a command for a closed boundary was
    /// repeated.
    Grant {
        /// To whom.
        to: ServiceId,
        /// The boundary as it stood when it was closed.
        outcome: BoundaryOutcome,
        /// This was said before.
        again: bool,
    },
    /// An answer came after its boundary was closed.
    Late {
        /// From whom.
        service: ServiceId,
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
    },
}

/// Why the coordinator wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaselineTimer {
    /// A gate's time is over.
    Timeout,
    /// A request is to be repeated.
    Retry,
}

impl TimerKey for BaselineTimer {
    const ALL: &'static [Self] = &[Self::Timeout, Self::Retry];
}

/// The baseline coordinator.
#[derive(Debug, Clone)]
pub struct BaselineCoordinator {
    gate: GatePlan,
    boundaries: SmallMap<BoundaryMark, Boundary>,
    order: Vec<BoundaryMark>,
    open: SmallSet<BoundaryMark>,
    timers: TimerTable<BaselineTimer>,
    odd: OddAcks,
    now: Tick,
    /// Boundaries that do not hold load.
    unheld: SmallSet<BoundaryMark>,
}

impl BaselineCoordinator {
    /// A coordinator of gates with these times.
    #[must_use]
    pub fn new(gate: GatePlan) -> Self {
        Self {
            gate,
            boundaries: SmallMap::new(),
            order: Vec::new(),
            open: SmallSet::new(),
            timers: TimerTable::default(),
            odd: OddAcks::default(),
            now: Tick::ZERO,
            unheld: SmallSet::new(),
        }
    }

    /// The same, for these phases. A seamless phase sends from the moment at which
    /// its predecessor stops: its START and the predecessor's END do not hold load,
    /// also where nothing is in flight when they are asked for.
    #[must_use]
    pub fn for_phases(mut self, phases: &[PhasePlan]) -> Self {
        let neighbours = phases.iter().zip(phases.iter().skip(1));
        for (before, phase) in neighbours.filter(|(_, phase)| phase.seamless) {
            let mark = |phase, kind| BoundaryMark { phase, kind };
            self.unheld.insert(mark(phase.id, BaselineKind::Start));
            self.unheld.insert(mark(before.id, BaselineKind::End));
        }
        self
    }

    /// The first request to `collector` for this boundary was sent as
    /// `message`.
    pub fn sent(&mut self, mark: BoundaryMark, collector: &ServiceId, message: MessageId) {
        let boundary = self.boundaries.get_mut(&mark);
        if let Some(asked) = boundary.and_then(|b| b.asked.get_mut(collector)) {
            asked.message.get_or_insert(message);
        }
    }

    /// Every boundary, in the order in which it was asked for. One that is
    /// still open reads as cancelled, with whatever has not answered missing.
    #[must_use]
    pub fn outcomes(&self) -> Vec<BoundaryOutcome> {
        let in_order = self.order.iter().filter_map(|mark| self.boundaries.get(mark));
        in_order.map(|boundary| boundary.outcome(self.now, false)).collect()
    }

    /// Acknowledgements that changed nothing.
    #[must_use]
    pub fn odd_acks(&self) -> OddAcks {
        self.odd
    }

    /// How many boundaries are open.
    #[must_use]
    pub fn open_boundaries(&self) -> usize {
        self.open.len()
    }

    fn command(
        &mut self,
        now: Tick,
        asker: ServiceId,
        command: GateCommand,
        collectors: Vec<ServiceId>,
        out: &mut impl Sink<BaselineEffect>,
    ) {
        let mark = BoundaryMark { phase: command.phase, kind: command.kind };
        if let Some(boundary) = self.boundaries.get(&mark) {
            match boundary.state {
                BoundaryState::Closed => out.push(BaselineEffect::Grant {
                    to: boundary.asker.clone(),
                    outcome: boundary.outcome(now, true),
                    again: true,
                }),
                // The grant that comes answers this command too.
                BoundaryState::Open | BoundaryState::Unasked => {}
            }
            return;
        }
        let unheld = self.unheld.contains(&mark);
        let boundary = Boundary::open(now, &self.gate, asker, command, collectors.clone(), unheld);
        self.boundaries.insert(mark, boundary);
        self.order.push(mark);
        self.open.insert(mark);
        let nobody = collectors.is_empty();
        out.push(BaselineEffect::Opened { phase: mark.phase, kind: mark.kind, collectors });
        self.ask_pending(now, mark, out);
        if nobody {
            self.close(now, mark, BoundaryEvent::Resolved, ReleasedBy::NoCollectors, out);
        }
    }

    fn ack(
        &mut self,
        now: Tick,
        from: ServiceId,
        ack: BaselineAck,
        out: &mut impl Sink<BaselineEffect>,
    ) {
        let mut mark = BoundaryMark { phase: ack.phase, kind: ack.kind };
        if is_planted(Bug::AckOfAnother) {
            mark = self.open.first().copied().unwrap_or(mark);
        }
        let Some(boundary) = self.boundaries.get_mut(&mark) else {
            self.odd.unknown = self.odd.unknown.saturating_add(1);
            return;
        };
        match boundary.ack(now, &from, ack) {
            AckEffect::Answered => self.resolved_one(now, mark, out),
            AckEffect::Late => {
                self.odd.late = self.odd.late.saturating_add(1);
                let BoundaryMark { phase, kind } = mark;
                out.push(BaselineEffect::Late { service: from, phase, kind });
            }
            AckEffect::AfterEviction => self.odd.late = self.odd.late.saturating_add(1),
            AckEffect::Duplicate => self.odd.duplicate = self.odd.duplicate.saturating_add(1),
            AckEffect::Unknown => self.odd.unknown = self.odd.unknown.saturating_add(1),
        }
    }

    fn evict(
        &mut self,
        now: Tick,
        service: &ServiceId,
        reason: &str,
        out: &mut impl Sink<BaselineEffect>,
    ) {
        for mark in self.open_marks() {
            let boundary = self.boundaries.get_mut(&mark);
            if boundary.is_some_and(|b| b.evict(service, reason)) {
                self.resolved_one(now, mark, out);
            }
        }
    }

    /// One collector less is waited for.
    fn resolved_one(&mut self, now: Tick, mark: BoundaryMark, out: &mut impl Sink<BaselineEffect>) {
        let Some(boundary) = self.boundaries.get_mut(&mark) else {
            return;
        };
        if boundary.resolved() {
            self.close(now, mark, BoundaryEvent::Resolved, ReleasedBy::AllAcked, out);
        } else if boundary.said.is_some() {
            say_waiting(boundary, out);
        }
    }

    fn close(
        &mut self,
        now: Tick,
        mark: BoundaryMark,
        event: BoundaryEvent,
        by: ReleasedBy,
        out: &mut impl Sink<BaselineEffect>,
    ) {
        let Some(boundary) = self.boundaries.get_mut(&mark) else {
            return;
        };
        if !boundary.step(event) {
            return;
        }
        boundary.close(now, by);
        self.open.remove(&mark);
        let (to, outcome) = (boundary.asker.clone(), boundary.outcome(now, true));
        out.push(BaselineEffect::Grant { to, outcome, again: false });
    }

    fn ask_pending(&mut self, now: Tick, mark: BoundaryMark, out: &mut impl Sink<BaselineEffect>) {
        let Some(boundary) = self.boundaries.get_mut(&mark) else {
            return;
        };
        boundary.ask_pending(now, |to, request, message| {
            let request = Box::new(request);
            out.push(BaselineEffect::Ask { to: to.clone(), request, message });
        });
    }

    fn restarted(&mut self, now: Tick, service: ServiceId, out: &mut impl Sink<BaselineEffect>) {
        for mark in self.open_marks() {
            let Some(boundary) = self.boundaries.get_mut(&mark) else {
                continue;
            };
            // Past its deadline the timeout decides, in this same call.
            let waiting = boundary.waits_for(&service) && boundary.deadline > now;
            if waiting && let Some((request, message)) = boundary.ask(now, &service) {
                let request = Box::new(request);
                out.push(BaselineEffect::Ask { to: service.clone(), request, message });
            }
        }
    }

    fn open_marks(&self) -> Vec<BoundaryMark> {
        self.open.iter().copied().collect()
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<BaselineEffect>) {
        self.now = self.now.max(now);
        while self.timers.pop_due(now).is_some() {
            for mark in self.open_marks() {
                let Some(boundary) = self.boundaries.get_mut(&mark) else {
                    continue;
                };
                // The timeout first, also where both were due while the driver
                // slept: what it closes is not asked for again.
                if boundary.deadline <= now {
                    self.close(now, mark, BoundaryEvent::Timeout, ReleasedBy::Timeout, out);
                } else if boundary.retry <= now {
                    boundary.plan_retry(now);
                    say_waiting(boundary, out);
                    if !is_planted(Bug::NoRetransmission) {
                        self.ask_pending(now, mark, out);
                    }
                }
            }
            self.rearm();
        }
    }

    fn rearm(&mut self) {
        let (mut timeout, mut retry) = (None, None);
        for boundary in self.open.iter().filter_map(|mark| self.boundaries.get(mark)) {
            let earlier = |before: Option<Tick>, at| before.map_or(at, |before| before.min(at));
            timeout = Some(earlier(timeout, boundary.deadline));
            retry = Some(earlier(retry, boundary.retry));
        }
        self.timers.set_or_clear(BaselineTimer::Timeout, timeout);
        self.timers.set_or_clear(BaselineTimer::Retry, retry);
    }
}

/// Reports who is waited for, unless that was said.
fn say_waiting(boundary: &mut Boundary, out: &mut impl Sink<BaselineEffect>) {
    let collectors = boundary.pending();
    if boundary.said.as_ref() == Some(&collectors) {
        return;
    }
    boundary.said = Some(collectors.clone());
    let BoundaryMark { phase, kind } = boundary.mark();
    out.push(BaselineEffect::Waiting { phase, kind, collectors });
}

impl Machine for BaselineCoordinator {
    type Input = BaselineInput;
    type Effect = BaselineEffect;
    type Timer = BaselineTimer;

    fn handle(&mut self, now: Tick, input: BaselineInput, out: &mut impl Sink<BaselineEffect>) {
        // What is due comes first: an answer that arrives when the gate's time
        // is over is late, whichever the driver happens to deliver first.
        self.fire(now, out);
        match input {
            BaselineInput::Command { asker, command, collectors } => {
                self.command(now, asker, command, collectors, out);
            }
            BaselineInput::Ack { from, ack } => self.ack(now, from, ack, out),
            BaselineInput::Evict { service, reason } => self.evict(now, &service, &reason, out),
            BaselineInput::Restarted { service } => self.restarted(now, service, out),
            BaselineInput::Cancel => {
                for mark in self.open_marks() {
                    self.close(now, mark, BoundaryEvent::Cancel, ReleasedBy::Cancelled, out);
                }
            }
        }
        self.rearm();
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<BaselineEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<BaselineTimer>> {
        self.timers.next_deadline()
    }
}
