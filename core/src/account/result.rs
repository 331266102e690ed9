//! `run.json`, as types. A value that is not known is `None`, written as
//! `null`; never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod energy;
mod series;
mod tokens;

pub use energy::{
    AvgMax, Efficiency, EnergySource, GpuResult, IdleBaseline, IdleGpu, IdleSide, Max,
};
use series::maybe_whole;
pub use series::{Delta, GaugeStats, Maybe, Moved, Quantile, ServerMetric, WindowMetric};
pub use tokens::{TokenCheck, TokenSide};

pub use super::slo::SloResult;
pub use super::sweep::SweepResult;
use crate::engines::Unit;
use crate::id::{PhaseId, ServiceId};
use crate::message::{BaselineKind, ReleasedBy};
use crate::plan::PhaseKind;
use crate::time::Tick;

/// The version of this schema.
pub const SCHEMA_VERSION: &str = "1.0";

/// The whole result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the contract's own
pub struct RunResult {
    pub schema_version: String,
    pub tool: Tool,
    pub run_id: String,
    pub seed: u64,
    pub outcome: RunOutcome,
    /// Why it is not `completed`, in sentences.
    pub reasons: Vec<String>,
    /// What is to be said of the run and of no single phase, in sentences; absent
    /// where that is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// As resolved, secrets out.
    pub config: serde_json::Value,
    pub phases: Vec<PhaseResult>,
    /// The phases that are steps of one rate or concurrency, side by side;
    /// absent where there are not two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepResult>,
    /// The search for the highest load that keeps its objectives; absent where the
    /// run is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloResult>,
    /// Idle power before and after the run; absent where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_baseline: Option<IdleBaseline>,
    pub boundaries: Vec<BoundaryResult>,
    pub windows: Vec<Window>,
    /// Domain → handed in by every producer. A domain that nobody had to hand
    /// in is absent.
    pub results_joined: BTreeMap<String, bool>,
    pub client: ClientResult,
}

/// Who wrote the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Tool {
    pub name: String,
    pub version: String,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// As planned.
    Completed,
    /// To the end, but something was evicted, missing or written off.
    Degraded,
    /// By Ctrl-C or SIGTERM.
    Cancelled,
    /// A phase failed, or the run could not go on.
    Failed,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PhaseResult {
    pub phase_id: PhaseId,
    pub name: String,
    pub kind: PhaseKind,
    pub index: usize,
    pub seamless: bool,
    /// The moment of the first possible credit; `None` if it never started.
    pub start_ns: Option<Tick>,
    pub sending_complete_ns: Option<Tick>,
    pub end_ns: Option<Tick>,
    pub requests: RequestCounts,
    /// Metric name → statistics. Every metric of the contract that applies to
    /// the endpoint is here; one that could not be measured has count 0 and
    /// `null` values.
    pub metrics: BTreeMap<String, MetricStats>,
    /// Error class (`connect`, `timeout`, `status_429`, …) → number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// URL → its requests, by the records; absent where there is one URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests_by_url: BTreeMap<String, RequestCounts>,
    /// The client's own count of tokens against the server's; absent where no
    /// tokenizer was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_check: Option<TokenCheck>,
    pub server_metrics: Vec<ServerMetric>,
    pub gpus: Vec<GpuResult>,
    /// What the phase's work took; `null` where no GPU was read.
    #[serde(default)]
    pub efficiency: Option<Efficiency>,
    pub reconciliation: Vec<Reconciliation>,
    pub verdict: Verdict,
    pub notes: Vec<String>,
}

/// A phase's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RequestCounts {
    pub sent: u64,
    pub completed: u64,
    pub errors: u64,
    pub cancelled: u64,
}

/// Statistics of one metric. Percentiles by nearest rank: the smallest value
/// such that at least p % of the values are not above it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MetricStats {
    pub unit: String,
    pub count: u64,
    pub avg: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Of the population.
    pub std: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    /// Where the values no longer fitted and percentiles come from a histogram:
    /// their largest relative error. Absent where they are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
    /// `false` for a metric of tokens in a phase in which an event carried more
    /// than one on average: its percentiles are not those of tokens. Absent
    /// elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolvable: Option<bool>,
}

/// The client's own count against the server's, summed over the endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Reconciliation {
    /// The family, with `_count` or `_sum` where it is that part of a histogram.
    pub server_metric: String,
    /// What it counts.
    pub unit: Unit,
    /// What the server must have counted at least: what completed.
    #[serde(serialize_with = "maybe_whole")]
    pub client: Option<f64>,
    /// What it may have counted at most, where that is more than `client`
    /// because requests failed or were cancelled; `null` where nothing bounds
    /// it. Absent where `client` is exact.
    #[serde(
        default,
        skip_serializing_if = "Maybe::is_absent",
        serialize_with = "Maybe::serialize_whole"
    )]
    pub client_max: Maybe<f64>,
    #[serde(serialize_with = "maybe_whole")]
    pub server: Option<f64>,
    pub status: ReconciliationStatus,
    /// The likely cause of a mismatch, or why it is not known whether the two
    /// agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The phases that are counted together because they share windows, by
    /// name. Absent where the phase is counted alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<String>,
}

