//! Whether the client itself was the bottleneck of a phase, in words.
//!
//! A benchmark measures the slower of the two ends. Three things show that it
//! was the client: it had no CPU left, it stood still, or it sent open-loop
//! requests late. Each has a threshold here, and a remedy.

use super::boundary::sentence;
use super::result::{ClientPhase, ClientResult, MetricStats, PhaseResult};
use crate::plan::{Arrival, PhaseKind, PhasePlan, RunPlan};

/// The share of the CPU that the process may use, from which on it had none
/// left: what is missing to 1 goes to the kernel and to whoever else runs.
pub const CPU_SHARE: f64 = 0.9;

/// An event loop that woke up this much too late, in microseconds, stood still.
/// Shorter ones are what any shared machine does.
pub const STALL_US: f64 = 50_000.0;

/// A dispatch lag of this many milliseconds at the 99th percentile is too much
/// for an open loop.
pub const LAG_P99_MS: f64 = 5.0;

/// What is to be said of messages between phasegate's own services that were
/// dropped.
#[must_use]
pub fn dropped(client: &ClientResult) -> Option<String> {
    let count = client.messages_dropped.filter(|count| *count > 0)?;
    Some(format!(
        "{count} {} between phasegate's own services {} dropped because the receiver's queue was \
         full: the client had too little CPU for its own bookkeeping.",
        if count == 1 { "message" } else { "messages" },
        if count == 1 { "was" } else { "were" },
    ))
}

/// Why the client was the bottleneck of a phase, each reason with its remedy;
/// `None` where nothing is known to judge by. `lag` is the phase's
/// `dispatch_lag` in milliseconds.
#[must_use]
pub fn bound(
    plan: &PhasePlan,
    seen: Option<&ClientPhase>,
    lag: Option<&MetricStats>,
) -> Option<Vec<String>> {
    let seen = seen?;
    let mut reasons = Vec::new();
    if let Some(share) = seen.cpu_share.filter(|share| *share >= CPU_SHARE) {
        reasons.push(format!(
            "Client-bound: the client used {:.0} % of the {:.2} cores that it may use; give it \
             more cores, or send less",
            share * 100.0,
            seen.cores.unwrap_or_default()
        ));
    }
    if let Some(stall) = seen.longest_stall_us.filter(|stall| *stall >= STALL_US) {
        reasons.push(format!(
            "Client-bound: the client stood still for {:.0} ms; give it cores of its own, away \
             from the server and from other work",
            stall / 1e3
        ));
    }
    // In a closed loop a late send plans the next one later: nothing is hidden.
    // Where a cap binds, requests wait for it and not for the client.
    let open = match plan.arrival {
        Arrival::Rate { rate, max_concurrency: None, .. } => rate.is_finite(),
        Arrival::Fixed { max_concurrency: None } => true,
        Arrival::Rate { max_concurrency: Some(_), .. }
        | Arrival::Fixed { max_concurrency: Some(_) }
        | Arrival::Concurrency { .. } => false,
    };
    let late = lag.and_then(|lag| lag.p99).filter(|p99| open && *p99 >= LAG_P99_MS);
    if let Some(p99) = late {
        reasons.push(format!(
            "Client-bound: a hundredth of the requests were sent at least {p99:.1} ms later than \
             planned; give the client more cores, or lower the rate"
        ));
    }
    Some(reasons)
}

/// Puts the reasons into the notes of the phases in which the client was the
/// bottleneck; whether it was in any that is measured. `None` where none was
/// looked at.
pub(super) fn mark(
    plan: &RunPlan,
    client: &ClientResult,
    phases: &mut [PhaseResult],
) -> Option<bool> {
    let mut any = None;
    for (planned, phase) in plan.phases().iter().zip(phases) {
        let seen = client.phases.iter().find(|seen| seen.name == planned.name);
        let Some(reasons) = bound(planned, seen, phase.metrics.get("dispatch_lag")) else {
            continue;
        };
        if planned.kind == PhaseKind::Profiling {
            any = Some(any.unwrap_or(false) || !reasons.is_empty());
        }
        phase.notes.extend(reasons.into_iter().map(sentence));
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::stats::Series;
    use crate::plan::{ArrivalProcess, GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};

    fn plan(rate: Option<f64>, cap: Option<u32>) -> PhasePlan {
        let mut spec = PhaseSpec::new("p", PhaseKind::Profiling);
        spec.requests = Some(1);
        (spec.request_rate, spec.concurrency) = (rate, cap);
        spec.arrival = rate.map(|_| ArrivalProcess::Poisson);
        let plan = RunPlan::new(0, vec![spec], GatePlan::default(), Limits::default()).unwrap();
        plan.phases()[0].clone()
    }

    fn lag(p99: f64) -> MetricStats {
        MetricStats { p99: Some(p99), ..Series::default().stats("ms") }
    }

    #[test]
    fn without_a_measurement_nothing_is_said() {
        assert_eq!(bound(&plan(Some(1.0), None), None, Some(&lag(1e6))), None);
    }

    #[test]
    fn each_threshold_has_its_reason_and_below_all_there_is_none() {
        let (open, calm) = (plan(Some(1.0), None), ClientPhase::default());
        assert_eq!(bound(&open, Some(&calm), Some(&lag(4.9))), Some(Vec::new()));
        let busy = ClientPhase { cpu_share: Some(0.9), ..calm.clone() };
        let still = ClientPhase { longest_stall_us: Some(50_000.0), ..calm.clone() };
        for (seen, p99, word) in
            [(&busy, 0.0, "cores"), (&still, 0.0, "still"), (&calm, 5.0, "later")]
        {
            let reasons = bound(&open, Some(seen), Some(&lag(p99))).unwrap();
            assert!(reasons.len() == 1 && reasons[0].contains(word), "{reasons:?}");
        }
    }

    #[test]
    fn waiting_for_a_slot_or_for_a_cap_is_not_the_client() {
        for plan in [plan(None, Some(1)), plan(Some(1.0), Some(1))] {
            let reasons = bound(&plan, Some(&ClientPhase::default()), Some(&lag(1e3)));
            assert_eq!(reasons, Some(Vec::new()));
        }
    }
}
