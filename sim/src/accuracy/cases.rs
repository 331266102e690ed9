//! The cases, and a scenario of each from a seed.

use std::time::Duration;

use phasegate_core::plan::{
    ArrivalProcess, GatePlan, Limits, PhaseKind, PhaseSpec, PlanError, RunPlan,
};
use phasegate_core::seed::Seed;
use rand_core::Rng;

use crate::server::{Hazard, ServerConfig};
use crate::turmoil::scenario::{Scenario, Source};

/// A kind of trouble.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// What is the matter, in a few words.
    pub what: &'static str,
    /// How long a measured phase sends: shortest and longest, in milliseconds.
    pub sending_ms: (u64, u64),
    /// Hazards of the server. `RANDOM` in one stands for a number of requests that lies
    /// within the measured phases.
    pub hazards: &'static [&'static str],
    /// What is read.
    pub sources: &'static [Source],
    /// The last phase begins while the one before it is in flight.
    pub seamless: bool,
}

const BOTH: &[Source] = &[Source::Server, Source::Nvml];
const EXPORTER: &[Source] = &[Source::Server, Source::Gpus];
const REPLICAS: &[Source] = &[Source::Replica(1), Source::Replica(2), Source::Nvml];

/// A phase of about five seconds, with nothing the matter.
const CALM: Case = Case {
    name: "",
    what: "",
    sending_ms: (3000, 8000),
    hazards: &["energy-tick:20ms"],
    sources: BOTH,
    seamless: false,
};

macro_rules! case {
    ($name:literal, $what:literal $(, $field:ident: $value:expr)*) => {
        Case { name: $name, what: $what $(, $field: $value)*, ..CALM }
    };
}

/// Every case.
pub const CASES: &[Case] = &[
    case!("short-0.3s", "phases of 0.3 s", sending_ms: (300, 300)),
    case!("short-1s", "phases of 1 s", sending_ms: (1000, 1000)),
    case!("long", "phases of 20 to 40 s", sending_ms: (20_000, 40_000)),
    case!("slow-scrapes", "`/metrics` takes 0.7 s",
        hazards: &["metrics-delay:700ms", "energy-tick:20ms"]),
    case!("jittery-scrapes", "`/metrics` takes 50 to 900 ms, values from anywhere in it",
        hazards: &["metrics-jitter:50ms-900ms", "energy-tick:20ms"]),
    case!("late-0.1s", "counters published 0.1 s late",
        hazards: &["publish-delay:100ms", "energy-tick:20ms"]),
    case!("late-0.5s", "counters published 0.5 s late",
        hazards: &["publish-delay:500ms", "energy-tick:20ms"]),
    case!("late-1s", "counters published 1 s late",
        hazards: &["publish-delay:1s", "energy-tick:20ms"]),
    case!("late-2.5s", "counters published 2.5 s late",
        hazards: &["publish-delay:2.5s", "energy-tick:20ms"]),
    case!("late-5s", "counters published 5 s late: after the settling",
        hazards: &["publish-delay:5s", "energy-tick:20ms"]),
    case!("late-tokens", "tokens published 1 s after their requests",
        hazards: &["publish-delay:1s,of=tokens", "energy-tick:20ms"]),
    case!("late-and-slow", "published 0.5 s late, read in 50 to 400 ms",
        hazards: &["publish-delay:500ms", "metrics-jitter:50ms-400ms", "energy-tick:20ms"]),
    case!("reset", "counters fall to 0 within a phase",
        hazards: &["reset-counters:RANDOM", "energy-tick:20ms"]),
    case!("restart", "another process within a phase",
        hazards: &["restart:RANDOM", "energy-tick:20ms"]),
    case!("early-restart", "another process, grown past the old values",
        hazards: &["restart:8", "energy-tick:20ms"]),
    case!("seamless", "a seamless neighbour", seamless: true),
    case!("foreign", "two foreign requests a second",
        hazards: &["foreign-traffic:2", "energy-tick:20ms"]),
    case!("foreign-rare", "a foreign request every ten seconds",
        hazards: &["foreign-traffic:0.1", "energy-tick:20ms"]),
    case!("tick-1ms", "energy counters tick every 1 ms", hazards: &["energy-tick:1ms"]),
    case!("tick-10ms", "energy counters tick every 10 ms", hazards: &["energy-tick:10ms"]),
    case!("tick-100ms", "energy counters tick every 100 ms", hazards: &["energy-tick:100ms"]),
    case!("tick-100ms-short", "the same, phases of 0.3 s",
        hazards: &["energy-tick:100ms"], sending_ms: (300, 300)),
    case!("drift", "idle power rises by 5 W a second",
        hazards: &["idle-drift:5", "energy-tick:20ms"]),
    case!("stale-1s", "DCGM refreshes every 1 s, phases of 15 to 30 s",
        hazards: &["gpu-refresh:1s"], sources: EXPORTER, sending_ms: (15_000, 30_000)),
    case!("stale-10s", "DCGM refreshes every 10 s, phases of 120 to 150 s",
        hazards: &["gpu-refresh:10s"], sources: EXPORTER, sending_ms: (120_000, 150_000)),
    case!("stale-10s-short", "the same, phases of 3 to 8 s",
        hazards: &["gpu-refresh:10s"], sources: EXPORTER),
    case!("stale-30s", "DCGM refreshes every 30 s, phases of 330 to 360 s",
        hazards: &["gpu-refresh:30s"], sources: EXPORTER, sending_ms: (330_000, 360_000)),
    case!("frozen", "DCGM answers and never changes",
        hazards: &["gpu-frozen:0s"], sources: EXPORTER),
    case!(
        "frozen-long",
        "the same, phases of 70 to 90 s",
        hazards: &["gpu-frozen:0s"],
        sources: EXPORTER,
        sending_ms: (70_000, 90_000)
    ),
    case!("replicas", "two replicas, each with its URL",
        hazards: &["replicas:2", "energy-tick:20ms"], sources: REPLICAS),
    case!("replicas-hidden", "two replicas behind one address",
        hazards: &["replicas:2", "energy-tick:20ms"]),
];

