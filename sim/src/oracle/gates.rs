//! What each boundary must contain, and when it must close.

use core::time::Duration;

use phasegate_core::controller::report::ControllerReport;
use phasegate_core::controller::{ControllerEffect, ControllerEvent, ControllerInput};
use phasegate_core::id::{PhaseId, ServiceId};
use phasegate_core::message::{
    BaselineKind, BoundaryOutcome, CollectorOutcome, CollectorStatus, Envelope, GateCommand,
    Heartbeat, Message, ReadingMark, Register, ReleasedBy, ServiceStatus,
};
use phasegate_core::plan::{GatePlan, RunPlan};
use phasegate_core::time::Tick;

use super::Verdict;
use super::ending::Results;
use super::presence::{COLLECTORS, CONDUCTOR, LEDGER, Meaning, Presence, Service, Stand, number};
use crate::des::config::{Config, Who, who};

/// The protocol's pause before the first repetition, and its longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Producers have so much longer than the ledger's fallback.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq)]
enum Stands {
    Pending,
    Captured(ReadingMark),
    Failed,
    Missing,
    Late { at: Tick, ok: bool },
    Evicted,
}

#[derive(Debug)]
struct Asked {
    place: usize,
    stands: Stands,
    attempts: u32,
    /// The call in which it was last asked, and in which it was resolved.
    asked_in: u64,
    resolved_in: u64,
}

#[derive(Debug)]
struct Boundary {
    phase: PhaseId,
    kind: BaselineKind,
    requested: Tick,
    deadline: Tick,
    in_flight: u64,
    retry: Tick,
    pause: Duration,
    closed: Option<(Tick, ReleasedBy)>,
    /// The call in which it was closed.
    closed_in: u64,
    said: bool,
    asked: Vec<Asked>,
}

impl Boundary {
    fn pending(&self) -> bool {
        self.asked.iter().any(|a| a.stands == Stands::Pending)
    }

