//! The situations that have a name.

use std::num::NonZeroU64;
use std::time::Duration;

use phasegate_core::message::BaselineKind;
use phasegate_core::plan::{ArrivalProcess, GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};

use super::scenario::{Action, Fault, Place, Scenario, Source, When};
use crate::server::{Exporter, ExporterFault, Hazard, ServerConfig};

/// Every name, with what happens.
pub const NAMES: [(&str, &str); 14] = [
    ("calm", "nothing goes wrong"),
    ("lost-acks", "a collector's acknowledgements are lost for a while; they are asked for again"),
    ("gate-timeout", "a collector cannot be reached while a gate is open"),
    ("gate-timeout-oneway", "a collector hears, and is not heard, while a gate is open"),
    ("seamless-overlap", "a seamless phase begins while its predecessor is in flight"),
    ("hanging-exporter", "an exporter never answers"),
    ("collector-crash", "a collector's host crashes inside a gate and comes back"),
    ("collector-lost", "a collector's host crashes inside a gate and stays away"),
    ("held", "what conductor and controller say is kept back inside a gate, then delivered"),
    ("slow-links", "every segment takes a quarter of a second"),
    ("server-crash", "the server crashes in a phase and comes back with its counters at zero"),
    ("interrupted", "the user interrupts the run in a phase"),
    ("bench-lost", "the host of conductor, ledger and load crashes"),
    ("controller-crash", "the controller crashes in a phase and comes back knowing nothing"),
];

/// The scenario of that name, with the network's latencies from `seed`.
#[must_use]
pub fn named(name: &str, seed: u64) -> Option<Scenario> {
    let (start, end) = (BaselineKind::Start, BaselineKind::End);
    let mut scenario = base(name, seed)?;
    let millis = Duration::from_millis;
    let boundary = |phase, kind, after| When::Boundary { phase, kind, after };
    let (controller, first) = (Place::Controller, Place::Collector(0));
    let second = Place::Collector(1);
    let mut fault = |when, action| scenario.faults.push(Fault { when, action });
    match name {
        "calm" | "seamless-overlap" => {}
        "lost-acks" => {
            fault(boundary(1, start, millis(0)), Action::PartitionOneway(first, controller));
            fault(boundary(1, start, millis(600)), Action::Heal(first, controller));
        }
        "gate-timeout" => {
            fault(boundary(1, start, millis(0)), Action::Partition(second, controller));
            fault(boundary(1, start, millis(3500)), Action::Heal(second, controller));
        }
        "gate-timeout-oneway" => {
            fault(boundary(1, end, millis(0)), Action::PartitionOneway(second, controller));
            fault(boundary(1, end, millis(3500)), Action::Heal(second, controller));
        }
        "hanging-exporter" => {
            scenario.server.hazards.push(Hazard::Exporter {
                exporter: Exporter::Gpu,
                fault: ExporterFault::Hang,
                every: NonZeroU64::MIN,
            });
        }
        "collector-crash" => {
            fault(boundary(1, start, millis(0)), Action::Crash(first));
            fault(boundary(1, start, millis(400)), Action::Bounce(first));
        }
        "collector-lost" => fault(boundary(1, start, millis(0)), Action::Crash(first)),
        "held" => {
            fault(boundary(1, start, millis(0)), Action::Hold(Place::Bench, controller));
            fault(boundary(1, start, millis(800)), Action::Heal(Place::Bench, controller));
        }
        "slow-links" => scenario.latency = (millis(250), millis(250)),
        "server-crash" => {
            fault(boundary(1, start, millis(1500)), Action::Crash(Place::Server));
            fault(boundary(1, start, millis(1700)), Action::Bounce(Place::Server));
        }
        "interrupted" => fault(boundary(1, start, millis(1500)), Action::Cancel),
        "bench-lost" => fault(boundary(1, start, millis(1500)), Action::Crash(Place::Bench)),
        "controller-crash" => {
            fault(boundary(1, start, millis(1500)), Action::Crash(controller));
            fault(boundary(1, start, millis(1800)), Action::Bounce(controller));
        }
        _ => return None,
    }
    Some(scenario)
}

/// A warm-up, a measured phase and, where the name asks for it, a seamless one.
fn base(name: &str, seed: u64) -> Option<Scenario> {
    let secs = Duration::from_secs;
    let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
    warmup.concurrency = Some(2);
    warmup.requests = Some(6);
    let mut steady = PhaseSpec::new("steady", PhaseKind::Profiling);
    steady.concurrency = Some(4);
    steady.duration = Some(secs(2));
    steady.grace = Some(secs(2));
    let mut phases = vec![warmup, steady];
    let seamless = name == "seamless-overlap";
    if seamless {
        let mut stress = PhaseSpec::new("stress", PhaseKind::Profiling);
        stress.request_rate = Some(20.0);
        stress.arrival = Some(ArrivalProcess::Constant);
        stress.duration = Some(secs(2));
        stress.grace = Some(secs(2));
        stress.seamless = true;
        phases.push(stress);
    }
    let plan = RunPlan::new(seed, phases, gate(), limits()).ok()?;
    let server = ServerConfig {
        seed,
        ttft: Duration::from_millis(if seamless { 200 } else { 30 }),
        ..ServerConfig::default()
    };
    Some(Scenario {
        name: name.to_owned(),
        seed,
        tick: Duration::from_millis(2),
        latency: (Duration::from_millis(1), Duration::from_millis(10)),
        random_order: false,
        plan,
        collectors: vec![Source::Server, Source::Gpus],
        interval: Duration::from_millis(333),
        server,
        faults: Vec::new(),
        quiet: secs(20),
        revive: name != "collector-lost",
    })
}

/// Gates that are shorter than a user's, so that they run out within a scenario.
pub(super) fn gate() -> GatePlan {
    GatePlan {
        enabled: true,
        timeout: Duration::from_secs(3),
        settle_timeout: Duration::from_secs(1),
    }
}

/// The same for every other wait.
pub(super) fn limits() -> Limits {
    Limits {
        service_start: Duration::from_secs(3),
        heartbeat: Duration::from_millis(500),
        heartbeat_misses: 10,
        credits_complete_fallback: Duration::from_secs(3),
        request_timeout: Duration::from_secs(4),
        drain: Duration::from_secs(1),
        cancel_grace: Duration::from_secs(1),
    }
}
