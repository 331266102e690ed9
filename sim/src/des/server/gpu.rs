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
/// Where no hazard says otherwise, the counter moves so often.
const TICK_NS: u64 = 1_000_000;

/// Energy from the run's zero to `at`, in picojoules (a milliwatt for a
/// nanosecond).
pub(crate) fn energy_pj(log: &Log, hazards: &Hazards, at: Tick) -> i128 {
    let ns = i128::from(at.0);
    let drifts = ns.min(DRIFT_NS);
    let drift_ns2 = drifts * drifts / 2 + drifts * (ns - drifts);
    let idle = IDLE_MW * ns + i128::from(hazards.idle_drift) * drift_ns2 / 1_000_000_000;
    let worked: i128 = log
        .stays
        .iter()
        .filter(|stay| stay.from < at)
        .map(|stay| i128::from(stay.to.min(at).0.saturating_sub(stay.from.0)))
        .sum();
    idle + REQUEST_MW * worked
}

/// Power at `at`, in milliwatts.
fn power_mw(log: &Log, hazards: &Hazards, at: Tick) -> u64 {
    let running = log.stays.iter().filter(|stay| stay.from <= at && at < stay.to).count();
    let drift = i128::from(hazards.idle_drift) * i128::from(at.0).min(DRIFT_NS) / 1_000_000_000;
    u64::try_from(IDLE_MW + drift + REQUEST_MW * running as i128).unwrap_or(0)
}

/// The last multiple of `step` up to `at`; `at` without one.
fn quantised(at: Tick, step: u64) -> Tick {
    Tick(at.0.checked_div(step).map_or(at.0, |times| times * step))
}

/// What a reading at `at` shows: what the exporter copied last, of a counter that
/// moves in steps.
pub(super) fn sample(log: &Log, hazards: &Hazards, place: usize, at: Tick) -> GpuSample {
    let copied = quantised(at, hazards.gpu_refresh);
    let copied = hazards.gpu_frozen.map_or(copied, |frozen| copied.min(frozen));
    let tick = if hazards.energy_tick > 0 { hazards.energy_tick } else { TICK_NS };
    let counted = energy_pj(log, hazards, quantised(copied, tick));
    // Only who reads the GPU itself can measure its counter's steps.
    let direct = hazards.gpu_refresh == 0 && hazards.gpu_frozen.is_none();
    GpuSample {
        uuid: format!("GPU-{place}"),
        index: u32::try_from(place).ok(),
        energy_mj: u64::try_from(counted / 1_000_000_000).ok(),
        energy_from: direct.then(|| quantised(copied, tick)),
        energy_to: direct.then_some(at),
        energy_tick_ns: direct.then_some(tick),
        power_mw: Some(power_mw(log, hazards, copied)),
        power_kind: Some(PowerKind::Momentary),
        power_limit_mw: Some(LIMIT_MW),
        ..GpuSample::default()
    }
}
