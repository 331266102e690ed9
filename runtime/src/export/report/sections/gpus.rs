//! Power and energy.

use phasegate_core::account::result::{
    EnergySource, GpuResult, IdleBaseline, IdleSide, PhaseResult, RunResult,
};

use super::course::figure;
use crate::export::report::charts::power;
use crate::export::report::html::{Cell, Table};
use crate::export::report::series::Series;
use crate::export::report::text::{colour, esc, known, number, unknown};

/// The GPUs.
pub(in super::super) fn render(result: &RunResult, series: &Series) -> String {
    let mut out = "<section>\n<h2>GPUs</h2>\n".to_owned();
    if result.phases.iter().all(|phase| phase.gpus.is_empty()) && series.power.is_empty() {
        let why = if result.config.pointer("/telemetry/gpu").is_some_and(|gpu| gpu == "none") {
            "GPU telemetry was not asked for"
        } else {
            "no GPU was read; the notes of the phases and the boundaries say more"
        };
        return out + &format!("<p>Power and energy are {}.</p>\n</section>\n", unknown(why));
    }
    let chart = series.range.and_then(|range| power::draw(result, series, range));
    if let Some(chart) = chart {
        out.push_str(&figure(
            &chart,
            "Power as the GPU tells it, averaged over 1/300 of the time. Energy is the difference \
             of its counter between two boundary readings, where it has one, not the area below \
             this line.",
        ));
    } else {
        out.push_str(&format!(
            "<p>Power over time is {}.</p>\n",
            unknown("no reading told a GPU's power")
        ));
    }
    if result.phases.iter().any(|phase| !phase.gpus.is_empty()) {
        out.push_str(&table(result));
        out.push_str(&efficiency(result));
    }
    if let Some(baseline) = &result.idle_baseline {
        out.push_str(&idle(baseline));
    }
    out.push_str("</section>\n");
    out
}

fn table(result: &RunResult) -> String {
    let columns = [
        "Phase",
        "GPU",
        "#Energy, J",
        "#Net energy, J",
        "#Power, W mean",
        "#max",
        "#Utilization, % mean",
        "#max",
        "#Memory, MiB max",
        "#Temperature, °C max",
    ];
    let caption = "What each GPU did in each phase: energy between the boundary readings, the rest \
                   weighted by time. Net energy is less what the GPU takes idle.";
    let mut table = Table::new(caption, &columns);
    let why = "its readings in this phase do not tell";
    for phase in &result.phases {
        for (place, gpu) in phase.gpus.iter().enumerate() {
            let index = gpu.index.map_or_else(|| "?".to_owned(), |i| i.to_string());
            let mut cells = vec![
                Cell::Name(if place == 0 { key(phase) } else { String::new() }),
                Cell::Text(format!(
                    "<span title=\"{}\">{index} {}</span>",
                    esc(&gpu.uuid),
                    esc(gpu.name.as_deref().unwrap_or("unnamed"))
                )),
                Cell::Number(energy(gpu)),
                Cell::Number(net(gpu)),
            ];
            let values = [
                gpu.power_w.avg,
                gpu.power_w.max,
                gpu.utilization_pct.avg,
                gpu.utilization_pct.max,
                gpu.memory_used_mib.max,
                gpu.temperature_c.max,
            ];
            if values.iter().all(Option::is_none) {
                cells.push(Cell::Wide(values.len(), unknown(why)));
            } else {
                cells.extend(values.map(|value| Cell::Number(known(value, why))));
            }
            table.row(cells);
        }
    }
    table.finish()
}

fn energy(gpu: &GpuResult) -> String {
    let shown = match (gpu.energy_j, gpu.energy_error_j) {
        (Some(energy), Some(error)) => format!("{} ± {}", number(energy), number(error)),
        (Some(energy), None) => number(energy),
        (None, _) => return unknown(gpu.reason.as_deref().unwrap_or("no reason given")),
    };
    match gpu.energy_source {
        Some(EnergySource::PowerIntegral) => format!("{shown} (integrated power)"),
        Some(EnergySource::Counter) | None => shown,
    }
}

fn net(gpu: &GpuResult) -> String {
    match (gpu.net_energy_j, gpu.net_energy_error_j) {
        (Some(energy), Some(error)) => format!("{} ± {}", number(energy), number(error)),
        (Some(_) | None, _) => unknown("idle power was not measured"),
    }
}

/// What the work of each phase took.
fn efficiency(result: &RunResult) -> String {
    let columns = ["Phase", "Of all GPUs", "#Value", "#±", "Unit"];
    let caption = "Energy of all GPUs by completed requests and their output tokens, with the \
                   error of the energy carried along.";
    let mut table = Table::new(caption, &columns);
    for phase in &result.phases {
        let Some(efficiency) = &phase.efficiency else { continue };
        let why = efficiency.reason.as_deref().unwrap_or("no reason given");
        for (place, (name, unit, value, error)) in efficiency.rows().enumerate() {
            table.row(vec![
                Cell::Name(if place == 0 { key(phase) } else { String::new() }),
                Cell::Text(name.replace('_', " ")),
                Cell::Number(known(value, why)),
                Cell::Number(known(error, why)),
                Cell::Text(esc(unit)),
            ]);
        }
    }
    table.finish()
}

/// A phase's name with its colour.
fn key(phase: &PhaseResult) -> String {
    format!("<i class=\"key {}\"></i>{}", colour(phase.index), esc(&phase.name))
}

/// The idle baseline.
fn idle(baseline: &IdleBaseline) -> String {
    let columns = ["When", "GPU", "#Power, W", "#±", "#Energy, J", "#±"];
    let caption = "What each GPU took while nothing was asked of the server.";
    let mut table = Table::new(caption, &columns);
    for (side, when) in [(&baseline.before, "before the run"), (&baseline.after, "after the run")] {
        let IdleSide { gpus, reason, .. } = side;
        if gpus.is_empty() {
            let why = reason.as_deref().unwrap_or("no GPU was read");
            table.row(vec![Cell::Name(when.to_owned()), Cell::Wide(5, unknown(why))]);
        }
        for (place, gpu) in gpus.iter().enumerate() {
            let why = gpu.reason.as_deref().unwrap_or("no reason given");
            let mut cells = vec![
                Cell::Name(if place == 0 { when.to_owned() } else { String::new() }),
                Cell::Text(esc(&gpu.uuid)),
            ];
            let values = [gpu.power_w, gpu.power_error_w, gpu.energy_j, gpu.energy_error_j];
            cells.extend(values.map(|value| Cell::Number(known(value, why))));
            table.row(cells);
        }
    }
    let drift = known(baseline.drift_pct, "idle power is not known on both sides");
    let mut out = table.finish() + &format!("<p>Drift of idle power: {drift} %.</p>\n");
    for note in &baseline.notes {
        out.push_str(&format!("<p>{}</p>\n", esc(note)));
    }
    out
}
