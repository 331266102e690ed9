//! What a search came to.

use serde::{Deserialize, Serialize};

use super::estimate::ProbeMeasured;
use super::judge::Outcome;
use super::machine::{End, Probe};
use crate::id::PhaseId;

/// Every probe that was begun, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SearchReport {
    /// The probes.
    pub probes: Vec<ProbeReport>,
    /// Why it ended; `None` if it was cut short.
    pub end: Option<End>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Its phase.
    pub phase: PhaseId,
    /// Its load.
    pub probe: Probe,
    /// What the ledger found; `None` if that was not heard.
    pub measured: Option<ProbeMeasured>,
    /// What it came to; `None` if the search was cut short before that.
    pub outcome: Option<Outcome>,
    /// Why it did not hold.
    pub reasons: Vec<String>,
}
