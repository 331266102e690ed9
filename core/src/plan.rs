//! A validated description of a run: what the machines are built from.
//!
//! A [`RunPlan`] can only be made by [`RunPlan::new`], so that a machine never
//! meets a contradiction.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::PhaseId;
use crate::seed::Seed;

/// What a phase is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Brings the server into its working state; reported, never mixed into
    /// what is measured.
    Warmup,
    /// Measured.
    Profiling,
    /// Sends nothing for its duration, between gates of its own: what the GPUs
    /// take idle. Reported as the idle baseline, not as a phase.
    Idle,
}

/// The random process of open-loop arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "process", rename_all = "snake_case")]
pub enum ArrivalProcess {
    /// Equal gaps.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma-distributed gaps of this shape: 1 is Poisson, below 1 is burstier,
    /// above 1 is more even (the field's `burstiness`).
    Gamma {
        /// The shape.
        #[serde(with = "crate::journal::exact")]
        shape: f64,
    },
}

/// When credits are issued.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "load", rename_all = "snake_case")]
pub enum Arrival {
    /// Closed loop: as many requests in flight as there are slots.
    Concurrency {
        /// The slots.
        concurrency: u32,
    },
    /// Open loop: planned times on an absolute schedule from the phase's start.
    Rate {
        /// Requests per second; infinite means all at once.
        #[serde(with = "crate::journal::exact")]
        rate: f64,
        /// The process.
        #[serde(flatten)]
        process: ArrivalProcess,
        /// At most this many in flight; arrivals beyond it wait and keep their
        /// planned times.
        max_concurrency: Option<u32>,
    },
}

/// When a phase stops sending: at whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StopFields", into = "StopFields")]
pub enum Stop {
    /// After this many requests.
    Requests(u64),
    /// After this long.
    Duration(Duration),
    /// Either.
    Either(u64, Duration),
}

/// [`Stop`] as it is written.
#[derive(Serialize, Deserialize)]
struct StopFields {
    requests: Option<u64>,
    #[serde(with = "crate::time::seconds::option")]
    duration: Option<Duration>,
}

impl From<Stop> for StopFields {
    fn from(stop: Stop) -> Self {
        Self { requests: stop.requests(), duration: stop.duration() }
    }
}

impl TryFrom<StopFields> for Stop {
    type Error = &'static str;
    fn try_from(fields: StopFields) -> Result<Self, &'static str> {
        match (fields.requests, fields.duration) {
            (Some(n), Some(d)) => Ok(Self::Either(n, d)),
            (Some(n), None) => Ok(Self::Requests(n)),
            (None, Some(d)) => Ok(Self::Duration(d)),
            (None, None) => Err("a phase needs requests, a duration or both to stop at"),
        }
    }
}

impl Stop {
    /// The number of requests at which to stop.
    #[must_use]
    pub fn requests(&self) -> Option<u64> {
        match self {
            Self::Requests(n) | Self::Either(n, _) => Some(*n),
            Self::Duration(_) => None,
        }
    }

    /// The time after which to stop.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match self {
            Self::Duration(d) | Self::Either(_, d) => Some(*d),
            Self::Requests(_) => None,
        }
    }
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// Derived from seed, index and name.
    pub id: PhaseId,
    /// Unique within the run.
    pub name: String,
    /// What it is for.
    pub kind: PhaseKind,
    /// Starts when its predecessor stops sending.
    pub seamless: bool,
    /// When credits are issued.
    pub arrival: Arrival,
    /// When it stops sending.
    pub stop: Stop,
    /// Rate or concurrency grows linearly from (nearly) nothing to its value
    /// over this time; zero means at once.
    #[serde(with = "crate::time::seconds")]
    pub ramp: Duration,
    /// How long requests in flight may go on after sending stopped; `None`
    /// leaves them until the request timeout ends them.
    #[serde(with = "crate::time::seconds::option")]
    pub grace: Option<Duration>,
}

/// The gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePlan {
    /// Without gates there are no boundary readings.
    pub enabled: bool,
    /// A gate is released after this long, whatever is missing.
    #[serde(with = "crate::time::seconds")]
    pub timeout: Duration,
    /// The part of it that may be spent on settling.
    #[serde(with = "crate::time::seconds")]
    pub settle_timeout: Duration,
}

