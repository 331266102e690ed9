//! A scenario from one seed. Each seed switches some kinds of faults off entirely
//! and skews the rest: a swarm of differently unlucky runs finds more than many
//! runs of average luck.

use std::num::NonZeroU64;
use std::time::Duration;

use phasegate_core::message::BaselineKind;
use phasegate_core::plan::{ArrivalProcess, PhaseKind, PhaseSpec, PlanError, RunPlan};
use phasegate_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::named;
use super::scenario::{Action, Fault, Place, Scenario, Source, When, number};
use crate::server::{ApiFault, Exporter, ExporterFault, Hazard, Published, ServerConfig};

/// The kinds of faults, each of which a seed has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Partition,
    Oneway,
    Hold,
    SlowLink,
    CollectorCrash,
    ControllerCrash,
    ServerCrash,
    BenchCrash,
    Cancel,
    Exporter,
    Api,
    Publish,
}

const KINDS: [(Kind, u32); 12] = [
    // How likely a seed has it, in percent.
    (Kind::Partition, 40),
    (Kind::Oneway, 40),
    (Kind::Hold, 35),
    (Kind::SlowLink, 35),
    (Kind::CollectorCrash, 35),
    (Kind::ControllerCrash, 10),
    (Kind::ServerCrash, 15),
    (Kind::BenchCrash, 4),
    (Kind::Cancel, 10),
    (Kind::Exporter, 30),
    (Kind::Api, 30),
    (Kind::Publish, 20),
];

struct Draw(ChaCha8Rng);

