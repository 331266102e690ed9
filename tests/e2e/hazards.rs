//! A warm-up of one request and five measured ones, against every hazard of the
//! simulated server: what the server counts per request and per token is split
//! 1/5, or the phase is not clean and its notes say what is wrong. Never silently
//! wrong.

use std::collections::BTreeSet;

use phasegate_sim::server::Hazard;
use serde_json::Value;

use crate::harness::{Mock, Ran, boundary, notes, phase, run};

/// Phases and the requests that each sends.
const PHASES: [(&str, u64); 2] = [("warmup", 1), ("profiling", 5)];

/// What the server counts once a finished request, and in which part.
const PER_REQUEST: [&str; 5] = [
    "vllm:e2e_request_latency_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
];

/// A run of one and five requests against a server with these hazards.
struct Split {
    ran: Ran,
    result: Value,
    truth: Option<Value>,
}

fn split_with(hazards: &[&str], more: &[&str]) -> Split {
    let mut args = vec!["--ttft", "20ms", "--itl", "2ms"];
    for hazard in hazards {
        args.extend(["--hazard", hazard]);
    }
    let mock = Mock::start(&args);
    let gpus = format!("dcgm:{}/gpu/metrics", mock.url);
    let gpu = hazards.iter().any(|hazard| hazard.starts_with("gpu-") || hazard.contains("energy"));
    let replicas = [1, 2].map(|n| format!("{}/replica/{n}/metrics", mock.url));
    let mut args = vec!["-u", &mock.url, "-m", "mock", "--warmup-request-count", "1", "-n", "5"];
    args.extend(["-c", "2", "--isl", "16", "--osl", "8"]);
    args.extend(["--gpu-telemetry", if gpu { &gpus } else { "none" }]);
    if !more.contains(&"--gate-timeout") {
        args.extend(["--gate-timeout", "2s", "--settle-timeout", "1s", "--request-timeout", "2s"]);
    }
    for arg in more {
        match *arg {
            "REPLICA-1" => args.push(&replicas[0]),
            "REPLICA-2" => args.push(&replicas[1]),
            other => args.push(other),
        }
    }
    let ran = run(&args);
    let refused = hazards.iter().any(|hazard| hazard.starts_with("refuse-after"));
    let truth = (!refused).then(|| mock.truth());
    let result = ran.assert_sound();
    Split { ran, result, truth }
}

