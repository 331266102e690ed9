//! The page of a handmade result: its structure, what it must never hold, and
//! what the charts make of files.

use std::error::Error;
use std::fs;
use std::path::Path;

use phasegate_core::account::result::{Maybe, RunResult};
use serde_json::{Value, json};

use super::*;

const EVIL: &str = "<script>alert('x')</script>\"&";

fn stats(unit: &str, value: f64) -> Value {
    json!({"unit": unit, "count": 3, "avg": value, "min": value, "max": value, "std": 0.0,
           "p50": value, "p90": value, "p95": value, "p99": value})
}

fn phase(index: usize, name: &str, times: [Option<u64>; 3]) -> Value {
    let started = times[0].is_some();
    let sent = if started { 3 } else { 0 };
    let metrics = if started {
        json!({"time_to_first_token": stats("ms", 20.0), "request_latency": stats("ms", 120.0),
               "inter_token_latency": {"unit": "ms", "count": 0, "avg": null, "min": null,
                    "max": null, "std": null, "p50": null, "p90": null, "p95": null, "p99": null},
               "request_throughput": stats("req/s", 3.0),
               "output_sequence_length": stats("tokens", 10.0)})
    } else {
        json!({})
    };
    json!({
        "phase_id": id(index), "name": name, "kind": "profiling", "index": index,
        "seamless": false, "start_ns": times[0], "sending_complete_ns": times[1],
        "end_ns": times[2],
        "requests": {"sent": sent, "completed": sent, "errors": 0, "cancelled": 0},
        "metrics": metrics,
        "server_metrics": if started { server_metrics() } else { json!([]) },
        "gpus": if started { gpus() } else { json!([]) },
        "reconciliation": if started { ledgers() } else { json!([]) },
        "verdict": if started { "clean" } else { "incomplete" },
        "notes": if started { json!([]) } else { json!(["The phase was not started."]) },
    })
}

fn id(index: usize) -> String {
    format!("00000000-0000-5000-8000-{index:012}")
}

fn server_metrics() -> Value {
    let metric = |name: &str, kind: &str| {
        json!({"endpoint": "http://h:1/metrics", "name": name, "type": kind,
               "labels": {"model_name": "m"}, "reset": false})
    };
    let with = |mut metric: Value, key: &str, value: Value| {
        metric[key] = value;
        metric
    };
    let histogram = json!({"count": 4.0, "sum": 0.2, "mean": 0.05, "buckets": {"0.1": 4.0, "+Inf": 4.0},
        "quantiles": {"p50": {"lower": null, "upper": 0.1, "estimate": 0.05},
                      "p90": {"lower": 0.05, "upper": 0.1, "estimate": 0.09},
                      "p99": {"lower": 0.1, "upper": null, "estimate": null}}});
    let lost = with(metric("lost", "counter"), "delta", Value::Null);
    json!([
        with(
            metric("requests", "counter"),
            "delta",
            json!({"total": 3.0, "rate_per_s": 3.0, "rate_error_per_s": 0.01})
        ),
        with(metric("still", "counter"), "delta", json!({"total": 0.0, "rate_per_s": 0.0})),
        with(metric("seconds", "histogram"), "delta", histogram),
        with(
            metric("running", "gauge"),
            "stats",
            json!({"avg": 1.0, "min": 0.0, "max": 2.0, "last": 0.0})
        ),
        with(lost, "reason", json!("it was not read at START")),
    ])
}

fn ledgers() -> Value {
    json!([
        {"server_metric": "vllm:request_success", "unit": "requests", "client": 3, "server": 3,
         "status": "match"},
        {"server_metric": "vllm:generation_tokens", "unit": "output_tokens", "client": 30,
         "client_max": null, "server": 37, "status": "unknown", "reason": EVIL,
         "phases": ["steady", EVIL]},
    ])
}

fn gpus() -> Value {
    json!([
        {"uuid": "GPU-0", "index": 0, "name": "H100", "energy_j": 30.0, "energy_error_j": 1.5,
         "energy_source": "counter", "energy_from_ns": 980_000_000, "energy_to_ns": 2_005_000_000,
         "net_energy_j": 20.0, "net_energy_error_j": 2.5, "power_kind": "instantaneous",
         "power_w": {"avg": 300.0, "max": 310.0}, "utilization_pct": {"avg": 90.0, "max": 99.0},
         "memory_used_mib": {"max": 40000.0}, "temperature_c": {"max": 60.0}},
        {"uuid": "GPU-1", "index": 1, "name": "H100", "energy_j": null, "energy_error_j": null,
         "power_w": {"avg": null, "max": null}, "utilization_pct": {"avg": null, "max": null},
         "memory_used_mib": {"max": null}, "temperature_c": {"max": null},
         "reason": "its counter was set back"},
    ])
}

