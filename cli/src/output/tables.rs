//! A run's result as text: a table of client metrics a phase, its boundaries
//! and verdict, its GPUs, and how the run ended. What is not known is `n/a`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use phasegate_core::account::result::{
    BoundaryResult, BoundaryStatus, MetricStats, PhaseResult, RunOutcome, RunResult, Verdict,
};
use phasegate_core::message::{BaselineKind, ReleasedBy};
use phasegate_core::plan::PhaseKind;

use crate::args::parse::show_duration;

/// The whole result; `artifacts` is where it is written, if it is.
#[must_use]
pub fn render(result: &RunResult, artifacts: Option<&Path>) -> String {
    let mut out = String::new();
    for phase in &result.phases {
        // Writing to a String cannot fail.
        let _ = render_phase(&mut out, phase, &result.boundaries);
    }
    if let Some(sweep) = &result.sweep {
        let _ = super::sweep::render(&mut out, sweep);
    }
    let _ = render_end(&mut out, result, artifacts);
    out
}

fn render_phase(
    out: &mut String,
    phase: &PhaseResult,
    boundaries: &[BoundaryResult],
) -> std::fmt::Result {
    let requests = phase.requests;
    write!(out, "{} ({}", phase.name, kind_word(phase.kind))?;
    if phase.seamless {
        write!(out, ", seamless")?;
    }
    write!(
        out,
        "): {} sent, {} completed, {} errors, {} cancelled",
        requests.sent, requests.completed, requests.errors, requests.cancelled
    )?;
    match (phase.start_ns, phase.end_ns) {
        (Some(start), Some(end)) => {
            writeln!(out, " in {}", seconds(end.since(start).as_secs_f64()))?;
        }
        (Some(_), None) => writeln!(out, ", never ended")?,
        (None, _) => writeln!(out, ", never started")?,
    }
    if requests.sent > 0 {
        writeln!(out, "{}", metrics_table(&phase.metrics))?;
        let rates = rates(&phase.metrics);
        if !rates.is_empty() {
            writeln!(out, "  {rates}")?;
        }
    }
    if !phase.errors.is_empty() {
        let errors: Vec<String> = phase.errors.iter().map(|(c, n)| format!("{c} {n}")).collect();
        writeln!(out, "  errors: {}", errors.join(", "))?;
    }
    for (url, r) in &phase.requests_by_url {
        let (sent, completed, errors) = (r.sent, r.completed, r.errors);
        writeln!(out, "  {url}: {sent} sent, {completed} completed, {errors} errors")?;
    }
    let of_phase = boundaries.iter().filter(|b| b.phase_id == phase.phase_id);
    let gates: Vec<String> = of_phase.map(boundary_line).collect();
    if !gates.is_empty() {
        writeln!(out, "  {}", gates.join("; "))?;
    }
    writeln!(out, "  verdict: {}", verdict_word(phase.verdict))?;
    for note in &phase.notes {
        writeln!(out, "    {note}")?;
    }
    if let Some(line) = ledgers::line(phase) {
        writeln!(out, "  {line}")?;
    }
    for gpu in &phase.gpus {
        writeln!(out, "  {}", energy::gpu_line(gpu))?;
    }
    if let Some(line) = phase.efficiency.as_ref().and_then(energy::efficiency_line) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)
}

/// The metrics that have one value a phase, in the order in which they are
/// shown.
const RATES: [&str; 5] = [
    "request_throughput",
    "output_token_throughput",
    "total_token_throughput",
    "goodput",
    "error_rate",
];

/// The order in which the others are shown: what a user feels first. One that is
/// not named here comes after these.
const ORDER: [&str; 12] = [
    "time_to_first_token",
    "time_to_first_output_token",
    "inter_token_latency",
    "request_latency",
    "scheduled_time_to_first_token",
    "scheduled_latency",
    "time_to_second_token",
    "inter_chunk_latency",
    "output_token_throughput_per_user",
    "input_sequence_length",
    "output_sequence_length",
    "dispatch_lag",
];

/// `request_throughput 22.82 req/s, …`
fn rates(metrics: &BTreeMap<String, MetricStats>) -> String {
    let rate = |name: &&str| {
        metrics.get(*name).map(|stats| format!("{name} {} {}", number(stats.avg), stats.unit))
    };
    RATES.iter().filter_map(rate).collect::<Vec<_>>().join(", ")
}

