//! The server's own metrics, and the client's count against them.

use std::collections::BTreeMap;

use phasegate_core::account::result::{
    Delta, Maybe, PhaseResult, Quantile, RunResult, ServerMetric,
};

use crate::export::report::html::{Cell, Table, details};
use crate::export::report::text::{badge, chosen, colour, count, esc, known, number, unknown};

/// More rows of one table are left to `run.json`.
const ROWS: usize = 400;

/// The server.
pub(in super::super) fn render(result: &RunResult) -> String {
    let mut out = "<section>\n<h2>Server metrics</h2>\n".to_owned();
    if result.phases.iter().all(|phase| phase.server_metrics.is_empty()) {
        let asked = result.config.pointer("/telemetry/server_metrics");
        let none = asked.and_then(serde_json::Value::as_array).is_some_and(Vec::is_empty);
        let why = if none {
            "they were not asked for"
        } else {
            "no endpoint was read; the notes of the phases and the boundaries say more"
        };
        return out + &format!("<p>Server metrics are {}.</p>\n</section>\n", unknown(why));
    }
    out.push_str(
        "<p>What the server's counters did between the two boundary readings of a phase. Nothing \
         of a warm-up or of another phase is in them unless the phase's notes say so.</p>\n",
    );
    for phase in &result.phases {
        let summary = format!(
            "<i class=\"key {}\"></i>{}: {}",
            colour(phase.index),
            esc(&phase.name),
            said(phase)
        );
        out.push_str(&details(&summary, &metrics(phase)));
    }
    out.push_str(&reconciliation(result));
    out.push_str("</section>\n");
    out
}

fn said(phase: &PhaseResult) -> String {
    match phase.server_metrics.len() {
        0 if phase.start_ns.is_none() => unknown("the phase was not started"),
        0 => unknown("nothing was read"),
        n => format!("{} series", count(n as u64)),
    }
}

fn metrics(phase: &PhaseResult) -> String {
    let mut endpoints: BTreeMap<&str, Vec<&ServerMetric>> = BTreeMap::new();
    for metric in &phase.server_metrics {
        endpoints.entry(&metric.endpoint).or_default().push(metric);
    }
    let mut out = String::new();
    for (endpoint, all) in endpoints {
        let (still, moved): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| is_still(m));
        out.push_str(&format!("<h4><code>{}</code></h4>\n", esc(endpoint)));
        out.push_str(&counters(&moved));
        out.push_str(&histograms(&moved));
        out.push_str(&gauges(&moved));
        out.push_str(&summaries(&moved));
        out.push_str(&missing(&moved));
        if !still.is_empty() {
            out.push_str(&format!(
                "<p class=\"sub\">{} series did not move and are only in run.json.</p>\n",
                count(still.len() as u64)
            ));
        }
    }
    out
}

/// A counted series that counted nothing.
fn is_still(metric: &ServerMetric) -> bool {
    match metric.delta.known() {
        Some(Delta::Counter { total, .. }) => *total == 0.0,
        Some(Delta::Histogram { count, .. }) => *count == 0.0,
        Some(Delta::Summary { count, .. }) => *count == Some(0.0),
        None => false,
    }
}

fn name(metric: &ServerMetric) -> Cell {
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|(key, value)| format!("{}=<q>{}</q>", esc(key), esc(value)))
        .collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("<br><span class=\"labels\">{}</span>", labels.join(" "))
    };
    let reset = if metric.reset { " <span class=\"badge reset\">set back</span>" } else { "" };
    Cell::Name(format!("<code>{}</code>{reset}{labels}", esc(&metric.name)))
}

