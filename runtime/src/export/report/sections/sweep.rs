//! The steps of a sweep, side by side.

use phasegate_core::account::result::RunResult;
use phasegate_core::account::sweep::SweepBy;

use crate::export::report::html::{Cell, Table};
use crate::export::report::text::{badge, esc, known, number};

/// The sweep, where the run has one.
pub(in super::super) fn render(result: &RunResult) -> String {
    let Some(sweep) = &result.sweep else { return String::new() };
    let by = match sweep.by {
        SweepBy::RequestRate => "Request rate",
        SweepBy::Concurrency => "Concurrency",
    };
    let value = format!("#{by}");
    let columns = [
        "Step",
        value.as_str(),
        "#req/s",
        "#tok/s",
        "#TTFT p50, ms",
        "#TTFT p99, ms",
        "#ITL p50, ms",
        "#Mean latency, ms",
        "#Goodput, req/s",
        "Verdict",
    ];
    let mut table = Table::new("Every step of the sweep, in ascending order", &columns);
    for step in &sweep.steps {
        let knee = if sweep.knee.as_ref() == Some(&step.phase) { " (knee)" } else { "" };
        let value = step.value.map_or_else(|| "inf".to_owned(), number);
        let numbers = [
            step.request_throughput,
            step.output_token_throughput,
            step.time_to_first_token_p50,
            step.time_to_first_token_p99,
            step.inter_token_latency_p50,
            step.latency_avg,
        ];
        let mut cells =
            vec![Cell::Name(format!("{}{knee}", esc(&step.phase))), Cell::Number(value)];
        cells.extend(numbers.map(|value| Cell::Number(known(value, "not measured"))));
        cells.push(Cell::Number(known(step.goodput, "no limits, or not measured")));
        cells.push(Cell::Text(badge(&step.verdict)));
        table.row(cells);
    }
    format!(
        "<section>\n<h2>Sweep</h2>\n<p>{}</p>\n{}</section>\n",
        esc(&sweep.knee_reason),
        table.finish()
    )
}