/// What one family did in a phase: its total over all series and endpoints, or
/// `None` where nothing is known of one of them or of the family.
fn total(phase: &Value, name: &str, part: &str) -> Option<f64> {
    let series: Vec<_> = phase["server_metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|metric| metric["name"] == name)
        .filter(|metric| {
            !["abort", "error"].iter().any(|r| metric["labels"]["finished_reason"] == *r)
        })
        .collect();
    if series.is_empty() {
        return None;
    }
    series.iter().map(|metric| metric["delta"][part].as_f64()).sum()
}

/// Every family whose number is known and is not what happened, with that number.
fn wrong(phase: &Value) -> Vec<(&'static str, f64)> {
    let count = |key: &str| phase["requests"][key].as_f64().unwrap();
    let (completed, sent) = (count("completed"), count("sent"));
    let tokens = |metric: &str| {
        let stats = &phase["metrics"][metric];
        let count = stats["count"].as_f64().filter(|count| *count == completed)?;
        Some(stats["avg"].as_f64().map_or(0.0, |avg| (avg * count).round()))
    };
    let mut wrong = Vec::new();
    let mut check = |name, seen: Option<f64>, low: f64, high: f64| {
        if let Some(seen) = seen
            && !(low..=high).contains(&seen)
        {
            wrong.push((name, seen));
        }
    };
    check("vllm:request_success", total(phase, "vllm:request_success", "total"), completed, sent);
    for name in PER_REQUEST {
        check(name, total(phase, name, "count"), completed, sent);
    }
    for (name, metric) in [
        ("vllm:prompt_tokens", "input_sequence_length"),
        ("vllm:generation_tokens", "output_sequence_length"),
    ] {
        // Without the server's usage nobody knows what would be right.
        let Some(client) = tokens(metric) else { continue };
        let most = if completed == sent { client } else { f64::INFINITY };
        check(name, total(phase, name, "total"), client, most);
    }
    wrong
}

/// The rule that holds whatever the hazard is.
fn never_silently_wrong(split: &Split, hazards: &[&str]) {
    let mut completed = 0;
    let mut sent = 0;
    for (name, planned) in PHASES {
        let phase = phase(&split.result, name);
        let notes = notes(phase);
        let verdict = phase["verdict"].as_str().unwrap();
        completed += phase["requests"]["completed"].as_u64().unwrap();
        sent += phase["requests"]["sent"].as_u64().unwrap();
        assert!(sent <= 6 && phase["requests"]["sent"].as_u64().unwrap() <= planned);
        let wrong = wrong(phase);
        let said = format!("{hazards:?}: {name} is {verdict}, wrong are {wrong:?}:\n{notes}");
        if verdict == "clean" {
            assert!(wrong.is_empty(), "silently wrong: {said}");
            // Nothing may be missing either, but where there is no exporter at all
            // and nobody asked for one.
            if !hazards.iter().any(|hazard| hazard.starts_with("metrics-404")) {
                for name in ["vllm:request_success", "vllm:generation_tokens"] {
                    let seen = total(phase, name, "total");
                    assert!(seen.is_some(), "{name} is missing: {said}");
                }
            }
        } else {
            assert!(!notes.is_empty(), "nothing is said: {said}");
            if !wrong.is_empty() {
                let family = wrong.iter().any(|(family, _)| notes.contains(family));
                let number = notes.contains(|c: char| c.is_ascii_digit());
                assert!(family && number, "no wrong family is named with its number: {said}");
            }
        }
        for gpu in phase["gpus"].as_array().unwrap() {
            assert!(gpu["energy_j"].is_number() || gpu["reason"].is_string(), "{gpu:#}");
        }
    }
    if let Some(truth) = &split.truth {
        let finished = truth["total"]["finished"].as_u64().unwrap();
        assert!((completed..=sent).contains(&finished), "{completed} {finished} {sent}");
    }
}

/// The rule, and this verdict of the measured phase. The gates are so long that it
/// does not hang on how fast the machine is; only settling may run out.
fn is(verdicts: &[&str], hazards: &[&str], more: &[&str]) -> Split {
    let mut roomy = vec!["--gate-timeout", "30s"];
    if !more.contains(&"--settle-timeout") {
        roomy.extend(["--settle-timeout", "2s"]);
    }
    let split = split_with(hazards, &[&roomy, more].concat());
    never_silently_wrong(&split, hazards);
    let measured = phase(&split.result, "profiling");
    let verdict = measured["verdict"].as_str().unwrap();
    assert!(verdicts.contains(&verdict), "{hazards:?}: {verdict}\n{}", notes(measured));
    split
}

fn both_are_clean(hazards: &[&str], more: &[&str]) -> Split {
    let settled = ["--settle-timeout", "20s"];
    let split = is(&["clean"], hazards, &[&settled, more].concat());
    let warmup = phase(&split.result, "warmup");
    assert_eq!(warmup["verdict"], "clean", "{hazards:?}: {}", notes(warmup));
    for (name, requests) in PHASES {
        let phase = phase(&split.result, name);
        let seen = total(phase, "vllm:request_success", "total");
        assert_eq!(seen, Some(requests as f64), "{hazards:?}: {name}");
    }
    split
}

macro_rules! any_verdict {
    ($($test:ident: $hazard:literal $(, $more:literal)*;)*) => {
        $(
            #[test]
            fn $test() {
                let hazards = [$hazard];
                never_silently_wrong(&split_with(&hazards, &[$($more),*]), &hazards);
            }
        )*
        /// What the tests above strike with.
        const ANY: &[&str] = &[$($hazard),*];
    };
}

any_verdict! {
    metrics_hang: "metrics-hang";
    metrics_hang_now_and_then: "metrics-hang:every=3";
    metrics_garbage: "metrics-garbage";
    metrics_garbage_now_and_then: "metrics-garbage:every=2";
    metrics_404: "metrics-404";
    metrics_500: "metrics-500";
    metrics_500_now_and_then: "metrics-500:every=2";
    metrics_huge: "metrics-huge:80MB";
    metrics_trickle: "metrics-trickle:100";
    metrics_delay: "metrics-delay:2s";
    metrics_jitter: "metrics-jitter:50ms-900ms";
    metrics_die_after: "metrics-die-after:4";
    gpu_hang: "gpu-hang:every=2";
    gpu_die_after: "gpu-die-after:4";
    gpu_jitter: "gpu-jitter:50ms-400ms";
    status: "status-500:every=2";
    status_429: "status-429";
    stall: "stall-mid-stream:every=3";
    cut: "cut-mid-stream:every=2";
    half_event: "half-event:every=3";
    error_event: "error-event:every=2";
    crlf: "crlf";
    bare_cr: "bare-cr";
    big_event: "big-event:1MB";
    invalid_utf8: "invalid-utf8:every=2";
    no_usage: "no-usage";
    malformed_json: "malformed-json:every=2";
    slow_first_byte: "slow-first-byte:500ms";
    slow_first_byte_beyond_the_timeout: "slow-first-byte:5s,every=3";
    not_ready: "not-ready:1s";
    refuse_after: "refuse-after:3";
    reset_in_the_warmup: "reset-counters:1";
    restart_in_the_warmup: "restart:1";
    reset_past_the_old_value: "reset-counters:2";
    restart_past_the_old_value: "restart:2";
    reset_at_the_end: "reset-counters:6";
    restart_at_the_end: "restart:6";
    published_at_once: "publish-delay:1ms";
    published_after_100_ms: "publish-delay:100ms";
    published_after_the_settling: "publish-delay:1.5s";
    published_much_later: "publish-delay:5s";
    tokens_after_their_requests: "publish-delay:1.5s,of=tokens";
    requests_after_their_tokens: "publish-delay:1.5s,of=requests";
    rare_foreign_traffic: "foreign-traffic:1";
    dense_foreign_traffic: "foreign-traffic:50";
    two_processes: "replicas:2";
    many_processes: "replicas:7";
    coarse_energy: "energy-tick:100ms";
    stale_gpus: "gpu-refresh:1s";
    frozen_gpus: "gpu-frozen:0s";
    gpus_that_freeze: "gpu-frozen:1s";
    warming_up: "idle-drift:5";
}

#[test]
fn every_hazard_is_among_them() {
    let name = |text: &str| text.split([':', '[']).next().unwrap_or_default().to_owned();
    let struck: BTreeSet<String> = ANY.iter().map(|text| name(text)).collect();
    for text in ANY {
        text.parse::<Hazard>().unwrap_or_else(|error| panic!("{error}"));
    }
    for (form, _) in Hazard::KNOWN {
        let form = form.replace("status-NNN", "status-500").replace("gpu-…", "gpu-hang");
        assert!(struck.contains(&name(&form)), "no run with {form}");
    }
}

#[test]
fn without_a_hazard_the_phases_are_clean_and_nothing_is_said() {
    // So rarely that only the first periodic reading and the boundaries' are taken.
    let more = ["--server-metrics-interval", "60s"];
    let split = both_are_clean(&[], &more);
    assert_eq!(split.result["outcome"], "completed");
    let readings = split.ran.lines("server_metrics.jsonl");
    for (name, _) in PHASES {
        assert_eq!(notes(phase(&split.result, name)), "");
        for kind in ["start", "end"] {
            let boundary = boundary(&split.result, name, kind);
            let at = |key: &str| boundary[key].as_u64().unwrap();
            let (from, to) = (at("requested_ns"), at("closed_ns"));
            let within = readings.iter().filter(|reading| {
                let start = reading["start_ns"].as_u64().unwrap();
                (from..=to).contains(&start)
            });
            let taken = within.count();
            // The very first has nothing to be compared with but the periodic one,
            // which may still be under way.
            let most = if (name, kind) == ("warmup", "start") { 2 } else { 1 };
            assert!(taken <= most, "{taken} readings for the {kind} of {name}");
            assert_eq!(boundary["collectors"][0]["attempts"], 1);
            assert_eq!(boundary["settled"], true, "{boundary:#}");
        }
    }
}

#[test]
fn slow_and_jittery_scrapes_are_exact() {
    both_are_clean(&["metrics-jitter:20ms-200ms"], &[]);
    both_are_clean(&["metrics-delay:300ms"], &[]);
}

#[test]
fn what_is_published_within_the_settling_is_exact() {
    both_are_clean(&["publish-delay:400ms"], &[]);
    both_are_clean(&["publish-delay:400ms,of=tokens"], &[]);
    both_are_clean(&["publish-delay:1.2s,of=requests"], &[]);
}

#[test]
fn what_is_published_after_the_settling_is_said_with_its_family_and_numbers() {
    let split = is(&["unsettled", "contaminated"], &["publish-delay:30s"], &[]);
    let notes = notes(phase(&split.result, "profiling"));
    // Since the run began: 6 requests of 16 and 8 tokens.
    for (family, number) in [
        ("vllm:request_success", "expected 6, seen 0"),
        ("vllm:prompt_tokens", "expected 96, seen 0"),
        ("vllm:generation_tokens", "expected 48, seen 0"),
    ] {
        assert!(notes.contains(&format!("{family}: {number}")), "{notes}");
    }
}

#[test]
fn a_reset_inside_the_phase_contaminates_it() {
    // From 1 to 0: a fall that both boundaries show.
    is(&["contaminated"], &["reset-counters:6"], &[]);
    // From 1 over 0 to 3: no fall, unless a periodic reading saw it; the counts that
    // are missing tell.
    is(&["contaminated", "unsettled"], &["reset-counters:3"], &[]);
    is(&["contaminated"], &["restart:3"], &[]);
    // From 1 over 0 to 4: only the process tells.
    is(&["contaminated"], &["restart:2"], &[]);
}

#[test]
fn foreign_traffic_contaminates() {
    let split = is(&["contaminated"], &["foreign-traffic:100"], &[]);
    let truth = split.truth.as_ref().unwrap();
    assert!(truth["foreign"]["finished"].as_u64().unwrap() > 0);
    assert_eq!(truth["total"]["finished"], 6);
}

#[test]
fn replicas_are_summed_where_each_is_named_and_refused_where_they_hide() {
    let named = ["--server-metrics", "REPLICA-1", "--server-metrics", "REPLICA-2"];
    both_are_clean(&["replicas:2"], &named);
    let split = is(&["contaminated", "incomplete", "unsettled"], &["replicas:2"], &[]);
    let notes = notes(phase(&split.result, "profiling"));
    assert!(notes.contains("process"), "{notes}");
    // One of two: its share is no count of the client's requests.
    let half = ["--server-metrics", "REPLICA-1"];
    is(&["contaminated", "unsettled"], &["replicas:2"], &half);
}
