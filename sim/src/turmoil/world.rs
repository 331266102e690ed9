//! Builds the hosts of a scenario, steps the network, makes the faults happen,
//! and gathers what is left.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use phasegate_core::account::result::{ClientResult, RunResult};
use phasegate_core::account::{Attribution, Evidence as Account, RunFacts, assemble};
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::journal::{Entry, replay};
use phasegate_core::reading::Reading;
use phasegate_core::setup::{Settings, node};
use phasegate_core::time::Tick;
use phasegate_runtime::export::journal::Recorder;
use phasegate_runtime::export::lines::LineSender;
use tokio::sync::Notify;

use super::hosts::{Common, Ends, STARTED_AT};
use super::log::Log;
use super::rules::Rules;
use super::scenario::{Action, Place, Scenario, When, number};
use super::verdict::{self, Evidence};
use crate::invariants::Watch;
use crate::invariants::result::check_result;
use crate::server::{OnStreams, Tally};

/// Readings and journal entries that one node may leave.
const KEPT: usize = 16_384;
/// Segments that a simulated socket holds.
const TCP_CAPACITY: usize = 1024;

/// A run that is over.
#[derive(Debug)]
pub struct Outcome {
    /// Simulated time until the last node had ended.
    pub elapsed: Duration,
    /// Calls of machines.
    pub steps: u64,
    /// Entries of the journal that were replayed without a difference.
    pub replayed: u64,
    /// What is wrong, in sentences; empty for a clean run.
    pub failures: Vec<String>,
    /// The result, unless the bench was lost.
    pub result: Option<RunResult>,
    /// What the controller knows, unless it was lost.
    pub controller: Option<ControllerReport>,
    /// Every reading that was taken, collector by collector.
    pub readings: Vec<Reading>,
    /// Every life of the server, with when it began.
    pub servers: Vec<(Duration, OnStreams)>,
    /// One line a step, where that was asked for, and the result as JSON.
    pub text: String,
}

/// Runs a scenario to its end. With `text` its steps are written down.
#[must_use]
pub fn run(scenario: &Scenario, text: bool) -> Outcome {
    let mut world = World::new(scenario);
    let watch = Watch::new(&scenario.plan, scenario.collectors.len());
    Log::begin(Rules::new(scenario.plan.clone()), watch, text);
    let mut failures = Vec::new();
    if let Err(why) = world.steps() {
        failures.push(why);
    }
    let elapsed = world.sim.elapsed();
    let log = Log::end();
    world.end().outcome(log, elapsed, failures)
}

