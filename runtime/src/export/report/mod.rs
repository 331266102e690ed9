//! `report.html`: one self-contained page that opens offline and reads without
//! scripts.
//!
//! - [`series`]: what the charts need of `records.jsonl` and
//!   `gpu_telemetry.jsonl`, gone through once, in bounded memory.
//! - `sample`: which of many requests are drawn.
//! - `text`: escaping, numbers, words. `html`: tables.
//! - `chart`: axes and the SVG they stand in; `charts`: one file a chart.
//! - `sections`: one file a part of the page.

mod chart;
mod charts;
mod html;
mod sample;
mod sections;
pub mod series;
mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use phasegate_core::account::result::RunResult;

use self::series::Series;
use super::summary::replace;

/// The page's name in the artifact directory.
pub const FILE: &str = "report.html";

/// Writes the page of `result`, whose other artifacts are in `dir`.
///
/// # Errors
/// What the system says.
pub fn write(dir: &Path, result: &RunResult) -> io::Result<()> {
    let series = Series::read(dir, result)?;
    replace(&dir.join(FILE), render(result, &series).as_bytes())
}

/// The page.
#[must_use]
pub fn render(result: &RunResult, series: &Series) -> String {
    let mut page = String::with_capacity(256 * 1024);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.push_str(&format!("<title>{}</title>\n", text::esc(&sections::head::title(result))));
    page.push_str("<style>\n");
    page.push_str(include_str!("style.css"));
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    page.push_str(&sections::head::render(result));
    page.push_str(&sections::summary::render(result));
    page.push_str(&sections::sweep::render(result));
    page.push_str(&sections::slo::render(result));
    page.push_str(&sections::course::render(result, series));
    page.push_str(&sections::gpus::render(result, series));
    page.push_str(&sections::server::render(result));
    page.push_str(&sections::boundaries::render(result));
    page.push_str(&sections::setup::render(result));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}
