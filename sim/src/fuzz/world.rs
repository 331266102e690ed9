//! A composed run whose network, clock, sources and server are a schedule.

use core::fmt::Debug;

use phasegate_core::collector::{Collector, CollectorEffect, CollectorInput, ReadId};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput};
use phasegate_core::id::{PhaseId, ServiceId};
use phasegate_core::journal::{Encoder, Entry, Journal, Kind, digest, encode_input, replay};
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerInput};
use phasegate_core::machine::{EffectBuf, Machine};
use phasegate_core::message::Envelope;
use phasegate_core::plan::RunPlan;
use phasegate_core::record::Credit;
use phasegate_core::setup::{Settings, node};
use phasegate_core::time::Tick;
use serde::Serialize;

use super::laws::Laws;

/// Envelopes under way; beyond, the oldest is lost.
const POST: usize = 64;

/// What one node is told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Controller(ControllerInput),
    Conductor(ConductorInput),
    Ledger(LedgerInput),
    Collector(usize, CollectorInput),
}

/// The nodes, and what is under way between them and the outside.
pub(super) struct World {
    pub(super) now: Tick,
    pub(super) plan: RunPlan,
    pub(super) settings: Settings,
    pub(super) services: Vec<ServiceId>,
    pub(super) phases: Vec<PhaseId>,
    pub(super) controller: Controller,
    pub(super) conductor: Conductor,
    pub(super) ledger: Ledger,
    pub(super) collectors: Vec<Collector>,
    pub(super) post: Vec<Envelope>,
    pub(super) credits: Vec<Credit>,
    pub(super) reads: Vec<(usize, ReadId)>,
    pub(super) laws: Laws,
    /// What every node was given, if it is to be replayed.
    recorded: Option<Vec<Entry>>,
}

impl World {
    pub(super) fn new(plan: RunPlan, settings: Settings, record: bool) -> Self {
        let mut services = vec![ServiceId::controller(), ServiceId::conductor()];
        services.push(ServiceId::ledger());
        services.extend(settings.collectors.iter().map(|c| c.id.clone()));
        Self {
            now: Tick::ZERO,
            services,
            phases: plan.phases().iter().map(|phase| phase.id).collect(),
            controller: settings.controller(&plan),
            conductor: settings.conductor(&plan),
            ledger: settings.ledger(&plan),
            collectors: settings.collectors().collect(),
            post: Vec::new(),
            credits: Vec::new(),
            reads: Vec::new(),
            laws: Laws::new(&plan, settings.collectors.len()),
            recorded: record.then(Vec::new),
            plan,
            settings,
        }
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        usize::from(node::LEDGER) + 1 + self.collectors.len()
    }

    /// Starts everybody; a second time changes nothing.
    pub(super) fn start(&mut self) {
        self.tell(Told::Controller(ControllerInput::Start));
        self.tell(Told::Ledger(LedgerInput::Start));
        for index in 0..self.collectors.len() {
            self.tell(Told::Collector(index, CollectorInput::Start));
        }
        self.tell(Told::Conductor(ConductorInput::Start));
    }

    /// Delivers everything that is under way now.
    pub(super) fn settle(&mut self) {
        for envelope in core::mem::take(&mut self.post) {
            self.deliver(envelope);
        }
    }

    /// Gives a node an input.
    pub(super) fn tell(&mut self, told: Told) {
        match told {
            Told::Controller(input) => self.controller(Some(input)),
            Told::Conductor(input) => self.conductor(Some(input)),
            Told::Ledger(input) => self.ledger(Some(input)),
            Told::Collector(index, input) => self.collector(index, Some(input)),
        }
    }

    /// Delivers an envelope to whoever it is for; to nobody if there is no such
    /// service.
    pub(super) fn deliver(&mut self, envelope: Envelope) {
        let Some(place) = self.services.iter().position(|id| *id == envelope.to) else { return };
        self.hear(place, envelope);
    }

    /// The node at `place` hears an envelope, whoever it was for.
    pub(super) fn hear(&mut self, place: usize, envelope: Envelope) {
        self.tell(match place {
            0 => Told::Controller(ControllerInput::Message(envelope)),
            1 => Told::Conductor(ConductorInput::Message(envelope)),
            2 => Told::Ledger(LedgerInput::Message(envelope)),
            _ => Told::Collector(place - 3, CollectorInput::Message(envelope)),
        });
    }

    /// Calls the timeout of the node at `place`.
    pub(super) fn wake(&mut self, place: usize) {
        match place {
            0 => self.controller(None),
            1 => self.conductor(None),
            2 => self.ledger(None),
            _ => self.collector(place - 3, None),
        }
    }

    /// When the node at `place` wants to be woken.
    pub(super) fn deadline(&self, place: usize) -> Option<Tick> {
        match place {
            0 => self.controller.next_deadline().map(|d| d.at),
            1 => self.conductor.next_deadline().map(|d| d.at),
            2 => self.ledger.next_deadline().map(|d| d.at),
            _ => self.collectors.get(place - 3)?.next_deadline().map(|d| d.at),
        }
    }

    /// The node at `place` as text: everything that it knows.
    pub(super) fn state(&self, place: usize) -> String {
        match place {
            0 => format!("{:?}", self.controller),
            1 => format!("{:?}", self.conductor),
            2 => format!("{:?}", self.ledger),
            _ => format!("{:?}", self.collectors.get(place - 3)),
        }
    }

