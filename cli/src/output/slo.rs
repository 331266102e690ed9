//! A search as a table: a row a probe, and the answer.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use phasegate_core::account::slo::{SloMeasured, SloProbe, SloResult};
use phasegate_core::account::sweep::SweepBy;
use phasegate_core::search::Outcome;

use super::tables::{number, verdict_word};

/// Writes the table of `slo`, then its answer in a line.
///
/// # Errors
/// Those of the writer.
pub(super) fn render(out: &mut String, slo: &SloResult) -> std::fmt::Result {
    let by = match slo.by {
        SweepBy::RequestRate => "request rate",
        SweepBy::Concurrency => "concurrency",
    };
    let limits: Vec<String> = slo
        .objectives
        .iter()
        .map(|objective| format!("{objective} within {}{}", objective.limit, objective.unit()))
        .collect();
    writeln!(out, "search by {by}: {}", limits.join(", "))?;
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut columns: Vec<String> = ["probe", by, "requests", "req/s"].map(str::to_owned).to_vec();
    columns.extend(slo.objectives.iter().map(ToString::to_string));
    columns.extend(["outcome", "verdict"].map(str::to_owned));
    table.set_header(columns);
    for probe in &slo.probes {
        let mut row = vec![
            Cell::new(&probe.phase),
            Cell::new(probe.value),
            Cell::new(probe.requests),
            Cell::new(number(probe.request_throughput)),
        ];
        row.extend((0..slo.objectives.len()).map(|place| Cell::new(of(probe, place))));
        row.push(Cell::new(outcome_words(probe.outcome)));
        row.push(Cell::new(verdict_word(probe.verdict)));
        table.add_row(row);
    }
    let numbers = 1..4 + slo.objectives.len();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if index == 0 { (2, 1) } else { (1, 0) });
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}", table.trim_fmt())?;
    for probe in &slo.probes {
        let why: Vec<&str> = probe.reasons.iter().chain(&probe.doubt).map(String::as_str).collect();
        if !why.is_empty() {
            writeln!(out, "  {}: {}", probe.phase, why.join("; "))?;
        }
    }
    writeln!(out, "  in brackets: intervals of {:.0} % confidence", slo.confidence * 100.0)?;
    writeln!(out, "{}\n", slo.reason)
}

/// `187.0 [180.2 to 195.4]`.
fn of(probe: &SloProbe, place: usize) -> String {
    let Some(measured) = probe.objectives.get(place) else { return number(None) };
    let SloMeasured { value, low, high, .. } = measured;
    format!("{} [{} to {}]", number(*value), number(*low), number(*high))
}

fn outcome_words(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Held) => "held",
        Some(Outcome::Failed) => "not held",
        Some(Outcome::Undecided) => "undecided",
        Some(Outcome::NotShown) => "not shown",
        None => "cut short",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use phasegate_core::account::result::Verdict;
    use phasegate_core::search::{End, Objective};

    use super::*;

    fn probe(number: u32, value: f64, p99: Option<f64>, outcome: Option<Outcome>) -> SloProbe {
        let percentile = Some("p99".parse().unwrap());
        let measured = SloMeasured {
            metric: "time_to_first_token".to_owned(),
            percentile,
            samples: 1000,
            unanswered: 0,
            value: p99,
            low: p99.map(|ms| ms * 0.95),
            high: p99.map(|ms| ms * 1.1),
            outcome: outcome.unwrap_or(Outcome::NotShown),
        };
        SloProbe {
            phase: format!("probe-{number}"),
            value,
            requests: 1000,
            request_throughput: Some(value * 0.99),
            objectives: if p99.is_some() { vec![measured] } else { Vec::new() },
            outcome,
            reasons: match outcome {
                Some(Outcome::Held) | None => Vec::new(),
                Some(_) => vec!["p99 of time_to_first_token is above 200 ms".to_owned()],
            },
            client_bound: Some(false),
            doubt: None,
            verdict: Verdict::Clean,
        }
    }

    pub(crate) fn slo(answer: Option<f64>) -> SloResult {
        let percentile = Some("p99".parse().unwrap());
        let metric = "time_to_first_token".to_owned();
        SloResult {
            by: SweepBy::RequestRate,
            low: 20.0,
            high: 100.0,
            tolerance: 0.05,
            confidence: 0.95,
            objectives: vec![Objective { metric, percentile, limit: 200.0 }],
            probes: vec![
                probe(1, 20.0, Some(120.0), Some(Outcome::Held)),
                probe(2, 40.0, Some(900.0), Some(Outcome::Failed)),
                probe(3, 28.28, None, None),
            ],
            answer,
            held: Some(20.0),
            not_held: Some(40.0),
            end: answer.map(|_| End::Found),
            reason: "The search was cut short: held at 20 req/s, not held at 40 req/s.".to_owned(),
        }
    }

    #[test]
    fn a_row_a_probe_why_it_did_not_hold_and_the_answer() {
        let mut text = String::new();
        render(&mut text, &slo(None)).unwrap();
        insta::assert_snapshot!(text);
    }
}
