//! What the ledger knows of the requests when it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::result::{LagStats, MetricStats, RequestCounts};
use crate::id::PhaseId;
use crate::message::ProfileFinish;

/// The ledger's side of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// One entry a phase of the plan, in order.
    pub phases: Vec<PhaseLedger>,
    /// How the books were closed; `None` if they were not.
    pub finish: Option<ProfileFinish>,
    /// Records that were announced and never came.
    pub missing: u64,
    /// Over all phases.
    pub dispatch_lag_us: LagStats,
}

/// One phase's books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseLedger {
    /// The phase.
    pub phase: PhaseId,
    /// The records that came in, by outcome (`sent` is their number).
    pub counts: RequestCounts,
    /// Prompt tokens of completed requests, where every one of them has a
    /// count.
    pub prompt_tokens: Option<u64>,
    /// Output tokens of completed requests, where every one of them has a
    /// count.
    pub output_tokens: Option<u64>,
    /// Metric name → statistics.
    pub metrics: BTreeMap<String, MetricStats>,
    /// URL → the records of requests that went there; empty where there is one
    /// URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_url: BTreeMap<String, RequestCounts>,
    /// Error class (`connect`, `timeout`, `status_429`, …) → number.
    pub errors: BTreeMap<String, u64>,
    /// Sentences on what could not be measured and why.
    pub notes: Vec<String>,
}
