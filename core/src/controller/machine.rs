//! The controller: registry, baseline coordinator and result join in one, from
//! the readiness barrier to the shutdown.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::{BaselineCoordinator, BaselineEffect, BaselineInput};
use super::ending::seconds;
use super::event::{ControllerEffect, ControllerEvent, ControllerInput, Milestone};
use super::join::ResultJoin;
use super::registry::{Registration, Registry, ServiceEvent, ServiceState};
use super::report::{ControllerReport, Eviction};
use super::run::{RunEvent, RunState};
use crate::id::{MessageId, PhaseId, ServiceId};
use crate::machine::{Deadline, Machine, Sink, Step, TimerKey, Transitions};
use crate::message::{
    Capability, CreditsComplete, Envelope, GateCommand, GateGranted, GateRefusal, Heartbeat,
    Message, Outbox, PhaseProgress, Register, ServiceStatus, ShutdownReason,
};
use crate::plan::{Limits, RunPlan};
use crate::reading::BoundaryMark;
use crate::small::{SmallMap, SmallSet};
use crate::time::Tick;
use crate::timers::TimerTable;

/// Producers have this much longer than the ledger's own fallback to hand in
/// their results.
pub const JOIN_MARGIN: Duration = Duration::from_secs(5);

/// A service that the run was set up with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Its id.
    pub service: ServiceId,
    /// What it will register with.
    pub capabilities: Vec<Capability>,
}

/// Why the controller wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControllerTimer {
    /// The baseline coordinator has something due.
    Baseline,
    /// The time in which services have to be ready is over.
    Barrier,
    /// A service has been silent for too long.
    Silence,
    /// The time in which results have to be in is over.
    Join,
}

impl TimerKey for ControllerTimer {
    const ALL: &'static [Self] = &[Self::Baseline, Self::Barrier, Self::Silence, Self::Join];
}

/// The controller.
#[derive(Debug, Clone)]
pub struct Controller {
    pub(super) outbox: Outbox,
    pub(super) limits: Limits,
    /// A service that says nothing for so long is silent; `None`: silence is not
    /// looked for.
    silence: Option<Duration>,
    pub(super) phases: SmallSet<PhaseId>,
    pub(super) state: RunState,
    pub(super) registry: Registry,
    pub(super) baseline: BaselineCoordinator,
    /// What the coordinator asks for, kept for its memory alone.
    pub(super) asked: Vec<BaselineEffect>,
    pub(super) join: ResultJoin,
    pub(super) timers: TimerTable<ControllerTimer>,
    pub(super) credits: Option<CreditsComplete>,
    pub(super) shutdown: Option<ShutdownReason>,
    pub(super) not_ready: Vec<ServiceId>,
    pub(super) evictions: Vec<Eviction>,
    pub(super) milestones: SmallSet<(PhaseId, Milestone)>,
    /// The conductor has asked for a gate or started a phase.
    pub(super) begun: bool,
    pub(super) begin: Option<MessageId>,
    pub(super) grants: SmallMap<BoundaryMark, MessageId>,
}

impl Controller {
    /// The controller of a run with these services. The conductor is always
    /// expected.
    ///
    /// A service is silent after `limits.heartbeat × limits.heartbeat_misses`
    /// without a message; where heartbeats take no time, silence is not looked for.
    #[must_use]
    pub fn new(plan: &RunPlan, expected: Vec<Expected>) -> Self {
        let mut registry = Registry::default();
        let mut join = ResultJoin::default();
        for Expected { service, capabilities } in expected {
            registry.expect(service.clone(), capabilities);
            for domain in registry.get(&service).into_iter().flat_map(|s| s.domains()) {
                join.require(domain, &service);
            }
        }
        registry.expect(ServiceId::conductor(), Vec::new());
        Self {
            outbox: Outbox::new(ServiceId::controller()),
            limits: *plan.limits(),
            silence: silence(plan.limits()),
            phases: plan.phases().iter().map(|phase| phase.id).collect(),
            state: RunState::New,
            registry,
            baseline: BaselineCoordinator::new(*plan.gate()).for_phases(plan.phases()),
            asked: Vec::new(),
            join,
            timers: TimerTable::default(),
            credits: None,
            shutdown: None,
            not_ready: Vec::new(),
            evictions: Vec::new(),
            milestones: SmallSet::new(),
            begun: false,
            begin: None,
            grants: SmallMap::new(),
        }
    }

    /// What is known of the run so far. It is complete once every service has
    /// ended; results and acknowledgements that arrive after the shutdown are
    /// in it.
    #[must_use]
    pub fn report(&self) -> ControllerReport {
        ControllerReport {
            boundaries: self.baseline.outcomes(),
            domains: self.join.report(),
            evictions: self.evictions.clone(),
            not_ready: self.not_ready.clone(),
            shutdown: self.shutdown,
            odd_acks: self.baseline.odd_acks(),
        }
    }