fn metrics_table(metrics: &BTreeMap<String, MetricStats>) -> String {
    let place = |name: &str| ORDER.iter().position(|other| *other == name).unwrap_or(ORDER.len());
    let mut metrics: Vec<_> =
        metrics.iter().filter(|(name, _)| !RATES.contains(&name.as_str())).collect();
    metrics.sort_by_key(|(name, _)| place(name));
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let columns = ["metric", "unit", "avg", "min", "max", "p50", "p90", "p95", "p99", "count"];
    table.set_header(columns);
    for (name, stats) in metrics {
        let values = [stats.avg, stats.min, stats.max, stats.p50, stats.p90, stats.p95, stats.p99];
        // The phase's notes say why.
        let mark = if stats.resolvable == Some(false) { " *" } else { "" };
        let mut row = vec![Cell::new(format!("{name}{mark}")), Cell::new(&stats.unit)];
        row.extend(values.map(|v| Cell::new(number(v))));
        row.push(Cell::new(stats.count));
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if index == 0 { (2, 1) } else { (1, 0) });
        if index > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// `START released by all_acked in 12 ms, 2 of 2 collectors`, with the names of
/// those that have no reading.
fn boundary_line(boundary: &BoundaryResult) -> String {
    let took = boundary.closed_ns.since(boundary.requested_ns).as_secs_f64();
    let kind = match boundary.kind {
        BaselineKind::Start => "START",
        BaselineKind::End => "END",
    };
    let mut line =
        format!("{kind} released by {} in {}", by_word(boundary.released_by), seconds(took));
    let all = boundary.collectors.len();
    let captured =
        boundary.collectors.iter().filter(|c| c.status == BoundaryStatus::Captured).count();
    if all > 0 {
        let _ = write!(line, ", {captured} of {all} collectors");
    }
    let missing = boundary.collectors.iter().filter(|c| c.status != BoundaryStatus::Captured);
    let missing: Vec<String> =
        missing.map(|c| format!("{} {}", c.service_id, status_word(c.status))).collect();
    if !missing.is_empty() {
        let _ = write!(line, " ({})", missing.join(", "));
    }
    if boundary.in_flight > 0 {
        let _ = write!(line, ", {} in flight", boundary.in_flight);
    }
    if boundary.settled == Some(false) {
        line.push_str(", unsettled");
    }
    line
}

fn render_end(out: &mut String, result: &RunResult, artifacts: Option<&Path>) -> std::fmt::Result {
    for line in result.idle_baseline.iter().flat_map(energy::idle_lines) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "outcome: {} (seed {})", outcome_word(result.outcome), result.seed)?;
    for line in result.reasons.iter().chain(&result.notes) {
        writeln!(out, "  {line}")?;
    }
    if let Some(dir) = artifacts {
        writeln!(out, "artifacts: {}", dir.display())?;
    }
    Ok(())
}

/// A number with three or four digits that count; `n/a` if it is not known.
pub(super) fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "n/a".to_owned() };
    let size = value.abs();
    let decimals = if value == 0.0 || size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 1.0 {
        2
    } else if size >= 0.001 {
        4
    } else {
        return format!("{value:.1e}");
    };
    format!("{value:.decimals$}")
}

fn seconds(seconds: f64) -> String {
    if seconds >= 1.0 {
        return format!("{seconds:.2} s");
    }
    format!("{:.1} ms", seconds * 1e3)
}

/// The published word of a phase's kind.
#[must_use]
pub fn kind_word(kind: PhaseKind) -> &'static str {
    match kind {
        PhaseKind::Warmup => "warmup",
        PhaseKind::Profiling => "profiling",
        PhaseKind::Idle => "idle",
    }
}

pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Overlapped => "overlapped",
        Verdict::Unsettled => "unsettled",
        Verdict::Incomplete => "incomplete",
        Verdict::Contaminated => "contaminated",
    }
}

fn outcome_word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Completed => "completed",
        RunOutcome::Degraded => "degraded",
        RunOutcome::Cancelled => "cancelled",
        RunOutcome::Failed => "failed",
    }
}

fn by_word(by: ReleasedBy) -> &'static str {
    match by {
        ReleasedBy::AllAcked => "all_acked",
        ReleasedBy::Timeout => "timeout",
        ReleasedBy::NoCollectors => "no_collectors",
        ReleasedBy::Disabled => "disabled",
        ReleasedBy::Cancelled => "cancelled",
    }
}

fn status_word(status: BoundaryStatus) -> &'static str {
    match status {
        BoundaryStatus::Captured => "captured",
        BoundaryStatus::Failed => "failed",
        BoundaryStatus::Missing => "missing",
        BoundaryStatus::Late => "late",
        BoundaryStatus::Evicted => "evicted",
    }
}

/// A phase's stop condition, for people.
#[must_use]
pub fn stop_words(stop: phasegate_core::plan::Stop) -> String {
    match (stop.requests(), stop.duration()) {
        (Some(n), Some(d)) => {
            format!("after {n} requests or {}, whichever is first", show_duration(d))
        }
        (Some(n), None) => format!("after {n} requests"),
        (None, Some(d)) => format!("after {}", show_duration(d)),
        // Stop has at least one of the two.
        (None, None) => String::new(),
    }
}

mod energy;
mod ledgers;

#[cfg(test)]
pub(crate) mod tests;