/// A table of those metrics that `row` makes cells of; nothing if there are none.
fn table_of<'a>(
    metrics: &[&'a ServerMetric],
    caption: &str,
    columns: &[&str],
    row: impl Fn(&'a ServerMetric) -> Option<Vec<Cell>>,
) -> String {
    let mut rows = metrics.iter().filter_map(|metric| Some((*metric, row(metric)?)));
    let mut table = Table::new(caption, columns);
    let mut any = false;
    for (metric, cells) in rows.by_ref().take(ROWS) {
        any = true;
        table.row(std::iter::once(name(metric)).chain(cells));
    }
    let more = rows.count();
    let mut out = if any { table.finish() } else { String::new() };
    if more > 0 {
        out.push_str(&format!("<p class=\"sub\">{more} more are in run.json.</p>\n"));
    }
    out
}

fn counters(metrics: &[&ServerMetric]) -> String {
    table_of(metrics, "Counters", &["Series", "#Total", "#Per second"], |metric| {
        let Some(Delta::Counter { total, rate_per_s, rate_error_per_s }) = metric.delta.known()
        else {
            return None;
        };
        let error = rate_error_per_s.map_or_else(String::new, |e| format!(" ± {}", number(e)));
        let rate = known(*rate_per_s, "no time lies between the readings") + &error;
        Some(vec![Cell::Number(number(*total)), Cell::Number(rate)])
    })
}

fn histograms(metrics: &[&ServerMetric]) -> String {
    let caption = "Histograms. A quantile lies between the bounds of its bucket; in brackets the \
                   linear interpolation, an estimate.";
    let columns = ["Series", "#Count", "#Mean", "#p50", "#p90", "#p99"];
    table_of(metrics, caption, &columns, |metric| {
        let Some(Delta::Histogram { count, mean, quantiles, .. }) = metric.delta.known() else {
            return None;
        };
        let mut cells = vec![
            Cell::Number(number(*count)),
            Cell::Number(known(*mean, "the server gives no sum")),
        ];
        cells.extend(["p50", "p90", "p99"].map(|q| Cell::Number(bounds(quantiles.get(q)))));
        Some(cells)
    })
}

/// `0.05–0.1 (0.072)`
fn bounds(quantile: Option<&Quantile>) -> String {
    let Some(Quantile { lower, upper, estimate }) = quantile else {
        return unknown("no bucket holds it");
    };
    let estimate = estimate
        .map_or_else(String::new, |e| format!(" <span class=\"estimate\">({})</span>", number(e)));
    match (lower, upper) {
        (Some(lower), Some(upper)) => {
            format!("{}\u{2013}{}{estimate}", chosen(*lower), chosen(*upper))
        }
        (Some(lower), None) => format!("above {}{estimate}", chosen(*lower)),
        (None, Some(upper)) => format!("up to {}{estimate}", chosen(*upper)),
        (None, None) => unknown("the server gives no bounds"),
    }
}

fn gauges(metrics: &[&ServerMetric]) -> String {
    let caption = "Gauges, weighted by time";
    let columns = ["Series", "#Mean", "#Min", "#Max", "#Last"];
    table_of(metrics, caption, &columns, |metric| {
        let stats = metric.stats.known()?;
        let values = [stats.avg, stats.min, stats.max, stats.last];
        Some(values.map(|value| Cell::Number(number(value))).into())
    })
}

fn summaries(metrics: &[&ServerMetric]) -> String {
    table_of(metrics, "Summaries", &["Series", "#Count", "#Mean"], |metric| {
        let Some(Delta::Summary { count, mean, .. }) = metric.delta.known() else { return None };
        Some(vec![
            Cell::Number(known(*count, "the server gives no count")),
            Cell::Number(known(*mean, "the server gives no sum")),
        ])
    })
}

fn missing(metrics: &[&ServerMetric]) -> String {
    let caption = "Series whose change is not known";
    table_of(metrics, caption, &["Series", "Why"], |metric| {
        let lost = metric.delta == Maybe::Unknown || metric.stats == Maybe::Unknown;
        lost.then(|| {
            let why = metric.reason.as_deref().unwrap_or("no reason given");
            vec![Cell::Text(unknown(why))]
        })
    })
}

/// The client's count against the server's.
fn reconciliation(result: &RunResult) -> String {
    let columns = ["Phase", "Server metric", "Counts", "#Client", "#Server", "", "Why"];
    let mut table = Table::new("The client's ledger against the server's counters", &columns);
    let mut any = false;
    for phase in &result.phases {
        for line in &phase.reconciliation {
            any = true;
            let together = match line.phases.as_slice() {
                [] => String::new(),
                names => format!(
                    "<br><span class=\"labels\">with its neighbours: {}</span>",
                    esc(&names.join(" and "))
                ),
            };
            let client = match line.client_max {
                Maybe::Absent => known(line.client, "the client has no count"),
                Maybe::Known(most) => {
                    format!("{} to {}", known(line.client, "the client has no count"), number(most))
                }
                Maybe::Unknown => {
                    format!("at least {}", known(line.client, "the client has no count"))
                }
            };
            table.row([
                Cell::Name(format!("{}{together}", esc(&phase.name))),
                Cell::Text(format!("<code>{}</code>", esc(&line.server_metric))),
                Cell::Text(esc(&line.unit.to_string())),
                Cell::Number(client),
                Cell::Number(known(line.server, "the server has no count")),
                Cell::Text(badge(&line.status)),
                Cell::Text(line.reason.as_deref().map_or_else(String::new, esc)),
            ]);
        }
    }
    if any { table.finish() } else { String::new() }
}