/// Two phases, the second of which was not started.
fn result(evil: &str) -> RunResult {
    let boundary = |kind: &str, asked: u64| {
        json!({"phase_id": id(0), "kind": kind, "requested_ns": asked,
               "closed_ns": asked + 20_000_000, "released_by": "all_acked", "settled": true,
               "in_flight": 0, "collectors": [
                    {"service_id": format!("server_metrics/{evil}"), "status": "captured",
                     "error": null, "attempts": 1, "reading_start_ns": asked + 1_000_000,
                     "reading_end_ns": asked + 2_000_000},
                    {"service_id": "gpu_telemetry/nvml", "status": "failed", "error": evil,
                     "attempts": 2, "reading_start_ns": null, "reading_end_ns": null}]})
    };
    let mut first =
        phase(0, "steady", [Some(1_000_000_000), Some(1_800_000_000), Some(2_000_000_000)]);
    first["notes"] = json!([evil]);
    first["efficiency"] = json!({
        "energy_j": null, "energy_error_j": null, "average_power_w": null,
        "average_power_error_w": null, "joules_per_request": null,
        "joules_per_request_error": null, "joules_per_output_token": null,
        "joules_per_output_token_error": null, "output_tokens_per_joule": null,
        "output_tokens_per_joule_error": null, "reason": evil});
    first["errors"] = json!({evil: 1});
    let mut second = phase(1, "later", [None; 3]);
    second["name"] = json!(format!("later {evil}"));
    let text = json!({
        "schema_version": "1.0", "tool": {"name": "phasegate", "version": "0.1.0"},
        "run_id": id(9), "seed": 7, "outcome": "degraded", "reasons": [evil],
        "notes": [evil],
        "started_at": "2026-01-01T00:00:00.000000Z", "finished_at": "2026-01-01T00:00:03.000000Z",
        "config": {"endpoint": {"model": format!("m {evil}"), "url": "http://h:1", "type": "chat"},
                   "plan": {"phases": [
                       {"arrival": {"load": "concurrency", "concurrency": 4}},
                       {"arrival": {"load": "rate", "rate": 5.0, "max_concurrency": null}}]}},
        "phases": [first, second],
        "idle_baseline": {
            "before": {"start_ns": 0, "end_ns": 100, "gpus": [
                {"uuid": evil, "index": 0, "power_w": 70.0, "power_error_w": 0.5, "energy_j": 7.0,
                 "energy_error_j": 0.05}]},
            "after": {"start_ns": null, "end_ns": null, "gpus": [], "reason": evil},
            "drift_pct": null, "notes": [evil]},
        "boundaries": [boundary("start", 970_000_000), boundary("end", 2_000_000_000)],
        "windows": [{"from_ns": 990_000_000, "to_ns": 2_010_000_000_u64, "phases": ["steady"],
            "server_metrics": [
                {"endpoint": "http://h:1/metrics", "name": "vllm:request_success",
                 "type": "counter", "labels": {}, "delta": {"total": 3}, "reset": false},
                {"endpoint": "http://h:1/metrics", "name": evil, "type": "counter", "labels": {},
                 "delta": null, "reason": evil, "reset": false}]}],
        "results_joined": {"profile": true}, "client": {"dispatch_lag_us":
            {"p50": null, "p99": null, "max": null}, "cpu_s": 0.5, "peak_rss_mib": null,
            "client_bound": null},
    });
    serde_json::from_value(text).unwrap()
}

fn records(dir: &Path, n: u64) -> Result<(), Box<dyn Error>> {
    let mut lines = String::new();
    for i in 0..n {
        let start = 1_000_000_000 + i * 800_000_000 / n;
        lines.push_str(&format!(
            "{{\"phase\":\"steady\",\"number\":{i},\"outcome\":\"{}\",\"started_ns\":{start},\
             \"first_token_ns\":{},\"ended_ns\":{}}}\n",
            if i % 50 == 49 { "error" } else { "completed" },
            start + 20_000_000 + i % 7 * 1_000_000,
            start + 120_000_000,
        ));
    }
    // Where a killed run ended.
    lines.push_str("{\"phase\":\"stea");
    fs::write(dir.join("records.jsonl"), lines)?;
    let mut lines = String::from("no reading\n");
    for i in 0..20_u64 {
        let at = 1_000_000_000 + i * 50_000_000;
        lines.push_str(&format!(
            "{{\"service\":\"gpu\",\"source\":\"s\",\"start_ns\":{at},\"end_ns\":{at},\
             \"gpus\":[{{\"uuid\":\"GPU-0\",\"index\":0,\"name\":\"H100\",\"power_mw\":300000}}]}}\n"
        ));
    }
    fs::write(dir.join("gpu_telemetry.jsonl"), lines)?;
    Ok(())
}

