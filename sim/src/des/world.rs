//! One run: every machine, one event queue, one generator.

use core::fmt;
use core::time::Duration;

use phasegate_core::collector::{Collector, CollectorEffect, CollectorInput, ReadId};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput};
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerInput};
use phasegate_core::machine::{Machine, TimerKey};
use phasegate_core::message::Envelope;
use phasegate_core::record::{CreditReturn, Outcome};
use phasegate_core::time::Tick;

use super::bus::Bus;
use super::config::{Config, Who, who};
use super::dice::{Dice, RUN};
use super::load::Load;
use super::queue::Queue;
use super::server::Server;
use super::source::Source;
use super::watch::Watch;
use crate::faults::Faults;
use crate::invariants::Violation;
use crate::trace::{Call, Step};

/// Nodes by number, as in [`World::nodes`]; collectors' lives follow.
pub(crate) const CONTROLLER: usize = 0;
pub(crate) const CONDUCTOR: usize = 1;
pub(crate) const LEDGER: usize = 2;
pub(crate) const LIVES: usize = 3;

/// A run of more steps than this does not end.
const MOST_STEPS: u64 = 200_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Start(usize),
    Deliver(Envelope),
    ReadDone {
        life: usize,
        read: ReadId,
        start: Tick,
    },
    Back {
        flight: u32,
        outcome: Outcome,
    },
    Returned(CreditReturn),
    /// The record at this place of the load's reaches the ledger.
    Record(u32),
    Stop(usize),
    Disable(usize),
    Die(usize),
    Cancel,
    Calm,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Absent,
    Up,
    Over,
}

/// A node's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) standing: Standing,
    /// When its machine wants to be woken.
    pub(crate) deadline: Tick,
    /// It hears and does nothing before this.
    pub(crate) asleep: Tick,
    /// When it is to be woken: at its deadline, once it is not asleep.
    due: Tick,
}

impl Node {
    const ABSENT: Self = Self {
        standing: Standing::Absent,
        deadline: Tick::NEVER,
        asleep: Tick::ZERO,
        due: Tick::NEVER,
    };

    /// Its machine wants to be woken then.
    pub(crate) fn set_deadline(&mut self, deadline: Tick) {
        self.deadline = deadline;
        self.plan();
    }

    /// It sleeps until then.
    pub(crate) fn sleep(&mut self, until: Tick) {
        self.asleep = until;
        self.plan();
    }

    fn plan(&mut self) {
        let never = self.deadline == Tick::NEVER;
        self.due = if never { Tick::NEVER } else { self.deadline.max(self.asleep) };
    }
}

/// One life of a collector.
#[derive(Debug)]
pub(crate) struct Living {
    pub(crate) machine: Collector,
    /// Which collector.
    pub(crate) place: usize,
    pub(crate) source: Source,
    pub(crate) requests: u32,
    pub(crate) acks: u32,
    /// Readings whose end nobody waits for, and that are not told.
    pub(crate) aborted: Vec<ReadId>,
}

/// What is kept from one run to the next, for its memory alone.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(crate) queue: Queue<Event>,
    pub(crate) load: Load,
    pub(super) nodes: Vec<Node>,
    controller: Vec<ControllerEffect>,
    conductor: Vec<ConductorEffect>,
    ledger: Vec<LedgerEffect>,
    collector: Vec<CollectorEffect>,
}

/// One run.
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) controller: Controller,
    pub(crate) conductor: Conductor,
    pub(crate) ledger: Ledger,
    pub(crate) lives: Vec<Living>,
    /// The life of each collector that is up, or was last.
    pub(crate) current: Vec<usize>,
    pub(crate) nodes: Vec<Node>,
    /// How many of them are up.
    pub(crate) up: usize,
    pub(crate) scratch: Scratch,
    pub(crate) bus: Bus,
    pub(crate) dice: Dice,
    pub(crate) now: Tick,
    pub(crate) steps: u64,
    /// Faults have not stopped.
    pub(crate) stormy: bool,
    /// Starts that are still to come.
    pub(crate) to_start: usize,
    pub(crate) watch: Watch,
    /// Where hazards are on.
    pub(crate) server: Option<Box<Server>>,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World {{ seed {}, now {} }}", self.config.seed, self.now)
    }
}

