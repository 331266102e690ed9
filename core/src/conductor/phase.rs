//! One phase's credits, counts and times. Sends nothing; the conductor asks it
//! what is due.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::arrivals::Arrivals;
use super::backoff::Backoff;
use super::budget;
use super::event::ConductorTimer;
use super::items::{Cursor, Taken};
use super::lifecycle::{PhaseEvent, PhaseState};
use super::outstanding::Outstanding;
use super::ramp::SlotRamp;
use super::report::{GateWait, PhaseFailure, PhaseReport};
use super::sessions::Sessions;
use crate::account::sweep::SweepBy;
use crate::id::{CreditId, MessageId};
use crate::machine::{Step, Transitions};
use crate::message::{BaselineKind, PhaseCounts, PhaseProgress};
use crate::plan::{Arrival, Inputs, MAX_REQUESTS, PhasePlan, Schedule};
use crate::planted::{Bug, is_planted};
use crate::record::{Credit, CreditEnd, Item};
use crate::search::Probe;
use crate::seed::{Seed, open01};
use crate::time::{Tick, nanos};

/// What a sending phase needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A credit, planned for this moment.
    Issue(Tick),
    /// The same, for the turn of a session that is due first.
    Turn(Tick),
    /// To be asked again then.
    At(ConductorTimer, Tick),
    /// Nothing before a credit is back.
    Blocked,
    /// To stop sending.
    Stop,
}

/// When credits are issued.
#[derive(Debug, Clone)]
enum Pacer {
    Closed(SlotRamp),
    Open {
        arrivals: Arrivals,
        cap: Option<u32>,
    },
    Fixed {
        schedule: Schedule,
        cap: Option<u32>,
        next: usize,
    },
    /// A fixed schedule without a trace; a plan refuses it.
    Nothing,
}

impl Pacer {
    fn new(index: u16, plan: &PhasePlan, root: &Seed, inputs: &Inputs) -> Self {
        match plan.arrival {
            Arrival::Concurrency { concurrency } => {
                Self::Closed(SlotRamp::new(concurrency, plan.ramp))
            }
            Arrival::Rate { rate, process, max_concurrency } => {
                let seed = root.child(&format!("arrivals/{index}/{}", plan.name));
                let arrivals = if plan.stages.is_empty() {
                    Arrivals::new(rate, process, plan.ramp, &seed)
                } else {
                    Arrivals::staged(&plan.stages, process, &seed)
                };
                Self::Open { arrivals, cap: max_concurrency }
            }
            Arrival::Fixed { max_concurrency: cap } => match inputs.schedule.clone() {
                Some(schedule) => Self::Fixed { schedule, cap, next: 0 },
                None => Self::Nothing,
            },
        }
    }
}

/// How a phase gets rid of what is in flight after it stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// Requests may go on until then; `None` without limit.
    Grace(Option<Tick>),
    /// They were cancelled, and are waited for until then.
    Cancelled(Tick),
}

/// What is due of a draining phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainStep {
    /// Nothing yet.
    Wait,
    /// Nothing is in flight.
    Drained,
    /// The grace period is over: cancel what is in flight.
    Cancel,
    /// What was cancelled did not come back in time.
    WriteOff,
}

/// One phase.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    pub(super) index: u16,
    pub(super) plan: PhasePlan,
    pub(super) state: PhaseState,
    pub(super) counts: PhaseCounts,
    pub(super) start: Option<Tick>,
    pub(super) sending_complete: Option<Tick>,
    pub(super) end: Option<Tick>,
    pub(super) written_off: u64,
    pub(super) unsent: u64,
    pub(super) repeated: u64,
    pub(super) sessions: Option<Sessions>,
    pub(super) failure: Option<PhaseFailure>,
    pub(super) gates: Vec<GateWait>,
    /// Credits that were drawn to be cancelled.
    drawn: u64,
    /// Draws them.
    cancels: Option<Box<ChaCha8Rng>>,
    /// Its START gate was released by anything but a cancellation or refusal.
    pub(super) start_granted: bool,
    /// The messages that asked for its gates, START and END.
    commands: [Option<MessageId>; 2],
    /// When a sending phase is to be asked again, and why.
    pub(super) wake: Option<(ConductorTimer, Tick)>,
    pacer: Pacer,
    drain: Drain,
    /// The credits in flight, and when each is given up as lost: the engine
    /// ends a request at its deadline, so one that is not back well after that
    /// never will be.
    outstanding: Outstanding,
    backoff: Backoff,
}

