//! What was measured, how it ended and why.

use phasegate_core::account::result::{RunOutcome, RunResult};

use crate::export::report::html::list;
use crate::export::report::text::{badge, esc, seconds};

fn of_endpoint<'a>(result: &'a RunResult, key: &str) -> Option<&'a str> {
    result.config.get("endpoint")?.get(key)?.as_str()
}

/// The page's title, as text.
pub(in super::super) fn title(result: &RunResult) -> String {
    match of_endpoint(result, "model") {
        Some(model) => format!("{model}: phasegate report"),
        None => "phasegate report".to_owned(),
    }
}

/// The head.
pub(in super::super) fn render(result: &RunResult) -> String {
    let model = of_endpoint(result, "model").unwrap_or("Model not known");
    let mut out = format!("<header>\n<h1>{}</h1>\n<p class=\"sub\">", esc(model));
    if let (Some(url), Some(kind)) = (of_endpoint(result, "url"), of_endpoint(result, "type")) {
        out.push_str(&format!("{} at <code>{}</code>, ", esc(kind), esc(url)));
    }
    out.push_str(&format!("measured {}", esc(&when(&result.started_at))));
    if let Some(length) = length(result) {
        out.push_str(&format!(" in {}", seconds(length)));
    }
    out.push_str("</p>\n");
    out.push_str(&format!(
        "<p class=\"outcome\">{} {}</p>\n",
        badge(&result.outcome),
        match result.outcome {
            RunOutcome::Completed => "The run went to its end as planned.",
            RunOutcome::Degraded => "The run went to its end, but not everything was there:",
            RunOutcome::Cancelled => "The run was cancelled; what was measured until then is here.",
            RunOutcome::Failed => "The run failed; what was measured until then is here.",
        }
    ));
    out.push_str(&list("reasons", &result.reasons));
    out.push_str(&list("notes", &result.notes));
    out.push_str(&format!(
        "<p class=\"sub\">{} {}, seed {}, run <code>{}</code></p>\n</header>\n",
        esc(&result.tool.name),
        esc(&result.tool.version),
        result.seed,
        esc(&result.run_id)
    ));
    out
}

/// A moment without its fractions of a second.
fn when(rfc3339: &str) -> String {
    let (day, time) = rfc3339.split_once('T').unwrap_or((rfc3339, ""));
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    format!("{day} {time} UTC").replace("  ", " ")
}

fn length(result: &RunResult) -> Option<f64> {
    let start = humantime::parse_rfc3339(&result.started_at).ok()?;
    let end = humantime::parse_rfc3339(&result.finished_at).ok()?;
    Some(end.duration_since(start).ok()?.as_secs_f64())
}