/// The page without its style sheet and the coordinates of its charts.
fn structure(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let mut out = head.to_owned();
    let mut rest = body;
    while let Some(at) = rest.find(" d=\"") {
        let (before, after) = rest.split_at(at + 4);
        out.push_str(before);
        rest = &after[after.find('"').unwrap()..];
    }
    out + rest
}

#[test]
fn the_page_has_its_parts_and_says_why_something_is_not_known() {
    let result = result("an odd thing");
    let page = render(&result, &Series::none(&result, "records were not written"));
    insta::assert_snapshot!(structure(&page));
}

#[test]
fn nothing_from_outside_can_become_markup() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    records(dir.path(), 100)?;
    let result = result(EVIL);
    let page = render(&result, &Series::read(dir.path(), &result)?);
    assert!(page.contains("&lt;script&gt;alert"), "it is shown as text");
    assert!(!page.contains("<script"), "and is no element");
    assert!(!page.contains("alert('x')") && !page.contains("\"&\""), "quotes are escaped too");
    Ok(())
}

#[test]
fn the_page_needs_nothing_from_anywhere() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    records(dir.path(), 100)?;
    let result = result("fine");
    let page = render(&result, &Series::read(dir.path(), &result)?);
    for word in ["src=", "href=", "url(", "@import", "<link", "<script", "<iframe", "xlink"] {
        assert!(!page.contains(word), "{word} would ask for something");
    }
    Ok(())
}

#[test]
fn every_element_is_closed_in_its_order() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    records(dir.path(), 300)?;
    let result = result(EVIL);
    for series in [Series::read(dir.path(), &result)?, Series::none(&result, EVIL)] {
        let page = render(&result, &series);
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).map(|t| t.split_once('>').unwrap().0) {
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "</{name}>");
            } else if !tag.ends_with('/') && !["!DOCTYPE", "meta", "br", "wbr"].contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
    Ok(())
}

#[test]
fn charts_are_drawn_of_the_files_bounded_and_named() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    records(dir.path(), 20_000)?;
    let result = result("fine");
    let series = Series::read(dir.path(), &result)?;
    let steady = &series.phases[0];
    assert_eq!((steady.latency.seen(), steady.failed.seen()), (19_600, 400));
    assert_eq!(series.unreadable.get("gpu_telemetry.jsonl"), Some(&1));
    assert_eq!(series.unreadable.get("records.jsonl"), None, "a torn tail is no loss");
    // 20,000 requests of 120 ms, begun within 0.8 s.
    let most = steady.in_flight.means().into_iter().fold(0.0, f64::max);
    assert!((2900.0..=3001.0).contains(&most), "{most}");
    let page = render(&result, &series);
    for id in ["timeline", "ttft", "latency", "ttft-cdf", "latency-cdf", "power"] {
        assert!(page.contains(&format!("<title id=\"{id}-t\">")), "{id}");
        assert!(page.contains(&format!("<desc id=\"{id}-d\">")), "{id}");
    }
    let dots = page.matches("h0").count();
    assert!((500..=2000).contains(&dots), "{dots} dots");
    assert!(page.len() < 300_000, "{} bytes", page.len());
    Ok(())
}

#[test]
fn a_run_that_measured_nothing_has_a_page_that_says_so() {
    let mut result = result("fine");
    result.phases.truncate(0);
    result.boundaries.clear();
    result.windows.clear();
    let page = render(&result, &Series::none(&result, ""));
    assert!(page.contains("No phase was started, so there is nothing to draw."));
}

#[test]
fn unknown_is_never_a_number() {
    let mut result = result("fine");
    let phase = &mut result.phases[0];
    phase.metrics.clear();
    phase.gpus.clear();
    for metric in &mut phase.server_metrics {
        (metric.delta, metric.stats) = (Maybe::Unknown, Maybe::Absent);
        metric.reason = Some("the endpoint was gone".to_owned());
    }
    let page = render(&result, &Series::none(&result, "nothing was recorded"));
    for why in [
        "n/a (does not apply to this endpoint)",
        "n/a (the phase was not started)",
        "n/a (the endpoint was gone)",
        "n/a (nothing was recorded)",
    ] {
        assert!(page.contains(why), "{why}");
    }
}

#[test]
fn a_phase_has_one_colour_in_every_chart_whatever_came_before_it() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    records(dir.path(), 300)?;
    let mut result = result("fine");
    // An idle phase before it, which is no phase of the result.
    for phase in &mut result.phases {
        phase.index += 1;
    }
    let page = render(&result, &Series::read(dir.path(), &result)?);
    let (own, before) = (text::colour(1), text::colour(0));
    for class in ["load", "dots", "curve"] {
        assert!(page.contains(&format!("{class} {own}\"")), "{class}");
        assert!(!page.contains(&format!("{class} {before}\"")), "{class}");
    }
    Ok(())
}