impl Phase {
    pub(super) fn new(index: u16, plan: PhasePlan, root: &Seed, inputs: &Inputs) -> Self {
        let pacer = Pacer::new(index, &plan, root, inputs);
        let sessions = inputs.sessions.clone().map(|all| Sessions::new(all, plan.most_sessions));
        let cancels = plan
            .cancellation
            .map(|_| Box::new(root.child(&format!("cancellations/{index}/{}", plan.name)).rng()));
        Self {
            index,
            plan,
            state: PhaseState::Created,
            counts: PhaseCounts::default(),
            start: None,
            sending_complete: None,
            end: None,
            written_off: 0,
            unsent: 0,
            repeated: 0,
            sessions,
            failure: None,
            gates: Vec::new(),
            drawn: 0,
            cancels,
            start_granted: false,
            commands: [None; 2],
            wake: None,
            pacer,
            drain: Drain::Grace(None),
            outstanding: Outstanding::default(),
            backoff: Backoff::default(),
        }
    }

    /// Gives a probe of a search its load, before it begins.
    pub(super) fn bind(&mut self, by: SweepBy, probe: Probe, root: &Seed) {
        self.plan.bind(by, probe);
        // A probe has neither sessions nor a schedule.
        self.pacer = Pacer::new(self.index, &self.plan, root, &Inputs::default());
    }

    /// Takes a step of the table; what it answers.
    pub(super) fn step(&mut self, event: PhaseEvent) -> Step<PhaseState> {
        let step = self.state.step(event);
        if let Step::To(next) = step {
            self.state = next;
            self.wake = None;
        }
        step
    }

    /// The message that asked for a gate of this phase; a repetition keeps it.
    pub(super) fn command(&mut self, kind: BaselineKind) -> &mut Option<MessageId> {
        let [start, end] = &mut self.commands;
        match kind {
            BaselineKind::Start => start,
            BaselineKind::End => end,
        }
    }

    fn requests(&self) -> u64 {
        self.plan.stop.requests().unwrap_or(MAX_REQUESTS).min(MAX_REQUESTS)
    }

    fn stop_at(&self) -> Option<Tick> {
        let start = self.start?;
        self.plan.stop.duration().map(|d| start + d)
    }

    /// What a sending phase needs at `now`.
    pub(super) fn next(&self, now: Tick) -> Next {
        let Some(start) = self.start else { return Next::Blocked };
        if self.counts.sent >= self.requests() {
            return Next::Stop;
        }
        let stop = self.stop_at();
        let stopped = stop.is_some_and(|at| at <= now);
        let Some(sessions) = &self.sessions else {
            return self.next_of_pacer(start, now, self.counts.in_flight());
        };
        if stopped {
            return Next::Stop;
        }
        let due = sessions.next_due().unwrap_or(Tick::NEVER);
        if due <= now {
            return Next::Turn(due);
        }
        let or_due = |timer, at: Tick| {
            if due < at {
                Next::At(ConductorTimer::Arrival, due)
            } else {
                Next::At(timer, at).unless_never()
            }
        };
        let until_stop = || or_due(ConductorTimer::Stop, stop.unwrap_or(Tick::NEVER));
        if !sessions.may_begin() {
            return if sessions.held() == 0 { Next::Stop } else { until_stop() };
        }
        match self.next_of_pacer(start, now, sessions.held()) {
            Next::At(timer, at) => or_due(timer, at),
            Next::Blocked => until_stop(),
            next @ (Next::Issue(_) | Next::Turn(_) | Next::Stop) => next,
        }
    }

    /// What the arrivals call for at `now`, with so many slots held.
    fn next_of_pacer(&self, start: Tick, now: Tick, held: u64) -> Next {
        let stop = self.stop_at();
        let stopped = stop.is_some_and(|at| at <= now);
        let or_stop = |timer, at: Tick| match stop {
            Some(stop) if stop <= at => Next::At(ConductorTimer::Stop, stop),
            Some(_) | None => Next::At(timer, at),
        };
        match &self.pacer {
            Pacer::Closed(_) if stopped => Next::Stop,
            Pacer::Closed(slots) => {
                if let Some(until) = self.backoff.until(now) {
                    return or_stop(ConductorTimer::Arrival, until);
                }
                let since = now.since(start);
                if held < u64::from(slots.at(since)) {
                    return Next::Issue(now);
                }
                let step = slots.next_step_ns(since).map(|ns| Tick(start.0.saturating_add(ns)));
                or_stop(ConductorTimer::Arrival, step.unwrap_or(Tick::NEVER)).unless_never()
            }
            Pacer::Open { arrivals, cap } => self.next_arrival(now, arrivals.peek_ns(), *cap, held),
            Pacer::Fixed { schedule, cap, next } => match schedule.at_ns(*next) {
                Some(at) => self.next_arrival(now, at, *cap, held),
                None => Next::Stop,
            },
            Pacer::Nothing => Next::Stop,
        }
    }

