//! The invariants over whole runs of the real machines in a small world: good
//! ones, and ones in which something is lost, dead or broken.

use std::collections::BTreeMap;

use phasegate_core::collector::{
    Collector, CollectorEffect, CollectorInput, Purpose, ReadId, ReadStamp,
};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput};
use phasegate_core::journal::{Encoder, Entry, Kind, ReplayError, digest, encode_input};
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerInput};
use phasegate_core::machine::Machine;
use phasegate_core::message::{Envelope, Message};
use phasegate_core::record::{CreditEnd, CreditReturn};
use phasegate_core::setup::{Settings, node};
use phasegate_core::time::Tick;
use serde::Serialize;

use super::testing::*;
use super::*;
use crate::trace::Call;

const MS: u64 = 1_000_000;

enum In {
    Controller(ControllerInput),
    Conductor(ConductorInput),
    Ledger(LedgerInput),
    Collector(usize, CollectorInput),
}

/// What goes wrong.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// Messages that are lost.
    lost: Option<fn(&Envelope) -> bool>,
    /// Credits that never come back.
    stuck: Option<fn(u32) -> bool>,
    /// Readings that never end.
    hung: bool,
    /// When the run is cancelled.
    cancel: Option<u64>,
}

/// The machines of a run with one event queue: messages take 1 ms, readings 5,
/// requests 20. Every step is shown to a [`Watch`] and recorded in a journal.
struct World {
    settings: Settings,
    faults: Faults,
    controller: Controller,
    conductor: Conductor,
    ledger: Ledger,
    collectors: Vec<Collector>,
    queue: BTreeMap<(Tick, u64), In>,
    pushed: u64,
    ended: usize,
    watch: Watch,
    encoder: Encoder,
    journal: Vec<u8>,
}

/// Calls a machine, shows the step and records it; what it asks for.
fn call<M: Machine>(
    machine: &mut M,
    at: Tick,
    input: Option<&M::Input>,
    place: u8,
) -> (Vec<M::Effect>, Entry)
where
    M::Input: Clone + Serialize,
    M::Effect: Serialize,
{
    let mut effects = Vec::new();
    let kind = match input {
        Some(input) => {
            machine.handle(at, input.clone(), &mut effects);
            Kind::Input(encode_input(input).unwrap())
        }
        None => {
            machine.handle_timeout(at, &mut effects);
            Kind::Timeout
        }
    };
    let effects_digest = digest(&effects).unwrap();
    (effects, Entry { node: place, at, kind, effects: effects_digest })
}

impl World {
    fn new(seamless: &[bool], collectors: usize, faults: Faults) -> Self {
        let (plan, settings) = (plan(seamless), settings(collectors));
        let mut journal = Vec::new();
        let encoder = Encoder::new(&settings.header(&plan), &mut journal).unwrap();
        let mut world = Self {
            controller: settings.controller(&plan),
            conductor: settings.conductor(&plan),
            ledger: settings.ledger(&plan),
            collectors: settings.collectors().collect(),
            queue: BTreeMap::new(),
            pushed: 0,
            ended: 0,
            watch: Watch::new(&plan, collectors),
            encoder,
            journal,
            settings,
            faults,
        };
        world.push(Tick::ZERO, In::Controller(ControllerInput::Start));
        world.push(Tick::ZERO, In::Ledger(LedgerInput::Start));
        for index in 0..collectors {
            world.push(Tick::ZERO, In::Collector(index, CollectorInput::Start));
        }
        world.push(Tick::ZERO, In::Conductor(ConductorInput::Start));
        if let Some(at) = faults.cancel {
            world.push(ms(at), In::Conductor(ConductorInput::Cancel));
        }
        world
    }

    fn push(&mut self, at: Tick, what: In) {
        self.pushed += 1;
        self.queue.insert((at, self.pushed), what);
    }

    fn deliver(&mut self, now: Tick, envelope: Envelope) {
        if self.faults.lost.is_some_and(|lost| lost(&envelope)) {
            return;
        }
        let at = Tick(now.0 + MS);
        let to = match envelope.to.as_str() {
            "controller" => In::Controller(ControllerInput::Message(envelope)),
            "conductor" => In::Conductor(ConductorInput::Message(envelope)),
            "ledger" => In::Ledger(LedgerInput::Message(envelope)),
            _ => {
                let collectors = self.settings.collectors.iter();
                let index = collectors.clone().position(|c| c.id == envelope.to).unwrap();
                In::Collector(index, CollectorInput::Message(envelope))
            }
        };
        self.push(at, to);
    }

    fn record(&mut self, entry: &Entry) {
        self.encoder.push(entry, &mut self.journal).unwrap();
    }

    fn controller(&mut self, at: Tick, input: Option<ControllerInput>) {
        let (effects, entry) = call(&mut self.controller, at, input.as_ref(), node::CONTROLLER);
        self.record(&entry);
        let machine = &self.controller;
        let call = Call::Controller { input: input.as_ref(), effects: &effects, machine };
        self.watch.observe(&Step { at, call });
        for effect in effects {
            match effect {
                ControllerEffect::Send(envelope) => self.deliver(at, envelope),
                ControllerEffect::Finished => self.ended += 1,
                ControllerEffect::Report(_) => {}
            }
        }
    }