    fn close(&mut self, at: Tick, by: ReleasedBy, call: u64) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some((at, by));
        self.closed_in = call;
        for asked in &mut self.asked {
            if asked.stands == Stands::Pending {
                asked.stands = Stands::Missing;
                asked.resolved_in = call;
            }
        }
    }

    fn resolve(&mut self, place: usize, stands: Stands, at: Tick, call: u64) {
        let of = |a: &&mut Asked| a.place == place && a.stands == Stands::Pending;
        if let Some(asked) = self.asked.iter_mut().find(of) {
            asked.stands = stands;
            asked.resolved_in = call;
            if !self.pending() {
                self.close(at, ReleasedBy::AllAcked, call);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    New,
    Gathering,
    Running,
    Joining,
    Ended,
}

/// The controller's side of a run.
#[derive(Debug)]
pub(super) struct Gates {
    phases: Vec<PhaseId>,
    gate: GatePlan,
    start_time: Duration,
    join_time: Duration,
    /// Nobody sleeps: whatever is due happens at its very moment.
    punctual: bool,
    run: Run,
    barrier: Tick,
    join_by: Option<Tick>,
    credits: bool,
    presence: Presence,
    results: Results,
    boundaries: Vec<Boundary>,
    call: u64,
}

impl Gates {
    pub(super) fn new(config: &Config) -> Self {
        let plan: &RunPlan = &config.plan;
        let limits = plan.limits();
        let (heartbeat, misses) = (limits.heartbeat, limits.heartbeat_misses);
        Self {
            phases: plan.phases().iter().map(|phase| phase.id).collect(),
            gate: *plan.gate(),
            start_time: limits.service_start,
            join_time: limits.credits_complete_fallback + JOIN_MARGIN,
            punctual: config.faults.sleep == 0,
            run: Run::New,
            barrier: Tick::NEVER,
            join_by: None,
            credits: false,
            presence: Presence::new(config.collectors, heartbeat, misses),
            results: Results::new(COLLECTORS + config.collectors),
            boundaries: Vec::new(),
            call: 0,
        }
    }

    pub(super) fn see(
        &mut self,
        at: Tick,
        input: Option<&ControllerInput>,
        effects: &[ControllerEffect],
    ) -> Verdict {
        self.call += 1;
        self.time_is_over(at)?;
        match input {
            Some(ControllerInput::Start) if self.run == Run::New => {
                self.run = Run::Gathering;
                self.barrier = at + self.start_time;
            }
            Some(ControllerInput::Message(envelope)) => self.message(at, envelope),
            Some(ControllerInput::Start) | None => {}
        }
        self.settle(at);
        self.fire(at);
        self.compare(at, effects)
    }

    /// The gates whose time is over are released, before anything else counts.
    fn time_is_over(&mut self, at: Tick) -> Verdict {
        for boundary in &mut self.boundaries {
            if boundary.closed.is_none() && boundary.deadline <= at {
                if self.punctual && boundary.deadline < at {
                    let due = boundary.deadline;
                    return Err(format!(
                        "a gate's time was over at {due}, and it was not released"
                    ));
                }
                boundary.close(at, ReleasedBy::Timeout, self.call);
            }
        }
        Ok(())
    }

    fn message(&mut self, at: Tick, envelope: &Envelope) {
        let Some(from) = who(&envelope.from) else { return };
        let Some(service) = number(from) else { return };
        self.presence.heard(service, at);
        let ended = self.run == Run::Ended;
        match &envelope.body {
            Message::Register(register) if !ended => {
                self.registers(service, register);
            }
            Message::Status(status) if !ended => self.status(at, service, status),
            Message::Heartbeat(Heartbeat { register, status }) if !ended => {
                if self.registers(service, register) == Meaning::Heard {
                    self.status(at, service, status);
                }
            }
            Message::GateCommand(command) if !ended => self.command(at, command),
            Message::BaselineAck(ack) => {
                let Who::Collector(place) = from else { return };
                let (stands, ok) = match &ack.outcome {
                    Ok(mark) => (Stands::Captured(mark.clone()), true),
                    Err(_) => (Stands::Failed, false),
                };
                let call = self.call;
                let found = self.find(ack.phase, ack.kind);
                if let Some(boundary) = found {
                    let missing = |a: &&mut Asked| a.place == place && a.stands == Stands::Missing;
                    if boundary.closed.is_none() {
                        boundary.resolve(place, stands, at, call);
                    } else if let Some(asked) = boundary.asked.iter_mut().find(missing) {
                        asked.stands = Stands::Late { at, ok };
                    }
                }
            }
            Message::CreditsComplete(_) => match self.run {
                Run::New | Run::Gathering | Run::Running => {
                    self.run = Run::Joining;
                    self.credits = true;
                    self.join_by = Some(at + self.join_time);
                }
                Run::Joining | Run::Ended => {}
            },
            Message::DomainResult(result) => self.results.handed_in(service, result),
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::GateCommand(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::Begin
            | Message::BaselineRequest(_)
            | Message::GateGranted(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    fn registers(&mut self, service: usize, register: &Register) -> Meaning {
        let meaning = self.presence.registers(service, register.incarnation);
        let there = self.presence.get(service).is_some_and(|s| s.there());
        if meaning == Meaning::Heard && there {
            self.results.takes_part(service);
        }
        meaning
    }

    fn status(&mut self, at: Tick, service: usize, status: &ServiceStatus) {
        let evicted = self.presence.get(service).is_some_and(|s| s.stand == Stand::Evicted);
        if self.presence.says(service, status) {
            self.is_out(at, service);
        } else if evicted && self.presence.get(service).is_some_and(|s| s.there()) {
            self.results.takes_part(service);
        }
    }

    /// A service is out: of the boundaries and of the results, at once.
    fn is_out(&mut self, at: Tick, service: usize) {
        self.results.out(service);
        if service >= COLLECTORS {
            let call = self.call;
            for boundary in self.boundaries.iter_mut().filter(|b| b.closed.is_none()) {
                boundary.resolve(service - COLLECTORS, Stands::Evicted, at, call);
            }
        }
        if service == CONDUCTOR && self.run != Run::Ended {
            self.end(at);
        }
    }

    fn end(&mut self, at: Tick) {
        self.run = Run::Ended;
        for boundary in &mut self.boundaries {
            boundary.close(at, ReleasedBy::Cancelled, self.call);
        }
    }

    fn find(&mut self, phase: PhaseId, kind: BaselineKind) -> Option<&mut Boundary> {
        self.boundaries.iter_mut().find(|b| b.phase == phase && b.kind == kind)
    }

    fn command(&mut self, at: Tick, command: &GateCommand) {
        let GateCommand { phase, kind, tally } = command;
        if !self.phases.contains(phase) || self.find(*phase, *kind).is_some() {
            return;
        }
        let asked = |place| Asked {
            place,
            stands: Stands::Pending,
            attempts: 0,
            asked_in: 0,
            resolved_in: 0,
        };
        let mut boundary = Boundary {
            phase: *phase,
            kind: *kind,
            requested: at,
            deadline: at + self.gate.timeout,
            in_flight: tally.in_flight,
            // The first round is due now.
            retry: at,
            pause: FIRST_PAUSE,
            closed: None,
            closed_in: 0,
            said: false,
            asked: self.presence.collectors().map(asked).collect(),
        };
        if boundary.asked.is_empty() {
            boundary.close(at, ReleasedBy::NoCollectors, self.call);
        }
        self.boundaries.push(boundary);
    }

    /// What the last change made possible.
    fn settle(&mut self, at: Tick) {
        if self.run == Run::Gathering && self.presence.resolved() {
            self.run = Run::Running;
        }
        let may_end = self.run == Run::Running || self.run == Run::Joining;
        let complete = self.credits || self.results.has(LEDGER);
        if may_end && complete && self.results.settled() {
            self.end(at);
        }
    }

    /// What is due, the earliest first: one may make the other needless.
    fn fire(&mut self, at: Tick) {
        while self.run != Run::Ended {
            let barrier = if self.run == Run::Gathering { self.barrier } else { Tick::NEVER };
            let silence = self.presence.next_silence();
            let join = self.join_by.unwrap_or(Tick::NEVER);
            let due = barrier.min(silence).min(join);
            if due > at {
                return;
            }
            if barrier == due {
                self.run = Run::Running;
                let expected = |s: &Service| s.stand == Stand::Expected;
                let unheard = self.presence.all().filter(|(_, s)| expected(s));
                for service in unheard.map(|(service, _)| service).collect::<Vec<_>>() {
                    self.evict(at, service);
                }
            } else if silence == due {
                for service in 0..self.presence.all().count() {
                    if self.presence.silent(service, at) {
                        self.evict(at, service);
                    }
                }
            } else {
                self.join_by = None;
                for service in self.results.owing() {
                    self.evict(at, service);
                    self.results.out(service);
                }
            }
            self.settle(at);
        }
    }

    fn evict(&mut self, at: Tick, service: usize) {
        if self.run != Run::Ended && self.presence.takes_out(service, Stand::Evicted) {
            self.is_out(at, service);
        }
    }

    /// Compares what the controller did with what it had to do.
    fn compare(&mut self, at: Tick, effects: &[ControllerEffect]) -> Verdict {
        let (call, mut finished) = (self.call, false);
        for effect in effects {
            match effect {
                ControllerEffect::Send(envelope) => self.sent(envelope)?,
                ControllerEffect::Report(ControllerEvent::BoundaryClosed(outcome)) => {
                    let Some(boundary) = self.find(outcome.phase, outcome.kind) else {
                        return Err("a boundary was closed that nobody asked for".to_owned());
                    };
                    if boundary.closed_in != call || boundary.said {
                        let (kind, by) = (outcome.kind, outcome.released_by);
                        return Err(format!("a boundary ({kind}) was released by {by:?} too soon"));
                    }
                    boundary.said = true;
                    same(boundary, outcome, true)?;
                }
                ControllerEffect::Report(_) => {}
                ControllerEffect::Finished => finished = true,
            }
        }
        if let Some(silent) = self.boundaries.iter().find(|b| b.closed.is_some() && !b.said) {
            let by = silent.closed.map(|(_, by)| by);
            return Err(format!("a boundary ({}) had to be released by {by:?}", silent.kind));
        }
        if finished && self.run != Run::Ended {
            return Err("the run was ended while a result was owed".to_owned());
        }
        self.repeated(at)
    }

    fn sent(&mut self, envelope: &Envelope) -> Verdict {
        let call = self.call;
        let Message::BaselineRequest(request) = &envelope.body else { return Ok(()) };
        let Some(Who::Collector(place)) = who(&envelope.to) else {
            return Err(format!("{} was asked for a reading", envelope.to));
        };
        let asked = self
            .find(request.phase, request.kind)
            .and_then(|b| b.asked.iter_mut().find(|a| a.place == place));
        let Some(asked) = asked else {
            return Err(format!("{} was asked, and takes no part there", envelope.to));
        };
        if asked.stands != Stands::Pending && asked.resolved_in != call {
            return Err(format!("{} was asked again after it had answered", envelope.to));
        }
        asked.attempts += 1;
        asked.asked_in = call;
        Ok(())
    }

    /// Whoever has not answered is asked again when it is time.
    fn repeated(&mut self, at: Tick) -> Verdict {
        for boundary in self.boundaries.iter_mut().filter(|b| b.closed.is_none()) {
            if boundary.retry > at {
                continue;
            }
            if self.punctual && boundary.retry < at {
                return Err(format!("a request was to be repeated at {}", boundary.retry));
            }
            let call = self.call;
            let forgotten = |a: &&Asked| a.stands == Stands::Pending && a.asked_in != call;
            if let Some(asked) = boundary.asked.iter().find(forgotten) {
                let (place, kind) = (asked.place, boundary.kind);
                return Err(format!("collector {place} had to be asked for its {kind} now"));
            }
            boundary.retry = at + boundary.pause;
            boundary.pause = (boundary.pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// How a collector stands at a boundary: `None` if it was not asked there;
    /// otherwise its mark, if its answer came in time and was a reading.
    pub(super) fn at(
        &self,
        place: usize,
        phase: PhaseId,
        kind: BaselineKind,
    ) -> Option<Option<&ReadingMark>> {
        let mut found = self.boundaries.iter().filter(|b| b.phase == phase && b.kind == kind);
        let asked = found.next()?.asked.iter().find(|asked| asked.place == place)?;
        Some(match &asked.stands {
            Stands::Captured(mark) => Some(mark),
            Stands::Pending
            | Stands::Failed
            | Stands::Missing
            | Stands::Late { .. }
            | Stands::Evicted => None,
        })
    }

    pub(super) fn finish(&self, report: &ControllerReport) -> Verdict {
        if report.boundaries.len() != self.boundaries.len() {
            let (said, known) = (report.boundaries.len(), self.boundaries.len());
            return Err(format!("{said} boundaries are reported, {known} were asked for"));
        }
        for (boundary, outcome) in self.boundaries.iter().zip(&report.boundaries) {
            same(boundary, outcome, false)?;
        }
        for (service, known) in self.presence.all() {
            let named = |id: &ServiceId| who(id).and_then(number) == Some(service);
            let said = report.evictions.iter().any(|eviction| named(&eviction.service));
            if said != known.was_out {
                return Err(format!("service {service}: evicted {}, named {said}", known.was_out));
            }
        }
        if report.shutdown.is_some() != (self.run == Run::Ended) {
            return Err("the report does not know whether the run was ended".to_owned());
        }
        self.results.compare(&report.domains)
    }
}

/// Compares a boundary with its record. `granted`: as it was told to the asker,
/// where late answers are not yet known.
fn same(known: &Boundary, said: &BoundaryOutcome, granted: bool) -> Verdict {
    let kind = said.kind;
    let times = (said.requested, said.in_flight, Some((said.closed, said.released_by)));
    if (known.phase, known.kind) != (said.phase, kind)
        || (known.requested, known.in_flight, known.closed) != times
    {
        let known = (known.requested, known.in_flight, known.closed);
        return Err(format!("a boundary ({kind}) is reported as {times:?}, and was {known:?}"));
    }
    if known.asked.len() != said.collectors.len() {
        return Err(format!("a boundary ({kind}) does not name everybody who was asked"));
    }
    for CollectorOutcome { service, status, attempts } in &said.collectors {
        let place = who(service);
        let asked = known.asked.iter().find(|a| place == Some(Who::Collector(a.place)));
        let Some(asked) = asked else {
            return Err(format!("a boundary ({kind}) names {service}, which was not asked"));
        };
        let agrees = match (&asked.stands, status) {
            (Stands::Captured(mark), CollectorStatus::Captured { reading }) => mark == reading,
            (Stands::Late { at, ok }, CollectorStatus::Late { reading, error, at: said }) => {
                at == said && *ok == reading.is_some() && *ok == error.is_none()
            }
            (Stands::Late { .. }, CollectorStatus::Missing) => granted,
            (Stands::Failed, CollectorStatus::Failed { .. })
            | (Stands::Missing, CollectorStatus::Missing)
            | (Stands::Evicted, CollectorStatus::Evicted { .. }) => true,
            (
                Stands::Pending
                | Stands::Captured(_)
                | Stands::Failed
                | Stands::Missing
                | Stands::Late { .. }
                | Stands::Evicted,
                CollectorStatus::Pending
                | CollectorStatus::Captured { .. }
                | CollectorStatus::Failed { .. }
                | CollectorStatus::Missing
                | CollectorStatus::Late { .. }
                | CollectorStatus::Evicted { .. },
            ) => false,
        };
        if !agrees || asked.attempts != *attempts {
            return Err(format!(
                "at a boundary ({kind}) {service} is reported {status:?} after {attempts} \
                 requests, and was {:?} after {}",
                asked.stands, asked.attempts
            ));
        }
    }
    Ok(())
}
