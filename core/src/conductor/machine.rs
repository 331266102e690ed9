//! The conductor: registers, waits for the barrier, takes the phases through
//! their lives (`steps`), says when all credits are complete, and leaves.

use core::time::Duration;

use super::event::{ConductorEffect, ConductorEvent, ConductorInput, ConductorTimer};
use super::gate::{GateClient, GateEffect, GateInput};
use super::items::Cursor;
use super::lifecycle::{PhaseState, RunEvent, RunState};
use super::phase::Phase;
use super::probing::Probing;
use super::report::ConductorReport;
use crate::id::{MessageId, ServiceId};
use crate::machine::{Deadline, Machine, Sink, Step, Transitions};
use crate::message::{CreditsComplete, Member, Message, PhaseCounts, ServiceStatus, Tally};
use crate::plan::{Limits, RunPlan};
use crate::record::CreditReturn;
use crate::seed::Seed;
use crate::time::Tick;
use crate::timers::TimerTable;

/// So much longer than its own limit says is the controller waited for: for its
/// "begin" after the services' start time.
pub const BEGIN_SLACK: Duration = Duration::from_secs(1);

/// The same for its "shutdown" after the credits-complete fallback.
pub const SHUTDOWN_SLACK: Duration = Duration::from_secs(10);

/// How many credits one call issues at most; what is due beyond is issued a
/// nanosecond later, so that effect buffers have a bound.
pub const CREDITS_PER_CALL: usize = 256;

/// Takes the phases of a plan through their lives.
#[derive(Debug, Clone)]
pub struct Conductor {
    pub(super) member: Member,
    pub(super) limits: Limits,
    pub(super) state: RunState,
    pub(super) phases: Vec<Phase>,
    /// The first phase whose turn has not come.
    pub(super) next: usize,
    /// The indices of phases that have begun and are not over, in order.
    pub(super) active: Vec<usize>,
    /// No phase begins any more.
    pub(super) stopping: bool,
    pub(super) cancelled: bool,
    pub(super) gates: GateClient,
    /// What the gate client asks for, kept for its memory alone.
    pub(super) asked: Vec<GateEffect>,
    /// Over the whole run.
    pub(super) tally: Tally,
    /// The place in the run's input.
    pub(super) cursor: Cursor,
    /// How many credits this call may still issue.
    pub(super) budget: usize,
    pub(super) invalid: u64,
    /// The search whose probes the phases are, if it is one.
    pub(super) probing: Option<Probing>,
    timers: TimerTable<ConductorTimer>,
    begin_by: Option<Tick>,
    leave_by: Option<Tick>,
    complete: Option<MessageId>,
}