    fn conductor(&mut self, at: Tick, input: Option<ConductorInput>) {
        let (effects, entry) = call(&mut self.conductor, at, input.as_ref(), node::CONDUCTOR);
        self.record(&entry);
        let machine = &self.conductor;
        let call = Call::Conductor { input: input.as_ref(), effects: &effects, machine };
        self.watch.observe(&Step { at, call });
        for effect in effects {
            match effect {
                ConductorEffect::Send(envelope) => self.deliver(at, envelope),
                ConductorEffect::Issue(credit) => {
                    if self.faults.stuck.is_some_and(|stuck| stuck(credit.id.number)) {
                        continue;
                    }
                    let (id, end) = (credit.id, CreditEnd::Completed);
                    let tokens = Some(3);
                    let returned =
                        CreditReturn { id, end, prompt_tokens: tokens, output_tokens: tokens };
                    let done = Tick(at.0 + 20 * MS);
                    self.push(done, In::Conductor(ConductorInput::Returned(returned)));
                    self.push(done, In::Ledger(LedgerInput::Record(a_record(id, at, done))));
                }
                ConductorEffect::Finished => self.ended += 1,
                ConductorEffect::CancelCredits { .. } | ConductorEffect::Event(_) => {}
            }
        }
    }

    fn ledger(&mut self, at: Tick, input: Option<LedgerInput>) {
        let (effects, entry) = call(&mut self.ledger, at, input.as_ref(), node::LEDGER);
        self.record(&entry);
        let machine = &self.ledger;
        let call = Call::Ledger { input: input.as_ref(), effects: &effects, machine };
        self.watch.observe(&Step { at, call });
        for effect in effects {
            match effect {
                LedgerEffect::Send(envelope) => self.deliver(at, envelope),
                LedgerEffect::Finished => self.ended += 1,
                LedgerEffect::Event(_) => {}
            }
        }
    }

    fn collector(&mut self, at: Tick, index: usize, input: Option<CollectorInput>) {
        let place = node::COLLECTORS + u8::try_from(index).unwrap();
        let (effects, entry) = call(&mut self.collectors[index], at, input.as_ref(), place);
        self.record(&entry);
        let machine = &self.collectors[index];
        let call = Call::Collector { index, input: input.as_ref(), effects: &effects, machine };
        self.watch.observe(&Step { at, call });
        for effect in effects {
            match effect {
                CollectorEffect::Send(envelope) => self.deliver(at, envelope),
                CollectorEffect::Read { read, purpose, .. } => self.read(at, index, read, purpose),
                CollectorEffect::Finished => self.ended += 1,
                CollectorEffect::Abort(_) | CollectorEffect::Baseline { .. } => {}
            }
        }
    }

    fn read(&mut self, at: Tick, index: usize, read: ReadId, purpose: Purpose) {
        if self.faults.hung && purpose != Purpose::Periodic {
            return;
        }
        let end = Tick(at.0 + 5 * MS);
        let stamp = ReadStamp { start: at, end, seen: None, moved: vec![], pulse: None };
        let outcome = Ok(stamp);
        self.push(end, In::Collector(index, CollectorInput::ReadDone { read, outcome }));
    }

    /// The machine whose deadline is next, and when.
    fn next_deadline(&self) -> Option<(Tick, usize)> {
        let mut all = vec![
            self.controller.next_deadline().map(|d| d.at),
            self.conductor.next_deadline().map(|d| d.at),
            self.ledger.next_deadline().map(|d| d.at),
        ];
        all.extend(self.collectors.iter().map(|c| c.next_deadline().map(|d| d.at)));
        let due = all.into_iter().enumerate().filter_map(|(n, at)| Some((at?, n)));
        due.min()
    }

    /// Runs until everybody has ended.
    fn run(mut self) -> (Vec<Violation>, Vec<u8>) {
        let everybody = 3 + self.collectors.len();
        for _ in 0..500_000 {
            if self.ended == everybody {
                break;
            }
            let due = self.next_deadline();
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            match (queued, due) {
                (Some(queued), due) if due.is_none_or(|(at, _)| queued <= at) => {
                    let ((at, _), what) = self.queue.pop_first().unwrap();
                    match what {
                        In::Controller(input) => self.controller(at, Some(input)),
                        In::Conductor(input) => self.conductor(at, Some(input)),
                        In::Ledger(input) => self.ledger(at, Some(input)),
                        In::Collector(index, input) => self.collector(at, index, Some(input)),
                    }
                }
                (_, Some((at, 0))) => self.controller(at, None),
                (_, Some((at, 1))) => self.conductor(at, None),
                (_, Some((at, 2))) => self.ledger(at, None),
                (_, Some((at, n))) => self.collector(at, n - 3, None),
                (_, None) => break,
            }
        }
        assert_eq!(self.ended, everybody, "the world stands still");
        self.encoder.flush(&mut self.journal).unwrap();
        (self.watch.finish(), self.journal)
    }
}

