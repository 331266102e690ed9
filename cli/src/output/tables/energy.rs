//! Energy: a line a GPU, one a phase, and the idle baseline.

use std::fmt::Write as _;

use phasegate_core::account::result::{
    Efficiency, EnergySource, GpuResult, IdleBaseline, IdleSide,
};
use phasegate_core::reading::PowerKind;

use super::number;

/// `energy 1234 ± 3.5 J, net 800 ± 4 J, 291 W avg, …`
pub(super) fn gpu_line(gpu: &GpuResult) -> String {
    let index = gpu.index.map_or_else(|| "?".to_owned(), |i| i.to_string());
    let name = gpu.name.as_deref().unwrap_or("unnamed");
    // The artifacts have the whole of it; this much tells two GPUs apart.
    let uuid: String = gpu.uuid.chars().take(12).collect();
    let mut line = format!("GPU {index} {name} ({uuid}): energy ");
    if gpu.energy_j.is_some() {
        line.push_str(&with_error(gpu.energy_j, gpu.energy_error_j, "J"));
        match gpu.energy_source {
            Some(EnergySource::PowerIntegral) => line.push_str(" (integrated power)"),
            Some(EnergySource::Counter) | None => {}
        }
    } else {
        let _ = write!(line, "n/a ({})", gpu.reason.as_deref().unwrap_or("no reason given"));
    }
    if gpu.net_energy_j.is_some() {
        let net = with_error(gpu.net_energy_j, gpu.net_energy_error_j, "J");
        let _ = write!(line, ", net {net}");
    }
    let averaged = match gpu.power_kind {
        Some(PowerKind::Averaged) => " (averaged)",
        Some(PowerKind::Momentary) | None => "",
    };
    let _ = write!(
        line,
        ", {} W avg, {} W max{averaged}, utilization {} %",
        number(gpu.power_w.avg),
        number(gpu.power_w.max),
        number(gpu.utilization_pct.avg)
    );
    line
}

/// `energy: 1234 ± 3.5 J, …`; `None` where nothing of it is known: the GPUs say why.
pub(super) fn efficiency_line(efficiency: &Efficiency) -> Option<String> {
    efficiency.energy_j?;
    let shown = efficiency.rows().filter(|(_, _, value, _)| value.is_some());
    let shown: Vec<_> = shown
        .map(|(name, unit, value, error)| format!("{name} {}", with_error(value, error, unit)))
        .collect();
    Some(shown.join(", "))
}

/// Idle power before and after the run, with the drift.
pub(super) fn idle_lines(idle: &IdleBaseline) -> Vec<String> {
    let side = |side: &IdleSide| {
        let sum: Option<f64> = side.gpus.iter().map(|gpu| gpu.power_w).sum();
        let error: Option<f64> = side.gpus.iter().map(|gpu| gpu.power_error_w).sum();
        let sum = sum.filter(|_| !side.gpus.is_empty());
        with_error(sum, error.filter(|_| sum.is_some()), "W")
    };
    let mut line =
        format!("idle baseline: {} before, {} after", side(&idle.before), side(&idle.after));
    if let Some(drift) = idle.drift_pct {
        let _ = write!(line, " ({drift:+.1} %)");
    }
    let notes = idle.notes.iter().map(|note| format!("  {note}"));
    std::iter::once(line).chain(notes).collect()
}

fn with_error(value: Option<f64>, error: Option<f64>, unit: &str) -> String {
    match (value, error) {
        (Some(_), Some(_)) => format!("{} ± {} {unit}", number(value), number(error)),
        (Some(_), None) => format!("{} {unit}", number(value)),
        (None, _) => "n/a".to_owned(),
    }
}