    /// What an arrival that is planned so many nanoseconds after the start calls
    /// for at `now`.
    fn next_arrival(&self, now: Tick, planned_ns: u64, cap: Option<u32>, held: u64) -> Next {
        let Some(start) = self.start else { return Next::Blocked };
        let stop = self.stop_at();
        let stopped = stop.is_some_and(|at| at <= now);
        let planned = Tick(start.0.saturating_add(planned_ns));
        let last = stop.unwrap_or(Tick::NEVER);
        // The stop moment itself belongs to the phase no more: ten a
        // second for a second are ten.
        if stop.is_some_and(|stop| planned >= stop) {
            return if stopped { Next::Stop } else { Next::At(ConductorTimer::Stop, last) };
        }
        if planned > now {
            return Next::At(ConductorTimer::Arrival, planned).unless_never();
        }
        if cap.is_some_and(|cap| held >= u64::from(cap)) {
            return if stopped {
                Next::Stop
            } else {
                Next::At(ConductorTimer::Stop, last).unless_never()
            };
        }
        Next::Issue(planned)
    }

    /// The item that the next [`Phase::begin`] sends.
    pub(super) fn take_item(&self, cursor: &mut Cursor) -> Taken {
        match &self.pacer {
            Pacer::Fixed { next, .. } => cursor.at(u32::try_from(*next).unwrap_or(u32::MAX)),
            Pacer::Closed(_) | Pacer::Open { .. } | Pacer::Nothing => cursor.next(self.begun()),
        }
    }

    /// Items that it took.
    fn begun(&self) -> u64 {
        self.sessions.as_ref().map_or(self.counts.sent, |sessions| sessions.counts.begun)
    }

    /// The item that [`Phase::next`] asked for, a session's first turn if there
    /// are sessions.
    pub(super) fn begin(&mut self, taken: Taken) -> Item {
        match &mut self.pacer {
            Pacer::Closed(_) | Pacer::Nothing => {}
            Pacer::Open { arrivals, .. } => arrivals.advance(),
            Pacer::Fixed { next, .. } => *next += 1,
        }
        self.repeated += u64::from(taken.again);
        let number = self.next_number();
        match &mut self.sessions {
            Some(sessions) => sessions.begin(number, taken.index),
            None => Item::single(taken.index, number),
        }
    }

    /// The turn that [`Phase::next`] asked for.
    pub(super) fn go_on(&mut self) -> Option<Item> {
        let number = self.next_number();
        self.sessions.as_mut()?.go_on(number)
    }

    fn next_number(&self) -> u32 {
        u32::try_from(self.counts.sent).unwrap_or(u32::MAX)
    }

    /// Issues a credit for `item`.
    pub(super) fn issue(
        &mut self,
        item: Item,
        planned: Tick,
        deadline: Tick,
        lost: Tick,
    ) -> Credit {
        let number = self.next_number();
        self.counts.sent += 1;
        self.outstanding.issued(number, lost);
        let cancel_after = self.draw_cancellation();
        let id = CreditId { phase: self.index, number };
        Credit { id, planned, deadline, item, cancel_after }
    }

    /// Whether the next credit is to be cancelled, and how long after it was
    /// sent. One draw a credit, in their order.
    fn draw_cancellation(&mut self) -> Option<Duration> {
        let (cancellation, rng) = self.plan.cancellation.zip(self.cancels.as_deref_mut())?;
        // A number above 0: a share of 0 takes none, one of 1 takes all.
        if open01(rng) > cancellation.share {
            return None;
        }
        self.drawn += 1;
        Some(cancellation.delay)
    }

    /// Whether more of its requests failed than it may.
    pub(super) fn over_budget(&self) -> bool {
        let Some(most) = self.plan.max_error_rate else { return false };
        let most_sent = match self.sending_complete {
            Some(_) => Some(self.counts.sent),
            None => self.plan.stop.requests(),
        };
        budget::is_exceeded(most, &self.counts, most_sent)
    }

    /// Notes that the phase sends no more; its requests may go on for its grace
    /// period.
    pub(super) fn sending_ended(&mut self, now: Tick) {
        self.sending_complete = Some(now);
        self.drain = Drain::Grace(self.plan.grace.map(|grace| now + grace));
        let before_stop = self.stop_at().map(|stop| stop - Duration::from_nanos(1));
        let until = before_stop.map_or(now, |last| last.min(now));
        if let Some(sessions) = &mut self.sessions {
            sessions.sending_ended();
        }
        if let (Pacer::Fixed { schedule, cap: Some(_), next }, Some(start)) =
            (&self.pacer, self.start)
        {
            let most = self.requests().saturating_sub(self.counts.sent);
            let planned = schedule.until(nanos(until.since(start)));
            self.unsent = most.min(planned.saturating_sub(*next) as u64);
        }
        if let (Pacer::Open { arrivals, cap: Some(_) }, Arrival::Rate { rate, .. }, Some(start)) =
            (&self.pacer, self.plan.arrival, self.start)
        {
            // An infinite rate without a number of requests plans no number of
            // arrivals, so that none can be said to be missing.
            if rate.is_finite() || self.plan.stop.requests().is_some() {
                let most = self.requests().saturating_sub(self.counts.sent);
                self.unsent = arrivals.planned_until(until.since(start), most);
            }
        }
    }

