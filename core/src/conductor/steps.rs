//! What the conductor does with its phases: whose turn it is, credits, drains,
//! gates, cancellation.

use core::time::Duration;

use super::event::{ConductorEffect, ConductorEvent, ConductorTimer};
use super::gate::{GateEffect, GateInput};
use super::lifecycle::{PhaseEvent, PhaseState, RunState};
use super::machine::Conductor;
use super::phase::{DrainStep, Next};
use super::probing::Turn;
use super::report::{GateWait, PhaseFailure};
use crate::id::{PhaseId, ServiceId};
use crate::machine::{Machine, Sink, Step};
use crate::message::{
    BaselineKind, GateCommand, GateRefusal, Message, PhaseProgress, ReleasedBy, Tally,
};
use crate::record::{CreditEnd, CreditReturn};
use crate::time::Tick;

impl Tally {
    /// Counts a credit that is back (but for `in_flight`). Token counts are
    /// known only as long as every completed request has one.
    pub(super) fn count(&mut self, credit: &CreditReturn) {
        let add = |sum: Option<u64>, tokens: Option<u32>| {
            sum.zip(tokens).map(|(sum, tokens)| sum.saturating_add(u64::from(tokens)))
        };
        match credit.end {
            CreditEnd::Completed => {
                self.completed += 1;
                self.prompt_tokens = add(self.prompt_tokens, credit.prompt_tokens);
                self.output_tokens = add(self.output_tokens, credit.output_tokens);
            }
            CreditEnd::Failed => self.errors += 1,
            CreditEnd::Cancelled => self.cancelled += 1,
        }
    }
}

impl Conductor {
    /// Does what is due of every phase, and begins those whose turn has come.
    pub(super) fn advance_phases(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        loop {
            let mut changed = false;
            let mut place = 0;
            while let Some(index) = self.active.get(place).copied() {
                changed |= self.step_phase(index, now, out);
                place += 1;
            }
            self.retire(out);
            changed |= self.advance_probe(now, out);
            changed |= self.begin_next(now, out);
            if !changed {
                break;
            }
        }
    }

    fn retire(&mut self, out: &mut impl Sink<ConductorEffect>) {
        let phases = &self.phases;
        self.active.retain(|index| match phases.get(*index) {
            Some(phase) if phase.state.is_over() => {
                out.push(ConductorEffect::Event(ConductorEvent::PhaseEnded { phase: phase.index }));
                false
            }
            Some(_) => true,
            None => false,
        });
    }

    fn step_phase(
        &mut self,
        index: usize,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) -> bool {
        let Some(phase) = self.phases.get_mut(index) else { return false };
        let overdue = phase.write_off_overdue(now);
        if overdue > 0 {
            self.written_off(index, overdue, out);
        }
        // It cuts short those before this one too, which then have something to do.
        let over_budget = self.hold_to_budget(index, now, out);
        let Some(phase) = self.phases.get(index) else { return false };
        let changed = match phase.state {
            PhaseState::Sending => self.pump(index, now, out),
            PhaseState::Draining => self.drain(index, now, out),
            PhaseState::Closing | PhaseState::Failing => {
                !self.gates.waits_for(phase.plan.id) && self.apply(index, PhaseEvent::GatesReleased)
            }
            PhaseState::Created
            | PhaseState::Gated
            | PhaseState::Ended
            | PhaseState::Failed
            | PhaseState::Cancelled
            | PhaseState::Skipped => false,
        };
        changed || over_budget
    }

    /// Takes a step of the phase's table; whether its state changed.
    pub(super) fn apply(&mut self, index: usize, event: PhaseEvent) -> bool {
        let Some(phase) = self.phases.get_mut(index) else { return false };
        match phase.step(event) {
            Step::To(_) => true,
            Step::NoOp => false,
            Step::Invalid => {
                self.invalid += 1;
                false
            }
        }
    }

