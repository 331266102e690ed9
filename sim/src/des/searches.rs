//! Runs that search for the highest load: a warm-up, or none, and probes.

use phasegate_core::account::sweep::SweepBy;
use phasegate_core::plan::{ArrivalProcess, PhaseKind, PhaseSpec};
use phasegate_core::search::{Objective, Percentile, SearchPlan};

use super::config::{MOST, Pace, Request};
use super::dice::{Dice, SEARCHES};

/// The fewest requests that decide on a median.
const REQUESTS: u64 = 20;

/// A search with the phases of its run, in one run of twelve; not where the request
/// asks for smaller phases than a probe can have.
pub(super) fn draw(request: &Request, pace: &Pace) -> Option<(SearchPlan, Vec<PhaseSpec>)> {
    // Dice of their own: what else a seed means does not depend on them.
    let dice = &mut Dice::new(request.seed, SEARCHES);
    if !dice.chance(83) || request.requests < MOST.2 {
        return None;
    }
    let by = dice.pick(&[SweepBy::RequestRate, SweepBy::Concurrency]);
    // Requests take from once to three times the pace's shortest.
    let limit = pace.request.0 as f64 / 1e6 * dice.pick(&[0.9, 1.9, 2.1, 3.5, 100.0]);
    let search = plan(by, limit, dice.pick(&[5.0, 200.0]), dice.pick(&[1, 2]));
    let mut phases = Vec::new();
    if dice.chance(500) {
        let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
        (warmup.concurrency, warmup.requests) = (Some(2), Some(dice.between(1, 6)));
        phases.push(warmup);
    }
    let probes = dice.between(1, 5) as usize;
    phases.extend(probe_phases(&search, probes.min(request.phases.max(1))));
    Some((search, phases))
}

/// A search by the median of the latency, in milliseconds.
pub(super) fn plan(by: SweepBy, limit: f64, low: f64, growth: u64) -> SearchPlan {
    let (low, high) = match by {
        SweepBy::RequestRate => (low, low * 8.0),
        SweepBy::Concurrency => (1.0, 6.0),
    };
    let percentile = "p50".parse::<Percentile>().ok();
    SearchPlan {
        by,
        low,
        high,
        tolerance: 0.1,
        requests: REQUESTS,
        most_requests: REQUESTS * growth,
        objectives: vec![Objective { metric: "request_latency".to_owned(), percentile, limit }],
    }
}

/// So many probes of `search`.
pub(super) fn probe_phases(search: &SearchPlan, probes: usize) -> Vec<PhaseSpec> {
    let probe = |number: usize| {
        let mut probe = PhaseSpec::new(format!("probe-{number}"), PhaseKind::Profiling);
        probe.requests = Some(search.most_requests);
        match search.by {
            SweepBy::RequestRate => {
                probe.request_rate = Some(search.high);
                probe.arrival = Some(ArrivalProcess::Poisson);
            }
            SweepBy::Concurrency => probe.concurrency = Some(search.high as u32),
        }
        probe
    };
    (1..=probes).map(probe).collect()
}
