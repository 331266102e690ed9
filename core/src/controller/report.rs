//! What the controller knows of the run when it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Domain, ServiceId};
use crate::message::{BoundaryOutcome, DomainSummary, ShutdownReason};
use crate::time::Tick;

/// The controller's side of the result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ControllerReport {
    /// Every boundary, in the order in which it was asked for, late
    /// acknowledgements included.
    pub boundaries: Vec<BoundaryOutcome>,
    /// Every result domain that somebody had to hand in.
    pub domains: BTreeMap<Domain, DomainReport>,
    /// Every service that was taken out, in order.
    pub evictions: Vec<Eviction>,
    /// Services that were not ready when the run began.
    pub not_ready: Vec<ServiceId>,
    /// Why the run was shut down; `None` if it was not.
    pub shutdown: Option<ShutdownReason>,
    /// Acknowledgements that changed nothing.
    pub odd_acks: OddAcks,
}

/// How a domain was joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DomainReport {
    /// What each producer handed in.
    pub results: BTreeMap<ServiceId, DomainSummary>,
    /// Producers that were evicted before they handed in theirs.
    pub evicted: BTreeMap<ServiceId, String>,
    /// Producers that still owe theirs.
    pub pending: Vec<ServiceId>,
}

impl DomainReport {
    /// Whether every producer has handed in its result.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.evicted.is_empty() && self.pending.is_empty()
    }
}

impl ControllerReport {
    /// Whether a service said itself, before it was asked anything, that it
    /// takes no part.
    #[must_use]
    pub fn excused(&self, service: &ServiceId) -> bool {
        self.evictions.iter().any(|e| e.excused && e.service == *service)
    }

    /// Domain → handed in by every producer, without the domains of which every
    /// producer is excused: those nobody had to hand in.
    #[must_use]
    pub fn joined(&self) -> BTreeMap<String, bool> {
        let mut joined = BTreeMap::new();
        for (domain, report) in &self.domains {
            let mut missing = report.evicted.keys().filter(|service| !self.excused(service));
            let evicted = missing.next().is_some();
            let owed = evicted || !(report.results.is_empty() && report.pending.is_empty());
            if owed {
                joined.insert(domain.to_string(), !evicted && report.pending.is_empty());
            }
        }
        joined
    }
}

/// A service that was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// The service.
    pub service: ServiceId,
    /// Why: `disabled: …`, `failed: …`, `stopped`, `silent for 5 s`.
    pub reason: String,
    /// It said itself, before it was asked anything, that it takes no part:
    /// that does not degrade the run.
    pub excused: bool,
    /// When.
    pub at: Tick,
}

/// Acknowledgements that changed nothing, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OddAcks {
    /// For a boundary that was never asked for, or from a service that was not
    /// asked.
    pub unknown: u64,
    /// From a service that had answered already.
    pub duplicate: u64,
    /// After the boundary was closed.
    pub late: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_joined_if_all_who_are_not_excused_handed_in() {
        let service = |name: &str| ServiceId::new(name);
        let eviction = |name: &str, excused| Eviction {
            service: service(name),
            reason: "disabled".to_owned(),
            excused,
            at: Tick::ZERO,
        };
        let mut report = ControllerReport {
            evictions: vec![eviction("excused", true), eviction("gone", false)],
            ..ControllerReport::default()
        };
        let excused = ["excused", "gone", "there"].map(|name| report.excused(&service(name)));
        assert_eq!(excused, [true, false, false]);
        let summary = DomainSummary::Readings { readings: 1, failed: 0 };
        // Who handed in, who was taken out and who owes; whether it is joined.
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], Option<bool>);
        let cases: [Case<'_>; 8] = [
            (&["there"], &[], &[], Some(true)),
            (&["there"], &["excused"], &[], Some(true)),
            (&["there"], &["gone"], &[], Some(false)),
            (&["there"], &[], &["other"], Some(false)),
            (&[], &[], &["other"], Some(false)),
            (&[], &["gone"], &[], Some(false)),
            (&[], &["excused"], &[], None),
            (&[], &[], &[], None),
        ];
        for (results, evicted, pending, joined) in cases {
            let reason = |name: &&str| (service(name), "disabled".to_owned());
            let domain = DomainReport {
                results: results.iter().map(|name| (service(name), summary.clone())).collect(),
                evicted: evicted.iter().map(reason).collect(),
                pending: pending.iter().map(|name| service(name)).collect(),
            };
            report.domains = BTreeMap::from([(Domain::telemetry(), domain)]);
            let expected = joined.map(|joined| ("telemetry".to_owned(), joined));
            assert_eq!(report.joined(), expected.into_iter().collect(), "{results:?} {evicted:?}");
        }
    }
}
