//! Named scenarios: one situation each, placed by hand; the seed moves only
//! what is left to chance.

use core::time::Duration;

use phasegate_core::account::sweep::SweepBy;
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, PlanError, RunPlan};
use phasegate_core::search::SearchPlan;
use phasegate_core::time::Tick;

use super::config::{Config, Pace};
use super::searches;
use crate::faults::{Class, Ending, Fate, Faults, Kind, Kinds, Life, Targeted, When};
use crate::marks::Mark;

/// A named scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The mark that it must hit.
    pub mark: Option<Mark>,
    arrange: fn(&mut Stage),
}

/// A scenario's run while it is arranged: three phases, three collectors,
/// nothing wrong.
struct Stage {
    phases: Vec<PhaseSpec>,
    gate: GatePlan,
    limits: Limits,
    collectors: usize,
    interval: Duration,
    faults: Faults,
    pace: Pace,
    search: Option<SearchPlan>,
}

const MS: u64 = 1_000_000;
const EVERY: u32 = u32::MAX;

fn lose(class: Class, collector: Option<usize>, first: u32, count: u32) -> Targeted {
    Targeted { class, collector, first, count, fate: Fate::Lost }
}

/// Every scenario, in the order of the list.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "calm",
        about: "three phases, three collectors, nothing goes wrong",
        mark: Some(Mark::FinalisedComplete),
        arrange: |_| {},
    },
    Scenario {
        name: "lost-ack",
        about: "the first acknowledgement of a collector is lost and sent again",
        mark: Some(Mark::AckRepeated),
        arrange: |stage| stage.faults.targeted.push(lose(Class::Ack, Some(0), 0, 1)),
    },
    Scenario {
        name: "gate-timeout",
        about: "one collector never hears a request: gates time out with one missing",
        mark: Some(Mark::TimedOutWithOneMissing),
        arrange: |stage| {
            stage.gate.timeout = Duration::from_secs(1);
            stage.gate.settle_timeout = Duration::from_millis(500);
            stage.faults.targeted.push(lose(Class::Request, Some(1), 0, EVERY));
        },
    },
    Scenario {
        name: "late-ack",
        about: "an acknowledgement arrives after its gate has timed out",
        mark: Some(Mark::LateAck),
        arrange: |stage| {
            stage.gate.timeout = Duration::from_millis(300);
            stage.gate.settle_timeout = Duration::from_millis(100);
            // A little longer than the gate: the run goes on for a while after it.
            let fate = Fate::Late(320 * MS);
            let ack = Class::Ack;
            let first = Targeted { class: ack, collector: Some(0), first: 0, count: 1, fate };
            stage.faults.targeted.push(first);
            stage.faults.targeted.push(lose(ack, Some(0), 1, 3));
        },
    },
    Scenario {
        name: "lost-grant",
        about: "every grant is lost: the gate client releases the gates itself",
        mark: Some(Mark::ReleasedByClient),
        arrange: |stage| stage.faults.targeted.push(lose(Class::Grant, None, 0, EVERY)),
    },
    Scenario {
        name: "seamless-overlap",
        about: "a seamless phase begins while its predecessor's requests are in flight",
        mark: Some(Mark::SeamlessWithLoad),
        arrange: |stage| {
            for phase in &mut stage.phases[1..] {
                phase.seamless = true;
            }
        },
    },
    Scenario {
        name: "collector-evicted-in-gate",
        about: "a collector dies when it is asked; its silence evicts it and frees the gate",
        mark: Some(Mark::EvictedInsideGate),
        arrange: |stage| {
            stage.limits.heartbeat_misses = 2;
            stage.faults.lives[1].end = Some((When::AtRequest(1), Ending::Dies));
        },
    },
    Scenario {
        name: "restart",
        about: "a collector dies in a gate and is restarted under the same id",
        mark: Some(Mark::Restarted),
        arrange: |stage| {
            stage.faults.lives[0] = Life {
                end: Some((When::AtRequest(0), Ending::Dies)),
                restart: Some(100 * MS),
                ..Life::WHOLE
            };
        },
    },
    Scenario {
        name: "disabled-in-gate",
        about: "a collector's source turns out to be unreadable after it was asked",
        mark: Some(Mark::AnsweredWithError),
        arrange: |stage| {
            stage.faults.lives[0].end = Some((When::AtRequest(0), Ending::IsDisabled));
        },
    },
    Scenario {
        name: "late-registration",
        about: "a collector registers after the barrier has opened without it",
        mark: Some(Mark::BarrierTimedOut),
        arrange: |stage| {
            stage.limits.service_start = Duration::from_millis(50);
            stage.faults.lives[2].start = Some(Tick::from_millis(80));
        },
    },
    Scenario {
        name: "write-off",
        about: "requests never come back and are written off",
        mark: Some(Mark::WrittenOff),
        arrange: |stage| {
            stage.limits.request_timeout = Duration::from_secs(1);
            stage.faults.kinds = Kinds::NONE.with(Kind::LostCredits);
            stage.faults.lost_credits = 400;
            stage.faults.calm = Tick::from_millis(60_000);
        },
    },
    Scenario {
        name: "fallback",
        about: "records are lost: the ledger closes its books by the fallback",
        mark: Some(Mark::FinalisedByFallback),
        arrange: |stage| {
            stage.faults.kinds = Kinds::NONE.with(Kind::LostRecords);
            stage.faults.lost_records = 600;
            stage.faults.calm = Tick::from_millis(60_000);
        },
    },
    Scenario {
        name: "cancel-in-flight",
        about: "the run is cancelled with requests in flight: its END is still asked for",
        mark: Some(Mark::EndOnCancel),
        arrange: |stage| {
            stage.pace.request = (200 * MS, 400 * MS);
            stage.faults.kinds = Kinds::NONE.with(Kind::Cancel);
            stage.faults.cancel_at = Some(46);
            stage.faults.calm = Tick::from_millis(60_000);
        },
    },
    Scenario {
        name: "lost-begin",
        about: "no 'begin' arrives: the conductor begins by itself",
        mark: Some(Mark::BeganAlone),
        arrange: |stage| {
            stage.limits.service_start = Duration::from_millis(200);
            stage.faults.targeted.push(lose(Class::Begin, None, 0, EVERY));
        },
    },
    Scenario {
        name: "never-settles",
        about: "the server goes on publishing: boundaries are closed unsettled",
        mark: Some(Mark::NeverSettled),
        arrange: |stage| {
            stage.faults.kinds = Kinds::NONE.with(Kind::MovingSource);
            stage.faults.moving_source = 1000;
            stage.faults.calm = Tick::from_millis(60_000);
        },
    },
    Scenario {
        name: "search-holds",
        about: "every probe of a search holds: it ends at the top of the range, the rest is skipped",
        mark: Some(Mark::ProbeHeld),
        arrange: |stage| stage.search(60_000.0),
    },
    Scenario {
        name: "search-fails",
        about: "the first probe of a search fails, after questions to the ledger were lost",
        mark: Some(Mark::ProbeFailed),
        arrange: |stage| {
            stage.search(0.5);
            stage.faults.targeted.push(lose(Class::Probe, None, 0, 3));
        },
    },
    Scenario {
        name: "late-publication",
        about: "the server counts a request up to 0.4 s late: each END waits for it",
        mark: Some(Mark::LateAwaited),
        arrange: |stage| {
            stage.lies(Kind::PublishDelay);
            stage.faults.hazards.publish_delay = (100 * MS, 400 * MS);
        },
    },
    Scenario {
        name: "publication-outlives-settling",
        about: "the server counts a request up to 2.5 s late: boundaries are closed unsettled",
        mark: Some(Mark::LateOutlived),
        arrange: |stage| {
            stage.lies(Kind::PublishDelay);
            stage.faults.hazards.publish_delay = (1_500 * MS, 2_500 * MS);
        },
    },
    Scenario {
        name: "counter-reset",
        about: "the counters fall to 0 inside the second phase, which says so",
        mark: Some(Mark::ResetFlagged),
        arrange: |stage| {
            stage.lies(Kind::ResetCounters);
            stage.faults.hazards.reset_counters = Some(9);
        },
    },
    Scenario {
        name: "server-restart",
        about: "the server is another process inside the second phase, which says so",
        mark: Some(Mark::ResetFlagged),
        arrange: |stage| {
            stage.lies(Kind::ServerRestart);
            stage.faults.hazards.server_restart = Some(9);
            stage.faults.hazards.tells_start = true;
        },
    },
    Scenario {
        name: "foreign-traffic",
        about: "somebody else uses the server: phases are contaminated",
        mark: Some(Mark::ForeignFlagged),
        arrange: |stage| {
            stage.lies(Kind::ForeignTraffic);
            stage.faults.hazards.foreign_traffic = 300 * MS;
            stage.pace.request = (200 * MS, 400 * MS);
        },
    },
    Scenario {
        name: "replicas",
        about: "two processes answer behind one address, and are refused",
        mark: Some(Mark::ReplicasRefused),
        arrange: |stage| {
            stage.lies(Kind::Replicas);
            stage.faults.hazards.replicas = 2;
            stage.faults.hazards.tells_start = true;
        },
    },
    Scenario {
        name: "endpoints",
        about: "two endpoints count a part of the requests each: their sum is the client's",
        mark: Some(Mark::FinalisedComplete),
        arrange: |stage| {
            stage.lies(Kind::Endpoints);
            stage.faults.hazards.endpoints = true;
        },
    },
    Scenario {
        name: "metrics-jitter",
        about: "a scrape takes up to 0.4 s and shows any moment of its time",
        mark: Some(Mark::FinalisedComplete),
        arrange: |stage| {
            stage.lies(Kind::MetricsJitter);
            stage.faults.hazards.metrics_jitter = (50 * MS, 400 * MS);
        },
    },
    Scenario {
        name: "gpu-frozen",
        about: "the GPU exporter answers and shows nothing new after half a second",
        mark: Some(Mark::FinalisedComplete),
        arrange: |stage| {
            stage.lies(Kind::GpuFrozen);
            stage.faults.hazards.gpu_frozen = Some(Tick::from_millis(500));
        },
    },
];

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Its run with this seed.
    ///
    /// # Errors
    /// A plan that core refuses is a bug here.
    pub fn config(&self, seed: u64) -> Result<Config, PlanError> {
        let mut stage = Stage::new();
        (self.arrange)(&mut stage);
        let Stage { phases, gate, limits, collectors, interval, faults, pace, search } = stage;
        let mut plan = RunPlan::new(seed, phases, gate, limits)?;
        if let Some(search) = search {
            plan = plan.with_search(search)?;
        }
        Ok(Config::new(plan, collectors, interval, faults, pace))
    }
}