/// Tells a machine something, or that its deadline has come; its next deadline.
#[inline]
fn tell<M: Machine>(
    machine: &mut M,
    now: Tick,
    input: Option<M::Input>,
    out: &mut Vec<M::Effect>,
) -> Result<Tick, Violation> {
    match input {
        Some(input) => machine.handle(now, input, out),
        None => machine.handle_timeout(now, out),
    }
    match machine.next_deadline() {
        None => Ok(Tick::NEVER),
        Some(next) if next.at > now => Ok(next.at),
        Some(next) => {
            let timers = M::Timer::ALL.len();
            let what = format!(
                "its timer {:?} ({timers} in all) is still due at {} after the call returned",
                next.timer, next.at
            );
            Err(Violation { invariant: "deadline", at: now, what })
        }
    }
}

impl<'a> World<'a> {
    pub(crate) fn new(config: &'a Config, mut scratch: Scratch, watch: Watch) -> Self {
        let (plan, settings) = (&config.plan, &config.settings);
        scratch.queue.clear();
        scratch.load.clear();
        let lives: Vec<Living> = settings
            .collectors()
            .zip(&settings.collectors)
            .map(|(machine, plan)| {
                let place = match who(&plan.id) {
                    Some(Who::Collector(place)) => place,
                    Some(Who::Controller | Who::Conductor | Who::Ledger) | None => 0,
                };
                let source = Source::new(place);
                Living { machine, place, source, requests: 0, acks: 0, aborted: Vec::new() }
            })
            .collect();
        let mut nodes = std::mem::take(&mut scratch.nodes);
        nodes.clear();
        nodes.resize(LIVES + lives.len(), Node::ABSENT);
        let mut world = Self {
            controller: settings.controller(plan),
            conductor: settings.conductor(plan),
            ledger: settings.ledger(plan),
            current: (0..config.collectors).collect(),
            nodes,
            up: 0,
            lives,
            bus: Bus::new(config),
            dice: Dice::new(config.seed, RUN),
            now: Tick::ZERO,
            steps: 0,
            stormy: true,
            to_start: 0,
            config,
            scratch,
            watch,
            server: config.faults.lies().then(|| {
                Box::new(Server::new(config.seed, config.faults.hazards, config.collectors))
            }),
        };
        world.schedule();
        world
    }

