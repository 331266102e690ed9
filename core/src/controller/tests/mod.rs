//! The controller's rules, each by a test that is named after it.

use core::time::Duration;
use std::collections::BTreeMap;

use super::join::{JoinChange, Standing};
use super::*;
use crate::controller::report::{ControllerReport, Eviction};
use crate::id::{Domain, PhaseId, ServiceId};
use crate::machine::{Machine, render_table};
use crate::message::{
    BaselineAck, BaselineKind, BaselineRequest, BoundaryOutcome, Capability, CollectError,
    CollectErrorKind, CollectorStatus, CreditsComplete, DomainResult, DomainSummary, Envelope,
    GateCommand, GateGranted, GateRefusal, Heartbeat, Message, Outbox, PhaseCounts, PhaseProgress,
    ProfileFinish, ReadingMark, Register, ReleasedBy, ServiceStatus, ShutdownReason, Tally,
};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::time::Tick;

mod barrier;
mod ending;
mod gates;
mod leaving;
mod random;

fn id(name: &str) -> ServiceId {
    ServiceId::new(name)
}

fn capabilities(name: &str) -> Vec<Capability> {
    if name == "conductor" {
        vec![]
    } else if name == "ledger" {
        vec![Capability::ResultProducer(Domain::profile())]
    } else if name == "gpu" {
        vec![
            Capability::BaselineCollector,
            Capability::ResultProducer(Domain::telemetry()),
            Capability::Unknown("sings".to_owned()),
        ]
    } else {
        vec![Capability::BaselineCollector, Capability::ResultProducer(Domain::server_metrics())]
    }
}

fn plan() -> RunPlan {
    plan_with(false)
}

/// Two phases, the second seamless or not.
fn plan_with(seamless: bool) -> RunPlan {
    let spec = |name: &str, kind| {
        let mut spec = PhaseSpec::new(name, kind);
        spec.concurrency = Some(1);
        spec.requests = Some(1);
        spec
    };
    let mut phases = vec![spec("warmup", PhaseKind::Warmup), spec("steady", PhaseKind::Profiling)];
    phases[1].seamless = seamless;
    RunPlan::new(7, phases, GatePlan::default(), Limits::default()).unwrap()
}

fn reading(start: Tick) -> ReadingMark {
    let end = start + Duration::from_millis(1);
    ReadingMark { start, end, readings: 1, settled: None, unsettled: vec![] }
}

fn records() -> DomainSummary {
    DomainSummary::Records { records: 2, missing: 0, finish: ProfileFinish::Complete }
}

fn readings() -> DomainSummary {
    DomainSummary::Readings { readings: 9, failed: 1 }
}

/// A controller with the services around it, played by the test.
struct Rig {
    controller: Controller,
    now: Tick,
    phases: Vec<PhaseId>,
    out: Vec<ControllerEffect>,
    /// Those that send heartbeats, with what they say.
    alive: BTreeMap<ServiceId, ServiceStatus>,
    incarnation: u64,
}

impl Rig {
    fn new(services: &[&str]) -> Self {
        Self::of(&plan(), services)
    }

    /// Ready, with a seamless second phase.
    fn seamless(services: &[&str]) -> Self {
        Self::of(&plan_with(true), services).joined(services)
    }

    fn of(plan: &RunPlan, services: &[&str]) -> Self {
        let expected = services
            .iter()
            .map(|name| Expected { service: id(name), capabilities: capabilities(name) });
        let mut rig = Self {
            controller: Controller::new(plan, expected.collect()),
            now: Tick::ZERO,
            phases: plan.phases().iter().map(|p| p.id).collect(),
            out: vec![],
            alive: BTreeMap::new(),
            incarnation: 0,
        };
        rig.input(ControllerInput::Start);
        rig
    }

    /// With every service registered, ready and alive, and the barrier open.
    fn ready(services: &[&str]) -> Self {
        Self::new(services).joined(services)
    }

    fn joined(mut self, services: &[&str]) -> Self {
        for name in services {
            self.join(name);
        }
        self.out.clear();
        self
    }

    fn input(&mut self, input: ControllerInput) {
        self.controller.handle(self.now, input, &mut self.out);
        let next = self.controller.next_deadline();
        assert!(next.is_none_or(|d| d.at > self.now), "due and not fired: {next:?}");
    }

    fn say(&mut self, from: &str, body: Message) {
        let envelope = Outbox::new(id(from)).send(&ServiceId::controller(), body);
        self.input(ControllerInput::Message(envelope));
    }

    fn register(&mut self, name: &str) {
        let register = Register { capabilities: capabilities(name), incarnation: self.incarnation };
        self.say(name, Message::Register(register));
    }

    fn status(&mut self, name: &str, status: ServiceStatus) {
        self.say(name, Message::Status(status));
    }

    fn beat(&mut self, name: &str, status: ServiceStatus) {
        let register = Register { capabilities: capabilities(name), incarnation: self.incarnation };
        self.say(name, Message::Heartbeat(Heartbeat { register, status }));
    }

