//! What is run, and what goes wrong.

use std::fmt;
use std::time::Duration;

use phasegate_core::ServiceId;
use phasegate_core::collector::CollectorPlan;
use phasegate_core::id::Domain;
use phasegate_core::message::BaselineKind;
use phasegate_core::plan::{Arrival, RunPlan};
use phasegate_core::setup::Settings;

use crate::server::ServerConfig;

/// A host of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The controller's.
    Controller,
    /// That of conductor, ledger and load engine.
    Bench,
    /// The inference server's; its exporters are there too.
    Server,
    /// That of the collector with this number.
    Collector(u8),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("controller"),
            Self::Bench => f.write_str("bench"),
            Self::Server => f.write_str("server"),
            Self::Collector(n) => write!(f, "collector-{n}"),
        }
    }
}

/// What a collector reads on the server's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `/metrics`
    Server,
    /// `/replica/N/metrics`: one of several processes, from 1.
    Replica(u8),
    /// `/gpu/metrics`
    Gpus,
    /// The GPUs' own sensors, on their own host, as NVML gives them.
    Nvml,
}

impl Source {
    /// Its URL on the simulated network, as the collector with this number asks
    /// for it: each its own, so that their readings can be told apart.
    #[must_use]
    pub fn url(self, collector: usize) -> String {
        let path = match self {
            Self::Server => "metrics".to_owned(),
            Self::Replica(n) => format!("replica/{n}/metrics"),
            // NVML has no URL; its exporter's stands for it.
            Self::Gpus | Self::Nvml => "gpu/metrics".to_owned(),
        };
        format!("http://{}:{HTTP}/{path}?from-{collector}=1", Place::Server)
    }

    /// The domain of what is read there.
    #[must_use]
    pub fn domain(self) -> Domain {
        match self {
            Self::Server | Self::Replica(_) => Domain::server_metrics(),
            Self::Gpus | Self::Nvml => Domain::telemetry(),
        }
    }
}

/// A reading of GPUs for a boundary waits so long for energy counters to step, as in a
/// real run.
const TICK_WITHIN: Duration = Duration::from_millis(150);

/// The port of the inference server.
pub const HTTP: u16 = 8000;

/// Something that is done to the network, a host or the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// What is said between the two is lost.
    Partition(Place, Place),
    /// What the first says to the second is lost.
    PartitionOneway(Place, Place),
    /// What is said between the two is kept back.
    Hold(Place, Place),
    /// The two can speak again; what was kept back is delivered.
    Heal(Place, Place),
    /// From here on a segment between the two takes so long.
    Latency(Place, Place, Duration),
    /// The host ends, with everything on it.
    Crash(Place),
    /// The host starts anew.
    Bounce(Place),
    /// The user interrupts the run.
    Cancel,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long after the start.
    At(Duration),
    /// So long after the controller opened this boundary.
    Boundary {
        /// The phase's index in the plan.
        phase: usize,
        /// Its start or its end.
        kind: BaselineKind,
        /// How long after.
        after: Duration,
    },
}

/// Something that goes wrong, or right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// A run on the simulated network.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// The seed of the network's latencies and of tokio's choices.
    pub seed: u64,
    /// The network's tick: a segment arrives at the first one after its latency.
    pub tick: Duration,
    /// The shortest and longest latency of a segment.
    pub latency: (Duration, Duration),
    /// Hosts take their turns in random order within a tick.
    pub random_order: bool,
    /// The run.
    pub plan: RunPlan,
    /// The collectors, each on a host of its own.
    pub collectors: Vec<Source>,
    /// Time between two periodic readings.
    pub interval: Duration,
    /// The inference server.
    pub server: ServerConfig,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// From here on nothing goes wrong: the network is healed, and hosts that are
    /// down come back. The bench never does.
    pub quiet: Duration,
    /// Whether the server and the collectors are among those that come back; the
    /// controller always is.
    pub revive: bool,
}

impl Scenario {
    /// Every host.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let collectors = (0..self.collectors.len()).map(|n| Place::Collector(number(n)));
        [Place::Controller, Place::Bench, Place::Server].into_iter().chain(collectors).collect()
    }

    /// Whether the source is the only one of its kind: it counts every request.
    #[must_use]
    pub fn sees_all(&self, source: Source) -> bool {
        source == Source::Server
            && self.collectors.iter().filter(|other| **other == source).count() == 1
    }

    /// What the machines are built from.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let collector = |(n, source): (usize, &Source)| CollectorPlan {
            id: ServiceId::new(format!("{}/{n}", source.domain())),
            domain: source.domain(),
            interval: self.interval,
            heartbeat: self.plan.limits().heartbeat,
            read_timeout: Duration::from_secs(3),
            optional: false,
            sole: self.sees_all(*source),
            tick_within: match source {
                Source::Gpus | Source::Nvml => TICK_WITHIN,
                Source::Server | Source::Replica(_) => Duration::ZERO,
            },
        };
        Settings {
            collectors: self.collectors.iter().enumerate().map(collector).collect(),
            goodput: std::collections::BTreeMap::new(),
            streaming: true,
            produces_tokens: true,
            ready_timeout: Duration::ZERO,
        }
    }

    /// The run has ended so long after its start, or it hangs: every wait that
    /// the plan allows, one after the other, and the time in which things go
    /// wrong.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let (gate, limits) = (self.plan.gate(), self.plan.limits());
        let mut bound = limits.service_start + Duration::from_secs(2);
        for phase in self.plan.phases() {
            let sending = match (phase.stop.duration(), phase.stop.requests(), phase.arrival) {
                (Some(duration), _, _) => duration,
                (None, Some(requests), Arrival::Concurrency { concurrency }) => {
                    let rounds = requests.div_ceil(u64::from(concurrency));
                    limits.request_timeout * u32::try_from(rounds).unwrap_or(u32::MAX)
                }
                (None, Some(requests), Arrival::Rate { rate, .. }) => {
                    let serial = u32::try_from(requests).unwrap_or(u32::MAX);
                    Duration::from_secs_f64(requests as f64 * 4.0 / rate)
                        + limits.request_timeout * serial
                }
                (None, None, _) => Duration::ZERO,
            };
            let grace = phase.grace.unwrap_or_default().max(limits.request_timeout);
            bound += 2 * (gate.timeout + Duration::from_secs(1));
            bound += sending + phase.ramp + grace + limits.drain;
        }
        bound += limits.credits_complete_fallback + Duration::from_secs(20);
        // Services that have been told of the end while they could not be reached
        // hear of it with a heartbeat.
        bound.max(self.quiet) + 5 * limits.heartbeat + Duration::from_secs(10)
    }
}

/// A collector's number as a host's.
pub(super) fn number(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}
