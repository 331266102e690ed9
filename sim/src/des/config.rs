//! What one seed means: the plan, the services, the faults.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use phasegate_core::collector::CollectorPlan;
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::plan::{
    Arrival, ArrivalProcess, Cancellation, GatePlan, Inputs, Limits, PhaseKind, PhaseSpec,
    PlanError, RunPlan, Schedule, Sessions, Stage,
};
use phasegate_core::setup::Settings;
use phasegate_core::time::Tick;

use super::dice::{CONFIGURATION, Dice, HAZARDS, INPUTS};
use super::searches;
use crate::faults::{Faults, Hazards, Kinds, swarm};

const MS: u64 = 1_000_000;

/// What to simulate: a seed, and what of it is left out. Everything that a
/// failure needs to happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The seed.
    pub seed: u64,
    /// The kinds of faults that may occur.
    pub faults: Kinds,
    /// At most so many phases.
    pub phases: usize,
    /// At most so many collectors.
    pub collectors: usize,
    /// At most so many requests a phase.
    pub requests: u64,
    /// Faults stop at this moment, if they do not stop earlier.
    pub calm: Tick,
}

/// The most phases, collectors, and requests a phase, that a seed can have.
pub const MOST: (usize, usize, u64) = (4, 4, 12);

impl Request {
    /// All of what `seed` means.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (phases, collectors, requests) = MOST;
        Self { seed, faults: Kinds::ALL, phases, collectors, requests, calm: Tick::NEVER }
    }
}

/// The arguments that ask for it again: `--seed 7 --faults loss`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phases, collectors, requests) = MOST;
        write!(f, "--seed {}", self.seed)?;
        if self.faults != Kinds::ALL {
            write!(f, " --faults {}", self.faults)?;
        }
        if self.phases < phases {
            write!(f, " --phases {}", self.phases)?;
        }
        if self.collectors < collectors {
            write!(f, " --collectors {}", self.collectors)?;
        }
        if self.requests < requests {
            write!(f, " --requests {}", self.requests)?;
        }
        if self.calm < Tick::NEVER {
            write!(f, " --calm {}ms", self.calm.0.div_ceil(MS))?;
        }
        Ok(())
    }
}

/// How long things take where nothing goes wrong, in nanoseconds, from … to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A message on its way.
    pub link: (u64, u64),
    /// A request.
    pub request: (u64, u64),
    /// A reading.
    pub reading: (u64, u64),
    /// From the end of a request until the server's counters show it.
    pub publishing: (u64, u64),
}

impl Pace {
    /// A server and a network at their best.
    pub const BRISK: Self = Self {
        link: (20_000, 200_000),
        request: (2 * MS, 20 * MS),
        reading: (MS / 2, 5 * MS),
        publishing: (0, 10 * MS),
    };
}

/// One run, described.
#[derive(Debug, Clone)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// Its plan.
    pub plan: RunPlan,
    /// Its services. Later lives of collectors stand after all first ones.
    pub settings: Settings,
    /// How many of them are first lives.
    pub collectors: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// How long things take.
    pub pace: Pace,
}

impl Config {
    /// What `request` asks for.
    ///
    /// # Errors
    /// None that a test has ever seen: a plan that core refuses is a bug here.
    pub fn draw(request: &Request) -> Result<Self, PlanError> {
        let mut dice = Dice::new(request.seed, CONFIGURATION);
        let dice = &mut dice;
        let limits = draw_limits(dice);
        let gate = draw_gate(dice);
        let mut phases = draw_phases(dice, request);
        // Dice of their own: what else a seed means does not depend on them.
        let inputs = draw_inputs(&mut Dice::new(request.seed, INPUTS), &mut phases);
        let collectors = (dice.below(MOST.1 as u64 + 1) as usize).min(request.collectors);
        let pace = draw_pace(dice);
        let interval = Duration::from_nanos(dice.pick(&[0, 50, 100, 333, 1000]) * MS);
        let horizon = dice.skewed(20 * MS, 60_000 * MS);
        let mut faults = swarm::draw(dice, request.faults, collectors, horizon);
        faults.calm = faults.calm.min(request.calm);
        Hazards::draw(&mut Dice::new(request.seed, HAZARDS), request.faults, &mut faults);
        let plan = match searches::draw(request, &pace) {
            Some((search, phases)) => {
                RunPlan::new(request.seed, phases, gate, limits)?.with_search(search)?
            }
            None => RunPlan::with_inputs(request.seed, phases, gate, limits, inputs)?,
        };
        Ok(Self::new(plan, collectors, interval, faults, pace))
    }