    /// Runs to the end: everybody is over, nobody is to come.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let bound = super::bound::bound(self.config);
        let wrong = |at, what| Err(Violation { invariant: "liveness", at, what });
        while !self.over() {
            let (node, at) = self.next_deadline();
            let event = self.scratch.queue.next_at();
            let deadline_first = self.config.faults.deadline_first;
            let to_event = match event {
                Some(event) if deadline_first => event < at,
                Some(event) => event <= at,
                None => false,
            };
            let next = if to_event { event.unwrap_or(at) } else { at };
            if next == Tick::NEVER {
                return wrong(self.now, format!("nothing will happen any more{}", self.waiting()));
            }
            if next > bound || self.steps > MOST_STEPS {
                let steps = self.steps;
                let waiting = self.waiting();
                return wrong(
                    self.now,
                    format!("the run is not over by {bound}, after {steps} steps{waiting}"),
                );
            }
            self.now = self.now.max(next);
            if to_event {
                if let Some((_, event)) = self.scratch.queue.pop() {
                    self.happens(event)?;
                }
            } else {
                self.wake(node)?;
            }
        }
        Ok(())
    }

    /// What is to be said of a run that is over.
    pub(crate) fn judge(&mut self) -> Result<(), Violation> {
        let ledger = crate::oracle::thorough(self.config).then_some(&mut self.ledger);
        if let Some(oracle) = &self.watch.oracle {
            let (server, marks) = (self.server.as_deref_mut(), &mut self.watch.observer.marks);
            let machines = (&self.controller, &self.conductor);
            oracle.finish(self.now, machines, ledger, server, marks)?;
        }
        self.watch.finish()
    }

    fn over(&self) -> bool {
        self.to_start == 0 && self.up == 0
    }

    fn waiting(&self) -> String {
        let up = self.nodes.iter().enumerate().filter(|(_, n)| n.standing == Standing::Up);
        let names: Vec<String> = up.map(|(number, _)| super::watch::name(number)).collect();
        format!("; still there: {}", names.join(", "))
    }

    fn next_deadline(&self) -> (usize, Tick) {
        let mut next = (0, Tick::NEVER);
        for (number, node) in self.nodes.iter().enumerate() {
            if node.due < next.1 {
                next = (number, node.due);
            }
        }
        next
    }

    #[inline]
    pub(crate) fn stormy(&self) -> Option<&'a Faults> {
        self.stormy.then_some(&self.config.faults)
    }

    pub(crate) fn push(&mut self, at: Tick, event: Event) {
        self.scratch.queue.push(at, event);
    }

    /// The node's deadline has come.
    pub(crate) fn wake(&mut self, node: usize) -> Result<(), Violation> {
        match node {
            CONTROLLER => self.controller(None),
            CONDUCTOR => self.conductor(None),
            LEDGER => self.ledger(None),
            life => self.collector(life - LIVES, None),
        }
    }

    /// What every call of a machine has in common, after its effects were
    /// carried out.
    #[inline]
    fn called(&mut self, node: usize, deadline: Tick) -> Result<(), Violation> {
        self.steps += 1;
        if self.nodes[node].standing == Standing::Up {
            self.nodes[node].set_deadline(deadline);
        } else if deadline != Tick::NEVER {
            let what = format!("{} is over and still wants to be woken", super::watch::name(node));
            return Err(Violation { invariant: "deadline", at: self.now, what });
        }
        let Some(faults) = self.stormy() else { return Ok(()) };
        if faults.cancel_at.is_some_and(|step| u64::from(step) == self.steps) {
            self.push(self.now, Event::Cancel);
        }
        if self.dice.chance(faults.sleep) {
            let asleep = self.dice.skewed(1, faults.longest_sleep);
            self.nodes[node].sleep(Tick(self.now.0.saturating_add(asleep)));
        }
        if self.dice.chance(faults.spurious) {
            let node = self.dice.below(self.nodes.len() as u64) as usize;
            let before = self.nodes[node];
            if before.standing == Standing::Up && before.deadline > self.now {
                self.watch.spurious = true;
                let woken = self.wake(node);
                self.watch.spurious = false;
                woken?;
                if self.nodes[node].deadline != before.deadline {
                    return Err(Violation {
                        invariant: "spurious",
                        at: self.now,
                        what: format!("waking {} for nothing moved its deadline", node),
                    });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn controller(&mut self, input: Option<ControllerInput>) -> Result<(), Violation> {
        let at = self.now;
        let seen = if self.watch.bare { None } else { input.clone() };
        let most = if self.watch.bare { 0 } else { self.controller.max_effects() };
        let mut effects = std::mem::take(&mut self.scratch.controller);
        let deadline = tell(&mut self.controller, at, input, &mut effects)?;
        if !self.watch.bare {
            let machine = &self.controller;
            let call = Call::Controller { input: seen.as_ref(), effects: &effects, machine };
            self.watch.see(&Step { at, call }, most)?;
        }
        for effect in effects.drain(..) {
            match effect {
                ControllerEffect::Send(envelope) => self.send(envelope),
                ControllerEffect::Report(_) => {}
                // It goes on answering until everybody is gone.
                ControllerEffect::Finished => self.finished(CONTROLLER),
            }
        }
        self.scratch.controller = effects;
        self.called(CONTROLLER, deadline)
    }

    pub(crate) fn conductor(&mut self, input: Option<ConductorInput>) -> Result<(), Violation> {
        let at = self.now;
        let seen = if self.watch.bare { None } else { input.clone() };
        let most = if self.watch.bare { 0 } else { self.conductor.max_effects() };
        let mut effects = std::mem::take(&mut self.scratch.conductor);
        let deadline = tell(&mut self.conductor, at, input, &mut effects)?;
        if !self.watch.bare {
            let machine = &self.conductor;
            let call = Call::Conductor { input: seen.as_ref(), effects: &effects, machine };
            self.watch.see(&Step { at, call }, most)?;
        }
        for effect in effects.drain(..) {
            match effect {
                ConductorEffect::Send(envelope) => self.send(envelope),
                ConductorEffect::Issue(credit) => {
                    let faults = self.stormy();
                    let limits = self.config.plan.limits();
                    let (load, dice) = (&mut self.scratch.load, &mut self.dice);
                    let (flight, back) =
                        load.issue(at, credit, limits, faults, &self.config.pace, dice);
                    if let Some(server) = &mut self.server {
                        server.arrives(at, flight, &credit);
                    }
                    if let Some((back, outcome)) = back {
                        self.push(back, Event::Back { flight, outcome });
                    }
                }
                ConductorEffect::CancelCredits { phase } => self.cancel_credits(phase),
                ConductorEffect::Event(_) => {}
                ConductorEffect::Finished => self.finished(CONDUCTOR),
            }
        }
        self.scratch.conductor = effects;
        self.called(CONDUCTOR, deadline)
    }

    pub(crate) fn ledger(&mut self, input: Option<LedgerInput>) -> Result<(), Violation> {
        let at = self.now;
        let seen = if self.watch.bare { None } else { input.clone() };
        let mut effects = std::mem::take(&mut self.scratch.ledger);
        let deadline = tell(&mut self.ledger, at, input, &mut effects)?;
        if !self.watch.bare {
            let machine = &self.ledger;
            let call = Call::Ledger { input: seen.as_ref(), effects: &effects, machine };
            self.watch.see(&Step { at, call }, Ledger::EFFECTS)?;
        }
        for effect in effects.drain(..) {
            match effect {
                LedgerEffect::Send(envelope) => self.send(envelope),
                LedgerEffect::Event(_) => {}
                LedgerEffect::Finished => self.finished(LEDGER),
            }
        }
        self.scratch.ledger = effects;
        self.called(LEDGER, deadline)
    }

    pub(crate) fn collector(
        &mut self,
        life: usize,
        input: Option<CollectorInput>,
    ) -> Result<(), Violation> {
        let at = self.now;
        let seen = if self.watch.bare { None } else { input.clone() };
        let mut effects = std::mem::take(&mut self.scratch.collector);
        let machine = &mut self.lives[life].machine;
        let most = if self.watch.bare { 0 } else { machine.max_effects() };
        let deadline = tell(machine, at, input, &mut effects)?;
        if !self.watch.bare {
            let machine = &self.lives[life].machine;
            let input = seen.as_ref();
            let call = Call::Collector { index: life, input, effects: &effects, machine };
            self.watch.see(&Step { at, call }, most)?;
        }
        if !effects.is_empty() {
            for effect in effects.drain(..) {
                self.collector_effect(life, effect);
            }
        }
        self.scratch.collector = effects;
        self.called(LIVES + life, deadline)
    }

    #[inline]
    fn collector_effect(&mut self, life: usize, effect: CollectorEffect) {
        match effect {
            CollectorEffect::Send(envelope) => {
                self.acked(life, &envelope);
                self.send(envelope);
            }
            CollectorEffect::Read { read, .. } => {
                let faults = self.stormy();
                let ends = Source::begin(self.now, faults, &self.config.pace, &mut self.dice);
                if let Some(at) = ends {
                    let place = self.lives[life].place;
                    let jitter =
                        self.server.as_mut().map_or(Duration::ZERO, |server| server.jitter(place));
                    let at = at + jitter;
                    self.push(at, Event::ReadDone { life, read, start: self.now });
                }
            }
            CollectorEffect::Abort(read) => {
                // Its end may be on its way already.
                if !self.dice.chance(250) {
                    self.lives[life].aborted.push(read);
                }
            }
            CollectorEffect::Baseline { .. } => {}
            CollectorEffect::Finished => self.finished(LIVES + life),
        }
    }

    /// The node has nothing to do any more.
    pub(crate) fn finished(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        self.up -= usize::from(node.standing == Standing::Up);
        node.standing = Standing::Over;
        node.set_deadline(Tick::NEVER);
    }

    #[inline]
    fn send(&mut self, envelope: Envelope) {
        let arrivals =
            self.bus.arrivals(self.now, &envelope, self.config, self.stormy, &mut self.dice);
        match arrivals {
            [Some(at), None] => self.push(at, Event::Deliver(envelope)),
            [Some(at), Some(again)] => {
                self.push(at, Event::Deliver(envelope.clone()));
                self.push(again, Event::Deliver(envelope));
            }
            [None, _] => self.watch.lost(&envelope),
        }
    }
}