impl Draw {
    /// From 0 to `below - 1`. The bias of the remainder is of no interest here.
    fn below(&mut self, below: u64) -> u64 {
        self.0.next_u64() % below.max(1)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    fn pick<T: Copy>(&mut self, from: &[T], or: T) -> T {
        let n = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(n).copied().unwrap_or(or)
    }
}

/// The scenario of a seed.
///
/// # Errors
/// If the drawn plan is none: a bug in this function.
pub fn swarm(seed: u64) -> Result<Scenario, PlanError> {
    let mut draw = Draw(Seed::root(seed).child("turmoil").rng());
    let kinds: Vec<Kind> =
        KINDS.into_iter().filter(|(_, percent)| draw.percent(*percent)).map(|(k, _)| k).collect();
    let phases: Vec<PhaseSpec> = (0..draw.between(1, 3)).map(|n| phase(&mut draw, n)).collect();
    let mut gate = named::gate();
    gate.enabled = !draw.percent(4);
    gate.timeout = draw.millis(600, 3000);
    gate.settle_timeout = gate.timeout / 3;
    let mut limits = named::limits();
    limits.heartbeat_misses = draw.pick(&[4, 10], 4);
    let plan = RunPlan::new(seed, phases, gate, limits)?;
    let collectors: Vec<Source> = (0..draw.between(0, 3))
        .map(|_| draw.pick(&[Source::Server, Source::Gpus], Source::Server))
        .collect();
    let shortest = draw.millis(0, 5);
    let mut scenario = Scenario {
        name: format!("swarm-{seed}"),
        seed,
        tick: Duration::from_millis(draw.pick(&[2, 5, 10], 5)),
        latency: (shortest, shortest + draw.pick(&[1, 10, 60], 1) * Duration::from_millis(1)),
        random_order: draw.percent(50),
        server: server(&mut draw, seed, &kinds),
        quiet: draw.millis(4000, 12_000),
        revive: draw.percent(70),
        interval: draw.millis(100, 900),
        plan,
        collectors,
        faults: Vec::new(),
    };
    for kind in kinds {
        for _ in 0..draw.between(1, 3) {
            fault(&mut draw, kind, &mut scenario);
        }
    }
    Ok(scenario)
}

fn phase(draw: &mut Draw, n: u64) -> PhaseSpec {
    let kind = if n == 0 { PhaseKind::Warmup } else { PhaseKind::Profiling };
    let mut phase = PhaseSpec::new(format!("phase-{n}"), kind);
    if draw.percent(50) {
        phase.concurrency = Some(u32::try_from(draw.between(1, 4)).unwrap_or(1));
    } else {
        phase.request_rate = Some(draw.between(2, 25) as f64);
        phase.arrival =
            Some(draw.pick(
                &[ArrivalProcess::Constant, ArrivalProcess::Poisson],
                ArrivalProcess::Poisson,
            ));
    }
    match draw.below(3) {
        0 => phase.requests = Some(draw.between(1, 12)),
        1 => phase.duration = Some(draw.millis(200, 2500)),
        _ => {
            phase.requests = Some(draw.between(1, 12));
            phase.duration = Some(draw.millis(200, 2500));
        }
    }
    phase.grace = Some(draw.millis(0, 2000));
    phase.seamless = n > 0 && draw.percent(40);
    phase
}

fn server(draw: &mut Draw, seed: u64, kinds: &[Kind]) -> ServerConfig {
    let mut config = ServerConfig {
        seed,
        ttft: draw.millis(5, 250),
        itl: draw.millis(1, 20),
        max_batch: draw.pick(&[1, 4, 64], 64),
        ..ServerConfig::default()
    };
    let every = |draw: &mut Draw| NonZeroU64::MIN.saturating_add(draw.below(6));
    if kinds.contains(&Kind::Exporter) {
        let rate = NonZeroU64::MIN.saturating_add(9999);
        let faults = [
            ExporterFault::Hang,
            ExporterFault::Garbage,
            ExporterFault::Status500,
            ExporterFault::Trickle(rate),
            ExporterFault::Delay(draw.millis(50, 3000)),
            ExporterFault::DieAfter(draw.between(1, 20)),
        ];
        let fault = draw.pick(&faults, ExporterFault::Hang);
        let exporter = draw.pick(&[Exporter::Server, Exporter::Gpu], Exporter::Server);
        let every = every(draw);
        config.hazards.push(Hazard::Exporter { exporter, fault, every });
    }
    if kinds.contains(&Kind::Api) {
        let faults = [
            ApiFault::Status(500),
            ApiFault::Status(429),
            ApiFault::StallMidStream(2),
            ApiFault::CutMidStream(3),
            ApiFault::HalfEvent(2),
            ApiFault::ErrorEvent(1),
            ApiFault::NoUsage,
            ApiFault::MalformedJson,
            ApiFault::SlowFirstByte(draw.millis(50, 5000)),
        ];
        let fault = draw.pick(&faults, ApiFault::NoUsage);
        let every = every(draw);
        config.hazards.push(Hazard::Api { fault, every });
    }
    if kinds.contains(&Kind::Publish) {
        config.publish_delay = draw.millis(50, 2000);
    }
    lies(seed, &mut config);
    config
}

/// What makes the telemetry lie without failing: each seed has some of it and not the
/// rest. Drawn apart, so that what else a seed has does not depend on it.
fn lies(seed: u64, config: &mut ServerConfig) {
    let mut draw = Draw(Seed::root(seed).child("turmoil").child("telemetry").rng());
    let some = |n: u64| NonZeroU64::MIN.saturating_add(n);
    let lies = [
        Hazard::Exporter {
            exporter: draw.pick(&[Exporter::Server, Exporter::Gpu], Exporter::Server),
            fault: ExporterFault::Jitter(draw.millis(0, 50), draw.millis(50, 900)),
            every: some(draw.below(3)),
        },
        Hazard::PublishDelay {
            delay: draw.millis(50, 2000),
            of: draw.pick(&[Some(Published::Requests), Some(Published::Tokens), None], None),
        },
        Hazard::ResetCounters(some(draw.below(20))),
        Hazard::Restart(some(draw.below(20))),
        Hazard::ForeignTraffic(some(draw.between(100, 20_000))),
        Hazard::Replicas(some(draw.between(1, 3))),
        Hazard::EnergyTick(draw.millis(1, 100)),
        Hazard::GpuRefresh(draw.millis(100, 3000)),
        Hazard::GpuFrozen(draw.millis(0, 6000)),
        Hazard::IdleDrift(i64::try_from(draw.between(0, 20_000)).unwrap_or(0) - 10_000),
    ];
    config.hazards.extend(lies.into_iter().filter(|_| draw.percent(8)));
}

/// Draws one fault and, where it has one, its end.
fn fault(draw: &mut Draw, kind: Kind, scenario: &mut Scenario) {
    let places = scenario.places();
    let phases = scenario.plan.phases().len() as u64;
    let when = |draw: &mut Draw, after: Duration| {
        if draw.percent(60) {
            let phase = usize::try_from(draw.below(phases)).unwrap_or(0);
            let kind = draw.pick(&[BaselineKind::Start, BaselineKind::End], BaselineKind::Start);
            When::Boundary { phase, kind, after }
        } else {
            When::At(draw.millis(0, 8000) + after)
        }
    };
    let later = |when: When, by: Duration| match when {
        When::At(at) => When::At(at + by),
        When::Boundary { phase, kind, after } => When::Boundary { phase, kind, after: after + by },
    };
    let a = draw.pick(&places, Place::Controller);
    let b = draw.pick(&places, Place::Bench);
    let count = scenario.collectors.len() as u64;
    let collector = (count > 0)
        .then(|| Place::Collector(number(usize::try_from(draw.below(count)).unwrap_or(0))));
    let after = draw.millis(0, 1500);
    let when = when(draw, after);
    let lasting = draw.pick(
        &[Duration::from_millis(100), Duration::from_millis(900), Duration::from_secs(4)],
        Duration::from_secs(4),
    );
    let pair = (a != b).then_some((a, b));
    let returns = draw.percent(70);
    let (action, undo) = match (kind, pair, collector) {
        (Kind::Partition, Some((a, b)), _) => (Action::Partition(a, b), Some(Action::Heal(a, b))),
        (Kind::Oneway, Some((a, b)), _) => {
            (Action::PartitionOneway(a, b), Some(Action::Heal(a, b)))
        }
        (Kind::Hold, Some((a, b)), _) => (Action::Hold(a, b), Some(Action::Heal(a, b))),
        (Kind::SlowLink, Some((a, b)), _) => (Action::Latency(a, b, draw.millis(50, 900)), None),
        (Kind::CollectorCrash, _, Some(c)) => {
            (Action::Crash(c), returns.then_some(Action::Bounce(c)))
        }
        (Kind::ControllerCrash, _, _) => {
            (Action::Crash(Place::Controller), Some(Action::Bounce(Place::Controller)))
        }
        (Kind::ServerCrash, _, _) => {
            (Action::Crash(Place::Server), returns.then_some(Action::Bounce(Place::Server)))
        }
        (Kind::BenchCrash, _, _) => (Action::Crash(Place::Bench), None),
        (Kind::Cancel, _, _) => (Action::Cancel, None),
        // Part of the server's configuration.
        (Kind::Exporter | Kind::Api | Kind::Publish, _, _)
        // Nobody to do it to.
        | (Kind::Partition | Kind::Oneway | Kind::Hold | Kind::SlowLink, None, _)
        | (Kind::CollectorCrash, _, None) => return,
    };
    scenario.faults.push(Fault { when, action });
    if let Some(action) = undo {
        scenario.faults.push(Fault { when: later(when, lasting), action });
    }
}
