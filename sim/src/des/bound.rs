//! How long a run may still take once nothing goes wrong any more.

use core::time::Duration;

use phasegate_core::conductor::machine::{BEGIN_SLACK, SHUTDOWN_SLACK};
use phasegate_core::controller::machine::JOIN_MARGIN;
use phasegate_core::plan::{Arrival, RunPlan};
use phasegate_core::time::{Tick, nanos};

use super::config::Config;

/// The gate client's patience beyond the gate timeout: protocol rule 1.
const GRANT: Duration = Duration::from_secs(1);

/// The moment at which the run must be over. Every term is a rule of the
/// protocol or a limit of the plan, taken at its worst, one after the other:
/// - the faults' own end, and what they left on its way;
/// - the barrier, or beginning alone;
/// - a phase: both gates, its load, its drain, and where it is a probe, the ledger's
///   word on it;
/// - the join, or leaving alone; a silent conductor is found out before that;
/// - a heartbeat each way for whoever has not heard the end.
#[must_use]
pub fn bound(config: &Config) -> Tick {
    let (plan, faults) = (&config.plan, &config.faults);
    let limits = plan.limits();
    let lives = faults.lives.iter();
    let starts = lives.clone().filter_map(|life| life.start).max().unwrap_or_default();
    let restarts = lives.filter_map(|life| life.restart).max().unwrap_or_default();
    let left_over = [faults.longest_delay, faults.longest_sleep, restarts];
    let left_over: u64 = left_over.into_iter().max().unwrap_or_default();
    let barrier = limits.service_start + BEGIN_SLACK;
    let load: Duration =
        (0..plan.phases().len()).map(|index| phase(plan, index, config.pace.request.1)).sum();
    let silence = limits.heartbeat * limits.heartbeat_misses;
    // The ledger may be waited for after each probe of a search.
    let measuring =
        limits.credits_complete_fallback * u32::try_from(plan.probes().count()).unwrap_or(u32::MAX);
    let leaving = limits.credits_complete_fallback + SHUTDOWN_SLACK.max(JOIN_MARGIN) + silence;
    let goodbye = limits.heartbeat * 4 + Duration::from_secs(2);
    let from = faults.calm.max(starts) + Duration::from_nanos(left_over);
    from + barrier + load + measuring + leaving + goodbye
}

/// The longest think time that is drawn.
const THINK: Duration = Duration::from_millis(300);

fn phase(plan: &RunPlan, index: usize, request: u64) -> Duration {
    let Some(phase) = plan.phases().get(index) else { return Duration::ZERO };
    let limits = plan.limits();
    let gates = (plan.gate().timeout + GRANT) * 2;
    // A slot that lost its request is free again when that is written off. Once
    // nothing is lost any more, requests come back one by one at the latest.
    let lost = limits.request_timeout + limits.drain;
    let requests = phase.stop.requests().unwrap_or_default();
    let slots = match phase.arrival {
        Arrival::Concurrency { .. } => phase.ramp,
        Arrival::Rate { .. } => Duration::ZERO,
        Arrival::Fixed { .. } => {
            let schedule = plan.inputs().schedule.as_ref();
            Duration::from_nanos(schedule.map_or(0, |schedule| schedule.last_ns()))
        }
    };
    // Between two turns of a session nothing else may be going on.
    let slots = match &plan.inputs().sessions {
        None => slots,
        Some(_) => slots + THINK * u32::try_from(requests).unwrap_or(u32::MAX),
    };
    let in_turn = Duration::from_nanos(request.saturating_mul(requests)) + slots + lost;
    let sending = phase.stop.duration().map_or(in_turn, |duration| duration.min(in_turn));
    // Longer than a grace period: a request that is not back is written off.
    let drain = lost + limits.drain + limits.cancel_grace;
    gates + sending + drain + Duration::from_nanos(nanos(limits.heartbeat))
}