impl Conductor {
    /// A conductor for this plan.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        let root = Seed::root(plan.seed());
        let phases = (0_u16..).zip(plan.phases());
        let phases =
            phases.map(|(index, phase)| Phase::new(index, phase.clone(), &root, plan.inputs()));
        // An interval of zero would leave the deadline in the past.
        let heartbeat = plan.limits().heartbeat.max(Duration::from_nanos(1));
        Self {
            member: Member::new(ServiceId::conductor(), Vec::new(), heartbeat),
            limits: *plan.limits(),
            state: RunState::Idle,
            phases: phases.collect(),
            next: 0,
            active: Vec::new(),
            stopping: false,
            cancelled: false,
            gates: GateClient::new(*plan.gate()),
            asked: Vec::new(),
            tally: Tally {
                // Of none, every one has a count.
                prompt_tokens: Some(0),
                output_tokens: Some(0),
                ..Tally::default()
            },
            cursor: Cursor::new(plan.inputs()),
            budget: 0,
            invalid: 0,
            probing: Probing::new(plan),
            timers: TimerTable::default(),
            begin_by: None,
            leave_by: None,
            complete: None,
        }
    }

    /// How many effects one call can cause at most: the credits, what a phase
    /// causes in its whole life, and what the run does.
    #[must_use]
    pub fn max_effects(&self) -> usize {
        CREDITS_PER_CALL + 24 * self.phases.len() + 16
    }

    /// Where the run stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.state
    }

    /// Where the phase at this index of the plan stands; `None` if the plan has
    /// no such phase.
    #[must_use]
    pub fn phase_state(&self, phase: u16) -> Option<PhaseState> {
        self.phases.get(usize::from(phase)).map(|p| p.state)
    }

    /// The requests of the phase at this index of the plan, as they stand now;
    /// none sent if the plan has no such phase.
    #[must_use]
    pub fn counts(&self, phase: u16) -> PhaseCounts {
        self.phases.get(usize::from(phase)).map(|p| p.counts).unwrap_or_default()
    }

    /// The client's own count over the whole run, as it stands now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many events met a state in which they are not allowed. They are
    /// ignored; any at all is a bug.
    #[must_use]
    pub fn invalid_steps(&self) -> u64 {
        self.invalid
    }

    /// What the conductor knows of the phases; final once
    /// [`ConductorEffect::Finished`] is out.
    #[must_use]
    pub fn report(&self) -> ConductorReport {
        ConductorReport {
            phases: self.phases.iter().map(Phase::report).collect(),
            cancelled: self.cancelled,
            search: self.probing.as_ref().map(Probing::report),
        }
    }

    /// Takes a step of the run's table; the state it led to, if it changed.
    fn step(&mut self, event: RunEvent) -> Option<RunState> {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                Some(next)
            }
            Step::NoOp => None,
            Step::Invalid => {
                self.invalid += 1;
                None
            }
        }
    }

    fn start(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        if self.step(RunEvent::Start).is_some() {
            self.begin_by = Some(now + self.limits.service_start + BEGIN_SLACK);
            out.push(ConductorEffect::Send(self.member.start(now)));
            out.push(ConductorEffect::Send(self.member.announce(ServiceStatus::Ready)));
        }
    }

    fn begin(&mut self, ready: bool, out: &mut impl Sink<ConductorEffect>) {
        if self.step(RunEvent::Begin).is_some() {
            self.begin_by = None;
            out.push(ConductorEffect::Event(ConductorEvent::Began { ready }));
        }
    }

    fn receive(&mut self, now: Tick, message: Message, out: &mut impl Sink<ConductorEffect>) {
        match message {
            Message::Begin => self.begin(true, out),
            Message::GateGranted(granted) => {
                self.drive_gates(now, Some(GateInput::Granted(*granted)), out);
            }
            Message::ProbeMeasured(measured) => self.hear_probe(*measured),
            Message::Shutdown { .. } => match self.step(RunEvent::Shutdown) {
                Some(RunState::Finished) => self.finish(out),
                Some(RunState::Leaving) => {
                    self.begin_by = None;
                    self.abandon(now, out);
                }
                Some(
                    RunState::Idle | RunState::Waiting | RunState::Running | RunState::Complete,
                )
                | None => {}
            },
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::GateCommand(_)
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::CreditsComplete(_)
            | Message::DomainResult(_)
            | Message::MeasureProbe(_)
            | Message::Unknown => {}
        }
    }

    fn take_back(&mut self, now: Tick, credit: CreditReturn) {
        let Some(phase) = self.phases.get_mut(usize::from(credit.id.phase)) else { return };
        if !phase.take_back(now, credit.id.number, credit.end) {
            return;
        }
        self.tally.in_flight = self.tally.in_flight.saturating_sub(1);
        self.tally.count(&credit);
    }

    /// Does everything that is due, until nothing more follows from it.
    fn advance(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        self.budget = CREDITS_PER_CALL;
        self.beat(now, out);
        if self.begin_by.is_some_and(|at| at <= now) {
            self.begin(false, out);
        }
        if self.gates.next_deadline().is_some_and(|d| d.at <= now) {
            self.drive_gates(now, None, out);
        }
        self.advance_phases(now, out);
        self.conclude(now, out);
        self.rearm();
    }

    fn beat(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        let Some(beat) = self.member.heartbeat(now) else { return };
        out.push(ConductorEffect::Send(beat));
        if let Some(id) = self.complete {
            let body = Message::CreditsComplete(self.credits_complete());
            let again = self.member.resend(id, &ServiceId::controller(), body);
            out.push(ConductorEffect::Send(again));
        }
    }

    fn credits_complete(&self) -> CreditsComplete {
        let started = self.phases.iter().filter(|p| p.start.is_some());
        CreditsComplete { phases: started.map(|p| (p.plan.id, p.counts)).collect() }
    }

    fn conclude(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        match self.state {
            RunState::Waiting | RunState::Running | RunState::Leaving => {
                if self.next < self.phases.len() || !self.active.is_empty() || self.is_probing() {
                    return;
                }
                match self.step(RunEvent::PhasesOver) {
                    Some(RunState::Complete) => self.completed(now, out),
                    Some(RunState::Finished) => self.finish(out),
                    Some(
                        RunState::Idle | RunState::Waiting | RunState::Running | RunState::Leaving,
                    )
                    | None => {}
                }
            }
            RunState::Complete => {
                if self.leave_by.is_some_and(|at| at <= now)
                    && self.step(RunEvent::GiveUp).is_some()
                {
                    self.finish(out);
                }
            }
            RunState::Idle | RunState::Finished => {}
        }
    }

    fn completed(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        self.begin_by = None;
        self.leave_by = Some(now + self.limits.credits_complete_fallback + SHUTDOWN_SLACK);
        let body = Message::CreditsComplete(self.credits_complete());
        let envelope = self.member.to_controller(body);
        self.complete = Some(envelope.message_id);
        out.push(ConductorEffect::Send(envelope));
        out.push(ConductorEffect::Event(ConductorEvent::CreditsComplete));
    }

    fn finish(&mut self, out: &mut impl Sink<ConductorEffect>) {
        self.leave_by = None;
        out.push(ConductorEffect::Send(self.member.announce(ServiceStatus::Stopped)));
        self.member.silence();
        out.push(ConductorEffect::Finished);
    }

    /// The timers are what the state says; none is ever left over.
    fn rearm(&mut self) {
        use ConductorTimer as T;
        let timers = &mut self.timers;
        *timers = TimerTable::default();
        timers.set_or_clear(T::Heartbeat, self.member.next_heartbeat());
        timers.set_or_clear(T::Begin, self.begin_by);
        timers.set_or_clear(T::Leave, self.leave_by);
        timers.set_or_clear(T::Probe, self.probing.as_ref().and_then(Probing::wake));
        timers.set_or_clear(T::Gate, self.gates.next_deadline().map(|d| d.at));
        for index in &self.active {
            let phase = self.phases.get(*index);
            for (timer, at) in phase.into_iter().flat_map(Phase::deadlines) {
                if timers.get(timer).is_none_or(|other| at < other) {
                    timers.set(timer, at);
                }
            }
        }
    }
}