/// Whether the two ledgers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ReconciliationStatus {
    Match,
    Mismatch,
    Unknown,
}

/// How far a phase's telemetry can be trusted; the order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// None of the others.
    Clean,
    /// A seamless neighbour was in flight at a boundary.
    Overlapped,
    /// The server was still publishing when settling timed out.
    Unsettled,
    /// A registered collector has no reading at a boundary.
    Incomplete,
    /// The two ledgers disagree, or a counter was reset inside the phase.
    Contaminated,
}

/// One boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BoundaryResult {
    pub phase_id: PhaseId,
    pub kind: BaselineKind,
    pub requested_ns: Tick,
    pub closed_ns: Tick,
    pub released_by: ReleasedBy,
    /// `null` where settling was not asked for or cannot be told.
    pub settled: Option<bool>,
    pub in_flight: u64,
    /// How far the middles of the captured readings lie apart, in nanoseconds;
    /// `null` where there are not two.
    #[serde(default)]
    pub skew_ns: Option<u64>,
    pub collectors: Vec<BoundaryCollector>,
}

/// One collector at a boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BoundaryCollector {
    pub service_id: ServiceId,
    pub status: BoundaryStatus,
    pub error: Option<String>,
    pub attempts: u32,
    pub reading_start_ns: Option<Tick>,
    pub reading_end_ns: Option<Tick>,
}

/// How a collector stood at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BoundaryStatus {
    Captured,
    Failed,
    Missing,
    Late,
    Evicted,
}

/// The time between two neighbouring boundaries and the phases active in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Window {
    pub from_ns: Tick,
    pub to_ns: Tick,
    pub phases: Vec<String>,
    /// What each counted series did in it; those that did not move are left
    /// out. Over all windows a series' deltas sum to its last value at a
    /// boundary less its first.
    #[serde(default)]
    pub server_metrics: Vec<WindowMetric>,
}

/// What the client says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClientResult {
    pub dispatch_lag_us: LagStats,
    pub cpu_s: Option<f64>,
    pub peak_rss_mib: Option<f64>,
    /// Whether the client was the bottleneck of a measured phase, whose notes
    /// say why; `null` where nothing was measured to tell by.
    pub client_bound: Option<bool>,
    /// Cores that the process may use; fewer than the machine has where its
    /// affinity or a cgroup says so.
    #[serde(default)]
    pub cores: Option<f64>,
    #[serde(default)]
    pub connections: Option<ClientConnections>,
    /// Messages between phasegate's own services that were dropped because the
    /// receiver's queue was full; `null` where nobody counted.
    #[serde(default)]
    pub messages_dropped: Option<u64>,
    /// From a request's start until its new connection was there; of those that
    /// needed a new one.
    #[serde(default)]
    pub connection_wait_us: LagStats,
    /// From the return of a socket read until its events were parsed; the
    /// longest of each request. What the kernel held before the read is not in
    /// it.
    #[serde(default)]
    pub read_to_parsed_us: LagStats,
    /// How much too late an event loop woke up at worst.
    #[serde(default)]
    pub longest_stall_us: Option<f64>,
    /// The same by phase, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<ClientPhase>,
    /// What the client measures of an endpoint that takes no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ClientFloor>,
}

/// Connections of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClientConnections {
    /// New handshakes.
    pub opened: u64,
    /// Requests that went out on a connection that had served another.
    pub reused: u64,
    /// Found dead when they were to be used again, and replaced.
    pub died: u64,
}

/// The client in one phase, from its first possible credit to its last return.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClientPhase {
    pub name: String,
    /// Of the whole process, user and system.
    pub cpu_s: Option<f64>,
    pub cores: Option<f64>,
    /// `cpu_s` as a share of what these cores could give in that time.
    pub cpu_share: Option<f64>,
    pub longest_stall_us: Option<f64>,
}

/// The client's own floor, measured against a server in its own process that
/// answers at once: what it cannot measure less than.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClientFloor {
    /// Of one that answers at once.
    pub request_throughput: Option<f64>,
    pub time_to_first_token_us: LagStats,
    /// How far the gap between two events is off the true one, 5 ms.
    pub inter_chunk_error_us: LagStats,
    /// Requests that failed although the server answers each; a floor with any
    /// is none.
    pub errors: u64,
}

/// The client's own delay between a planned and an actual start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LagStats {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}
