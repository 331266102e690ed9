//! Power and energy.

use phasegate_core::account::result::{GpuResult, PhaseResult, RunResult};

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
             of its counter between two boundary readings, not the area below this line.",
        ));
    } else {
        out.push_str(&format!(
            "<p>Power over time is {}.</p>\n",
            unknown("no reading told a GPU's power")
        ));
    }
    if result.phases.iter().any(|phase| !phase.gpus.is_empty()) {
        out.push_str(&table(result));
    }
    out.push_str("</section>\n");
    out
}

fn table(result: &RunResult) -> String {
    let columns = [
        "Phase",
        "GPU",
        "#Energy, J",
        "#J / output token",
        "#Power, W mean",
        "#max",
        "#Utilization, % mean",
        "#max",
        "#Memory, MiB max",
        "#Temperature, °C max",
    ];
    let caption = "What each GPU did in each phase: energy between the boundary readings, the rest \
                   weighted by time. Energy per token is all GPUs' energy by completed output \
                   tokens.";
    let mut table = Table::new(caption, &columns);
    let why = "its readings in this phase do not tell";
    for phase in &result.phases {
        for (place, gpu) in phase.gpus.iter().enumerate() {
            let index = gpu.index.map_or_else(|| "?".to_owned(), |i| i.to_string());
            let mut cells = vec![
                Cell::Name(if place == 0 {
                    format!("<i class=\"key {}\"></i>{}", colour(phase.index), esc(&phase.name))
                } else {
                    String::new()
                }),
                Cell::Text(format!(
                    "<span title=\"{}\">{index} {}</span>",
                    esc(&gpu.uuid),
                    esc(gpu.name.as_deref().unwrap_or("unnamed"))
                )),
                Cell::Number(energy(gpu)),
                Cell::Number(if place == 0 { per_token(phase) } else { String::new() }),
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
    match (gpu.energy_j, gpu.energy_error_j) {
        (Some(energy), Some(error)) => format!("{} ± {}", number(energy), number(error)),
        (Some(energy), None) => number(energy),
        (None, _) => unknown(gpu.reason.as_deref().unwrap_or("no reason given")),
    }
}

fn per_token(phase: &PhaseResult) -> String {
    let energy: Option<f64> = phase.gpus.iter().map(|gpu| gpu.energy_j).sum();
    let lengths = phase.metrics.get("output_sequence_length");
    // Only where every completed request has a count.
    let tokens = lengths
        .filter(|lengths| lengths.count == phase.requests.completed)
        .and_then(|lengths| Some(lengths.avg? * lengths.count as f64));
    match (energy, tokens.filter(|tokens| *tokens > 0.0)) {
        (Some(energy), Some(tokens)) => number(energy / tokens),
        (None, _) => unknown("an energy is not known"),
        (Some(_), None) => unknown("output tokens are not known"),
    }
}