/// The violations of a run, live; its journal must replay and have the same.
fn violations(seamless: &[bool], collectors: usize, faults: Faults) -> Vec<Violation> {
    let (broken, journal) = World::new(seamless, collectors, faults).run();
    let checked = replay::check(&journal).unwrap();
    assert!(!checked.cut_off && checked.replayed.entries > 20);
    assert_eq!(checked.violations, broken, "live and replayed");
    broken
}

#[test]
fn good_runs_break_nothing() {
    for (seamless, collectors) in [
        (&[false][..], 0),
        (&[false, false], 1),
        (&[false, true, true], 3),
        (&[false, true, false], 2),
    ] {
        assert_eq!(violations(seamless, collectors, Faults::default()), [], "{seamless:?}");
    }
}

#[test]
fn lost_acknowledgements_grants_and_heartbeats_break_nothing() {
    let lost: [fn(&Envelope) -> bool; 6] = [
        |e| matches!(&e.body, Message::BaselineAck(_)) && !e.sequence.is_multiple_of(3),
        |e| matches!(&e.body, Message::BaselineAck(_)) && e.from.as_str().ends_with('1'),
        |e| matches!(&e.body, Message::GateGranted(_)),
        |e| e.from.as_str() == "server_metrics/0" && e.sequence > 4 && e.sequence < 40,
        // Dead in the first gate, and from the first heartbeat on.
        |e| e.from.as_str() == "server_metrics/0" && e.sequence > 1,
        |e| matches!(&e.body, Message::Heartbeat(_) | Message::DomainResult(_)),
    ];
    for lost in lost {
        let faults = Faults { lost: Some(lost), ..Faults::default() };
        assert_eq!(violations(&[false, true, false], 2, faults), []);
    }
}

#[test]
fn hung_readings_credits_that_never_return_and_cancellation_break_nothing() {
    for faults in [
        Faults { hung: true, ..Faults::default() },
        Faults { stuck: Some(|number| number == 3), ..Faults::default() },
        Faults { stuck: Some(|_| true), cancel: Some(1_000), ..Faults::default() },
        Faults { cancel: Some(2), ..Faults::default() },
        Faults { cancel: Some(30), hung: true, ..Faults::default() },
        Faults { cancel: Some(0), ..Faults::default() },
    ] {
        assert_eq!(violations(&[false, true, false], 2, faults), []);
    }
}

#[test]
fn a_run_of_which_the_watch_misses_a_part_is_broken() {
    // Not shown the returns: the counts are no longer those of the credits.
    let plan = plan(&[false]);
    let mut watch = Watch::new(&plan, 0);
    let mut machine = Conductor::new(&plan);
    let mut at = Tick::ZERO;
    for input in [
        ConductorInput::Start,
        to_conductor(Message::Begin),
        grant(&plan, 0, phasegate_core::message::BaselineKind::Start, NO_COLLECTORS),
        back(0, 0),
        back(0, 1),
    ] {
        at = Tick(at.0 + MS);
        let mut effects = Vec::new();
        machine.handle(at, input.clone(), &mut effects);
        let input = Some(&input).filter(|i| !matches!(i, ConductorInput::Returned(_)));
        let call = Call::Conductor { input, effects: &effects, machine: &machine };
        watch.observe(&Step { at, call });
    }
    let broken = watch.cut_off();
    assert_eq!(broken.iter().map(|v| v.invariant).collect::<Vec<_>>(), ["G7"], "{broken:?}");
}

const NO_COLLECTORS: phasegate_core::message::ReleasedBy =
    phasegate_core::message::ReleasedBy::NoCollectors;

#[test]
fn a_journal_that_was_cut_off_is_not_held_against_the_end() {
    let (_, journal) = World::new(&[false], 1, Faults::default()).run();
    // Into its second block.
    let cut = journal.len() - 10;
    let checked = replay::check(&journal[..cut]).unwrap();
    assert!(checked.cut_off);
    assert_eq!(checked.violations, []);
    assert!(matches!(checked.tail, phasegate_core::journal::Tail::Torn { .. }));
}

#[test]
fn a_journal_with_an_entry_left_out_is_a_difference_that_names_input_and_effects() {
    let (_, bytes) = World::new(&[false], 1, Faults::default()).run();
    let journal = phasegate_core::journal::Journal::open(&bytes).unwrap();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&journal.header, &mut out).unwrap();
    for (number, entry) in journal.entries().enumerate() {
        if number != 9 {
            encoder.push(&entry.unwrap(), &mut out).unwrap();
        }
    }
    encoder.flush(&mut out).unwrap();
    let Err(ReplayError::Mismatch(found)) = replay::check(&out) else { panic!("no difference") };
    assert!(found.number >= 9 && !found.input.is_empty() && found.effects.starts_with('['));
}