    fn join(&mut self, name: &str) {
        self.register(name);
        self.status(name, ServiceStatus::Ready);
        self.alive.insert(id(name), ServiceStatus::Ready);
    }

    /// Goes to `ms`, with a heartbeat of everybody alive every second.
    fn at(&mut self, ms: u64) {
        let target = Tick::from_millis(ms);
        loop {
            let second = self.now.as_nanos() / 1_000_000_000 + 1;
            let beat = Tick::from_millis(second * 1000);
            let timer = self.controller.next_deadline().map_or(Tick::NEVER, |d| d.at);
            let next = beat.min(timer);
            if next > target {
                break;
            }
            self.now = next;
            if timer <= next {
                self.controller.handle_timeout(self.now, &mut self.out);
            }
            if beat == next {
                for (service, status) in self.alive.clone() {
                    self.beat(service.as_str(), status);
                }
            }
        }
        self.now = target;
    }

    fn gate(&mut self, phase: usize, kind: BaselineKind) {
        self.gate_with(phase, kind, Tally::default());
    }

    fn gate_with(&mut self, phase: usize, kind: BaselineKind, tally: Tally) {
        let phase = self.phases[phase];
        self.say("conductor", Message::GateCommand(Box::new(GateCommand { phase, kind, tally })));
    }

    fn ack(&mut self, from: &str, phase: usize, kind: BaselineKind) {
        let outcome = Ok(reading(self.now));
        self.answer(from, phase, kind, outcome);
    }

    fn answer(
        &mut self,
        from: &str,
        phase: usize,
        kind: BaselineKind,
        outcome: Result<ReadingMark, CollectError>,
    ) {
        let phase = self.phases[phase];
        self.say(from, Message::BaselineAck(Box::new(BaselineAck { phase, kind, outcome })));
    }

    fn credits_complete(&mut self) {
        let counts = PhaseCounts { sent: 1, completed: 1, errors: 0, cancelled: 0 };
        let phases = self.phases.iter().map(|p| (*p, counts)).collect();
        self.say("conductor", Message::CreditsComplete(CreditsComplete { phases }));
    }

    fn result(&mut self, from: &str, domain: Domain, summary: DomainSummary) {
        self.say(from, Message::DomainResult(DomainResult { domain, summary }));
    }

    fn take(&mut self) -> Vec<ControllerEffect> {
        core::mem::take(&mut self.out)
    }

    /// What was sent since this was last asked.
    fn sent(&mut self) -> Vec<Envelope> {
        let effects = self.take();
        effects.into_iter().filter_map(envelope).collect()
    }

    /// What was reported since this was last asked.
    fn events(&mut self) -> Vec<ControllerEvent> {
        let effects = self.take();
        effects.into_iter().filter_map(event).collect()
    }

    fn requests(&mut self) -> Vec<(Envelope, BaselineRequest)> {
        let sent = self.sent().into_iter();
        let request = |e: Envelope| {
            let Message::BaselineRequest(request) = e.body.clone() else {
                return None;
            };
            Some((e, *request))
        };
        sent.filter_map(request).collect()
    }

    fn grants(&mut self) -> Vec<GateGranted> {
        let sent = self.sent().into_iter();
        let grant = |e: Envelope| {
            let Message::GateGranted(granted) = e.body else {
                return None;
            };
            Some(*granted)
        };
        sent.filter_map(grant).collect()
    }

    /// The one grant that was sent since this was last asked.
    fn granted(&mut self) -> BoundaryOutcome {
        let grants = self.grants();
        assert_eq!(grants.len(), 1, "{grants:?}");
        grants[0].outcome.clone().unwrap()
    }

    fn report(&self) -> ControllerReport {
        self.controller.report()
    }

    fn receivers(&mut self, wanted: &Message) -> Vec<String> {
        let sent = self
            .sent()
            .into_iter()
            .filter(|e| core::mem::discriminant(&e.body) == core::mem::discriminant(wanted));
        sent.map(|e| e.to.as_str().to_owned()).collect()
    }
}

fn envelope(effect: ControllerEffect) -> Option<Envelope> {
    match effect {
        ControllerEffect::Send(envelope) => Some(envelope),
        ControllerEffect::Report(_) | ControllerEffect::Finished => None,
    }
}

fn event(effect: ControllerEffect) -> Option<ControllerEvent> {
    match effect {
        ControllerEffect::Report(event) => Some(event),
        ControllerEffect::Send(_) | ControllerEffect::Finished => None,
    }
}

fn statuses(outcome: &BoundaryOutcome) -> Vec<(&str, &CollectorStatus)> {
    outcome.collectors.iter().map(|c| (c.service.as_str(), &c.status)).collect()
}

const ALL: &[&str] = &["conductor", "ledger", "gpu", "server"];

#[test]
fn the_tables() {
    insta::assert_snapshot!("run", render_table::<run::RunState>());
    insta::assert_snapshot!("service", render_table::<registry::ServiceState>());
    insta::assert_snapshot!("boundary", render_table::<boundary::BoundaryState>());
    insta::assert_snapshot!("producer", render_table::<join::ProducerState>());
}
