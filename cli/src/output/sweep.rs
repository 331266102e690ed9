//! A sweep as a table: a row a step, and the knee.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use phasegate_core::account::sweep::{SweepBy, SweepResult};

use super::tables::{number, verdict_word};

/// Writes the table of `sweep`.
///
/// # Errors
/// Those of the writer.
pub(super) fn render(out: &mut String, sweep: &SweepResult) -> std::fmt::Result {
    let by = match sweep.by {
        SweepBy::RequestRate => "request rate",
        SweepBy::Concurrency => "concurrency",
    };
    writeln!(out, "sweep by {by}")?;
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let goodput = sweep.steps.iter().any(|step| step.goodput.is_some());
    let mut columns =
        vec!["phase", by, "req/s", "tok/s", "TTFT p50", "TTFT p99", "ITL p50", "latency avg"];
    columns.extend(goodput.then_some("goodput"));
    columns.push("verdict");
    table.set_header(columns);
    for step in &sweep.steps {
        let knee = if sweep.knee.as_ref() == Some(&step.phase) { " <- knee" } else { "" };
        let value = step.value.map_or_else(|| "inf".to_owned(), |value| value.to_string());
        let numbers = [
            step.request_throughput,
            step.output_token_throughput,
            step.time_to_first_token_p50,
            step.time_to_first_token_p99,
            step.inter_token_latency_p50,
            step.latency_avg,
        ];
        let mut row = vec![Cell::new(&step.phase), Cell::new(value)];
        row.extend(numbers.map(|value| Cell::new(number(value))));
        row.extend(goodput.then(|| Cell::new(number(step.goodput))));
        row.push(Cell::new(format!("{}{knee}", verdict_word(step.verdict))));
        table.add_row(row);
    }
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if index == 0 { (2, 1) } else { (1, 0) });
        if index > 0 && index < last {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}", table.trim_fmt())?;
    writeln!(out, "  times in ms. {}\n", sweep.knee_reason)
}

#[cfg(test)]
mod tests {
    use phasegate_core::account::result::Verdict;
    use phasegate_core::account::sweep::SweepStep;

    use super::*;

    fn step(value: Option<f64>, verdict: Verdict) -> SweepStep {
        let name = value.map_or_else(|| "inf".to_owned(), |value| value.to_string());
        SweepStep {
            phase: format!("rate-{name}"),
            value,
            request_throughput: value,
            output_token_throughput: None,
            time_to_first_token_p50: Some(20.25),
            time_to_first_token_p99: Some(31.5),
            inter_token_latency_p50: Some(5.0),
            latency_avg: Some(345.0),
            goodput: None,
            power: Some(1.0),
            verdict,
        }
    }

    #[test]
    fn a_row_a_step_with_the_knee_and_what_is_not_known() {
        let mut sweep = SweepResult {
            by: SweepBy::RequestRate,
            steps: vec![
                step(Some(5.0), Verdict::Clean),
                step(Some(12.5), Verdict::Unsettled),
                step(None, Verdict::Contaminated),
            ],
            knee: Some("rate-12.5".to_owned()),
            knee_reason: "Throughput ÷ mean latency is greatest at rate-12.5.".to_owned(),
        };
        let mut text = String::new();
        render(&mut text, &sweep).unwrap();
        sweep.steps[0].goodput = Some(4.5);
        render(&mut text, &sweep).unwrap();
        insta::assert_snapshot!(text);
    }
}
