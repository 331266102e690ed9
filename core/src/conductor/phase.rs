//! One phase's credits, counts and times. Sends nothing; the conductor asks it
//! what is due.

use core::time::Duration;

use super::arrivals::Arrivals;
use super::backoff::Backoff;
use super::event::ConductorTimer;
use super::lifecycle::{PhaseEvent, PhaseState};
use super::outstanding::Outstanding;
use super::ramp::SlotRamp;
use super::report::{GateWait, PhaseFailure, PhaseReport};
use crate::id::{CreditId, MessageId};
use crate::machine::{Step, Transitions};
use crate::message::{BaselineKind, PhaseCounts, PhaseProgress};
use crate::plan::{Arrival, MAX_REQUESTS, PhasePlan};
use crate::planted::{Bug, is_planted};
use crate::record::{Credit, CreditEnd};
use crate::seed::Seed;
use crate::time::Tick;

/// What a sending phase needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A credit, planned for this moment.
    Issue(Tick),
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
    Open { arrivals: Arrivals, cap: Option<u32> },
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
    pub(super) failure: Option<PhaseFailure>,
    pub(super) gates: Vec<GateWait>,
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
    pub(super) fn new(index: u16, plan: PhasePlan, root: &Seed) -> Self {
        let pacer = match plan.arrival {
            Arrival::Concurrency { concurrency } => {
                Pacer::Closed(SlotRamp::new(concurrency, plan.ramp))
            }
            Arrival::Rate { rate, process, max_concurrency } => {
                let seed = root.child(&format!("arrivals/{index}/{}", plan.name));
                let arrivals = Arrivals::new(rate, process, plan.ramp, &seed);
                Pacer::Open { arrivals, cap: max_concurrency }
            }
        };
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
            failure: None,
            gates: Vec::new(),
            start_granted: false,
            commands: [None; 2],
            wake: None,
            pacer,
            drain: Drain::Grace(None),
            outstanding: Outstanding::default(),
            backoff: Backoff::default(),
        }
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
        let in_flight = self.counts.in_flight();
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
                if in_flight < u64::from(slots.at(since)) {
                    return Next::Issue(now);
                }
                let step = slots.next_step_ns(since).map(|ns| Tick(start.0.saturating_add(ns)));
                or_stop(ConductorTimer::Arrival, step.unwrap_or(Tick::NEVER)).unless_never()
            }
            Pacer::Open { arrivals, cap } => {
                let planned = Tick(start.0.saturating_add(arrivals.peek_ns()));
                let last = stop.unwrap_or(Tick::NEVER);
                // The stop moment itself belongs to the phase no more: ten a
                // second for a second are ten.
                if stop.is_some_and(|stop| planned >= stop) {
                    return if stopped { Next::Stop } else { Next::At(ConductorTimer::Stop, last) };
                }
                if planned > now {
                    return Next::At(ConductorTimer::Arrival, planned).unless_never();
                }
                if cap.is_some_and(|cap| in_flight >= u64::from(cap)) {
                    return if stopped {
                        Next::Stop
                    } else {
                        Next::At(ConductorTimer::Stop, last).unless_never()
                    };
                }
                Next::Issue(planned)
            }
        }
    }

    /// Issues the credit that [`Phase::next`] asked for.
    pub(super) fn issue(&mut self, planned: Tick, deadline: Tick, lost: Tick) -> Credit {
        let number = u32::try_from(self.counts.sent).unwrap_or(u32::MAX);
        self.counts.sent += 1;
        self.outstanding.issued(number, lost);
        match &mut self.pacer {
            Pacer::Closed(_) => {}
            Pacer::Open { arrivals, .. } => arrivals.advance(),
        }
        Credit { id: CreditId { phase: self.index, number }, planned, deadline }
    }

    /// Notes that the phase sends no more; its requests may go on for its grace
    /// period.
    pub(super) fn sending_ended(&mut self, now: Tick) {
        self.sending_complete = Some(now);
        self.drain = Drain::Grace(self.plan.grace.map(|grace| now + grace));
        let before_stop = self.stop_at().map(|stop| stop - Duration::from_nanos(1));
        let until = before_stop.map_or(now, |last| last.min(now));
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
        while self.outstanding.give_up_first(now) {
            lost += 1;
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
            Self::At(..) | Self::Issue(_) | Self::Blocked | Self::Stop => self,
        }
    }
}
