//! What must be seen when nothing goes wrong.

use crate::harness::{Mock, boundary, notes, phase, phasegate, run};

const ARTIFACTS: [&str; 7] = [
    "run.json",
    "records.jsonl",
    "server_metrics.jsonl",
    "gpu_telemetry.jsonl",
    "journal.bin",
    "metrics.csv",
    "report.html",
];

#[test]
fn the_demo_runs_two_phases_between_acknowledged_baselines_and_is_clean() {
    let ran = run(&["--demo"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["outcome"], "completed", "{result:#}");
    assert_eq!(result["reasons"], serde_json::json!([]));
    let phases = result["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 2);
    for phase in phases {
        assert_eq!(phase["verdict"], "clean", "{}", notes(phase));
        assert!(phase["requests"]["completed"].as_u64().unwrap() > 0);
        assert!(!phase["server_metrics"].as_array().unwrap().is_empty());
        assert!(phase["gpus"][0]["energy_j"].as_f64().unwrap() > 0.0);
        let ledgers = phase["reconciliation"].as_array().unwrap();
        assert!(ledgers.len() > 3 && ledgers.iter().all(|l| l["status"] == "match"), "{ledgers:?}");
        for kind in ["start", "end"] {
            let boundary = boundary(&result, phase["name"].as_str().unwrap(), kind);
            assert_eq!(boundary["released_by"], "all_acked");
            assert_eq!(boundary["settled"], true);
            let collectors = boundary["collectors"].as_array().unwrap();
            assert!(collectors.len() >= 2);
            assert!(collectors.iter().all(|collector| collector["status"] == "captured"));
        }
    }
    for domain in ["profile", "telemetry", "server_metrics"] {
        assert_eq!(result["results_joined"][domain], true);
    }
    for file in ARTIFACTS {
        assert!(ran.path(file).metadata().unwrap().len() > 0, "{file} is empty");
    }
    assert!(ran.stdout.contains(ran.path("").to_str().unwrap().trim_end_matches('/')));
    assert!(ran.stdout.contains("server agrees: 100 requests"), "{}", ran.stdout);
    for metric in ["time_to_first_token", "inter_token_latency", "request_latency"] {
        assert!(ran.stdout.contains(metric), "{metric} is not printed:\n{}", ran.stdout);
        assert!(phases[1]["metrics"][metric]["p99"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn one_phase_needs_no_more_than_a_url() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--model", "only-one"]);
    let ran = run(&["--url", &mock.url, "-n", "12", "-c", "4", "--gpu-telemetry", "none"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"].as_array().unwrap().len(), 1);
    assert_eq!(result["config"]["endpoint"]["model"], "only-one", "asked of /v1/models");
    assert_eq!(result["phases"][0]["requests"]["completed"], 12);
    assert_eq!(result["results_joined"].get("telemetry"), None, "nobody had to hand it in");
    assert_eq!(ran.lines("records.jsonl").len(), 12);
}

#[test]
fn a_seamless_phase_shares_its_boundary_and_time_is_cut_into_windows() {
    let mock = Mock::start(&["--ttft", "20ms", "--itl", "2ms"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bench.yaml");
    let yaml = format!(
        "endpoint: {{url: \"{}\", type: chat}}\n\
         input: {{isl: 16, osl: 40}}\n\
         phases:\n\
         \x20 - {{name: warmup, kind: warmup, concurrency: 2, requests: 4}}\n\
         \x20 - {{name: steady, kind: profiling, concurrency: 4, requests: 12}}\n\
         \x20 - {{name: stress, kind: profiling, concurrency: 8, requests: 16, seamless: true}}\n\
         telemetry: {{gpu: none}}\n\
         seed: 7\n",
        mock.url
    );
    std::fs::write(&file, yaml).unwrap();
    let ran = run(&["--config", file.to_str().unwrap()]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let names = |window: &serde_json::Value| {
        let names = window["phases"].as_array().unwrap().iter();
        names.map(|n| n.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("+")
    };
    let windows: Vec<_> = result["windows"].as_array().unwrap().iter().map(names).collect();
    // Nothing runs between the warm-up's end and the next start.
    assert_eq!(windows, ["warmup", "", "steady", "steady+stress", "stress"]);
    let listed = result["windows"].as_array().unwrap().iter();
    let counted: u64 = listed
        .flat_map(|window| window["server_metrics"].as_array().unwrap())
        .filter(|metric| metric["name"] == "vllm:request_success")
        .map(|metric| metric["delta"]["total"].as_u64().expect("an integer"))
        .sum();
    assert_eq!(counted, 4 + 12 + 16, "each request in one window");
    let both = phase(&result, "steady")["reconciliation"].as_array().unwrap();
    let together: Vec<_> = both.iter().filter(|l| !l["phases"].is_null()).collect();
    assert!(!together.is_empty() && together.iter().all(|l| l["status"] == "match"), "{both:?}");
    let (steady, stress) = (phase(&result, "steady"), phase(&result, "stress"));
    assert_eq!(steady["verdict"], "overlapped");
    assert_eq!(stress["verdict"], "overlapped");
    let shared = boundary(&result, "stress", "start");
    assert!(shared["in_flight"].as_u64().unwrap() > 0);
    // Load was not held: it sends from the moment its predecessor stops.
    assert_eq!(stress["start_ns"], steady["sending_complete_ns"]);
    assert!(stress["start_ns"].as_u64() < shared["closed_ns"].as_u64());
    // The phase before the seamless pair is not touched by it.
    assert_eq!(phase(&result, "warmup")["verdict"], "clean");
    assert_eq!(mock.truth()["total"]["finished"], 32);
}

#[test]
fn embeddings_have_no_tokens_to_time() {
    let mock = Mock::start(&[]);
    let ran = run(&[
        "-u",
        &mock.url,
        "--endpoint-type",
        "embeddings",
        "-n",
        "6",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let metrics = &result["phases"][0]["metrics"];
    assert_eq!(result["phases"][0]["requests"]["completed"], 6);
    assert_eq!(metrics["request_latency"]["count"], 6);
    assert_eq!(metrics["input_sequence_length"]["count"], 6);
    for absent in ["time_to_first_token", "inter_token_latency", "output_token_throughput"] {
        assert!(metrics.get(absent).is_none(), "{absent} does not apply to embeddings");
    }
}

#[test]
fn an_answer_that_is_not_streamed_has_latency_and_tokens_but_no_first_token() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    for endpoint in ["chat", "completions"] {
        let ran = run(&[
            "-u",
            &mock.url,
            "--endpoint-type",
            endpoint,
            "--no-streaming",
            "-n",
            "5",
            "--osl",
            "9",
            "--gpu-telemetry",
            "none",
        ]);
        ran.assert_code(0);
        let metrics = &ran.assert_sound()["phases"][0]["metrics"];
        assert_eq!(metrics["request_latency"]["count"], 5);
        assert_eq!(metrics["output_sequence_length"]["avg"], 9.0);
        assert!(metrics.get("time_to_first_token").is_none());
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_sends_nothing() {
    let mock = Mock::start(&[]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "--dry-run",
        "--request-rate",
        "5",
        "--duration",
        "30s",
    ]);
    ran.assert_code(0);
    assert!(ran.stdout.contains("poisson") || ran.stdout.contains("Poisson"), "{}", ran.stdout);
    assert!(!ran.path("run.json").exists());
    assert_eq!(mock.truth()["total"]["received"], 0);
}

#[test]
fn the_same_seed_sends_the_same_prompts_in_the_same_order() {
    let prompts = |seed: &str| {
        let mock = Mock::start(&["--ttft", "2ms", "--itl", "0"]);
        run(&[
            "-u",
            &mock.url,
            "-m",
            "mock",
            "-n",
            "8",
            "-c",
            "1",
            "--seed",
            seed,
            "--warmup-request-count",
            "3",
            "--gpu-telemetry",
            "none",
            "--isl-stddev",
            "20",
        ])
        .assert_code(0);
        let truth = mock.truth();
        truth["prompts"].as_array().unwrap().clone()
    };
    let first = prompts("5");
    assert_eq!(first.len(), 11);
    assert_eq!(first, prompts("5"));
    assert_ne!(first, prompts("6"));
    let distinct: std::collections::BTreeSet<_> = first.iter().map(|p| p.as_str()).collect();
    assert_eq!(distinct.len(), 11, "a prompt came twice");
}

#[test]
fn an_open_loop_reports_latency_from_the_planned_time() {
    // One slot, and arrivals faster than it: requests wait in the client.
    let mock = Mock::start(&["--ttft", "40ms", "--itl", "0"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "--request-rate",
        "100",
        "--arrival",
        "constant",
        "-c",
        "1",
        "-n",
        "20",
        "--osl",
        "1",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let metrics = &result["phases"][0]["metrics"];
    let p99 = |name: &str| metrics[name]["p99"].as_f64().unwrap();
    // Of the latencies the middle one: a machine that stalls once does not move it.
    let latency = metrics["request_latency"]["p50"].as_f64().unwrap();
    assert!(p99("scheduled_latency") > 5.0 * latency, "{metrics:#}");
    let records = ran.lines("records.jsonl");
    let planned: Vec<u64> = records.iter().map(|r| r["planned_ns"].as_u64().unwrap()).collect();
    let gaps: std::collections::BTreeSet<_> = planned.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(gaps.into_iter().collect::<Vec<_>>(), [10_000_000], "plan times are kept");
}

#[test]
fn the_summary_level_writes_no_records_and_the_events_level_each_event() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0"]);
    let args = |level: &'static str| {
        vec!["-u", &mock.url, "-m", "mock", "-n", "3", "--osl", "6", "--export-level", level]
    };
    let summary = run(&args("summary"));
    summary.assert_code(0);
    assert!(!summary.path("records.jsonl").exists());
    let events = run(&args("events"));
    events.assert_code(0);
    for record in events.lines("records.jsonl") {
        assert_eq!(record["events"].as_array().unwrap().len(), 6, "{record}");
    }
}

#[test]
fn the_mock_stops_cleanly_on_a_signal() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut mock = Mock::start(&[]);
        mock.signal(signal);
        assert_eq!(mock.wait(), Some(0));
    }
}

#[test]
fn the_doctor_says_what_can_be_measured() {
    let mock = Mock::start(&[]);
    let output = phasegate(&["doctor", "--url", &mock.url]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["clock", "file", "NVML", "endpoint", "metrics"] {
        assert!(text.to_lowercase().contains(&line.to_lowercase()), "no {line} in:\n{text}");
    }
}
