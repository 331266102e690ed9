//! A handmade run that each test bends.

use std::collections::BTreeMap;

use crate::Tick;
use crate::account::assemble::{Evidence, RunFacts, result_of};
use crate::account::attribution::{Attributed, Attribution};
use crate::account::result::{
    ClientResult, LagStats, MetricStats, PhaseResult, RequestCounts, RunResult,
};
use crate::conductor::report::{ConductorReport, GateWait, PhaseReport};
use crate::controller::report::{ControllerReport, DomainReport};
use crate::id::{Domain, PhaseId, ServiceId};
use crate::ledger::report::{LedgerReport, PhaseLedger};
use crate::message::{
    BaselineKind, BoundaryOutcome, CollectError, CollectErrorKind, CollectorOutcome,
    CollectorStatus, DomainSummary, PhaseCounts, ProfileFinish, ReadingMark, ReleasedBy,
    ShutdownReason,
};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::reading::{
    BoundaryMark, Family, FamilyType, GpuSample, Histogram, Reading, ReadingBody, Series, Value,
};

pub(super) use BaselineKind::{End, Start};

pub(super) const URL: &str = "http://127.0.0.1:8000/metrics";

pub(super) fn vllm() -> ServiceId {
    ServiceId::new("server_metrics/127.0.0.1:8000")
}

pub(super) fn nvml() -> ServiceId {
    ServiceId::new("gpu_telemetry/nvml")
}

