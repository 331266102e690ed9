//! Steps by hand, and a small world that drives the real machines.

use core::time::Duration;
use std::collections::BTreeMap;

use phasegate_core::collector::{
    Collector, CollectorEffect, CollectorInput, CollectorPlan, ReadId, ReadStamp,
};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{ControllerEffect, ControllerInput};
use phasegate_core::id::{CreditId, Domain, MessageId, ServiceId};
use phasegate_core::ledger::{LedgerEffect, LedgerInput};
use phasegate_core::message::{
    BaselineAck, BaselineKind, BaselineRequest, BoundaryOutcome, Envelope, GateCommand,
    GateGranted, GateRefusal, Message, ReadingMark, ReleasedBy, Tally,
};
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::record::{Credit, CreditEnd, CreditReturn, Outcome, RequestRecord};
use phasegate_core::setup::Settings;
use phasegate_core::time::Tick;

use super::{Invariant, Violation};
use crate::trace::{Call, Step};

pub(super) fn ms(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

/// One phase each, seamless or not, of six requests at a concurrency of two.
pub(super) fn plan(seamless: &[bool]) -> RunPlan {
    concurrency(seamless, 2)
}

pub(super) fn concurrency(seamless: &[bool], concurrency: u32) -> RunPlan {
    let phases = seamless.iter().enumerate().map(|(index, seamless)| {
        let mut spec = PhaseSpec::new(format!("p{index}"), PhaseKind::Profiling);
        spec.concurrency = Some(concurrency);
        spec.requests = Some(6);
        spec.seamless = *seamless;
        spec
    });
    RunPlan::new(7, phases.collect(), GatePlan::default(), Limits::default()).unwrap()
}

pub(super) fn settings(collectors: usize) -> Settings {
    let collector = |n| CollectorPlan {
        id: ServiceId::new(format!("server_metrics/{n}")),
        domain: Domain::server_metrics(),
        interval: Duration::from_millis(100),
        heartbeat: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        optional: false,
        sole: false,
        tick_within: Duration::ZERO,
    };
    Settings {
        collectors: (0..collectors).map(collector).collect(),
        goodput: BTreeMap::new(),
        streaming: true,
        produces_tokens: true,
        urls: Vec::new(),
        ready_timeout: Duration::ZERO,
    }
}

// Steps by hand: the machine is a fresh one.

pub(super) fn conductor(
    invariant: &mut impl Invariant,
    plan: &RunPlan,
    at: u64,
    input: Option<ConductorInput>,
    effects: &[ConductorEffect],
) -> Result<(), Violation> {
    let machine = &Conductor::new(plan);
    let call = Call::Conductor { input: input.as_ref(), effects, machine };
    invariant.observe(&Step { at: ms(at), call })
}

pub(super) fn controller(
    invariant: &mut impl Invariant,
    plan: &RunPlan,
    at: u64,
    input: Option<ControllerInput>,
    effects: &[ControllerEffect],
) -> Result<(), Violation> {
    let machine = &settings(0).controller(plan);
    let call = Call::Controller { input: input.as_ref(), effects, machine };
    invariant.observe(&Step { at: ms(at), call })
}

pub(super) fn ledger(
    invariant: &mut impl Invariant,
    plan: &RunPlan,
    at: u64,
    input: Option<LedgerInput>,
    effects: &[LedgerEffect],
) -> Result<(), Violation> {
    let machine = &settings(0).ledger(plan);
    let call = Call::Ledger { input: input.as_ref(), effects, machine };
    invariant.observe(&Step { at: ms(at), call })
}

pub(super) fn collector(
    invariant: &mut impl Invariant,
    at: u64,
    input: Option<CollectorInput>,
    effects: &[CollectorEffect],
) -> Result<(), Violation> {
    let machine = &Collector::new(settings(1).collectors.remove(0));
    let call = Call::Collector { index: 0, input: input.as_ref(), effects, machine };
    invariant.observe(&Step { at: ms(at), call })
}

fn envelope(from: &str, to: &str, body: Message) -> Envelope {
    let (from, to) = (ServiceId::new(from), ServiceId::new(to));
    Envelope { from, to, message_id: MessageId(0), sequence: 0, body }
}

/// What the conductor sends.
pub(super) fn send(body: Message) -> ConductorEffect {
    ConductorEffect::Send(envelope("conductor", "controller", body))
}

pub(super) fn send_from_controller(body: Message) -> ControllerEffect {
    ControllerEffect::Send(envelope("controller", "conductor", body))
}

/// What the controller hears.
pub(super) fn said(from: &str, body: Message) -> ControllerInput {
    ControllerInput::Message(envelope(from, "controller", body))
}

pub(super) fn to_conductor(body: Message) -> ConductorInput {
    ConductorInput::Message(envelope("controller", "conductor", body))
}

/// The gate is asked for, with so many sent and in flight.
pub(super) fn command(
    plan: &RunPlan,
    phase: usize,
    kind: BaselineKind,
    sent: u64,
) -> ConductorEffect {
    let tally = Tally { sent, in_flight: sent, ..Tally::default() };
    send(Message::GateCommand(Box::new(GateCommand {
        phase: plan.phases()[phase].id,
        kind,
        tally,
    })))
}

pub(super) fn boundary(
    plan: &RunPlan,
    phase: usize,
    kind: BaselineKind,
    released_by: ReleasedBy,
) -> BoundaryOutcome {
    BoundaryOutcome {
        phase: plan.phases()[phase].id,
        kind,
        requested: ms(1),
        closed: ms(30),
        released_by,
        in_flight: 0,
        collectors: vec![],
    }
}

pub(super) fn grant(
    plan: &RunPlan,
    phase: usize,
    kind: BaselineKind,
    by: ReleasedBy,
) -> ConductorInput {
    let outcome = Ok(boundary(plan, phase, kind, by));
    let phase = plan.phases()[phase].id;
    to_conductor(Message::GateGranted(Box::new(GateGranted { phase, kind, outcome })))
}

pub(super) fn refuse(plan: &RunPlan, phase: usize, kind: BaselineKind) -> ConductorInput {
    let outcome = Err(GateRefusal::ShuttingDown);
    let phase = plan.phases()[phase].id;
    to_conductor(Message::GateGranted(Box::new(GateGranted { phase, kind, outcome })))
}

pub(super) fn issue(phase: u16, number: u32) -> ConductorEffect {
    let id = CreditId { phase, number };
    ConductorEffect::Issue(Credit {
        id,
        planned: ms(0),
        deadline: ms(600_000),
        item: Default::default(),
        cancel_after: None,
    })
}

pub(super) fn back(phase: u16, number: u32) -> ConductorInput {
    let id = CreditId { phase, number };
    let end = CreditEnd::Completed;
    let tokens = Some(3);
    ConductorInput::Returned(CreditReturn { id, end, prompt_tokens: tokens, output_tokens: tokens })
}

pub(super) fn a_record(credit: CreditId, started: Tick, ended: Tick) -> RequestRecord {
    RequestRecord {
        credit,
        planned: started,
        started,
        ended,
        outcome: Outcome::Completed,
        status: Some(200),
        sent: Some(started),
        first_byte: Some(ended),
        first_token: Some(ended),
        first_output_token: Some(ended),
        second_token: None,
        last_token: Some(ended),
        chunks: 1,
        prompt_tokens: Some(3),
        output_tokens: Some(3),
        reasoning_tokens: None,
        gaps_ns: vec![],
    }
}

pub(super) fn record(phase: u16, number: u32) -> LedgerInput {
    LedgerInput::Record(a_record(CreditId { phase, number }, ms(1), ms(2)))
}

pub(super) fn mark(start: u64, end: u64) -> ReadingMark {
    let (start, end) = (ms(start), ms(end));
    ReadingMark { start, end, readings: 1, settled: None, unsettled: vec![] }
}

pub(super) fn request(plan: &RunPlan, phase: usize, kind: BaselineKind) -> CollectorInput {
    let request = BaselineRequest {
        phase: plan.phases()[phase].id,
        kind,
        attempt: 1,
        budget: Duration::from_secs(5),
        settle: Duration::ZERO,
        tally: Tally::default(),
    };
    let body = Message::BaselineRequest(Box::new(request));
    CollectorInput::Message(envelope("controller", "server_metrics/0", body))
}

pub(super) fn read_done(read: ReadId, start: u64, end: u64) -> CollectorInput {
    let stamp =
        ReadStamp { start: ms(start), end: ms(end), seen: None, moved: vec![], pulse: None };
    CollectorInput::ReadDone { read, outcome: Ok(stamp) }
}

pub(super) fn ack(
    plan: &RunPlan,
    phase: usize,
    kind: BaselineKind,
    start: u64,
    end: u64,
) -> CollectorEffect {
    let ack = BaselineAck { phase: plan.phases()[phase].id, kind, outcome: Ok(mark(start, end)) };
    CollectorEffect::Send(envelope(
        "server_metrics/0",
        "controller",
        Message::BaselineAck(Box::new(ack)),
    ))
}
