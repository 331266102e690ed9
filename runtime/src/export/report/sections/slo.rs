//! The probes of a search, in the order in which they were taken.

use phasegate_core::account::result::RunResult;
use phasegate_core::account::sweep::SweepBy;
use phasegate_core::search::Outcome;

use crate::export::report::html::{Cell, Table};
use crate::export::report::text::{badge, esc, known, number};

/// The search, where the run is one.
pub(in super::super) fn render(result: &RunResult) -> String {
    let Some(slo) = &result.slo else { return String::new() };
    let by = match slo.by {
        SweepBy::RequestRate => "#Request rate",
        SweepBy::Concurrency => "#Concurrency",
    };
    let mut columns: Vec<String> = ["Probe", by, "#Requests", "#req/s"].map(str::to_owned).to_vec();
    for objective in &slo.objectives {
        let unit = objective.unit();
        columns.push(format!("#{objective}, within {}{unit}", objective.limit));
        columns.push(format!("#{:.0} % interval", slo.confidence * 100.0));
    }
    columns.extend(["Outcome", "Why", "Verdict"].map(str::to_owned));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new("Every probe of the search, in order", &columns);
    let missing = "not known, or of a request that was not answered";
    for probe in &slo.probes {
        let mut cells = vec![
            Cell::Name(format!("<span class=\"one\">{}</span>", esc(&probe.phase))),
            Cell::Number(number(probe.value)),
            Cell::Number(probe.requests.to_string()),
            Cell::Number(known(probe.request_throughput, "not measured")),
        ];
        for place in 0..slo.objectives.len() {
            let measured = probe.objectives.get(place);
            cells.push(Cell::Number(known(measured.and_then(|m| m.value), missing)));
            let end = |end: Option<f64>| end.map_or_else(|| "?".to_owned(), number);
            let (low, high) = measured.map_or((None, None), |m| (m.low, m.high));
            cells.push(Cell::Number(format!("{} to {}", end(low), end(high))));
        }
        let outcome = match probe.outcome {
            Some(Outcome::Held) => "held",
            Some(Outcome::Failed) => "not held",
            Some(Outcome::Undecided) => "undecided",
            Some(Outcome::NotShown) => "not shown",
            None => "cut short",
        };
        cells.push(Cell::Text(outcome.to_owned()));
        let why: Vec<&str> = probe.reasons.iter().chain(&probe.doubt).map(String::as_str).collect();
        cells.push(Cell::Text(esc(&why.join("; "))));
        cells.push(Cell::Text(badge(&probe.verdict)));
        table.row(cells);
    }
    format!(
        "<section>\n<h2>Search</h2>\n<p>{}</p>\n{}</section>\n",
        esc(&slo.reason),
        table.finish()
    )
}