    fn begin_next(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) -> bool {
        if self.state != RunState::Running || self.stopping {
            return false;
        }
        let index = self.next;
        let Some(phase) = self.phases.get(index) else { return false };
        let seamless = phase.plan.seamless;
        let turn = if seamless {
            let before = index.checked_sub(1).and_then(|before| self.phases.get(before));
            before.is_none_or(|before| before.sending_complete.is_some())
        } else {
            self.active.is_empty()
        };
        if !turn {
            return false;
        }
        match self.turn(index, out) {
            Turn::Begin => {}
            Turn::Wait => return false,
            Turn::Skip => {
                self.skip(index);
                return true;
            }
        }
        self.next += 1;
        self.active.push(index);
        if seamless {
            // The shared boundary is asked for before the first credit, so that
            // its tally has only the predecessor's.
            self.apply(index, PhaseEvent::Join);
            self.ask(index, BaselineKind::Start, now, out);
            self.started(index, now, out);
        } else {
            self.apply(index, PhaseEvent::Ask);
            self.ask(index, BaselineKind::Start, now, out);
        }
        true
    }

    fn started(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        let Some(phase) = self.phases.get_mut(index) else { return };
        phase.start = Some(now);
        let (phase, progress) = (phase.index, phase.progress(now));
        self.tell(Message::PhaseStarted, progress, out);
        out.push(ConductorEffect::Event(ConductorEvent::PhaseStarted { phase }));
    }

    /// Tells controller and ledger how far a phase is.
    fn tell(
        &mut self,
        message: fn(PhaseProgress) -> Message,
        progress: PhaseProgress,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        let ledger = self.member.send(&ServiceId::ledger(), message(progress.clone()));
        out.push(ConductorEffect::Send(self.member.to_controller(message(progress))));
        out.push(ConductorEffect::Send(ledger));
    }

    /// Issues what is due; whether the phase stopped sending.
    fn pump(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) -> bool {
        loop {
            let Some(phase) = self.phases.get_mut(index) else { return false };
            let next = phase.next(now);
            match next {
                Next::Issue(planned) | Next::Turn(planned) => {
                    let Some(budget) = self.budget.checked_sub(1) else {
                        let soon = now + Duration::from_nanos(1);
                        phase.wake = Some((ConductorTimer::Arrival, soon));
                        return false;
                    };
                    self.budget = budget;
                    let item = if matches!(next, Next::Turn(_)) { phase.go_on() } else { None };
                    let item = item.unwrap_or_else(|| {
                        let taken = phase.take_item(&mut self.cursor);
                        phase.begin(taken)
                    });
                    self.tally.sent += 1;
                    self.tally.in_flight += 1;
                    let deadline = now + self.limits.request_timeout;
                    let credit = phase.issue(item, planned, deadline, deadline + self.limits.drain);
                    out.push(ConductorEffect::Issue(credit));
                }
                Next::At(timer, at) => {
                    phase.wake = Some((timer, at));
                    return false;
                }
                Next::Blocked => {
                    phase.wake = None;
                    return false;
                }
                Next::Stop => {
                    self.stop_sending(index, PhaseEvent::SendingComplete, now, out);
                    return true;
                }
            }
        }
    }

    fn stop_sending(
        &mut self,
        index: usize,
        event: PhaseEvent,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        if self.apply(index, event) {
            self.sending_ended(index, now, out);
        }
    }

    fn sending_ended(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        let Some(phase) = self.phases.get_mut(index) else { return };
        phase.sending_ended(now);
        let (phase, progress) = (phase.index, phase.progress(now));
        let counts = progress.counts;
        self.tell(Message::SendingComplete, progress, out);
        out.push(ConductorEffect::Event(ConductorEvent::SendingComplete { phase, counts }));
    }

    /// Does what is due of a draining phase; whether anything was.
    fn drain(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) -> bool {
        let Some(phase) = self.phases.get_mut(index) else { return false };
        match phase.drain_step(now) {
            DrainStep::Wait => false,
            DrainStep::Drained => {
                self.drained(index, now, out);
                true
            }
            DrainStep::Cancel => {
                phase.credits_cancelled(now + self.limits.drain);
                out.push(ConductorEffect::CancelCredits { phase: phase.index });
                true
            }
            DrainStep::WriteOff => {
                let credits = phase.write_off();
                self.written_off(index, credits, out);
                true
            }
        }
    }

    fn written_off(&mut self, index: usize, credits: u64, out: &mut impl Sink<ConductorEffect>) {
        let Some(phase) = self.phases.get(index).map(|p| p.index) else { return };
        self.tally.cancelled += credits;
        self.tally.in_flight = self.tally.in_flight.saturating_sub(credits);
        out.push(ConductorEffect::Event(ConductorEvent::WrittenOff { phase, credits }));
    }

