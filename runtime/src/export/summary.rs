//! `run.json` and `metrics.csv`, written once, at the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use phasegate_core::account::result::RunResult;

/// Writes `run.json` whole or not at all.
///
/// # Errors
/// What the system says.
pub fn write_run_json(dir: &Path, result: &RunResult) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(result)?;
    text.push(b'\n');
    replace(&dir.join("run.json"), &text)
}

/// Writes `metrics.csv`: phase × metric, flat. An unknown value is empty. What has
/// one value a phase has it under `avg`; the error bar of energy and what follows
/// from it is under `error`.
///
/// # Errors
/// What the system says.
pub fn write_metrics_csv(dir: &Path, result: &RunResult) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "phase", "kind", "metric", "unit", "count", "avg", "min", "max", "std", "p50", "p90",
        "p95", "p99", "error",
    ])?;
    for phase in &result.phases {
        let kind = serde_json::to_value(phase.kind)?;
        for (name, stats) in &phase.metrics {
            let value = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            csv.write_record([
                phase.name.clone(),
                kind.as_str().unwrap_or_default().to_owned(),
                name.clone(),
                stats.unit.clone(),
                stats.count.to_string(),
                value(stats.avg),
                value(stats.min),
                value(stats.max),
                value(stats.std),
                value(stats.p50),
                value(stats.p90),
                value(stats.p95),
                value(stats.p99),
                String::new(),
            ])?;
        }
        for (name, unit, value, error) in phase.efficiency.iter().flat_map(|e| e.rows()) {
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            let count = if value.is_some() { "1" } else { "0" };
            let mut row =
                [phase.name.as_str(), kind.as_str().unwrap_or_default(), name, unit, count]
                    .map(str::to_owned)
                    .to_vec();
            row.push(number(value));
            row.resize(13, String::new());
            row.push(number(error));
            csv.write_record(row)?;
        }
    }
    let text = csv.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    replace(&dir.join("metrics.csv"), &text)
}

/// Writes a file beside its place and moves it there, so that nobody ever sees
/// half of it.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(beside, path)
}