impl Default for GatePlan {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: Duration::from_secs(5),
            settle_timeout: Duration::from_secs(3),
        }
    }
}

/// Times that bound everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long services may take to be ready before the run starts without
    /// them.
    #[serde(with = "crate::time::seconds")]
    pub service_start: Duration,
    /// Time between two heartbeats of a service.
    #[serde(with = "crate::time::seconds")]
    pub heartbeat: Duration,
    /// So many heartbeats missed in a row and the service is evicted.
    pub heartbeat_misses: u32,
    /// After credits are complete, how long the ledger waits for records.
    #[serde(with = "crate::time::seconds")]
    pub credits_complete_fallback: Duration,
    /// One request takes at most this long.
    #[serde(with = "crate::time::seconds")]
    pub request_timeout: Duration,
    /// After cancelling what is left of a phase, how long it may take to come
    /// back before it is written off.
    #[serde(with = "crate::time::seconds")]
    pub drain: Duration,
    /// The longest grace after Ctrl-C; a shorter configured one holds.
    #[serde(with = "crate::time::seconds")]
    pub cancel_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            service_start: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            heartbeat_misses: 5,
            credits_complete_fallback: Duration::from_secs(10),
            request_timeout: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            cancel_grace: Duration::from_secs(5),
        }
    }
}

/// A phase as it is asked for, before validation.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseSpec {
    /// See [`PhasePlan::name`].
    pub name: String,
    /// See [`PhasePlan::kind`].
    pub kind: PhaseKind,
    /// See [`PhasePlan::seamless`].
    pub seamless: bool,
    /// Slots of a closed loop, or the cap of an open one.
    pub concurrency: Option<u32>,
    /// Requests per second of an open loop.
    pub request_rate: Option<f64>,
    /// Process of an open loop; Poisson if not given.
    pub arrival: Option<ArrivalProcess>,
    /// Stop after this many requests.
    pub requests: Option<u64>,
    /// Stop after this long.
    pub duration: Option<Duration>,
    /// See [`PhasePlan::ramp`].
    pub ramp: Option<Duration>,
    /// See [`PhasePlan::grace`]; where not given, 30 s for a phase with a
    /// duration and no limit for one without.
    pub grace: Option<Duration>,
}

impl PhaseSpec {
    /// A phase called `name` with nothing asked for yet.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: PhaseKind) -> Self {
        Self {
            name: name.into(),
            kind,
            seamless: false,
            concurrency: None,
            request_rate: None,
            arrival: None,
            requests: None,
            duration: None,
            ramp: None,
            grace: None,
        }
    }

    /// A phase called `name` that sends nothing for `duration`.
    #[must_use]
    pub fn idle(name: impl Into<String>, duration: Duration) -> Self {
        Self { duration: Some(duration), ..Self::new(name, PhaseKind::Idle) }
    }

    /// What a planned phase was planned from.
    fn of(phase: &PhasePlan) -> Self {
        let (concurrency, request_rate, arrival) = match phase.arrival {
            Arrival::Concurrency { concurrency } => (Some(concurrency), None, None),
            Arrival::Rate { rate, process, max_concurrency } => {
                (max_concurrency, Some(rate), Some(process))
            }
        };
        Self {
            name: phase.name.clone(),
            kind: phase.kind,
            seamless: phase.seamless,
            concurrency,
            request_rate,
            arrival,
            requests: phase.stop.requests(),
            duration: phase.stop.duration(),
            ramp: Some(phase.ramp),
            grace: phase.grace,
        }
    }
}