    fn drained(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        let Some(phase) = self.phases.get_mut(index) else { return };
        phase.end = Some(now);
        // A phase that was cancelled before it did anything leaves nothing to
        // read.
        let idle = self.cancelled && phase.counts.sent == 0 && !phase.start_granted;
        let end_owed = self.state != RunState::Leaving && !idle;
        let (id, phase, progress) = (phase.plan.id, phase.index, phase.progress(now));
        let counts = progress.counts;
        self.tell(Message::PhaseComplete, progress, out);
        out.push(ConductorEffect::Event(ConductorEvent::PhaseComplete { phase, counts }));
        if end_owed {
            self.apply(index, PhaseEvent::Drained);
            self.ask(index, BaselineKind::End, now, out);
        } else {
            self.apply(index, PhaseEvent::DrainedWithoutEnd);
            self.cancel_gate(id, BaselineKind::Start, now, out);
        }
    }

    fn ask(
        &mut self,
        index: usize,
        kind: BaselineKind,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        let Some(phase) = self.phases.get(index) else { return };
        let command = GateCommand { phase: phase.plan.id, kind, tally: self.tally };
        self.drive_gates(now, Some(GateInput::Ask(command)), out);
    }

    fn cancel_gate(
        &mut self,
        phase: PhaseId,
        kind: BaselineKind,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        self.drive_gates(now, Some(GateInput::Cancel { phase, kind }), out);
    }

    /// Feeds the gate client (or fires its timers) and does what it asks for.
    pub(super) fn drive_gates(
        &mut self,
        now: Tick,
        input: Option<GateInput>,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        // A gate that is released may ask for the next one meanwhile.
        let mut effects = std::mem::take(&mut self.asked);
        match input {
            Some(input) => self.gates.handle(now, input, &mut effects),
            None => self.gates.handle_timeout(now, &mut effects),
        }
        for effect in effects.drain(..) {
            match effect {
                GateEffect::Ask(command) | GateEffect::Repeat(command) => {
                    self.send_command(command, out);
                }
                GateEffect::Released { phase, wait, refusal } => {
                    self.released(phase, wait, refusal, now, out);
                }
            }
        }
        self.asked = effects;
    }

    fn send_command(&mut self, command: GateCommand, out: &mut impl Sink<ConductorEffect>) {
        let id = command.phase;
        let active = self.active.iter().copied();
        let found = active.clone().find(|i| self.phases.get(*i).is_some_and(|p| p.plan.id == id));
        let Some(phase) = found.and_then(|index| self.phases.get_mut(index)) else { return };
        let (index, kind) = (phase.index, command.kind);
        let message = phase.command(kind);
        let body = Message::GateCommand(Box::new(command));
        let envelope = match *message {
            Some(id) => self.member.resend(id, &ServiceId::controller(), body),
            None => {
                let envelope = self.member.to_controller(body);
                *message = Some(envelope.message_id);
                out.push(ConductorEffect::Event(ConductorEvent::GateAsked { phase: index, kind }));
                envelope
            }
        };
        out.push(ConductorEffect::Send(envelope));
    }

    fn released(
        &mut self,
        id: PhaseId,
        wait: GateWait,
        refusal: Option<GateRefusal>,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        let active = self.active.iter().copied();
        let mut found = active.filter(|i| self.phases.get(*i).is_some_and(|p| p.plan.id == id));
        let Some(index) = found.next() else { return };
        let Some(phase) = self.phases.get_mut(index) else { return };
        phase.gates.push(wait);
        let (kind, by) = (wait.kind, wait.by);
        out.push(ConductorEffect::Event(match &refusal {
            Some(refusal) => {
                let reason = refusal.to_string();
                ConductorEvent::GateRefused { phase: phase.index, kind, reason }
            }
            None => ConductorEvent::GateReleased { phase: phase.index, kind, by },
        }));
        match (kind, refusal) {
            // Whatever becomes of an END, the phase goes on without it.
            (BaselineKind::End, _) => {}
            (BaselineKind::Start, Some(refusal)) => {
                phase.failure = Some(PhaseFailure::StartRefused(refusal));
                self.start_refused(index, now, out);
            }
            (BaselineKind::Start, None) if by == ReleasedBy::Cancelled => {
                // By the controller, if the phase still waits: no load follows.
                if phase.state == PhaseState::Gated {
                    self.apply(index, PhaseEvent::Cancel);
                    self.stop_phases(PhaseEvent::Cancel);
                }
            }
            (BaselineKind::Start, None) => {
                phase.start_granted = true;
                if self.apply(index, PhaseEvent::StartReleased) {
                    self.started(index, now, out);
                }
            }
        }
    }

