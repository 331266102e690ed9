//! What happened when: timeline, latency, distribution.

use phasegate_core::account::result::RunResult;

use crate::export::report::charts::{distribution, latency, timeline};
use crate::export::report::html::{Cell, Table, details};
use crate::export::report::series::{Range, Series};
use crate::export::report::text::{colour, esc, moment, moment_or, seconds, unknown};

/// The course of the run.
pub(in super::super) fn render(result: &RunResult, series: &Series) -> String {
    let mut out = "<section>\n<h2>Course of the run</h2>\n".to_owned();
    let Some(range) = series.range else {
        return out + "<p>No phase was started, so there is nothing to draw.</p>\n</section>\n";
    };
    out.push_str(&figure(&timeline::draw(result, series, range), &caption(series)));
    out.push_str(&details("The same as a table", &phases(result)));
    out.push_str("</section>\n<section>\n<h2>Latency</h2>\n");
    match &series.no_records {
        Some(why) => {
            out.push_str(&format!("<p>Single requests are {}.</p>\n", unknown(why)));
        }
        None => out.push_str(&requests(result, series, range)),
    }
    out.push_str("</section>\n");
    out
}

fn caption(series: &Series) -> String {
    let mut caption = "The bars are the phases; load waits at the gates. Windows lie between \
                       boundaries: each change of a counter belongs to one of them."
        .to_owned();
    match &series.no_records {
        Some(why) => caption.push_str(&format!(" Requests in flight are {}.", unknown(why))),
        None => {
            caption.push_str(
                " Below, the requests in flight by phase, one upon the other, averaged over \
                 1/300 of the time.",
            );
        }
    }
    for (file, lines) in &series.unreadable {
        caption.push_str(&format!(" {lines} lines of {} could not be read.", esc(file)));
    }
    caption
}

pub(super) fn figure(chart: &str, caption: &str) -> String {
    format!("<figure>\n{chart}<figcaption>{caption}</figcaption>\n</figure>\n")
}

fn requests(result: &RunResult, series: &Series, range: Range) -> String {
    let mut out = String::new();
    let ttft = ("ttft", "Time to first token");
    let whole = ("latency", "Request latency");
    let caption = "Completed requests by the moment they were sent. A dashed line is a boundary.";
    let one_of = series.phases.iter().map(|p| p.latency.one_of()).max().unwrap_or(1);
    let caption = if one_of > 1 {
        format!("{caption} These charts show a sample: in the largest phase one of {one_of}.")
    } else {
        caption.to_owned()
    };
    let charts = [
        latency::draw(result, series, range, ttft, |p| &p.ttft),
        latency::draw(result, series, range, whole, |p| &p.latency),
    ];
    let any = charts.iter().any(Option::is_some);
    for chart in charts.iter().flatten() {
        out.push_str(chart);
    }
    if !any {
        return format!("<p>Latency is {}.</p>\n", unknown("no request completed"));
    }
    let mut out = figure(&out, &caption);
    let curves = [
        distribution::draw(result, series, ("ttft-cdf", "time to first token"), |p| &p.ttft),
        distribution::draw(result, series, ("latency-cdf", "request latency"), |p| &p.latency),
    ];
    let curves: String =
        curves.iter().flatten().map(|curve| format!("<div>{curve}</div>\n")).collect();
    out.push_str(&figure(
        &format!("<div class=\"pair\">\n{curves}</div>\n"),
        "The share of completed requests that took no longer. The percentiles are in the summary.",
    ));
    out
}

/// The phases' times.
fn phases(result: &RunResult) -> String {
    let columns = ["Phase", "#Start", "#Sending complete", "#End", "#Length"];
    let mut table = Table::new("When each phase was, on the run's clock", &columns);
    for phase in &result.phases {
        let why = "the phase was not started";
        let later = if phase.start_ns.is_some() { "it did not come to it" } else { why };
        let length = match (phase.start_ns, phase.end_ns) {
            (Some(start), Some(end)) => seconds(end.since(start).as_secs_f64()),
            (Some(_), None) => unknown("its end is not known"),
            (None, _) => unknown(why),
        };
        table.row([
            Cell::Name(format!(
                "<i class=\"key {}\"></i>{}",
                colour(phase.index),
                esc(&phase.name)
            )),
            Cell::Number(moment_or(phase.start_ns, why)),
            Cell::Number(moment_or(phase.sending_complete_ns, later)),
            Cell::Number(moment_or(phase.end_ns, later)),
            Cell::Number(length),
        ]);
    }
    let mut out = table.finish();
    let mut table = Table::new(
        "Windows between neighbouring boundaries",
        &["Phases", "#From", "#To", "#Length"],
    );
    for window in &result.windows {
        let phases = window.phases.join(", ");
        table.row([
            Cell::Name(if phases.is_empty() { "none".to_owned() } else { esc(&phases) }),
            Cell::Number(moment(window.from_ns)),
            Cell::Number(moment(window.to_ns)),
            Cell::Number(seconds(window.to_ns.since(window.from_ns).as_secs_f64())),
        ]);
    }
    if !result.windows.is_empty() {
        out.push_str(&table.finish());
    }
    out
}