    /// A run of `plan` with so many collectors, which read every `interval`.
    #[must_use]
    pub fn new(
        plan: RunPlan,
        collectors: usize,
        interval: Duration,
        faults: Faults,
        pace: Pace,
    ) -> Self {
        let heartbeat = plan.limits().heartbeat;
        let collector = |place: usize| CollectorPlan {
            id: collector_id(place),
            domain: if is_gpu(place) { Domain::telemetry() } else { Domain::server_metrics() },
            interval,
            heartbeat,
            read_timeout: interval.max(Duration::from_millis(500)),
            optional: false,
            // The last one is read as if it were one of several replicas; where
            // there are several endpoints, each is.
            sole: place != 2 && !(faults.hazards.endpoints && collectors > 2),
            tick_within: Duration::ZERO,
        };
        let reborn = |place: &usize| {
            faults.lives.get(*place).is_some_and(|l| l.restart.is_some() && l.end.is_some())
        };
        let settings = Settings {
            collectors: (0..collectors)
                .chain((0..collectors).filter(reborn))
                .map(collector)
                .collect(),
            goodput: BTreeMap::new(),
            streaming: true,
            produces_tokens: true,
            urls: Vec::new(),
            ready_timeout: Duration::ZERO,
        };
        Self { seed: plan.seed(), plan, settings, collectors, faults, pace }
    }
}

/// Every second collector reads GPUs, whose readings cannot be seen to settle.
pub(crate) fn is_gpu(place: usize) -> bool {
    place % 2 == 1
}

/// The id of the collector at this place: its last byte is the place's digit.
fn collector_id(place: usize) -> ServiceId {
    const IDS: [&str; MOST.1] =
        ["server_metrics/0", "gpu_telemetry/1", "server_metrics/2", "gpu_telemetry/3"];
    ServiceId::new(IDS[place % MOST.1])
}

/// Who a service is in a simulated run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Controller,
    Conductor,
    Ledger,
    Collector(usize),
}