struct World<'a> {
    sim: turmoil::Sim<'a>,
    scenario: &'a Scenario,
    common: Arc<Common>,
    readings: Vec<Receiver<Vec<u8>>>,
    journals: Vec<Receiver<Entry>>,
    /// Faults that have not happened yet.
    faults: Vec<super::scenario::Fault>,
    down: BTreeSet<Place>,
    /// Hosts that were down at some time: their journal is of two lives.
    crashed: BTreeSet<Place>,
    quiet: bool,
    /// The controller has been told to end: whoever comes back now is too late.
    stopping: bool,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let settings = scenario.settings();
        let collectors = scenario.collectors.len();
        let (readings, lines): (Vec<_>, Vec<_>) = (0..collectors)
            .map(|_| LineSender::in_memory(KEPT))
            .map(|(sender, receiver)| (receiver, sender))
            .unzip();
        let nodes =
            (0..node::COLLECTORS).chain((0..collectors).map(|n| node::COLLECTORS + number(n)));
        let (journals, recorders): (Vec<_>, Vec<_>) = nodes
            .map(|number| Recorder::in_memory(number, KEPT))
            .map(|(recorder, receiver)| (receiver, recorder))
            .unzip();
        let routes = Arc::new(Common::routes(&settings));
        let ends = Ends { collectors: vec![false; collectors], ..Ends::default() };
        let common = Arc::new(Common {
            scenario: scenario.clone(),
            settings,
            routes,
            ends: Mutex::new(ends),
            readings: lines,
            recorders,
            cancel: Notify::new(),
        });
        let mut builder = turmoil::Builder::new();
        let (shortest, longest) = scenario.latency;
        builder
            .rng_seed(scenario.seed)
            .epoch(UNIX_EPOCH + STARTED_AT)
            .tick_duration(scenario.tick)
            .simulation_duration(scenario.bound() * 2)
            .min_message_latency(shortest)
            .max_message_latency(longest)
            .tcp_capacity(TCP_CAPACITY);
        if scenario.random_order {
            builder.enable_random_order();
        }
        let mut sim = builder.build();
        for place in scenario.places() {
            let common = Arc::clone(&common);
            let name = place.to_string();
            match place {
                Place::Controller => sim.host(name, move || Arc::clone(&common).controller()),
                Place::Bench => sim.host(name, move || Arc::clone(&common).bench()),
                Place::Server => sim.host(name, move || Arc::clone(&common).server()),
                Place::Collector(n) => {
                    sim.host(name, move || Arc::clone(&common).collector(usize::from(n)));
                }
            }
        }
        Self {
            sim,
            scenario,
            common,
            readings,
            journals,
            faults: scenario.faults.clone(),
            down: BTreeSet::new(),
            crashed: BTreeSet::new(),
            quiet: false,
            stopping: false,
        }
    }

    /// Steps until every node that can end has ended.
    fn steps(&mut self) -> Result<(), String> {
        let bound = self.scenario.bound();
        loop {
            self.sim.step().map_err(|error| format!("a host failed: {error}"))?;
            let now = self.sim.elapsed();
            self.strike(now);
            if now >= self.scenario.quiet && !self.quiet {
                self.calm(now);
            }
            if self.ended() {
                return Ok(());
            }
            if now > bound {
                return Err(format!("did not end within {bound:?}: {}", self.waits()));
            }
        }
    }

    /// Makes happen what is due.
    fn strike(&mut self, now: Duration) {
        let plan = &self.scenario.plan;
        let due = |when: &When| match when {
            When::At(at) => *at <= now,
            When::Boundary { phase, kind, after } => {
                let id = plan.phases().get(*phase).map(|phase| phase.id);
                let opened = id.and_then(|id| Log::boundary(id, *kind));
                opened.is_some_and(|at| at + *after <= Tick::ZERO + now)
            }
        };
        if self.quiet || self.faults.is_empty() {
            return;
        }
        let (now_due, later): (Vec<_>, Vec<_>) =
            self.faults.drain(..).partition(|fault| due(&fault.when));
        self.faults = later;
        for fault in now_due {
            Log::remark(now, &format!("{:?}", fault.action));
            self.act(fault.action);
        }
    }

    fn act(&mut self, action: Action) {
        let name = |place: Place| place.to_string();
        match action {
            Action::Partition(a, b) => self.sim.partition(name(a), name(b)),
            Action::PartitionOneway(from, to) => self.sim.partition_oneway(name(from), name(to)),
            Action::Hold(a, b) => self.sim.hold(name(a), name(b)),
            Action::Heal(a, b) => self.sim.release(name(a), name(b)),
            Action::Latency(a, b, latency) => {
                self.sim.set_link_latency(name(a), name(b), latency);
            }
            Action::Crash(place) => {
                if self.down.insert(place) {
                    self.crashed.insert(place);
                    if place != Place::Server {
                        Log::cut_off();
                    }
                    self.sim.crash(name(place));
                }
            }
            Action::Bounce(place) => {
                self.down.remove(&place);
                self.crashed.insert(place);
                if place != Place::Server {
                    Log::cut_off();
                }
                self.sim.bounce(name(place));
            }
            Action::Cancel => self.common.cancel.notify_one(),
        }
    }

    /// From here on nothing goes wrong.
    fn calm(&mut self, now: Duration) {
        self.quiet = true;
        Log::remark(now, "quiet");
        let places = self.scenario.places();
        let (shortest, _) = self.scenario.latency;
        for (n, a) in places.iter().enumerate() {
            for b in places.iter().skip(n + 1) {
                self.act(Action::Heal(*a, *b));
                self.act(Action::Latency(*a, *b, shortest));
            }
        }
        for place in self.down.clone() {
            // A bench that came back would begin a second run. Without a
            // controller nobody would tell the others that the run is over.
            let back = match place {
                Place::Bench => false,
                Place::Controller => true,
                Place::Server | Place::Collector(_) => self.scenario.revive,
            };
            if back {
                self.act(Action::Bounce(place));
            }
        }
    }

    /// Whether every node has ended that is not down for good. The controller is
    /// told to once all others have: it answers those that missed the shutdown.
    fn ended(&mut self) -> bool {
        let mut ends = self.common.ends();
        let crashed = |place| self.crashed.contains(&place);
        let bench = (ends.conductor.is_some() && ends.ledger.is_some()) || crashed(Place::Bench);
        let collectors = ends.collectors.iter().enumerate().all(|(n, done)| {
            *done || (self.down.contains(&Place::Collector(number(n))) && !self.may_return())
        });
        // A controller that was lost may find nobody left to end a run with.
        let ended = Log::run_ended() || crashed(Place::Controller);
        self.stopping |= bench && collectors && ended;
        if !self.stopping {
            return false;
        }
        if let Some(stop) = ends.stop.take() {
            let _ = stop.send(());
        }
        ends.controller.is_some()
    }

    /// Whether a host that is down may still come back.
    fn may_return(&self) -> bool {
        self.scenario.revive && !self.quiet
    }

    /// Who has not ended.
    fn waits(&self) -> String {
        let ends = self.common.ends();
        let mut waits = Vec::new();
        if ends.conductor.is_none() {
            waits.push("conductor".to_owned());
        }
        if ends.ledger.is_none() {
            waits.push("ledger".to_owned());
        }
        for (n, done) in ends.collectors.iter().enumerate() {
            if !done {
                waits.push(format!("collector-{n}"));
            }
        }
        if ends.controller.is_none() {
            waits.push("controller".to_owned());
        }
        format!("waiting for {}", waits.join(", "))
    }

    /// Ends the hosts, so that nothing is recorded any more.
    fn end(self) -> Remains<'a> {
        let Self { sim, scenario, common, readings, journals, crashed, .. } = self;
        drop(sim);
        Remains { scenario, common, readings, journals, crashed }
    }
}

