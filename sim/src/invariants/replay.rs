//! G11: the same journal gives the same effects, byte for byte. A replay feeds a
//! recorded journal to fresh machines, compares every effect, and shows every
//! step to the other invariants.

use core::fmt::Debug;

use phasegate_core::collector::Collector;
use phasegate_core::conductor::Conductor;
use phasegate_core::conductor::report::ConductorReport;
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::controller::{Controller, ControllerEffect};
use phasegate_core::journal::{
    Entry, Journal, JournalError, Kind, Mismatch, Problem, ReplayError, Replayed, Tail,
    decode_input, digest,
};
use phasegate_core::ledger::Ledger;
use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::machine::Machine;
use phasegate_core::plan::RunPlan;
use phasegate_core::readiness::Readiness;
use phasegate_core::setup::{Settings, node};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Violation, Watch};
use crate::trace::{Call, Step};

/// Fresh machines that a journal's entries are fed to, one after the other.
#[derive(Debug)]
pub struct Replayer {
    controller: Node<Controller>,
    conductor: Node<Conductor>,
    ledger: Node<Ledger>,
    readiness: Node<Readiness>,
    collectors: Vec<Node<Collector>>,
    done: Replayed,
    /// Something of the run itself was replayed, not only the wait for it.
    begun: bool,
    ended: bool,
}

#[derive(Debug)]
struct Node<M: Machine> {
    machine: M,
    effects: Vec<M::Effect>,
}

impl<M: Machine> Node<M> {
    fn new(machine: M) -> Self {
        Self { machine, effects: Vec::new() }
    }

    /// Feeds one entry and compares; what the input was, `None` for a timeout.
    fn step(&mut self, entry: &Entry, number: u64) -> Result<Option<M::Input>, Box<Mismatch>>
    where
        M::Input: Clone + DeserializeOwned + Debug,
        M::Effect: Serialize + Debug,
    {
        self.effects.clear();
        let input: Result<Option<M::Input>, JournalError> = match &entry.kind {
            Kind::Input(bytes) => decode_input(bytes).map(Some),
            Kind::Timeout => Ok(None),
        };
        match &input {
            Ok(Some(input)) => self.machine.handle(entry.at, input.clone(), &mut self.effects),
            Ok(None) => self.machine.handle_timeout(entry.at, &mut self.effects),
            Err(_) => {}
        }
        let found = input.as_ref().map_err(Clone::clone).and_then(|_| digest(&self.effects));
        let problem = match found {
            Ok(found) if found == entry.effects => return Ok(input.unwrap_or_default()),
            Ok(found) => Problem::Effects { recorded: entry.effects, found },
            Err(error) => Problem::Journal(error),
        };
        Err(Box::new(Mismatch {
            number,
            node: entry.node,
            at: entry.at,
            problem,
            input: match input {
                Ok(Some(input)) => format!("{input:?}"),
                Ok(None) => "timeout".to_owned(),
                Err(error) => error.to_string(),
            },
            effects: format!("{:?}", self.effects),
        }))
    }
}

impl Replayer {
    /// The machines of a run of `plan`.
    #[must_use]
    pub fn new(settings: &Settings, plan: &RunPlan) -> Self {
        Self {
            controller: Node::new(settings.controller(plan)),
            conductor: Node::new(settings.conductor(plan)),
            ledger: Node::new(settings.ledger(plan)),
            readiness: Node::new(settings.readiness()),
            collectors: settings.collectors().map(Node::new).collect(),
            done: Replayed::default(),
            begun: false,
            ended: false,
        }
    }

    /// Feeds one entry, compares its effects, and shows the step.
    ///
    /// # Errors
    /// The difference.
    pub fn step(
        &mut self,
        entry: &Entry,
        see: &mut impl FnMut(&Step<'_>),
    ) -> Result<(), Box<Mismatch>> {
        let number = self.done.entries;
        let at = entry.at;
        let effects = match entry.node {
            node::CONTROLLER => {
                let input = self.controller.step(entry, number)?;
                let Node { machine, effects } = &self.controller;
                self.ended |= effects.contains(&ControllerEffect::Finished);
                let call = Call::Controller { input: input.as_ref(), effects, machine };
                see(&Step { at, call });
                effects.len()
            }
            node::CONDUCTOR => {
                let input = self.conductor.step(entry, number)?;
                let Node { machine, effects } = &self.conductor;
                let call = Call::Conductor { input: input.as_ref(), effects, machine };
                see(&Step { at, call });
                effects.len()
            }
            node::LEDGER => {
                let input = self.ledger.step(entry, number)?;
                let Node { machine, effects } = &self.ledger;
                see(&Step { at, call: Call::Ledger { input: input.as_ref(), effects, machine } });
                effects.len()
            }
            node::READINESS => {
                self.readiness.step(entry, number)?;
                self.readiness.effects.len()
            }
            collector => {
                let index = usize::from(collector - node::COLLECTORS);
                let Some(node) = self.collectors.get_mut(index) else {
                    return Err(Box::new(Mismatch {
                        number,
                        node: entry.node,
                        at,
                        problem: Problem::NoSuchNode,
                        input: format!("{:?}", entry.kind),
                        effects: "[]".to_owned(),
                    }));
                };
                let input = node.step(entry, number)?;
                let Node { machine, effects } = &*node;
                let call = Call::Collector { index, input: input.as_ref(), effects, machine };
                see(&Step { at, call });
                effects.len()
            }
        };
        self.begun |= entry.node != node::READINESS;
        self.done.entries += 1;
        self.done.effects += effects as u64;
        Ok(())
    }
}

/// What a journal was found to hold.
#[derive(Debug)]
pub struct Checked {
    /// How much was replayed, all of it the same.
    pub replayed: Replayed,
    /// On how many machines.
    pub machines: usize,
    /// The run's seed.
    pub seed: u64,
    /// The run's plan.
    pub plan: RunPlan,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How the journal ends.
    pub tail: Tail,
    /// The run was begun and its end is not in the journal, so that what must
    /// hold at the end was not checked.
    pub cut_off: bool,
    /// What the controller knew at the end.
    pub controller: ControllerReport,
    /// What the conductor knew at the end.
    pub conductor: ConductorReport,
    /// What the ledger knew at the end; without gaps between chunks, which are
    /// not in the journal.
    pub ledger: LedgerReport,
}

/// Replays a journal and holds every step against the invariants.
///
/// # Errors
/// The first difference (G11), or where the journal is damaged.
pub fn check(bytes: &[u8]) -> Result<Checked, ReplayError> {
    let journal = Journal::open(bytes)?;
    let (header, mut entries) = (&journal.header, journal.entries());
    let settings = Settings::from_header(header)?;
    let mut replayer = Replayer::new(&settings, &header.plan);
    let mut watch = Watch::new(&header.plan, settings.collectors.len());
    for entry in entries.by_ref() {
        replayer.step(&entry?, &mut |step| watch.observe(step))?;
    }
    let Replayer { controller, conductor, mut ledger, collectors, done, begun, ended, .. } =
        replayer;
    let cut_off = begun && !ended;
    Ok(Checked {
        replayed: done,
        machines: 4 + collectors.len(),
        seed: header.seed,
        plan: header.plan.clone(),
        violations: if cut_off { watch.cut_off() } else { watch.finish() },
        tail: entries.tail().cloned().unwrap_or(Tail::Clean),
        cut_off,
        controller: controller.machine.report(),
        conductor: conductor.machine.report(),
        ledger: ledger.machine.report(),
    })
}