    /// Shortens the grace period to end at `at`, if it ends later.
    pub(super) fn shorten_grace(&mut self, at: Tick) {
        if let Drain::Grace(until) = self.drain {
            self.drain = Drain::Grace(Some(until.map_or(at, |until| until.min(at))));
        }
    }

    /// What is due of a draining phase at `now`.
    pub(super) fn drain_step(&self, now: Tick) -> DrainStep {
        let early = is_planted(Bug::EndBeforeDrain) && self.counts.in_flight() == 1;
        if self.counts.in_flight() == 0 || early {
            return DrainStep::Drained;
        }
        match self.drain {
            Drain::Grace(Some(until)) if until <= now => DrainStep::Cancel,
            Drain::Cancelled(until) if until <= now => DrainStep::WriteOff,
            Drain::Grace(_) | Drain::Cancelled(_) => DrainStep::Wait,
        }
    }

    /// Notes that what is in flight was cancelled and is waited for until then.
    pub(super) fn credits_cancelled(&mut self, until: Tick) {
        self.drain = Drain::Cancelled(until);
    }

    /// Counts what never came back as cancelled; how many.
    pub(super) fn write_off(&mut self) -> u64 {
        let lost = self.counts.in_flight();
        self.outstanding.clear();
        self.count_lost(lost)
    }

    /// The same for single credits whose deadline is long past.
    pub(super) fn write_off_overdue(&mut self, now: Tick) -> u64 {
        let mut lost = 0;
        while let Some(number) = self.outstanding.give_up_first(now) {
            lost += 1;
            if let Some(sessions) = &mut self.sessions {
                sessions.back(now, number, None);
            }
        }
        self.count_lost(lost)
    }

    fn count_lost(&mut self, lost: u64) -> u64 {
        self.counts.cancelled += lost;
        self.written_off += lost;
        lost
    }

    /// Takes a credit back. `false` if it is not in flight: a duplicate, one
    /// that was written off, or one that was never issued.
    pub(super) fn take_back(&mut self, now: Tick, number: u32, end: CreditEnd) -> bool {
        if !self.outstanding.take(number) {
            return false;
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.back(now, number, Some(end));
            if self.sending_complete.is_some() {
                sessions.sending_ended();
            }
        }
        self.backoff.returned(now, end);
        match end {
            CreditEnd::Completed => self.counts.completed += 1,
            CreditEnd::Failed => self.counts.errors += 1,
            CreditEnd::Cancelled => self.counts.cancelled += 1,
        }
        true
    }

    /// The timers of this phase.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = (ConductorTimer, Tick)> {
        let state = match self.state {
            PhaseState::Sending => self.wake,
            PhaseState::Draining => match self.drain {
                Drain::Grace(until) => until.map(|at| (ConductorTimer::Grace, at)),
                Drain::Cancelled(until) => Some((ConductorTimer::Drain, until)),
            },
            PhaseState::Created
            | PhaseState::Gated
            | PhaseState::Closing
            | PhaseState::Failing
            | PhaseState::Ended
            | PhaseState::Failed
            | PhaseState::Cancelled
            | PhaseState::Skipped => None,
        };
        let lost = self.outstanding.first_lost().map(|at| (ConductorTimer::Drain, at));
        state.into_iter().chain(lost)
    }

    pub(super) fn progress(&self, at: Tick) -> PhaseProgress {
        PhaseProgress { phase: self.plan.id, at, counts: self.counts }
    }

    pub(super) fn report(&self) -> PhaseReport {
        PhaseReport {
            phase: self.plan.id,
            start: self.start,
            sending_complete: self.sending_complete,
            end: self.end,
            counts: self.counts,
            written_off: self.written_off,
            unsent: self.unsent,
            repeated: self.repeated,
            sessions: self.sessions.as_ref().map(|sessions| sessions.counts),
            drawn_to_cancel: self.drawn,
            failure: self.failure.clone(),
            gates: self.gates.clone(),
        }
    }
}

impl Next {
    /// A moment that never comes needs no timer.
    fn unless_never(self) -> Self {
        match self {
            Self::At(_, Tick::NEVER) => Self::Blocked,
            Self::At(..) | Self::Issue(_) | Self::Turn(_) | Self::Blocked | Self::Stop => self,
        }
    }
}