/// What is left of a world.
struct Remains<'a> {
    scenario: &'a Scenario,
    common: Arc<Common>,
    readings: Vec<Receiver<Vec<u8>>>,
    journals: Vec<Receiver<Entry>>,
    crashed: BTreeSet<Place>,
}

impl Remains<'_> {
    fn outcome(self, log: Option<Log>, elapsed: Duration, mut failures: Vec<String>) -> Outcome {
        let settings = &self.common.settings;
        let ends = std::mem::take(&mut *self.common.ends());
        let replayed = match self.replay(settings) {
            Ok(entries) => entries,
            Err(why) => {
                failures.push(why);
                0
            }
        };
        let (result, readings) = self.result(&ends, settings, &mut failures);
        let truth: Vec<Tally> = ends.servers.iter().map(|(_, s)| s.truth().total).collect();
        failures.extend(verdict::judge(&Evidence {
            scenario: self.scenario,
            controller: ends.controller.as_ref(),
            result: result.as_ref(),
            truth: &truth,
            controller_lost: self.crashed.contains(&Place::Controller),
        }));
        if let (Some(result), Some(controller)) = (&result, &ends.controller)
            && !self.crashed.contains(&Place::Controller)
        {
            failures.extend(check_result(result, controller).iter().map(ToString::to_string));
        }
        let (mut text, mut steps) = (String::new(), 0);
        if let Some(log) = log {
            failures.extend(log.violations);
            steps = log.steps;
            if let Some(lines) = log.text {
                text = lines;
                text.push_str(&serde_json::to_string(&result).unwrap_or_default());
                text.push('\n');
            }
        }
        let Ends { controller, servers, .. } = ends;
        Outcome { elapsed, steps, replayed, failures, result, controller, readings, servers, text }
    }

    /// Feeds every node's journal to a fresh machine: the same inputs give the
    /// same effects.
    fn replay(&self, settings: &Settings) -> Result<u64, String> {
        let lives = |number: u8| match number {
            node::CONTROLLER => self.crashed.contains(&Place::Controller),
            node::CONDUCTOR | node::LEDGER | node::READINESS => {
                self.crashed.contains(&Place::Bench)
            }
            collector => self.crashed.contains(&Place::Collector(collector - node::COLLECTORS)),
        };
        let entries = (0_u8..).zip(&self.journals).filter(|(number, _)| !lives(*number));
        let entries = entries.flat_map(|(_, journal)| journal.try_iter()).map(Ok);
        let mut machines = settings.replayers(&self.scenario.plan);
        let replayed = replay(entries, &mut machines)
            .map_err(|error| format!("the journal gives other effects when replayed: {error}"))?;
        Ok(replayed.entries)
    }

    /// The result, by the same functions of core that a real run uses.
    fn result(
        &self,
        ends: &Ends,
        settings: &Settings,
        failures: &mut Vec<String>,
    ) -> (Option<RunResult>, Vec<Reading>) {
        let mut readings = Vec::new();
        for line in self.readings.iter().flat_map(Receiver::try_iter) {
            match serde_json::from_slice::<Reading>(&line) {
                Ok(reading) => readings.push(reading),
                Err(error) => failures.push(format!("a reading cannot be read back: {error}")),
            }
        }
        let (Some(conductor), Some(ledger)) = (&ends.conductor, &ends.ledger) else {
            return (None, readings);
        };
        // A controller that was lost knows nothing.
        let plan = &self.scenario.plan;
        let controller =
            ends.controller.clone().unwrap_or_else(|| settings.controller(plan).report());
        let account = Account { plan, controller: &controller, conductor, ledger };
        let mut attribution = Attribution::new(&account);
        for reading in &readings {
            attribution.feed(reading);
        }
        let facts = RunFacts {
            notes: Vec::new(),
            run_id: self.scenario.name.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: String::new(),
            finished_at: String::new(),
            config: serde_json::Value::Null,
            client: ClientResult {
                dispatch_lag_us: ledger.dispatch_lag_us,
                ..ClientResult::default()
            },
            interrupted: conductor.cancelled,
            reasons: Vec::new(),
        };
        (Some(assemble(&account, &attribution.finish(), facts)), readings)
    }
}
