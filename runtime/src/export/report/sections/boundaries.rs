//! Who answered, when, how; and the windows between.

use std::collections::BTreeMap;

use phasegate_core::account::result::{BoundaryResult, BoundaryStatus, Moved, RunResult, Window};
use phasegate_core::engines::{Role, lookup};

use super::name_of;
use crate::export::report::html::{Cell, Table};
use crate::export::report::text::{
    badge, breakable, count, esc, moment, moment_or, number, seconds, unknown, word,
};

/// The boundaries.
pub(in super::super) fn render(result: &RunResult) -> String {
    let mut out = "<section>\n<h2>Boundaries</h2>\n".to_owned();
    if result.boundaries.is_empty() {
        return out + "<p>No gate was asked for.</p>\n</section>\n";
    }
    let caption = "What happened at each gate, and what each collector did there. Times are on the \
                   run's clock.";
    let columns = [
        "Gate",
        "#Asked",
        "#Closed after",
        "Released by",
        "Settled",
        "#In flight",
        "Collector",
        "Answer",
        "#Attempts",
        "#Reading began",
        "#took",
    ];
    let mut table = Table::new(caption, &columns);
    for boundary in &result.boundaries {
        rows(&mut table, result, boundary);
    }
    out.push_str(&table.finish());
    out.push_str(&windows(result));
    out.push_str("</section>\n");
    out
}

/// Time, cut at the boundaries, and what the server counted in each piece.
fn windows(result: &RunResult) -> String {
    if result.windows.is_empty() {
        return String::new();
    }
    let caption = "Windows. Time is cut at the boundaries; everything that a counter did is in one \
                   window, so that the windows add up to its last value less its first.";
    let columns = ["#From", "#Length", "Phases active", "#Series that moved", "What was counted"];
    let mut table = Table::new(caption, &columns);
    for window in &result.windows {
        let phases = match window.phases.as_slice() {
            [] => unknown("none: idle, between phases"),
            names => esc(&names.join(" and ")),
        };
        let length = window.to_ns.since(window.from_ns).as_secs_f64();
        table.row([
            Cell::Number(moment(window.from_ns)),
            Cell::Number(seconds(length)),
            Cell::Text(phases),
            Cell::Number(count(window.server_metrics.len() as u64)),
            Cell::Text(counted(window)),
        ]);
    }
    table.finish()
}

/// What the counters that the client's ledger can be held against did, over
/// their series and endpoints.
fn counted(window: &Window) -> String {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for metric in &window.server_metrics {
        let exact = lookup(&metric.name).is_some_and(|rule| matches!(rule.role, Role::Counts(_)));
        if let Some(Moved::Counter { total }) = metric.delta.as_ref().filter(|_| exact) {
            *sums.entry(&metric.name).or_default() += total;
        }
    }
    let said =
        sums.iter().map(|(name, sum)| format!("<code>{}</code> {}", esc(name), number(*sum)));
    said.collect::<Vec<_>>().join("<br>")
}

fn rows(table: &mut Table, result: &RunResult, boundary: &BoundaryResult) {
    let took = boundary.closed_ns.since(boundary.requested_ns).as_secs_f64();
    let settled = match boundary.settled {
        Some(true) => "yes".to_owned(),
        Some(false) => "<span class=\"badge unsettled\">no</span>".to_owned(),
        None if boundary.in_flight > 0 => unknown("load was in flight"),
        None if !boundary.collectors.iter().any(|c| c.status == BoundaryStatus::Captured) => {
            unknown("no reading")
        }
        None => unknown("not asked for, or cannot be told"),
    };
    let mut head = vec![
        Cell::Name(format!(
            "{} {}",
            esc(&name_of(result, boundary.phase_id)),
            esc(&word(&boundary.kind).to_uppercase())
        )),
        Cell::Number(moment(boundary.requested_ns)),
        Cell::Number(seconds(took)),
        Cell::Text(esc(&word(&boundary.released_by))),
        Cell::Text(settled),
        Cell::Number(count(boundary.in_flight)),
    ];
    if boundary.collectors.is_empty() {
        head.push(Cell::Text("none".to_owned()));
        head.extend((0..4).map(|_| Cell::Text(String::new())));
        return table.row(head);
    }
    for collector in &boundary.collectors {
        let mut cells = std::mem::take(&mut head);
        if cells.is_empty() {
            // Columns of numbers keep their place.
            let (text, number) = (Cell::Text, Cell::Number);
            let empty = [text, number, number, text, text, number];
            cells.extend(empty.map(|cell| cell(String::new())));
        }
        let error = collector.error.as_deref().map_or_else(String::new, |error| {
            format!("<br><span class=\"labels\">{}</span>", esc(error))
        });
        let read = collector.reading_start_ns.zip(collector.reading_end_ns);
        cells.extend([
            Cell::Text(format!("<code>{}</code>", breakable(&collector.service_id.to_string()))),
            Cell::Text(format!("{}{error}", badge(&collector.status))),
            Cell::Number(collector.attempts.to_string()),
            Cell::Number(moment_or(collector.reading_start_ns, "no reading")),
            Cell::Number(
                read.map_or_else(String::new, |(start, end)| {
                    seconds(end.since(start).as_secs_f64())
                }),
            ),
        ]);
        table.row(cells);
    }
}
