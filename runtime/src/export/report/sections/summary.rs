//! A line a phase; each phase's verdict in words; every client metric.

use phasegate_core::account::result::{PhaseResult, RunResult};

use super::is_open_loop;
use crate::export::report::html::{Cell, Table, details, list};
use crate::export::report::text::{
    badge, colour, count, esc, known, meaning, number, seconds, unknown, why_unmeasured, word,
};

/// The summary.
pub(in super::super) fn render(result: &RunResult) -> String {
    let mut out = "<section>\n<h2>Summary</h2>\n".to_owned();
    if result.phases.is_empty() {
        return out + "<p>The plan has no phase.</p>\n</section>\n";
    }
    out.push_str(&table(result));
    for phase in &result.phases {
        out.push_str(&words(result, phase));
    }
    out.push_str("</section>\n");
    out
}

fn table(result: &RunResult) -> String {
    let open = result.phases.iter().any(|phase| is_open_loop(result, phase));
    let caption = if open {
        "Client metrics of each phase. Times are in milliseconds. In a phase that sends at a rate, \
         marked †, they count from the moment that was planned for the request, so that a late \
         client cannot hide it; in others from the moment it was sent."
    } else {
        "Client metrics of each phase. Times are in milliseconds."
    };
    let groups = [
        ("", 2),
        ("Requests", 3),
        ("Time to first token", 3),
        ("Inter-token latency", 3),
        ("Request latency", 3),
        ("Throughput", 2),
    ];
    let columns = [
        "Phase", "Verdict", "#sent", "#done", "#errors", "#p50", "#p90", "#p99", "#p50", "#p90",
        "#p99", "#p50", "#p90", "#p99", "#req/s", "#tok/s",
    ];
    let mut table = Table::grouped(caption, &groups, &columns);
    for phase in &result.phases {
        let open = is_open_loop(result, phase);
        let mut cells = vec![
            Cell::Name(format!(
                "<i class=\"key {}\"></i>{}{}",
                colour(phase.index),
                esc(&phase.name),
                if open { " †" } else { "" }
            )),
            Cell::Text(badge(&phase.verdict)),
            Cell::Number(count(phase.requests.sent)),
            Cell::Number(count(phase.requests.completed)),
            Cell::Number(count(phase.requests.errors)),
        ];
        let (ttft, latency) = if open {
            ("scheduled_time_to_first_token", "scheduled_latency")
        } else {
            ("time_to_first_token", "request_latency")
        };
        for metric in [ttft, "inter_token_latency", latency] {
            let stats = phase.metrics.get(metric);
            match stats.map(|s| (s.p50, s.p90, s.p99)) {
                Some((Some(p50), Some(p90), Some(p99))) => {
                    cells.extend([p50, p90, p99].map(|v| Cell::Number(number(v))));
                }
                Some(_) | None => cells.push(Cell::Wide(3, unknown(why_unmeasured(phase, metric)))),
            }
        }
        let rates = ["request_throughput", "output_token_throughput"].map(|metric| {
            let value = phase.metrics.get(metric).and_then(|stats| stats.avg);
            value.ok_or_else(|| why_unmeasured(phase, metric))
        });
        match rates {
            [Err(one), Err(other)] if one == other => cells.push(Cell::Wide(2, unknown(one))),
            rates => {
                cells.extend(rates.map(|rate| Cell::Number(rate.map_or_else(unknown, number))))
            }
        }
        table.row(cells);
    }
    table.finish()
}