    /// The next deadline of all nodes.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        (0..self.nodes()).filter_map(|place| self.deadline(place)).min()
    }

    /// Wakes everyone whose deadline has come.
    pub(super) fn wake_due(&mut self) {
        for place in 0..self.nodes() {
            if self.deadline(place).is_some_and(|at| at <= self.now) {
                self.wake(place);
            }
        }
    }

    fn record<I: Serialize, E: Serialize>(&mut self, place: u8, input: Option<&I>, effects: &[E]) {
        let at = self.now;
        let Some(entries) = &mut self.recorded else { return };
        let kind = match input {
            Some(input) => Kind::Input(encode_input(input).expect("every input can be written")),
            None => Kind::Timeout,
        };
        let effects = digest(effects).expect("every effect can be written");
        entries.push(Entry { node: place, at, kind, effects });
    }

    fn send(&mut self, envelope: Envelope) {
        if self.post.len() >= POST {
            self.post.remove(0);
        }
        self.post.push(envelope);
    }

    fn controller(&mut self, input: Option<ControllerInput>) {
        let most = self.controller.max_effects();
        let kept = self.recorded.is_some().then(|| input.clone()).flatten();
        let effects = call(&mut self.controller, self.now, input, most);
        self.record(node::CONTROLLER, kept.as_ref(), &effects);
        self.laws.controller(&effects);
        for effect in effects {
            match effect {
                ControllerEffect::Send(envelope) => self.send(envelope),
                ControllerEffect::Report(_) | ControllerEffect::Finished => {}
            }
        }
    }

    fn conductor(&mut self, input: Option<ConductorInput>) {
        let most = self.conductor.max_effects();
        let kept = self.recorded.is_some().then(|| input.clone()).flatten();
        let effects = call(&mut self.conductor, self.now, input, most);
        self.record(node::CONDUCTOR, kept.as_ref(), &effects);
        self.laws.conductor(self.now, &effects, &self.conductor);
        for effect in effects {
            match effect {
                ConductorEffect::Send(envelope) => self.send(envelope),
                ConductorEffect::Issue(credit) => self.credits.push(credit),
                ConductorEffect::CancelCredits { .. }
                | ConductorEffect::Event(_)
                | ConductorEffect::Finished => {}
            }
        }
    }

    fn ledger(&mut self, input: Option<LedgerInput>) {
        let kept = self.recorded.is_some().then(|| input.clone()).flatten();
        let effects = call(&mut self.ledger, self.now, input, Ledger::EFFECTS);
        self.record(node::LEDGER, kept.as_ref(), &effects);
        self.laws.ledger(&effects);
        for effect in effects {
            match effect {
                LedgerEffect::Send(envelope) => self.send(envelope),
                LedgerEffect::Event(_) | LedgerEffect::Finished => {}
            }
        }
    }

    fn collector(&mut self, index: usize, input: Option<CollectorInput>) {
        let Some(machine) = self.collectors.get_mut(index) else { return };
        let most = machine.max_effects();
        let kept = self.recorded.is_some().then(|| input.clone()).flatten();
        let effects = call(machine, self.now, input, most);
        let place = node::COLLECTORS.saturating_add(u8::try_from(index).unwrap_or(u8::MAX));
        self.record(place, kept.as_ref(), &effects);
        self.laws.collector(index, &effects);
        for effect in effects {
            match effect {
                CollectorEffect::Send(envelope) => self.send(envelope),
                CollectorEffect::Read { read, .. } => self.reads.push((index, read)),
                CollectorEffect::Abort(read) => self.reads.retain(|one| *one != (index, read)),
                CollectorEffect::Baseline { .. } | CollectorEffect::Finished => {}
            }
        }
    }

    /// The collector's process is replaced by a new one.
    pub(super) fn restart(&mut self, index: usize) {
        if self.recorded.is_some() {
            // A journal has no word for it.
            return;
        }
        let Some(plan) = self.settings.collectors.get(index) else { return };
        let Some(machine) = self.collectors.get_mut(index) else { return };
        *machine = Collector::new(plan.clone());
        self.reads.retain(|(of, _)| *of != index);
        self.laws.restarted(index);
        self.tell(Told::Collector(index, CollectorInput::Start));
    }

    /// The journal of everything so far, if it was recorded.
    pub(super) fn journal(&self) -> Option<Vec<u8>> {
        let entries = self.recorded.as_ref()?;
        let mut bytes = Vec::new();
        let header = self.settings.header(&self.plan);
        let mut encoder = Encoder::new(&header, &mut bytes).expect("a header");
        for entry in entries {
            encoder.push(entry, &mut bytes).expect("an entry");
        }
        encoder.flush(&mut bytes).expect("a block");
        Some(bytes)
    }

    /// Feeds the journal of everything so far to fresh machines: they do the
    /// same, byte for byte.
    pub(super) fn replays(&self) {
        let Some(bytes) = self.journal() else { return };
        let journal = Journal::open(&bytes).expect("what was written can be read");
        assert_eq!(journal.header.plan, self.plan, "the plan survives the journal");
        let settings = Settings::from_header(&journal.header).expect("the settings survive it");
        assert_eq!(settings, self.settings, "the settings survive the journal");
        let mut nodes = settings.replayers(&journal.header.plan);
        if let Err(error) = replay(journal.entries(), &mut nodes) {
            panic!("the same inputs gave other effects: {error}");
        }
    }
}

/// Calls a machine and checks what holds for every machine.
pub(super) fn call<M: Machine>(
    machine: &mut M,
    now: Tick,
    input: Option<M::Input>,
    most: usize,
) -> Vec<M::Effect>
where
    M::Effect: Debug,
{
    let mut out = EffectBuf::with_bound(most);
    match input {
        Some(input) => machine.handle(now, input, &mut out),
        None => machine.handle_timeout(now, &mut out),
    }
    if let Some(deadline) = machine.next_deadline() {
        assert!(deadline.at > now, "at {now} the next deadline is {deadline:?}");
    }
    assert_eq!(out.beyond_bound(), 0, "more than {most} effects: {:?}", out.as_slice());
    out.drain().collect()
}