impl Machine for Conductor {
    type Input = ConductorInput;
    type Effect = ConductorEffect;
    type Timer = ConductorTimer;

    fn handle(&mut self, now: Tick, input: ConductorInput, out: &mut impl Sink<ConductorEffect>) {
        if self.state == RunState::Finished {
            return;
        }
        // The input first: an answer that is here counts, even if the timer
        // that gave it up is due.
        match input {
            ConductorInput::Start => self.start(now, out),
            ConductorInput::Message(envelope) => self.receive(now, envelope.body, out),
            ConductorInput::Returned(credit) => self.take_back(now, credit),
            ConductorInput::Cancel => self.cancel(now, out),
        }
        self.advance(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        if self.timers.next_deadline().is_some_and(|d| d.at <= now) {
            self.advance(now, out);
        }
    }

    fn next_deadline(&self) -> Option<Deadline<ConductorTimer>> {
        self.timers.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor::lifecycle::PhaseEvent;
    use crate::plan::{GatePlan, PhaseKind, PhaseSpec};

    #[test]
    fn an_event_that_is_not_allowed_changes_nothing_and_is_counted() {
        let mut spec = PhaseSpec::new("a", PhaseKind::Profiling);
        (spec.concurrency, spec.requests) = (Some(1), Some(1));
        let plan = RunPlan::new(0, vec![spec], GatePlan::default(), Limits::default()).unwrap();
        let mut conductor = Conductor::new(&plan);
        assert_eq!((conductor.step(RunEvent::GiveUp), conductor.invalid_steps()), (None, 1));
        assert_eq!((conductor.step(RunEvent::PhasesOver), conductor.invalid_steps()), (None, 2));
        assert_eq!(conductor.step(RunEvent::Begin), None);
        assert_eq!((conductor.state(), conductor.invalid_steps()), (RunState::Idle, 2));
        assert!(!conductor.apply(0, PhaseEvent::Drained));
        assert!(!conductor.apply(0, PhaseEvent::GatesReleased));
        assert_eq!(conductor.phase_state(0), Some(PhaseState::Created));
        assert_eq!(conductor.invalid_steps(), 4);
    }
}