/// A plan that cannot be run: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}; {remedy}")]
pub struct PlanError {
    /// The key, e.g. `phases[1].seamless`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl PlanError {
    fn new(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// A validated run; also where it is read, e.g. from a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RunPlan {
    seed: u64,
    phases: Vec<PhasePlan>,
    gate: GatePlan,
    limits: Limits,
}

/// A plan as it was read.
#[derive(Deserialize)]
struct Unchecked {
    seed: u64,
    phases: Vec<PhasePlan>,
    gate: GatePlan,
    limits: Limits,
}

impl TryFrom<Unchecked> for RunPlan {
    type Error = PlanError;
    fn try_from(read: Unchecked) -> Result<Self, PlanError> {
        let specs = read.phases.iter().map(PhaseSpec::of).collect();
        let plan = Self::new(read.seed, specs, read.gate, read.limits)?;
        match plan.phases.iter().zip(&read.phases).position(|(made, read)| made != read) {
            None => Ok(plan),
            Some(index) => Err(PlanError::new(
                format!("phases[{index}]"),
                "is not what its own fields and the seed make of it",
                "use the plan as phasegate wrote it",
            )),
        }
    }
}

/// The grace period of a phase with a duration, where none is given.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The most requests a plan may ask of one phase (credit numbers are 32 bits).
pub const MAX_REQUESTS: u64 = u32::MAX as u64;

/// The most phases of a plan (phase indices are 16 bits).
pub const MAX_PHASES: usize = 10_000;

impl RunPlan {
    /// Checks `phases` and makes a plan of them.
    ///
    /// # Errors
    /// The first contradiction, with its key and remedy.
    pub fn new(
        seed: u64,
        phases: Vec<PhaseSpec>,
        gate: GatePlan,
        limits: Limits,
    ) -> Result<Self, PlanError> {
        check_gate(&gate)?;
        if phases.is_empty() {
            return Err(PlanError::new("phases", "is empty", "give at least one phase"));
        }
        if phases.len() > MAX_PHASES {
            let problem = format!("has {} phases", phases.len());
            return Err(PlanError::new("phases", problem, format!("give at most {MAX_PHASES}")));
        }
        let root = Seed::root(seed);
        let mut planned: Vec<PhasePlan> = Vec::with_capacity(phases.len());
        for (index, spec) in phases.into_iter().enumerate() {
            if let Some(twin) = planned.iter().position(|p| p.name == spec.name) {
                return Err(PlanError::new(
                    format!("phases[{index}].name"),
                    format!("'{}' is the name of phases[{twin}] already", spec.name),
                    "give every phase its own name",
                ));
            }
            if spec.seamless && planned.last().is_some_and(|p| p.kind == PhaseKind::Idle) {
                return Err(PlanError::new(
                    format!("phases[{index}].seamless"),
                    "the phase before it is idle: there is no load to join",
                    "remove it, or put a phase with load before it",
                ));
            }
            planned.push(check_phase(&root, index, spec)?);
        }
        check_idle(&planned, &gate)?;
        Ok(Self { seed, phases: planned, gate, limits })
    }

    /// The run's seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The phases, in order; never empty, names unique, the first not seamless.
    #[must_use]
    pub fn phases(&self) -> &[PhasePlan] {
        &self.phases
    }

