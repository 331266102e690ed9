//! A validated description of a run: what the machines are built from.
//!
//! A [`RunPlan`] can only be made by [`RunPlan::new`], so that a machine never
//! meets a contradiction. `check` has what is refused; `load` what varies
//! within a phase: stages of its rate, requests that are cancelled; `inputs` what
//! the run's input says; `search` the phases that a search chooses.

mod check;
mod inputs;
mod load;
mod search;

use core::time::Duration;

use check::{check_gate, check_idle, check_limits, check_phase};

pub use inputs::{Inputs, MAX_ITEMS, MAX_TURNS, MAX_TURNS_OF_ONE, Schedule, Sessions};
use serde::{Deserialize, Serialize};

use crate::id::PhaseId;
use crate::search::SearchPlan;
use crate::seed::Seed;
pub use load::{Cancellation, MAX_STAGES, Stage};

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
    /// Open loop: the planned times of the input's trace
    /// ([`Inputs::schedule`]), from the phase's start.
    Fixed {
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
    /// Begin at most this many sessions; only where the input has sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_sessions: Option<u32>,
    /// The rate over time, where it is not one rate: the arrival's rate is then
    /// the highest of them, and the phase stops at the end of the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// The share of requests that the client cancels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// The largest share of failed requests (of those that completed or failed)
    /// with which the run goes on.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::journal::exact::option"
    )]
    pub max_error_rate: Option<f64>,
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
    /// So many heartbeats missed in a row and the service is evicted; at least 1.
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
    /// Send at the times of the input's trace.
    pub fixed_schedule: bool,
    /// Stop after this many sessions.
    pub sessions: Option<u64>,
    /// See [`PhasePlan::stages`]; instead of a rate, a ramp and a duration.
    pub stages: Vec<Stage>,
    /// See [`PhasePlan::cancellation`].
    pub cancellation: Option<Cancellation>,
    /// See [`PhasePlan::max_error_rate`].
    pub max_error_rate: Option<f64>,
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
            fixed_schedule: false,
            sessions: None,
            stages: Vec::new(),
            cancellation: None,
            max_error_rate: None,
        }
    }

    /// A phase called `name` that sends nothing for `duration`.
    #[must_use]
    pub fn idle(name: impl Into<String>, duration: Duration) -> Self {
        Self { duration: Some(duration), ..Self::new(name, PhaseKind::Idle) }
    }

    /// What a planned phase was planned from.
    #[must_use]
    pub fn of(phase: &PhasePlan) -> Self {
        let (concurrency, request_rate, arrival) = match phase.arrival {
            Arrival::Concurrency { concurrency } => (Some(concurrency), None, None),
            Arrival::Rate { rate, process, max_concurrency } => {
                (max_concurrency, Some(rate), Some(process))
            }
            Arrival::Fixed { max_concurrency } => (max_concurrency, None, None),
        };
        // Stages say rate and duration themselves.
        let one_rate = phase.stages.is_empty();
        Self {
            name: phase.name.clone(),
            kind: phase.kind,
            seamless: phase.seamless,
            concurrency,
            request_rate: request_rate.filter(|_| one_rate),
            arrival,
            requests: phase.stop.requests(),
            duration: phase.stop.duration().filter(|_| one_rate),
            ramp: Some(phase.ramp),
            grace: phase.grace,
            fixed_schedule: matches!(phase.arrival, Arrival::Fixed { .. }),
            sessions: phase.most_sessions.map(u64::from),
            stages: phase.stages.clone(),
            cancellation: phase.cancellation,
            max_error_rate: phase.max_error_rate,
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
    #[serde(skip_serializing_if = "Inputs::is_empty")]
    inputs: Inputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<SearchPlan>,
}

/// A plan as it was read.
#[derive(Deserialize)]
struct Unchecked {
    seed: u64,
    phases: Vec<PhasePlan>,
    gate: GatePlan,
    limits: Limits,
    #[serde(default)]
    inputs: Inputs,
    #[serde(default)]
    search: Option<SearchPlan>,
}

impl TryFrom<Unchecked> for RunPlan {
    type Error = PlanError;
    fn try_from(read: Unchecked) -> Result<Self, PlanError> {
        let specs = read.phases.iter().map(PhaseSpec::of).collect();
        let plan = Self::with_inputs(read.seed, specs, read.gate, read.limits, read.inputs)?;
        match plan.phases.iter().zip(&read.phases).position(|(made, read)| made != read) {
            None => match read.search {
                Some(search) => plan.with_search(search),
                None => Ok(plan),
            },
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
    /// Checks `phases` and makes a plan of them, with prompts that never run
    /// out.
    ///
    /// # Errors
    /// The first contradiction, with its key and remedy.
    pub fn new(
        seed: u64,
        phases: Vec<PhaseSpec>,
        gate: GatePlan,
        limits: Limits,
    ) -> Result<Self, PlanError> {
        Self::with_inputs(seed, phases, gate, limits, Inputs::default())
    }

    /// The same with what the run's input says.
    ///
    /// # Errors
    /// The first contradiction, with its key and remedy.
    pub fn with_inputs(
        seed: u64,
        phases: Vec<PhaseSpec>,
        gate: GatePlan,
        limits: Limits,
        inputs: Inputs,
    ) -> Result<Self, PlanError> {
        check_gate(&gate)?;
        check_limits(&limits)?;
        inputs.check()?;
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
            planned.push(check_phase(&root, index, spec, &inputs)?);
        }
        check_idle(&planned, &gate)?;
        Ok(Self { seed, phases: planned, gate, limits, inputs, search: None })
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

    /// What the run's input says.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod tests;
