//! The GPU of a run: what it draws, what it has drawn, and what is shown of it.

use phasegate_core::reading::{GpuSample, PowerKind};
use phasegate_core::time::Tick;

use super::log::Log;
use crate::faults::Hazards;

/// Idle power at the run's zero, in milliwatts.
const IDLE_MW: i128 = 300_000;
/// It drifts for so long, in nanoseconds.
const DRIFT_NS: i128 = 60_000_000_000;
/// More for each request that is being worked on.
const REQUEST_MW: i128 = 5_000;
/// What is never exceeded: all of the drift, and a hundred requests.
const LIMIT_MW: u64 = 1_000_000;
/// What the counter said at the run's zero, in picojoules.
const BEFORE_PJ: i128 = 1_000_000_000_000_000_000;
/// Where no hazard says otherwise, the counter moves so often.
const TICK_NS: u64 = 1_000_000;

/// Energy from the run's zero to `at`, in picojoules (a milliwatt for a
/// nanosecond).
pub(crate) fn energy_pj(log: &Log, hazards: &Hazards, at: Tick) -> i128 {
    energy_at(log, hazards, i128::from(at.0))
}

/// The same, also of moments before the run's zero, when it was idle.
fn energy_at(log: &Log, hazards: &Hazards, ns: i128) -> i128 {
    let drifts = ns.clamp(0, DRIFT_NS);
    let drift_ns2 = drifts * drifts / 2 + drifts * (ns - drifts);
    let idle = IDLE_MW * ns + i128::from(hazards.idle_drift) * drift_ns2 / 1_000_000_000;
    let worked: i128 = log
        .stays
        .iter()
        .map(|stay| (i128::from(stay.from.0), i128::from(stay.to.0)))
        .map(|(from, to)| (to.min(ns) - from).max(0))
        .sum();
    idle + REQUEST_MW * worked
}

/// Power at `ns`, in milliwatts.
fn power_mw(log: &Log, hazards: &Hazards, ns: i128) -> u64 {
    let runs = |from: Tick, to: Tick| i128::from(from.0) <= ns && ns < i128::from(to.0);
    let running = log.stays.iter().filter(|stay| runs(stay.from, stay.to)).count();
    let drift = i128::from(hazards.idle_drift) * ns.clamp(0, DRIFT_NS) / 1_000_000_000;
    u64::try_from(IDLE_MW + drift + REQUEST_MW * running as i128).unwrap_or(0)
}

/// The last multiple of `step` up to `ns`; `ns` without one.
fn quantised(ns: i128, step: u64) -> i128 {
    let step = i128::from(step);
    if step == 0 { ns } else { ns.div_euclid(step) * step }
}

/// What a reading at `at` shows: what the exporter copied last, of a counter that
/// moves in steps.
pub(super) fn sample(log: &Log, hazards: &Hazards, place: usize, at: Tick) -> GpuSample {
    // The exporter has been at work before the run, and not in step with it.
    let ahead = i128::from(hazards.gpu_refresh / 3);
    let now = i128::from(at.0);
    let copied = quantised(now + ahead, hazards.gpu_refresh) - ahead;
    let copied = hazards.gpu_frozen.map_or(copied, |frozen| copied.min(i128::from(frozen.0)));
    let tick = if hazards.energy_tick > 0 { hazards.energy_tick } else { TICK_NS };
    let stepped = quantised(copied, tick);
    let counted = BEFORE_PJ + energy_at(log, hazards, stepped);
    // Only who reads the GPU itself can measure its counter's steps.
    let direct = hazards.gpu_refresh == 0 && hazards.gpu_frozen.is_none();
    let since = u64::try_from(stepped).map_or(Tick::ZERO, Tick);
    GpuSample {
        uuid: format!("GPU-{place}"),
        index: u32::try_from(place).ok(),
        energy_mj: u64::try_from(counted / 1_000_000_000).ok(),
        energy_from: direct.then_some(since),
        energy_to: direct.then_some(at),
        energy_tick_ns: direct.then_some(tick),
        power_mw: Some(power_mw(log, hazards, copied)),
        power_kind: Some(PowerKind::Momentary),
        power_limit_mw: Some(LIMIT_MW),
        ..GpuSample::default()
    }
}
