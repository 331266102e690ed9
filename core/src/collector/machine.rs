//! The collector: one source, read on a timer and when a boundary asks.

use core::time::Duration;

use super::frozen::Freshness;
use super::io::{CollectorEffect, CollectorInput, CollectorPlan, Purpose, ReadId, ReadStamp};
use super::sampling::{Answer, Due, Sampling};
use super::settling::Settling;
use crate::id::{MessageId, ServiceId};
use crate::machine::{Deadline, Machine, Sink, Step, TimerKey, Transitions};
use crate::message::{
    BaselineAck, BaselineRequest, Capability, CollectError, CollectErrorKind, DomainResult,
    DomainSummary, Envelope, Member, Message, ServiceStatus,
};
use crate::planted::{Bug, is_planted};
use crate::reading::BoundaryMark;
use crate::small::SmallMap;
use crate::time::{Tick, nanos};
use crate::timers::TimerTable;

/// How long the first reading of an optional source may take before the
/// collector is ready without it.
pub const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Waiting for counters to step takes at most this part of a gate's time.
const TICK_SHARE: u32 = 4;

/// How a collector stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectorState {
    /// Not started.
    New,
    /// Reading its source.
    Running,
    /// It takes no part in this run and says so when it is asked.
    Disabled,
    /// It has ended.
    Stopped,
}

/// What may happen to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeEvent {
    /// The run begins.
    Start,
    /// Its source cannot be read.
    Disable,
    /// It is to end, or the run is shut down.
    Stop,
}

impl Transitions for CollectorState {
    type Event = LifeEvent;
    const STATES: &'static [Self] = &[Self::New, Self::Running, Self::Disabled, Self::Stopped];
    const EVENTS: &'static [LifeEvent] = &[LifeEvent::Start, LifeEvent::Disable, LifeEvent::Stop];

    fn step(self, event: LifeEvent) -> Step<Self> {
        use LifeEvent as E;
        match (self, event) {
            (Self::New, E::Start) => Step::To(Self::Running),
            (Self::New | Self::Running, E::Disable) => Step::To(Self::Disabled),
            (Self::New | Self::Running | Self::Disabled, E::Stop) => Step::To(Self::Stopped),
            (Self::Running | Self::Disabled, E::Start)
            | (Self::Disabled, E::Disable)
            | (Self::Stopped, E::Start | E::Disable | E::Stop) => Step::NoOp,
        }
    }
}

/// Why the collector wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectorTimer {
    /// A boundary has something due.
    Boundary,
    /// A periodic reading takes too long.
    ReadTimeout,
    /// A periodic reading is due.
    Periodic,
    /// A heartbeat is due.
    Heartbeat,
}

impl TimerKey for CollectorTimer {
    const ALL: &'static [Self] =
        &[Self::Boundary, Self::ReadTimeout, Self::Periodic, Self::Heartbeat];
}

/// A collector.
#[derive(Debug, Clone)]
pub struct Collector {
    member: Member,
    plan: CollectorPlan,
    state: CollectorState,
    timers: TimerTable<CollectorTimer>,
    started: Tick,
    next_read: u64,
    /// The periodic reading that is under way.
    periodic: Option<ReadId>,
    freshness: Freshness,
    settling: Settling,
    open: SmallMap<BoundaryMark, Sampling>,
    answers: SmallMap<BoundaryMark, (MessageId, Answer)>,
    handed_in: Option<MessageId>,
    disabled: Option<String>,
    readings: u64,
    failed: u64,
    /// It has said that it is ready.
    ready: bool,
    /// Credits are complete: the result is handed in with every heartbeat.
    complete: bool,
}

impl Collector {
    /// The collector that `plan` describes.
    #[must_use]
    pub fn new(plan: CollectorPlan) -> Self {
        let capabilities =
            vec![Capability::BaselineCollector, Capability::ResultProducer(plan.domain.clone())];
        // Zero would be due for ever.
        let heartbeat = plan.heartbeat.max(Duration::from_millis(1));
        Self {
            member: Member::new(plan.id.clone(), capabilities, heartbeat),
            // Nothing is sent before the first phase.
            settling: Settling::new(plan.sole, Some(Tick::ZERO)),
            plan,
            state: CollectorState::New,
            timers: TimerTable::default(),
            started: Tick::ZERO,
            next_read: 0,
            periodic: None,
            freshness: Freshness::default(),
            open: SmallMap::new(),
            answers: SmallMap::new(),
            handed_in: None,
            disabled: None,
            readings: 0,
            failed: 0,
            ready: false,
            complete: false,
        }
    }