    /// The gates.
    #[must_use]
    pub fn gate(&self) -> &GatePlan {
        &self.gate
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

fn check_gate(gate: &GatePlan) -> Result<(), PlanError> {
    if gate.enabled && gate.timeout.is_zero() {
        let remedy = "give a time above 0, or switch gates off with enabled: false";
        return Err(PlanError::new("gate.timeout", "is 0", remedy));
    }
    if gate.settle_timeout > gate.timeout {
        return Err(PlanError::new(
            "gate.settle_timeout",
            format!("{:?} is longer than gate.timeout {:?}", gate.settle_timeout, gate.timeout),
            "settling is part of the gate's time: lower it, or raise gate.timeout",
        ));
    }
    Ok(())
}

fn check_idle(phases: &[PhasePlan], gate: &GatePlan) -> Result<(), PlanError> {
    let idle = phases.iter().filter(|phase| phase.kind == PhaseKind::Idle).count();
    if idle == phases.len() {
        return Err(PlanError::new("phases", "all are idle", "give at least one phase with load"));
    }
    if idle > 0 && !gate.enabled {
        return Err(PlanError::new(
            "idle_baseline",
            "needs readings at boundaries, and gates are disabled",
            "enable gates, or leave the idle baseline out",
        ));
    }
    Ok(())
}

fn check_phase(root: &Seed, index: usize, spec: PhaseSpec) -> Result<PhasePlan, PlanError> {
    let at = |key: &str| format!("phases[{index}].{key}");
    if spec.name.trim().is_empty() {
        return Err(PlanError::new(at("name"), "is empty", "give the phase a name"));
    }
    if spec.seamless && index == 0 {
        return Err(PlanError::new(
            at("seamless"),
            "the first phase has no predecessor to join",
            "remove it, or put a phase before it",
        ));
    }
    let arrival = check_arrival(&at, &spec)?;
    let stop = check_stop(&at, &spec)?;
    let grace = spec.grace.or(spec.duration.map(|_| DEFAULT_GRACE));
    Ok(PhasePlan {
        id: PhaseId::derive(root, index, &spec.name),
        name: spec.name,
        kind: spec.kind,
        seamless: spec.seamless,
        arrival,
        stop,
        ramp: spec.ramp.unwrap_or_default(),
        grace,
    })
}

fn check_arrival(at: &impl Fn(&str) -> String, spec: &PhaseSpec) -> Result<Arrival, PlanError> {
    if spec.kind == PhaseKind::Idle {
        let load = spec.concurrency.is_some_and(|n| n > 0)
            || spec.request_rate.is_some()
            || spec.arrival.is_some()
            || spec.requests.is_some()
            || spec.seamless;
        if load {
            return Err(PlanError::new(
                at("kind"),
                "an idle phase has nothing but a duration",
                "remove its load, or make it warmup or profiling",
            ));
        }
        return Ok(Arrival::Concurrency { concurrency: 0 });
    }
    if spec.concurrency == Some(0) {
        return Err(PlanError::new(at("concurrency"), "is 0", "give at least 1"));
    }
    let Some(rate) = spec.request_rate else {
        if spec.arrival.is_some() {
            return Err(PlanError::new(
                at("arrival"),
                "an arrival process needs a request rate",
                "add request_rate, or remove arrival",
            ));
        }
        let Some(concurrency) = spec.concurrency else {
            return Err(PlanError::new(
                at("concurrency"),
                "neither concurrency nor request_rate is given",
                "give one of them",
            ));
        };
        return Ok(Arrival::Concurrency { concurrency });
    };
    if rate.is_nan() || rate <= 0.0 {
        return Err(PlanError::new(
            at("request_rate"),
            format!("{rate} is not a rate"),
            "give requests per second above 0, or inf",
        ));
    }
    let process = spec.arrival.unwrap_or(ArrivalProcess::Poisson);
    if let ArrivalProcess::Gamma { shape } = process
        && !(shape.is_finite() && shape > 0.0)
    {
        return Err(PlanError::new(
            at("burstiness"),
            format!("{shape} is not a shape"),
            "give a number above 0 (1 is Poisson)",
        ));
    }
    if rate.is_infinite() && spec.requests.is_none() && spec.concurrency.is_none() {
        return Err(PlanError::new(
            at("request_rate"),
            "inf with neither requests nor concurrency would send without bound",
            "add requests or concurrency",
        ));
    }
    Ok(Arrival::Rate { rate, process, max_concurrency: spec.concurrency })
}

fn check_stop(at: &impl Fn(&str) -> String, spec: &PhaseSpec) -> Result<Stop, PlanError> {
    if spec.requests == Some(0) {
        return Err(PlanError::new(at("requests"), "is 0", "give at least 1"));
    }
    if spec.requests.is_some_and(|n| n > MAX_REQUESTS) {
        let remedy = format!("give at most {MAX_REQUESTS}");
        return Err(PlanError::new(at("requests"), "is too many for one phase", remedy));
    }
    if spec.duration.is_some_and(|d| d.is_zero()) {
        return Err(PlanError::new(at("duration"), "is 0", "give a time above 0"));
    }
    match (spec.requests, spec.duration) {
        (Some(n), None) => Ok(Stop::Requests(n)),
        (None, Some(d)) => Ok(Stop::Duration(d)),
        (Some(n), Some(d)) => Ok(Stop::Either(n, d)),
        (None, None) => Err(PlanError::new(
            at("requests"),
            "the phase has no end: neither requests nor duration is given",
            "give one of them, or both (the first reached stops it)",
        )),
    }
}

#[cfg(test)]
mod tests;