    fn start_refused(&mut self, index: usize, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        self.stop_phases(PhaseEvent::Cancel);
        let changed = self.apply(index, PhaseEvent::StartRefused);
        let Some(phase) = self.phases.get_mut(index) else { return };
        match phase.state {
            PhaseState::Failing => self.ask(index, BaselineKind::End, now, out),
            // A seamless phase was sending already.
            PhaseState::Draining => {
                if changed {
                    self.sending_ended(index, now, out);
                }
                self.hurry(index, now + self.limits.cancel_grace);
            }
            PhaseState::Created
            | PhaseState::Gated
            | PhaseState::Sending
            | PhaseState::Closing
            | PhaseState::Ended
            | PhaseState::Failed
            | PhaseState::Cancelled
            | PhaseState::Skipped => {}
        }
    }

    fn hurry(&mut self, index: usize, grace_until: Tick) {
        if let Some(phase) = self.phases.get_mut(index) {
            phase.shorten_grace(grace_until);
        }
    }

    /// No phase begins any more.
    fn stop_phases(&mut self, event: PhaseEvent) {
        self.stopping = true;
        for index in self.next..self.phases.len() {
            self.apply(index, event);
        }
        self.next = self.phases.len();
    }

    /// Ctrl-C. A second one changes nothing.
    pub(super) fn cancel(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        if self.cancelled {
            return;
        }
        self.cancelled = true;
        out.push(ConductorEffect::Event(ConductorEvent::Cancelling));
        self.stop_phases(PhaseEvent::Cancel);
        for index in self.active.clone() {
            self.cut_short(index, PhaseEvent::Cancel, now, out);
        }
    }

    /// Ends the run early where more requests of a phase failed than may: what is
    /// in flight has the grace of a cancellation, and what was measured is kept.
    fn hold_to_budget(
        &mut self,
        index: usize,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) -> bool {
        let Some(phase) = self.phases.get_mut(index) else { return false };
        let at_work = matches!(phase.state, PhaseState::Sending | PhaseState::Draining);
        if !at_work || phase.failure.is_some() || !phase.over_budget() {
            return false;
        }
        let (counts, phase_index) = (phase.counts, phase.index);
        let ended = counts.completed.saturating_add(counts.errors);
        phase.failure = Some(PhaseFailure::ErrorBudget { errors: counts.errors, ended });
        let event = ConductorEvent::BudgetExceeded { phase: phase_index, counts };
        out.push(ConductorEffect::Event(event));
        self.stop_phases(PhaseEvent::Cancel);
        for index in self.active.clone() {
            self.cut_short(index, PhaseEvent::Cancel, now, out);
        }
        true
    }

    /// The controller ends the run early: nothing is waited for but what is in
    /// flight, and that is cancelled.
    pub(super) fn abandon(&mut self, now: Tick, out: &mut impl Sink<ConductorEffect>) {
        self.stop_phases(PhaseEvent::Shutdown);
        for index in self.active.clone() {
            self.cut_short(index, PhaseEvent::Shutdown, now, out);
        }
        self.drive_gates(now, Some(GateInput::CancelAll), out);
    }

    /// Ends what a phase is at; what is in flight has the grace of a
    /// cancellation, or none at a shutdown.
    fn cut_short(
        &mut self,
        index: usize,
        event: PhaseEvent,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) {
        let Some(before) = self.phases.get(index).map(|p| p.state) else { return };
        let leaving = self.state == RunState::Leaving;
        let grace = if leaving { Duration::ZERO } else { self.limits.cancel_grace };
        self.apply(index, event);
        match before {
            PhaseState::Gated => {
                if let Some(id) = self.phases.get(index).map(|p| p.plan.id) {
                    self.cancel_gate(id, BaselineKind::Start, now, out);
                }
            }
            PhaseState::Sending => {
                self.sending_ended(index, now, out);
                self.hurry(index, now + grace);
            }
            PhaseState::Draining => self.hurry(index, now + grace),
            PhaseState::Created
            | PhaseState::Closing
            | PhaseState::Failing
            | PhaseState::Ended
            | PhaseState::Failed
            | PhaseState::Cancelled
            | PhaseState::Skipped => {}
        }
    }
}
