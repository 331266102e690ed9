//! The configuration, and how to have the same run again.

use phasegate_core::account::result::RunResult;
use serde_json::Value;

use crate::export::report::html::{Cell, Table, details};
use crate::export::report::text::{esc, known, number, unknown};

/// Configuration, client, reproduction.
pub(in super::super) fn render(result: &RunResult) -> String {
    let mut out = "<section>\n<h2>Configuration</h2>\n".to_owned();
    let mut table = Table::new("As resolved, secrets out", &["Key", "Value"]);
    let mut rows = Vec::new();
    flatten("", &result.config, &mut rows);
    for (key, value) in rows {
        table.row([
            Cell::Name(format!("<code>{}</code>", esc(&key))),
            Cell::Text(format!("<code>{}</code>", esc(&value))),
        ]);
    }
    out.push_str(&details("Everything that was set, and every default", &table.finish()));
    out.push_str(&client(result));
    out.push_str("</section>\n");
    out.push_str(&reproduce(result));
    out
}

/// `a.b[0].c` → value, as JSON has it.
fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), value, rows);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (place, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{place}]"), value, rows);
            }
        }
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            rows.push((path.to_owned(), value.to_string()));
        }
    }
}

/// What the client says of itself.
fn client(result: &RunResult) -> String {
    let client = &result.client;
    let lag = client.dispatch_lag_us;
    let mut table = Table::new("The client itself", &["", "#Value"]);
    let mut row = |name: &str, value: String| {
        table.row([Cell::Name(esc(name)), Cell::Number(value)]);
    };
    let none = "no request was sent";
    row("Dispatch lag, p50, µs", known(lag.p50, none));
    row("Dispatch lag, p99, µs", known(lag.p99, none));
    row("Dispatch lag, max, µs", known(lag.max, none));
    let killed = "the process that measured did not live to tell";
    row("CPU time, s", client.cpu_s.map_or_else(|| unknown(killed), number));
    row("Peak memory, MiB", client.peak_rss_mib.map_or_else(|| unknown(killed), number));
    table.finish()
}

fn reproduce(result: &RunResult) -> String {
    format!(
        "<section>\n<h2>How to reproduce</h2>\n\
         <p>{} {} with the configuration above and <code>--seed {}</code> sends the same prompts \
         with the same lengths, and plans the same arrivals. What the server makes of them is \
         its own.</p>\n\
         <p>Beside this page lie <code>run.json</code> with all of these numbers, \
         <code>records.jsonl</code> with every request, <code>server_metrics.jsonl</code> and \
         <code>gpu_telemetry.jsonl</code> with every reading, and <code>journal.bin</code>. \
         <code>phasegate replay RUN_DIR</code> feeds that journal to the same state machines again \
         and compares every decision; <code>phasegate report RUN_DIR</code> writes this page \
         again.</p>\n</section>\n",
        esc(&result.tool.name),
        esc(&result.tool.version),
        result.seed
    )
}
