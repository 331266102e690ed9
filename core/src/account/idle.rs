//! The idle baseline: what the GPUs take while nothing is asked of the server,
//! before and after the run.
//!
//! Both are phases without load, between gates of their own, so their energies
//! have the same error bars as any other's. Idle power is energy by time. Net
//! energy is gross energy less the mean of the two idle powers times the time
//! that it is of; half of their difference is part of its error.

use super::result::{GpuResult, IdleBaseline, IdleGpu, IdleSide, PhaseResult};
use crate::plan::PhaseKind;

/// Idle powers that differ by more than this, in percent, are a note.
pub const DRIFT_PCT: f64 = 5.0;

/// Takes the idle phases out of `phases`; the baseline that they make, where there
/// are any. Net energies are filled in.
pub fn take_out(phases: &mut Vec<PhaseResult>) -> Option<IdleBaseline> {
    let idle = |phase: &PhaseResult| phase.kind == PhaseKind::Idle;
    let first_load = phases.iter().position(|phase| !idle(phase)).unwrap_or(phases.len());
    let (mut before, mut after) = (None, None);
    for (place, phase) in phases.iter().enumerate().filter(|(_, phase)| idle(phase)) {
        let side = if place < first_load { &mut before } else { &mut after };
        *side = Some(side_of(phase));
    }
    if before.is_none() && after.is_none() {
        return None;
    }
    phases.retain(|phase| !idle(phase));
    let missing =
        || IdleSide { reason: Some("it was not planned".to_owned()), ..IdleSide::default() };
    let baseline = compare(before.unwrap_or_else(missing), after.unwrap_or_else(missing));
    for gpu in phases.iter_mut().flat_map(|phase| &mut phase.gpus) {
        if let Some((net, error)) = net(&baseline, gpu) {
            gpu.net_energy_j = Some(net);
            gpu.net_energy_error_j = Some(error);
        }
    }
    Some(baseline)
}

fn side_of(phase: &PhaseResult) -> IdleSide {
    let gpu = |gpu: &GpuResult| {
        let seconds = gpu.energy_seconds();
        let watts = |joules: Option<f64>| Some(joules? / seconds?);
        IdleGpu {
            uuid: gpu.uuid.clone(),
            index: gpu.index,
            power_w: watts(gpu.energy_j),
            power_error_w: watts(gpu.energy_error_j),
            energy_j: gpu.energy_j,
            energy_error_j: gpu.energy_error_j,
            reason: gpu.reason.clone(),
        }
    };
    let none = || match phase.start_ns {
        None => phase.notes.first().cloned().unwrap_or_else(|| "it was never started".to_owned()),
        Some(_) => "no GPU was read".to_owned(),
    };
    IdleSide {
        start_ns: phase.start_ns,
        end_ns: phase.end_ns,
        gpus: phase.gpus.iter().map(gpu).collect(),
        reason: phase.gpus.is_empty().then(none),
    }
}

fn compare(before: IdleSide, after: IdleSide) -> IdleBaseline {
    let mut notes = Vec::new();
    let both = before.gpus.iter().map(|gpu| {
        let twin = after.gpus.iter().find(|g| g.uuid == gpu.uuid)?;
        Some((gpu.power_w?, twin.power_w?))
    });
    let sums = both.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty()).map(|pairs| {
        pairs.iter().fold((0.0, 0.0), |(a, b), (before, after)| (a + before, b + after))
    });
    let drift_pct = sums.filter(|(a, _)| *a > 0.0).map(|(a, b)| 100.0 * (b - a) / a);
    for (side, name) in [(&before, "before"), (&after, "after")] {
        if let Some(why) = &side.reason {
            notes.push(format!("Idle power {name} the run is not known: {why}"));
        }
        for gpu in side.gpus.iter().filter(|gpu| gpu.power_w.is_none()) {
            let why = gpu.reason.as_deref().unwrap_or("no reason given");
            notes.push(format!(
                "Idle power of GPU {} {name} the run is not known: {why}.",
                gpu.uuid
            ));
        }
    }
    if let (Some(drift), Some((a, b))) = (drift_pct.filter(|d| d.abs() > DRIFT_PCT), sums) {
        notes.push(format!(
            "Idle power went from {a:.1} W before the run to {b:.1} W after it ({drift:+.1} %): the \
             GPUs were not in the same state, and net energies are that much less certain."
        ));
    }
    IdleBaseline { before, after, drift_pct, notes }
}

/// Net energy of a GPU, and its error.
fn net(baseline: &IdleBaseline, gpu: &GpuResult) -> Option<(f64, f64)> {
    let side = |side: &IdleSide| {
        let idle = side.gpus.iter().find(|g| g.uuid == gpu.uuid)?;
        idle.power_w.zip(idle.power_error_w)
    };
    let (watts, error) = match (side(&baseline.before), side(&baseline.after)) {
        (Some((a, a_error)), Some((b, b_error))) => {
            (f64::midpoint(a, b), a_error.max(b_error) + (a - b).abs() / 2.0)
        }
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => return None,
    };
    let seconds = gpu.energy_seconds()?;
    Some((gpu.energy_j? - watts * seconds, gpu.energy_error_j? + error * seconds))
}