impl Stage {
    /// Switches a kind of hazard on.
    fn lies(&mut self, kind: Kind) {
        self.faults.kinds = self.faults.kinds.with(kind);
    }

    fn new() -> Self {
        let phase = |name: &str, kind| {
            let mut phase = PhaseSpec::new(name, kind);
            (phase.concurrency, phase.requests) = (Some(2), Some(6));
            phase
        };
        let gate = GatePlan {
            enabled: true,
            timeout: Duration::from_secs(3),
            settle_timeout: Duration::from_secs(1),
        };
        let limits =
            Limits { credits_complete_fallback: Duration::from_secs(2), ..Limits::default() };
        let collectors = 3;
        Self {
            phases: vec![
                phase("warmup", PhaseKind::Warmup),
                phase("steady", PhaseKind::Profiling),
                phase("stress", PhaseKind::Profiling),
            ],
            gate,
            limits,
            collectors,
            interval: Duration::from_millis(333),
            faults: Faults::none(collectors),
            pace: Pace::BRISK,
            search: None,
        }
    }

    /// The warm-up, then a search by the median of the latency, in milliseconds.
    fn search(&mut self, limit: f64) {
        let search = searches::plan(SweepBy::Concurrency, limit, 1.0, 1);
        self.phases.truncate(1);
        self.phases.extend(searches::probe_phases(&search, 6));
        self.search = Some(search);
    }
}