    /// How many effects one call can cause at most, as things stand: every open
    /// boundary asks everybody and is closed, everybody is taken out, told that
    /// credits are complete and shut down.
    #[must_use]
    pub fn max_effects(&self) -> usize {
        let services = self.registry.len() + 1;
        let boundaries = self.baseline.open_boundaries() + 1;
        boundaries * (2 * services + 4) + 8 * services + 8
    }

    pub(super) fn step(&mut self, event: RunEvent) -> bool {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.state == RunState::Ended
    }

    // What arrives.

    fn message(&mut self, now: Tick, envelope: Envelope, out: &mut impl Sink<ControllerEffect>) {
        let from = envelope.from;
        match envelope.body {
            Message::Register(register) => {
                if self.register(now, &from, &register, out) {
                    self.tell_credits(&from, out);
                }
            }
            Message::Status(status) => self.status(now, &from, status, out),
            Message::Heartbeat(beat) => self.heartbeat(now, &from, beat, out),
            Message::GateCommand(command) => self.gate(now, from, *command, out),
            Message::BaselineAck(ack) => {
                self.baseline(now, BaselineInput::Ack { from, ack: *ack }, out);
            }
            Message::PhaseStarted(progress) => {
                self.begun = true;
                self.progress(Milestone::Started, progress, out);
            }
            Message::SendingComplete(progress) => {
                self.progress(Milestone::SendingComplete, progress, out);
            }
            Message::PhaseComplete(progress) => self.progress(Milestone::Complete, progress, out),
            Message::CreditsComplete(complete) => self.credits_complete(now, complete, out),
            Message::DomainResult(result) => {
                self.join.result(&result.domain, &from, result.summary);
            }
            // What the controller itself says, and what a newer version says.
            Message::Begin
            | Message::BaselineRequest(_)
            | Message::GateGranted(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    /// Says whether what came with the registration is to be looked at.
    fn register(
        &mut self,
        now: Tick,
        from: &ServiceId,
        register: &Register,
        out: &mut impl Sink<ControllerEffect>,
    ) -> bool {
        if self.ended() {
            return false;
        }
        match self.registry.register(now, from, register) {
            Registration::Stale => return false,
            Registration::Known | Registration::Joined => {}
            Registration::Restarted => {
                if *from == ServiceId::conductor() && self.begun {
                    // Its new life knows nothing of the phases of the old one.
                    let reason = "restarted in the middle of the run".to_owned();
                    self.take_out(now, from, ServiceEvent::Evict, reason, false, out);
                    return false;
                }
                self.baseline(now, BaselineInput::Restarted { service: from.clone() }, out);
            }
        }
        self.owe(from);
        true
    }

    /// A producer that takes part owes its results.
    fn owe(&mut self, from: &ServiceId) {
        if let Some(service) = self.registry.get(from).filter(|s| s.present()) {
            for domain in service.domains() {
                self.join.require(domain, from);
            }
        }
    }

    fn status(
        &mut self,
        now: Tick,
        from: &ServiceId,
        status: ServiceStatus,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        if self.ended() {
            return;
        }
        let (reason, disabled) = match status {
            ServiceStatus::Unknown => return,
            ServiceStatus::Starting => {
                self.arrives(from, ServiceEvent::SaysStarting, out);
                return;
            }
            ServiceStatus::Ready => {
                self.arrives(from, ServiceEvent::SaysReady, out);
                return;
            }
            ServiceStatus::Disabled { reason } => (format!("disabled: {reason}"), true),
            ServiceStatus::Stopped => ("stopped".to_owned(), false),
            ServiceStatus::Failed { reason } => (format!("failed: {reason}"), false),
        };
        self.take_out(now, from, ServiceEvent::SaysGone, reason, disabled, out);
    }

    fn arrives(
        &mut self,
        from: &ServiceId,
        event: ServiceEvent,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        let was = self.registry.get(from).map(|s| s.state);
        if !self.registry.apply(from, event) {
            return;
        }
        if was == Some(ServiceState::Evicted) {
            self.owe(from);
        }
        if event == ServiceEvent::SaysReady {
            let service = from.clone();
            out.push(ControllerEffect::Report(ControllerEvent::Ready { service }));
        }
    }

    fn heartbeat(
        &mut self,
        now: Tick,
        from: &ServiceId,
        beat: Heartbeat,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        if let Some(reason) = self.shutdown {
            self.tell_shutdown(from, reason, out);
            return;
        }
        if !self.register(now, from, &beat.register, out) {
            return;
        }
        self.status(now, from, beat.status, out);
        if self.ended() {
            return;
        }
        if *from == ServiceId::conductor() && self.state == RunState::Running && !self.begun {
            self.tell_begin(out);
        }
        self.tell_credits(from, out);
    }

    fn gate(
        &mut self,
        now: Tick,
        from: ServiceId,
        command: GateCommand,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        let GateCommand { phase, kind, .. } = command;
        if !self.phases.contains(&phase) {
            out.push(ControllerEffect::Report(ControllerEvent::UnknownPhase { from, phase }));
            return;
        }
        self.begun = true;
        if self.ended() {
            let refused = GateGranted { phase, kind, outcome: Err(GateRefusal::ShuttingDown) };
            let envelope = self.outbox.send(&from, Message::GateGranted(Box::new(refused)));
            out.push(ControllerEffect::Send(envelope));
            return;
        }
        let collectors = self.registry.collectors();
        self.baseline(now, BaselineInput::Command { asker: from, command, collectors }, out);
    }

    fn progress(
        &mut self,
        milestone: Milestone,
        progress: PhaseProgress,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        let known = self.phases.contains(&progress.phase);
        if known && self.milestones.insert((progress.phase, milestone)) {
            out.push(ControllerEffect::Report(ControllerEvent::Phase(milestone, progress)));
        }
    }

    fn credits_complete(
        &mut self,
        now: Tick,
        complete: CreditsComplete,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        self.begun = true;
        match self.state {
            RunState::New | RunState::Gathering => self.not_ready = self.registry.not_ready(),
            RunState::Running | RunState::Joining | RunState::Ended => {}
        }
        if !self.step(RunEvent::CreditsComplete) {
            return;
        }
        self.credits = Some(complete);
        let wait = self.limits.credits_complete_fallback.saturating_add(JOIN_MARGIN);
        self.timers.set(ControllerTimer::Join, now + wait);
        self.timers.clear(ControllerTimer::Barrier);
        out.push(ControllerEffect::Report(ControllerEvent::CreditsComplete));
        for producer in self.join.owing() {
            self.tell_credits(&producer, out);
        }
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<ControllerEffect>) {
        self.rearm();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                ControllerTimer::Baseline => {
                    let mut effects = std::mem::take(&mut self.asked);
                    self.baseline.handle_timeout(now, &mut effects);
                    self.baseline_effects(effects, out);
                }
                ControllerTimer::Barrier => self.open_barrier(now, out),
                ControllerTimer::Silence => {
                    let silence = self.silence.unwrap_or(Duration::MAX);
                    let reason = format!("silent for {}", seconds(silence));
                    for service in self.registry.silent(now, silence) {
                        let reason = reason.clone();
                        self.take_out(now, &service, ServiceEvent::Evict, reason, false, out);
                    }
                }
                ControllerTimer::Join => {
                    let wait = self.limits.credits_complete_fallback.saturating_add(JOIN_MARGIN);
                    let reason =
                        format!("no result within {} of credits being complete", seconds(wait));
                    for service in self.join.owing() {
                        let reason = reason.clone();
                        self.take_out(
                            now,
                            &service,
                            ServiceEvent::Evict,
                            reason.clone(),
                            false,
                            out,
                        );
                        // One that is out already owes nothing; one that the
                        // registry never knew is out of the join all the same.
                        self.join.evict(&service, &reason);
                    }
                }
            }
            self.settle(now, out);
            self.rearm();
        }
    }

    fn rearm(&mut self) {
        if self.ended() {
            self.timers = TimerTable::default();
            return;
        }
        let baseline = self.baseline.next_deadline().map(|d| d.at);
        self.timers.set_or_clear(ControllerTimer::Baseline, baseline);
        let silence = self.silence.and_then(|silence| self.registry.next_silence(silence));
        self.timers.set_or_clear(ControllerTimer::Silence, silence);
    }
}

fn silence(limits: &Limits) -> Option<Duration> {
    let silence = limits.heartbeat.checked_mul(limits.heartbeat_misses);
    silence.filter(|silence| !silence.is_zero())
}

impl Machine for Controller {
    type Input = ControllerInput;
    type Effect = ControllerEffect;
    type Timer = ControllerTimer;

    fn handle(&mut self, now: Tick, input: ControllerInput, out: &mut impl Sink<ControllerEffect>) {
        // Before anything is fired: whoever has just been heard is not silent.
        if let ControllerInput::Message(envelope) = &input {
            self.registry.heard(&envelope.from, now);
        }
        match input {
            ControllerInput::Start => {
                if self.step(RunEvent::Start) {
                    self.timers.set(ControllerTimer::Barrier, now + self.limits.service_start);
                }
            }
            ControllerInput::Message(envelope) => self.message(now, envelope, out),
        }
        self.settle(now, out);
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<ControllerEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<ControllerTimer>> {
        self.timers.next_deadline()
    }
}