/// One phase in words.
fn words(result: &RunResult, phase: &PhaseResult) -> String {
    let mut out = format!(
        "<article>\n<h3><i class=\"key {}\"></i>{} {}</h3>\n<p>",
        colour(phase.index),
        esc(&phase.name),
        badge(&phase.verdict)
    );
    let verdict = match phase.start_ns {
        Some(_) => meaning(phase.verdict),
        None => "nothing of it was measured",
    };
    let (first, rest) = verdict.split_at(verdict.chars().next().map_or(0, char::len_utf8));
    out.push_str(&format!("{}{rest}. ", first.to_uppercase()));
    out.push_str(&format!(
        "A {}{} phase{}: ",
        if phase.seamless { "seamless " } else { "" },
        esc(&word(&phase.kind)),
        load(result, phase).map_or_else(String::new, |load| format!(" with {}", esc(&load)))
    ));
    match (phase.start_ns, phase.end_ns) {
        (Some(start), Some(end)) => out.push_str(&format!(
            "{} requests in {}",
            count(phase.requests.sent),
            seconds(end.since(start).as_secs_f64())
        )),
        (Some(_), None) => {
            out.push_str(&format!("{} requests; its end is not known", count(phase.requests.sent)));
        }
        (None, _) => out.push_str("it was not started"),
    }
    if phase.requests.cancelled > 0 {
        out.push_str(&format!(", {} of them cancelled", count(phase.requests.cancelled)));
    }
    out.push_str(".</p>\n");
    out.push_str(&list("notes", &phase.notes));
    if !phase.errors.is_empty() {
        let errors = phase.errors.iter();
        let errors: Vec<_> =
            errors.map(|(class, n)| format!("{} <code>{}</code>", count(*n), esc(class))).collect();
        out.push_str(&format!("<p>Requests that failed: {}.</p>\n", errors.join(", ")));
    }
    if !phase.metrics.is_empty() {
        out.push_str(&details("All client metrics", &metrics(phase)));
    }
    out.push_str("</article>\n");
    out
}

/// How a phase was loaded: as the plan has it, or as the search chose.
fn load(result: &RunResult, phase: &PhaseResult) -> Option<String> {
    let plan = result.config.pointer("/plan/phases")?.get(phase.index)?;
    let arrival = plan.get("arrival")?;
    let mut probes = result.slo.iter().flat_map(|slo| &slo.probes);
    let chosen = probes.find(|probe| probe.phase == phase.name).map(|probe| probe.value);
    let mut words = match arrival.get("load")?.as_str()? {
        "concurrency" => {
            let planned = arrival.get("concurrency")?.as_f64()?;
            format!("{} at a time", chosen.unwrap_or(planned))
        }
        "rate" => match chosen.or(arrival.get("rate")?.as_f64()) {
            Some(rate) => format!("{} requests per second", number(rate)),
            None => "all requests at once".to_owned(),
        },
        _ => return None,
    };
    let stages = plan.get("stages").and_then(serde_json::Value::as_array);
    if let Some(stages) = stages.filter(|stages| !stages.is_empty()) {
        words = format!("up to {words}, in {} stages", stages.len());
    }
    if let Some(most) = arrival.get("max_concurrency").and_then(serde_json::Value::as_u64) {
        words.push_str(&format!(", at most {most} at a time"));
    }
    Some(words)
}

fn metrics(phase: &PhaseResult) -> String {
    let columns = [
        "Metric", "Unit", "#Count", "#Mean", "#Min", "#Max", "#Std", "#p50", "#p90", "#p95", "#p99",
    ];
    let caption = format!("Every client metric of {}", esc(&phase.name));
    let mut table = Table::new(&caption, &columns);
    for (name, stats) in &phase.metrics {
        let mut shown = esc(name);
        if let Some(error) = stats.relative_error {
            shown.push_str(&format!(" (percentiles ± {} %)", number(error * 100.0)));
        }
        let mut cells =
            vec![Cell::Name(shown), Cell::Text(esc(&stats.unit)), Cell::Number(count(stats.count))];
        let values = [
            stats.avg, stats.min, stats.max, stats.std, stats.p50, stats.p90, stats.p95, stats.p99,
        ];
        if values.iter().all(Option::is_none) {
            cells.push(Cell::Wide(values.len(), unknown(why_unmeasured(phase, name))));
        } else {
            let why = why_unmeasured(phase, name);
            cells.extend(values.map(|value| Cell::Number(known(value, why))));
        }
        table.row(cells);
    }
    table.finish()
}