pub(super) fn ms(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

pub(super) struct Run {
    pub(super) plan: RunPlan,
    pub(super) controller: ControllerReport,
    pub(super) conductor: ConductorReport,
    pub(super) ledger: LedgerReport,
    pub(super) facts: RunFacts,
    pub(super) readings: Vec<Reading>,
    /// Power in the GPU's next readings.
    pub(super) watts: u64,
}

/// The name of a phase, whether it is seamless, its start and end in ms, and
/// its requests.
pub(super) type Sketch = (&'static str, bool, u64, u64, u64);

pub(super) fn plan(sketch: &[Sketch], gate: GatePlan) -> RunPlan {
    let phases = sketch.iter().map(|(name, seamless, _, _, n)| {
        if *name == "idle" {
            return PhaseSpec::idle(*name, core::time::Duration::from_millis(900));
        }
        let kind = if *name == "warmup" { PhaseKind::Warmup } else { PhaseKind::Profiling };
        let mut spec = PhaseSpec::new(*name, kind);
        spec.concurrency = Some(1);
        spec.requests = Some(*n);
        spec.seamless = *seamless;
        spec
    });
    RunPlan::new(7, phases.collect(), gate, Limits::default()).unwrap()
}

impl Run {
    /// Phases one after the other with everything in order: each boundary is
    /// read by both collectors in the 20 ms before the start or after the end.
    pub(super) fn new(sketch: &[Sketch]) -> Self {
        let plan = plan(sketch, GatePlan::default());
        let (mut controller, mut conductor) =
            (ControllerReport::default(), ConductorReport::default());
        let mut books = Vec::new();
        for (phase, (_, seamless, start, end, n)) in plan.phases().iter().zip(sketch) {
            let counts = PhaseCounts { sent: *n, completed: *n, ..PhaseCounts::default() };
            let mut gates = Vec::new();
            for kind in [Start, End] {
                let asked = match kind {
                    Start if *seamless => *start,
                    Start => *start - 20,
                    End => *end,
                };
                let outcome = boundary(phase.id, kind, asked);
                gates.push(GateWait {
                    kind,
                    asked: ms(asked),
                    released: ms(asked + 20),
                    by: ReleasedBy::AllAcked,
                    in_flight: 0,
                });
                controller.boundaries.push(outcome);
            }
            conductor.phases.push(PhaseReport {
                phase: phase.id,
                start: Some(ms(*start)),
                sending_complete: Some(ms(*end - 50)),
                end: Some(ms(*end)),
                counts,
                written_off: 0,
                unsent: 0,
                repeated: 0,
                sessions: None,
                drawn_to_cancel: 0,
                failure: None,
                gates,
            });
            books.push(PhaseLedger {
                phase: phase.id,
                counts: RequestCounts { sent: *n, completed: *n, errors: 0, cancelled: 0 },
                prompt_tokens: Some(*n * 10),
                output_tokens: Some(*n * 5),
                metrics: BTreeMap::from([("request_latency".to_owned(), metric(*n))]),
                by_url: BTreeMap::new(),
                errors: BTreeMap::new(),
                notes: Vec::new(),
            });
        }
        controller.boundaries.sort_by_key(|b| b.requested);
        let readings = DomainSummary::Readings { readings: 4, failed: 0 };
        for (domain, service) in [(Domain::telemetry(), nvml()), (Domain::server_metrics(), vllm())]
        {
            let report = DomainReport {
                results: BTreeMap::from([(service, readings.clone())]),
                ..DomainReport::default()
            };
            controller.domains.insert(domain, report);
        }
        let records =
            DomainSummary::Records { records: 6, missing: 0, finish: ProfileFinish::Complete };
        let report = DomainReport {
            results: BTreeMap::from([(ServiceId::ledger(), records)]),
            ..DomainReport::default()
        };
        controller.domains.insert(Domain::profile(), report);
        controller.shutdown = Some(ShutdownReason::AllJoined);
        let lag = LagStats { p50: Some(10.0), p99: Some(20.0), max: Some(30.0) };
        let ledger = LedgerReport {
            phases: books,
            finish: Some(ProfileFinish::Complete),
            missing: 0,
            dispatch_lag_us: lag,
        };
        Self {
            plan,
            controller,
            conductor,
            ledger,
            facts: facts(),
            readings: Vec::new(),
            watts: 100,
        }
    }

    /// A warm-up of 1 request and a profiling phase of 5, on a server that
    /// counts requests and times, with one GPU.
    pub(super) fn two_phases() -> Self {
        let mut run =
            Self::new(&[("warmup", false, 100, 1100, 1), ("steady", false, 1200, 3200, 5)]);
        let steps = [
            (90, Some((0, Start)), 0.0, 1_000, 0.0),
            (600, None, 0.0, 1_060, 1.0),
            (1110, Some((0, End)), 1.0, 1_100, 0.0),
            (1190, Some((1, Start)), 1.0, 1_101, 0.0),
            (2200, None, 3.0, 1_250, 2.0),
            (3210, Some((1, End)), 6.0, 1_401, 0.0),
        ];
        for (at, mark, requests, joules, running) in steps {
            let families = vec![
                running_gauge(running),
                prefill(requests),
                counter("vllm:request_success", requests),
            ];
            run.read(at, mark, families);
            run.watts = if at < 1190 { 100 } else { 150 };
            run.read_gpu(at, mark, joules * 1000);
        }
        run
    }

    pub(super) fn phase_id(&self, index: usize) -> PhaseId {
        self.plan.phases()[index].id
    }

    fn mark(&self, mark: Option<(usize, BaselineKind)>) -> Option<BoundaryMark> {
        mark.map(|(index, kind)| BoundaryMark { phase: self.phase_id(index), kind })
    }

    /// A reading of the server that takes 4 ms around `at` (in ms).
    pub(super) fn read(
        &mut self,
        at: u64,
        mark: Option<(usize, BaselineKind)>,
        families: Vec<Family>,
    ) -> &mut Reading {
        let body = ReadingBody::Families(families);
        self.push(vllm(), URL, at, mark, body)
    }

    /// A reading of the GPU.
    pub(super) fn read_gpu(
        &mut self,
        at: u64,
        mark: Option<(usize, BaselineKind)>,
        energy_mj: u64,
    ) -> &mut Reading {
        let sample = GpuSample {
            uuid: "GPU-1".to_owned(),
            index: Some(0),
            name: Some("H100".to_owned()),
            energy_mj: Some(energy_mj),
            energy_from: Some(ms(at - 2)),
            energy_to: Some(ms(at + 2)),
            energy_tick_ns: Some(4_000_000),
            power_mw: Some(self.watts * 1000),
            utilization_pct: Some(80.0),
            memory_used_mib: Some(1024.0),
            temperature_c: Some(50.0),
            ..GpuSample::default()
        };
        self.push(nvml(), "nvml", at, mark, ReadingBody::Gpus(vec![sample]))
    }

    pub(super) fn push(
        &mut self,
        service: ServiceId,
        source: &str,
        at: u64,
        mark: Option<(usize, BaselineKind)>,
        body: ReadingBody,
    ) -> &mut Reading {
        let boundary = self.mark(mark);
        let source = source.to_owned();
        let (start, end) = (ms(at - 2), ms(at + 2));
        self.readings.push(Reading {
            service,
            source,
            boundary,
            start,
            first_byte: None,
            end,
            malformed: None,
            gpu_events: Vec::new(),
            body,
        });
        self.readings.last_mut().unwrap()
    }

    /// The controller's record of a boundary.
    pub(super) fn outcome(&mut self, index: usize, kind: BaselineKind) -> &mut BoundaryOutcome {
        let phase = self.phase_id(index);
        let mut all = self.controller.boundaries.iter_mut();
        all.find(|b| b.phase == phase && b.kind == kind).unwrap()
    }

    /// How the server's collector stands at a boundary.
    pub(super) fn status(&mut self, index: usize, kind: BaselineKind) -> &mut CollectorStatus {
        let all = &mut self.outcome(index, kind).collectors;
        &mut all.iter_mut().find(|c| c.service == vllm()).unwrap().status
    }

    /// Takes out every reading of the server for a boundary.
    pub(super) fn lose(&mut self, index: usize, kind: BaselineKind) {
        let mark = self.mark(Some((index, kind)));
        self.readings.retain(|r| r.boundary != mark || r.service != vllm());
    }

    /// The server's collector gives an error instead of a reading.
    pub(super) fn fail(&mut self, index: usize, kind: BaselineKind) {
        self.lose(index, kind);
        *self.status(index, kind) = CollectorStatus::Failed { error: refused() };
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            plan: &self.plan,
            controller: &self.controller,
            conductor: &self.conductor,
            ledger: &self.ledger,
        }
    }

    pub(super) fn attributed(&self) -> Attributed {
        let mut attribution = Attribution::new(&self.evidence());
        for reading in &self.readings {
            attribution.feed(reading);
        }
        attribution.finish()
    }

    pub(super) fn result(&self) -> RunResult {
        result_of(&self.evidence(), &self.readings, self.facts.clone())
    }

    pub(super) fn phase(&self, index: usize) -> PhaseResult {
        self.result().phases[index].clone()
    }
}

fn facts() -> RunFacts {
    RunFacts {
        notes: Vec::new(),
        run_id: "run-1".to_owned(),
        tool_version: "0.1.0".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        finished_at: "2026-01-01T00:00:04Z".to_owned(),
        config: serde_json::json!({"seed": 7}),
        client: ClientResult { cpu_s: Some(0.5), ..ClientResult::default() },
        interrupted: false,
        reasons: Vec::new(),
    }
}

fn metric(count: u64) -> MetricStats {
    let value = Some(12.5);
    MetricStats {
        unit: "ms".to_owned(),
        count,
        avg: value,
        min: value,
        max: value,
        std: Some(0.0),
        p50: value,
        p90: value,
        p95: value,
        p99: value,
        relative_error: None,
        resolvable: None,
    }
}

pub(super) fn refused() -> CollectError {
    CollectError::new(CollectErrorKind::Unreachable, "127.0.0.1:8000 refused the connection")
}

pub(super) fn captured(at: u64) -> CollectorStatus {
    CollectorStatus::Captured {
        reading: ReadingMark {
            start: ms(at + 8),
            end: ms(at + 12),
            readings: 2,
            settled: Some(true),
            unsettled: Vec::new(),
        },
    }
}

fn boundary(phase: PhaseId, kind: BaselineKind, asked: u64) -> BoundaryOutcome {
    let collectors = [nvml(), vllm()].map(|service| CollectorOutcome {
        service,
        status: captured(asked),
        attempts: 1,
    });
    BoundaryOutcome {
        phase,
        kind,
        requested: ms(asked),
        closed: ms(asked + 20),
        released_by: ReleasedBy::AllAcked,
        in_flight: 0,
        collectors: collectors.to_vec(),
    }
}

pub(super) fn family(name: &str, kind: FamilyType, value: Value) -> Family {
    let labels = BTreeMap::from([("model_name".to_owned(), "m".to_owned())]);
    Family { name: name.to_owned(), kind, series: vec![Series { labels, created: None, value }] }
}

pub(super) fn counter(name: &str, value: f64) -> Family {
    family(name, FamilyType::Counter, Value::Value(value))
}

pub(super) fn running_gauge(value: f64) -> Family {
    family("vllm:num_requests_running", FamilyType::Gauge, Value::Value(value))
}

pub(super) fn prefill(count: f64) -> Family {
    let bounds = [("0.1", count), ("0.5", count), ("+Inf", count)];
    let buckets = bounds.map(|(bound, n)| (bound.to_owned(), n)).to_vec();
    let histogram = Histogram { buckets, sum: Some(count / 16.0), count: Some(count) };
    let value = Value::Histogram(histogram);
    family("vllm:request_prefill_time_seconds", FamilyType::Histogram, value)
}