impl Case {
    /// The case of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CASES.iter().copied().find(|case| case.name == name)
    }

    /// The same trouble with phases of about a second, where nothing but the machinery is
    /// to be looked at.
    #[must_use]
    pub fn hurried(self) -> Self {
        Self { sending_ms: (300, 1000), ..self }
    }

    /// One of its runs.
    ///
    /// # Errors
    /// If the drawn plan or a hazard's text is none: a bug in this table.
    pub fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut rng = Seed::root(seed).child("accuracy").child(self.name).rng();
        let mut between = |low: u64, high: u64| low + rng.next_u64() % (high - low + 1);
        let millis = Duration::from_millis;
        let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
        warmup.concurrency = Some(u32::try_from(between(1, 3)).unwrap_or(1));
        warmup.requests = Some(between(1, 6));
        let warmed = warmup.requests.unwrap_or_default();
        let mut phases = vec![warmup];
        for name in ["first", "second"] {
            let mut phase = PhaseSpec::new(name, PhaseKind::Profiling);
            let (shortest, longest) = self.sending_ms;
            // Half of them closed loops; the long ones are not to be of many requests.
            if longest <= 10_000 && between(0, 1) == 0 {
                phase.concurrency = Some(u32::try_from(between(1, 4)).unwrap_or(1));
            } else {
                phase.request_rate = Some(between(2, 6) as f64);
                phase.arrival = Some(ArrivalProcess::Poisson);
            }
            phase.duration = Some(millis(between(shortest, longest)));
            phase.grace = Some(millis(10_000));
            phase.seamless = self.seamless && name == "second";
            phases.push(phase);
        }
        // Two measured phases of at least six requests each, in all but the shortest.
        let struck = warmed + between(2, 10);
        let hazards: Result<Vec<Hazard>, _> = self
            .hazards
            .iter()
            .map(|text| text.replace("RANDOM", &struck.to_string()).parse())
            .collect();
        let plan = plan(seed, phases).map_err(|error| error.to_string())?;
        let latency = millis(between(0, 2));
        Ok(Scenario {
            name: format!("{}-{seed}", self.name),
            seed,
            tick: millis(if self.sending_ms.1 > 60_000 { 20 } else { 1 }),
            latency: (latency, latency + millis(1)),
            random_order: false,
            plan,
            collectors: self.sources.to_vec(),
            interval: millis(333),
            server: ServerConfig {
                seed,
                ttft: millis(between(20, 120)),
                itl: millis(between(2, 12)),
                max_batch: 16,
                hazards: hazards.map_err(|error| error.to_string())?,
                keep_load: true,
                ..ServerConfig::default()
            },
            faults: Vec::new(),
            quiet: Duration::from_secs(1),
            revive: true,
        })
    }
}

/// The gates and waits that a user has without saying anything.
fn plan(seed: u64, phases: Vec<PhaseSpec>) -> Result<RunPlan, PlanError> {
    let gate = GatePlan {
        enabled: true,
        timeout: Duration::from_secs(5),
        settle_timeout: Duration::from_secs(3),
    };
    let limits = Limits {
        service_start: Duration::from_secs(10),
        heartbeat: Duration::from_secs(1),
        heartbeat_misses: 10,
        credits_complete_fallback: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        drain: Duration::from_secs(1),
        cancel_grace: Duration::from_secs(1),
    };
    RunPlan::new(seed, phases, gate, limits)
}