    /// The collector that `plan` describes, restarted under the same id: its
    /// life number `incarnation`, counted from 0.
    #[must_use]
    pub fn reborn(plan: CollectorPlan, incarnation: u64) -> Self {
        let mut collector = Self::new(plan);
        // There may be load.
        collector.settling = Settling::new(collector.plan.sole, None);
        collector.member = collector.member.with_incarnation(incarnation);
        collector
    }

    /// How many effects one call can cause at most, as things stand: every open
    /// boundary is aborted, marked and answered, a heartbeat and a result go
    /// out, a reading begins.
    #[must_use]
    pub fn max_effects(&self) -> usize {
        3 * (self.open.len() + 1) + 8
    }

    /// Whether a boundary is being read for: its baseline is not decided yet.
    #[must_use]
    pub fn boundary_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn step(&mut self, event: LifeEvent) -> bool {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    fn start(&mut self, now: Tick, out: &mut impl Sink<CollectorEffect>) {
        if !self.step(LifeEvent::Start) {
            return;
        }
        self.started = now;
        out.push(CollectorEffect::Send(self.member.start(now)));
        if !self.plan.interval.is_zero() {
            self.read_periodic(now, out);
        }
        if self.plan.optional && self.periodic.is_some() {
            let look = self.plan.read_timeout.min(FIRST_LOOK);
            self.timers.set(CollectorTimer::ReadTimeout, now + look);
        } else {
            self.announce_ready(out);
        }
    }

    fn announce_ready(&mut self, out: &mut impl Sink<CollectorEffect>) {
        if !self.ready {
            self.ready = true;
            out.push(CollectorEffect::Send(self.member.announce(ServiceStatus::Ready)));
        }
    }

    fn message(&mut self, now: Tick, envelope: Envelope, out: &mut impl Sink<CollectorEffect>) {
        match envelope.body {
            Message::BaselineRequest(request) => self.request(now, &request, out),
            Message::CreditsComplete(_) => self.credits_complete(out),
            Message::Shutdown { .. } => self.stop(out),
            // Between other services, or from a newer version.
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::Begin
            | Message::GateCommand(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::DomainResult(_)
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    fn request(
        &mut self,
        now: Tick,
        request: &BaselineRequest,
        out: &mut impl Sink<CollectorEffect>,
    ) {
        let mark = BoundaryMark { phase: request.phase, kind: request.kind };
        match self.state {
            CollectorState::New | CollectorState::Stopped => return,
            CollectorState::Running | CollectorState::Disabled => {}
        }
        let answered = self.answers.get(&mark).filter(|_| !is_planted(Bug::SecondReading));
        if let Some((message, answer)) = answered {
            let (message, answer) = (*message, answer.clone());
            self.acknowledge(mark, &answer, Some(message), out);
        } else if self.state == CollectorState::Disabled {
            let answer = Err(self.disabled_error());
            self.acknowledge(mark, &answer, None, out);
        } else if !self.open.contains_key(&mark) {
            self.settling.asked(now, request);
            if let Some(read) = self.periodic.filter(|_| is_planted(Bug::PeriodicAsBaseline)) {
                self.open.insert(mark, Sampling::begin(now, request, read, self.settling.before()));
                return;
            }
            // A periodic reading that is under way began before this was asked:
            // it is no baseline, and this one does not wait for it.
            let purpose = Purpose::Boundary { phase: mark.phase, kind: mark.kind };
            let read = self.read(purpose, self.tick_within(request.budget), out);
            let before = self.settling.before();
            self.open.insert(mark, Sampling::begin(now, request, read, before));
        }
    }

    fn acknowledge(
        &mut self,
        mark: BoundaryMark,
        answer: &Answer,
        before: Option<MessageId>,
        out: &mut impl Sink<CollectorEffect>,
    ) -> MessageId {
        let outcome = match answer {
            Ok((_, reading)) => Ok(reading.clone()),
            Err(error) => Err(error.clone()),
        };
        let ack = BaselineAck { phase: mark.phase, kind: mark.kind, outcome };
        self.say(Message::BaselineAck(Box::new(ack)), before, out)
    }

    /// Says something to the controller: new, or `before` once more.
    fn say(
        &mut self,
        body: Message,
        before: Option<MessageId>,
        out: &mut impl Sink<CollectorEffect>,
    ) -> MessageId {
        let envelope = match before {
            Some(message) => self.member.resend(message, &ServiceId::controller(), body),
            None => self.member.to_controller(body),
        };
        let message = envelope.message_id;
        out.push(CollectorEffect::Send(envelope));
        message
    }

    /// Gives the answer of a boundary that has one, and keeps it.
    fn conclude(&mut self, mark: BoundaryMark, out: &mut impl Sink<CollectorEffect>) {
        let Some(sampling) = self.open.get_mut(&mark) else { return };
        let Some(answer) = sampling.take_answer() else { return };
        if answer.is_ok()
            && let Some((expected, stamp, judgement)) = sampling.closing()
            && let Some(seen) = &stamp.seen
        {
            self.settling.close(expected, seen, judgement);
        }
        self.open.remove(&mark);
        self.settling.answered(mark.kind);
        if let Ok((read, _)) = &answer {
            let BoundaryMark { phase, kind } = mark;
            out.push(CollectorEffect::Baseline { read: *read, phase, kind });
        }
        let message = self.acknowledge(mark, &answer, None, out);
        self.answers.insert(mark, (message, answer));
    }

    fn read(
        &mut self,
        purpose: Purpose,
        tick_within: Duration,
        out: &mut impl Sink<CollectorEffect>,
    ) -> ReadId {
        let read = ReadId(self.next_read);
        self.next_read = self.next_read.saturating_add(1);
        out.push(CollectorEffect::Read { read, purpose, tick_within });
        read
    }

    /// How long a reading for a boundary may wait for counters to step: at most a
    /// part of the gate's time.
    fn tick_within(&self, budget: Duration) -> Duration {
        self.plan.tick_within.min(budget / TICK_SHARE)
    }

    fn read_periodic(&mut self, now: Tick, out: &mut impl Sink<CollectorEffect>) {
        self.periodic = Some(self.read(Purpose::Periodic, Duration::ZERO, out));
        self.timers.clear(CollectorTimer::Periodic);
        self.timers.set(CollectorTimer::ReadTimeout, now + self.plan.read_timeout);
    }

    /// Arms the next periodic reading: the next planned moment. Moments that
    /// passed while the source was answering are left out, so that a slow
    /// source is not read faster than it answers.
    fn plan_periodic(&mut self, now: Tick) {
        self.periodic = None;
        self.timers.clear(CollectorTimer::ReadTimeout);
        let Some(passed) = nanos(now.since(self.started)).checked_div(nanos(self.plan.interval))
        else {
            return;
        };
        let offset = nanos(self.plan.interval).saturating_mul(passed.saturating_add(1));
        self.timers.set(CollectorTimer::Periodic, self.started + Duration::from_nanos(offset));
    }

    fn read_done(
        &mut self,
        now: Tick,
        read: ReadId,
        outcome: Result<ReadStamp, CollectError>,
        out: &mut impl Sink<CollectorEffect>,
    ) {
        let boundary = self.open.iter().find(|(_, s)| s.under_way() == Some(read));
        let boundary = boundary.map(|(mark, _)| *mark);
        if self.periodic != Some(read) && boundary.is_none() {
            return;
        }
        let outcome = outcome.and_then(|stamp| match stamp.pulse {
            Some(pulse) => self.freshness.observe(stamp.end, pulse).map(|()| stamp),
            None => Ok(stamp),
        });
        match outcome {
            Ok(_) => self.readings = self.readings.saturating_add(1),
            Err(_) => self.failed = self.failed.saturating_add(1),
        }
        let Some(mark) = boundary else {
            if let Ok(stamp) = &outcome {
                self.settling.saw(stamp);
            }
            self.plan_periodic(now);
            match outcome {
                Err(error) if !self.ready && error.kind == CollectErrorKind::Absent => {
                    self.disable(now, error.message, out);
                }
                Ok(_) | Err(_) => self.announce_ready(out),
            }
            return;
        };
        if let Some(sampling) = self.open.get_mut(&mark) {
            match outcome {
                Ok(stamp) => {
                    let expected = sampling.expected().zip(stamp.seen.as_ref());
                    let judgement = expected.map(|((expected, before), seen)| {
                        self.settling.judge(expected, before, seen, &stamp.moved)
                    });
                    self.settling.saw(&stamp);
                    sampling.succeeded(now, stamp, judgement);
                }
                Err(error) => sampling.failed(now, error),
            }
        }
        self.conclude(mark, out);
    }

    fn credits_complete(&mut self, out: &mut impl Sink<CollectorEffect>) {
        if self.state != CollectorState::Running {
            return;
        }
        if !self.complete {
            self.complete = true;
            // Nothing is measured any more; a boundary that is open is still
            // answered.
            self.abort_periodic(out);
        }
        self.hand_in(out);
    }

    fn hand_in(&mut self, out: &mut impl Sink<CollectorEffect>) {
        let summary = DomainSummary::Readings { readings: self.readings, failed: self.failed };
        let result = DomainResult { domain: self.plan.domain.clone(), summary };
        self.handed_in = Some(self.say(Message::DomainResult(result), self.handed_in, out));
    }

    fn disabled_error(&self) -> CollectError {
        let reason = self.disabled.as_deref().unwrap_or("no reason given");
        let message = format!("{} is disabled: {reason}", self.plan.id);
        CollectError::new(CollectErrorKind::Disabled, message)
    }

    fn disable(&mut self, now: Tick, reason: String, out: &mut impl Sink<CollectorEffect>) {
        let new = self.state == CollectorState::New;
        if !self.step(LifeEvent::Disable) {
            return;
        }
        if new {
            out.push(CollectorEffect::Send(self.member.start(now)));
        }
        self.disabled = Some(reason.clone());
        self.abort_all(out);
        // Before the status: once that is known nobody waits for an answer.
        let error = self.disabled_error();
        let marks: Vec<BoundaryMark> = self.open.keys().copied().collect();
        for mark in marks {
            if let Some(sampling) = self.open.get_mut(&mark) {
                sampling.disable(error.clone());
            }
            self.conclude(mark, out);
        }
        let status = ServiceStatus::Disabled { reason };
        out.push(CollectorEffect::Send(self.member.announce(status)));
    }

    fn stop(&mut self, out: &mut impl Sink<CollectorEffect>) {
        if !self.step(LifeEvent::Stop) {
            return;
        }
        self.abort_all(out);
        self.open.clear();
        if !is_planted(Bug::TimerNotCleared) {
            self.member.silence();
        }
        out.push(CollectorEffect::Send(self.member.announce(ServiceStatus::Stopped)));
        out.push(CollectorEffect::Finished);
    }

    fn abort_periodic(&mut self, out: &mut impl Sink<CollectorEffect>) {
        if let Some(read) = self.periodic.take() {
            out.push(CollectorEffect::Abort(read));
        }
        self.timers.clear(CollectorTimer::Periodic);
        self.timers.clear(CollectorTimer::ReadTimeout);
    }

    fn abort_all(&mut self, out: &mut impl Sink<CollectorEffect>) {
        self.abort_periodic(out);
        for read in self.open.values().filter_map(Sampling::under_way) {
            out.push(CollectorEffect::Abort(read));
        }
    }

    fn fire_boundaries(&mut self, now: Tick, out: &mut impl Sink<CollectorEffect>) {
        let mut place = 0;
        while let Some(mark) = self.open.key_at(place).copied() {
            match self.open.get_mut(&mark).and_then(|s| s.due(now)) {
                None => {}
                Some(Due::Read) => {
                    let BoundaryMark { phase, kind } = mark;
                    let budget = self.open.get(&mark).map_or(Duration::ZERO, Sampling::budget);
                    let within = self.tick_within(budget);
                    let read = self.read(Purpose::Boundary { phase, kind }, within, out);
                    if let Some(sampling) = self.open.get_mut(&mark) {
                        sampling.reading(read, self.settling.before());
                    }
                }
                Some(Due::Answer { abort }) => {
                    if let Some(read) = abort {
                        self.failed = self.failed.saturating_add(1);
                        out.push(CollectorEffect::Abort(read));
                    }
                    self.conclude(mark, out);
                }
            }
            // Unless it is answered, and out of the way.
            if self.open.key_at(place) == Some(&mark) {
                place += 1;
            }
        }
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<CollectorEffect>) {
        self.rearm();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                CollectorTimer::Boundary => self.fire_boundaries(now, out),
                CollectorTimer::ReadTimeout => {
                    if let Some(read) = self.periodic {
                        self.failed = self.failed.saturating_add(1);
                        out.push(CollectorEffect::Abort(read));
                        self.plan_periodic(now);
                        self.announce_ready(out);
                    }
                }
                CollectorTimer::Periodic => self.read_periodic(now, out),
                CollectorTimer::Heartbeat => {
                    if let Some(beat) = self.member.heartbeat(now) {
                        out.push(CollectorEffect::Send(beat));
                        if self.complete && self.state == CollectorState::Running {
                            self.hand_in(out);
                        }
                    }
                }
            }
            self.rearm();
        }
    }

    fn rearm(&mut self) {
        let boundary = self.open.values().filter_map(Sampling::deadline).min();
        self.timers.set_or_clear(CollectorTimer::Boundary, boundary);
        self.timers.set_or_clear(CollectorTimer::Heartbeat, self.member.next_heartbeat());
    }
}

impl Machine for Collector {
    type Input = CollectorInput;
    type Effect = CollectorEffect;
    type Timer = CollectorTimer;

    fn handle(&mut self, now: Tick, input: CollectorInput, out: &mut impl Sink<CollectorEffect>) {
        // Before timers: a reading that is complete counts, also where the
        // driver was late to say so.
        match input {
            CollectorInput::Start => self.start(now, out),
            CollectorInput::Message(envelope) => self.message(now, envelope, out),
            CollectorInput::ReadDone { read, outcome } => self.read_done(now, read, outcome, out),
            CollectorInput::Disable { reason } => self.disable(now, reason, out),
            CollectorInput::Stop => self.stop(out),
        }
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<CollectorEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<CollectorTimer>> {
        self.timers.next_deadline()
    }
}