/// Who `id` is.
#[inline]
pub(crate) fn who(id: &ServiceId) -> Option<Who> {
    if *id == ServiceId::controller() {
        Some(Who::Controller)
    } else if *id == ServiceId::conductor() {
        Some(Who::Conductor)
    } else if *id == ServiceId::ledger() {
        Some(Who::Ledger)
    } else {
        let last = id.as_str().as_bytes().last()?;
        last.is_ascii_digit().then(|| Who::Collector(usize::from(last - b'0')))
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn draw_limits(dice: &mut Dice) -> Limits {
    Limits {
        service_start: ms(dice.skewed(100, 10_000)),
        heartbeat: ms(dice.pick(&[200, 500, 1000, 1000])),
        heartbeat_misses: dice.pick(&[30, 2, 3, 5, 5]),
        credits_complete_fallback: ms(dice.skewed(100, 10_000)),
        request_timeout: ms(dice.skewed(500, 20_000)),
        drain: ms(dice.skewed(50, 5000)),
        cancel_grace: ms(dice.pick(&[0, 100, 1000, 5000])),
    }
}

fn draw_gate(dice: &mut Dice) -> GatePlan {
    let timeout = dice.skewed(50, 5000);
    GatePlan {
        enabled: !dice.chance(60),
        timeout: ms(timeout),
        settle_timeout: ms(dice.pick(&[0, timeout / 4, timeout * 3 / 5, timeout])),
    }
}

fn draw_pace(dice: &mut Dice) -> Pace {
    let request = dice.skewed(MS, 500 * MS);
    let reading = dice.skewed(MS / 2, 50 * MS);
    Pace {
        link: Pace::BRISK.link,
        request: (request, request * 3),
        reading: (reading, reading * 2),
        publishing: (0, dice.pick(&[0, 10, 100, 1000]) * MS),
    }
}

fn draw_phases(dice: &mut Dice, request: &Request) -> Vec<PhaseSpec> {
    let drawn = 1 + dice.below(MOST.0 as u64) as usize;
    let mut phases: Vec<PhaseSpec> = (0..drawn).map(|index| draw_phase(dice, index)).collect();
    phases.truncate(request.phases.max(1));
    for phase in &mut phases {
        phase.requests = phase.requests.map(|n| n.min(request.requests.max(1)));
    }
    phases
}

fn draw_phase(dice: &mut Dice, index: usize) -> PhaseSpec {
    let kind =
        if index == 0 && dice.chance(500) { PhaseKind::Warmup } else { PhaseKind::Profiling };
    let mut phase = PhaseSpec::new(["one", "two", "three", "four"][index % 4], kind);
    phase.seamless = dice.chance(400) && index > 0;
    phase.requests = Some(dice.skewed(1, MOST.2));
    phase.concurrency = Some(dice.skewed(1, 6) as u32);
    if dice.chance(300) {
        phase.request_rate = Some(dice.pick(&[5.0, 50.0, 1000.0, f64::INFINITY]));
        let gamma = ArrivalProcess::Gamma { shape: 0.5 };
        phase.arrival =
            Some(dice.pick(&[ArrivalProcess::Constant, ArrivalProcess::Poisson, gamma]));
        if dice.chance(500) {
            phase.concurrency = None;
        }
    }
    // A random schedule has no last moment: an open loop ends by the clock.
    if phase.request_rate.is_some() || dice.chance(250) {
        phase.duration = Some(ms(dice.skewed(20, 3000)));
    }
    phase.ramp = Some(ms(dice.pick(&[0, 0, 0, 100, 500])));
    phase.grace = dice.pick(&[None, None, Some(0), Some(50), Some(2000)]).map(ms);
    draw_policy(dice, &mut phase);
    phase
}

/// An input in every second run: items, sessions, or a trace that some of the
/// phases play.
fn draw_inputs(dice: &mut Dice, phases: &mut [PhaseSpec]) -> Inputs {
    let mut inputs = Inputs { repeat: dice.chance(200), ..Inputs::default() };
    let items = dice.skewed(1, 16);
    match dice.below(6) {
        0 => {
            let mut think = Vec::new();
            for _ in 0..items {
                let turns = dice.below(4);
                think.push((0..turns).map(|_| dice.pick(&[0, 0, 5, 300])).collect());
            }
            inputs.sessions = Sessions::new(think).ok();
            for phase in phases.iter_mut() {
                phase.sessions = dice.chance(300).then(|| dice.skewed(1, 6));
            }
        }
        1 => {
            let most = dice.pick(&[1, 500]);
            let mut offsets: Vec<u64> = (0..items).map(|_| dice.below(most) * MS).collect();
            offsets.sort_unstable();
            inputs.schedule = Schedule::new(offsets).ok();
            for phase in phases.iter_mut() {
                if !dice.chance(700) {
                    continue;
                }
                phase.fixed_schedule = true;
                (phase.request_rate, phase.arrival, phase.ramp) = (None, None, None);
                phase.stages.clear();
                phase.concurrency = phase.concurrency.filter(|_| dice.chance(500));
            }
        }
        2 => {}
        _ => return inputs,
    }
    inputs.items = u32::try_from(items).ok();
    inputs
}

/// What varies within a phase: its rate, what is cancelled, what may fail.
fn draw_policy(dice: &mut Dice, phase: &mut PhaseSpec) {
    if phase.request_rate.is_some() && dice.chance(250) {
        (phase.request_rate, phase.duration, phase.ramp) = (None, None, None);
        let stages = 1 + dice.below(3);
        let rates: &[f64] = &[0.0, 5.0, 50.0, 400.0];
        let stage = |place: u64| Stage {
            // The first sends something, whatever the others do.
            rate: if place == 0 { 20.0 } else { dice.pick(rates) },
            linear: dice.chance(500),
            length: ms(dice.skewed(10, 1000)),
        };
        phase.stages = (0..stages).map(stage).collect();
    }
    if dice.chance(200) {
        let share = dice.pick(&[0.1, 0.5, 1.0]);
        let delay = ms(dice.pick(&[0, 1, 5, 100]));
        phase.cancellation = Some(Cancellation { share, delay });
    }
    if phase.kind == PhaseKind::Profiling && dice.chance(150) {
        phase.max_error_rate = Some(dice.pick(&[0.0, 0.1, 0.5]));
    }
}

impl fmt::Display for Config {
    /// The configuration as a few lines of text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (index, phase) in self.plan.phases().iter().enumerate() {
            let seamless = if phase.seamless { ", seamless" } else { "" };
            let load = match phase.arrival {
                Arrival::Concurrency { concurrency } => format!("concurrency {concurrency}"),
                Arrival::Rate { rate, max_concurrency, .. } => {
                    format!("rate {rate}/s, at most {max_concurrency:?} in flight")
                }
                Arrival::Fixed { max_concurrency } => {
                    format!("fixed schedule, at most {max_concurrency:?} in flight")
                }
            };
            let stop = (phase.stop.requests(), phase.stop.duration());
            writeln!(
                f,
                "phase {index} {:<6}{seamless} {load}, stop {stop:?}, ramp {:?}, grace {:?}",
                phase.name, phase.ramp, phase.grace
            )?;
            let policy = (&phase.stages, phase.cancellation, phase.max_error_rate);
            if !phase.stages.is_empty() || policy.1.is_some() || policy.2.is_some() {
                writeln!(f, "  stages, cancellation, most errors {policy:?}")?;
            }
        }
        if !self.plan.inputs().is_empty() {
            writeln!(f, "inputs {:?}", self.plan.inputs())?;
        }
        if let Some(search) = self.plan.search() {
            writeln!(f, "search {search:?}")?;
        }
        writeln!(f, "gate {:?}", self.plan.gate())?;
        writeln!(f, "limits {:?}", self.plan.limits())?;
        writeln!(f, "collectors {}, pace {:?}", self.collectors, self.pace)?;
        write!(f, "{}", self.faults)
    }
}
