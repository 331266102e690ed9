//! Sweeps, cancellations, stages, the error budget.

use crate::harness::{Mock, boundary, notes, phase, run};

#[test]
fn a_sweep_has_a_phase_and_gates_for_each_step_a_table_and_a_report() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--max-batch", "2"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-c",
        "1,2,8",
        "-n",
        "16",
        "--osl",
        "8",
        "--warmup-request-count",
        "2",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let names: Vec<&str> = result["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["warmup", "concurrency-1", "concurrency-2", "concurrency-8"]);
    for name in names {
        for kind in ["start", "end"] {
            assert_eq!(boundary(&result, name, kind)["released_by"], "all_acked", "{name} {kind}");
        }
    }
    let sweep = &result["sweep"];
    assert_eq!(sweep["by"], "concurrency");
    let values: Vec<f64> = sweep["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["value"].as_f64().unwrap())
        .collect();
    assert_eq!(values, [1.0, 2.0, 8.0]);
    for step in sweep["steps"].as_array().unwrap() {
        for key in ["request_throughput", "time_to_first_token_p99", "power", "latency_avg"] {
            assert!(step[key].as_f64().unwrap() > 0.0, "{key} of {step}");
        }
    }
    assert!(ran.stdout.contains("sweep by concurrency"), "{}", ran.stdout);
    let report = std::fs::read_to_string(ran.path("report.html")).unwrap();
    assert!(report.contains("<h2>Sweep</h2>") && report.contains("concurrency-8"));
    assert_eq!(mock.truth()["total"]["finished"], 2 + 3 * 16);
}

#[test]
fn one_phase_is_no_sweep() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0"]);
    let ran = run(&["-u", &mock.url, "-n", "3", "--osl", "2", "--gpu-telemetry", "none"]);
    assert!(ran.assert_sound().get("sweep").is_none());
    assert!(!ran.stdout.contains("sweep"), "{}", ran.stdout);
}

#[test]
fn requests_that_are_cancelled_by_plan_leave_the_server_and_are_counted() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "20ms"]);
    let args = [
        "-u",
        &mock.url,
        "-n",
        "24",
        "-c",
        "6",
        "--osl",
        "400",
        "--request-cancellation-rate",
        "100",
        "--request-cancellation-delay",
        "60ms",
        "--gpu-telemetry",
        "none",
    ];
    let ran = run(&args);
    let result = ran.assert_sound();
    let requests = &result["phases"][0]["requests"];
    assert_eq!(requests["cancelled"], 24, "{requests}");
    // Nothing completed, which is a failed condition.
    ran.assert_code(1);
    for record in ran.lines("records.jsonl") {
        assert_eq!(record["outcome"], "cancelled");
        let after = record["ended_ns"].as_u64().unwrap() - record["sent_ns"].as_u64().unwrap();
        assert!(after >= 60_000_000, "{after} ns after it was sent");
    }
    assert!(notes(&result["phases"][0]).contains("24 of 24 requests were drawn"));
    assert_eq!(mock.truth()["total"]["aborted"], 24);
}

#[test]
fn one_seed_cancels_the_same_requests() {
    // So long that none is answered before it is cancelled.
    let mock = Mock::start(&["--ttft", "2s", "--itl", "0"]);
    let cancelled = |seed: &str| {
        let ran = run(&[
            "-u",
            &mock.url,
            "-n",
            "20",
            "-c",
            "20",
            "--osl",
            "2",
            "--seed",
            seed,
            "--request-cancellation-rate",
            "40",
            "--gpu-telemetry",
            "none",
        ]);
        let result = ran.assert_sound();
        let requests = &result["phases"][0]["requests"];
        let mut numbers: Vec<u64> = ran
            .lines("records.jsonl")
            .iter()
            .filter(|record| record["outcome"] == "cancelled")
            .map(|record| record["number"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(requests["cancelled"], numbers.len());
        numbers
    };
    let first = cancelled("3");
    assert!(!first.is_empty() && first.len() < 20, "{first:?}");
    assert_eq!(first, cancelled("3"));
    assert_ne!(first, cancelled("4"));
}

#[test]
fn stages_send_what_they_plan() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bench.yaml");
    let yaml = format!(
        "endpoint: {{url: \"{}\"}}\n\
         input: {{isl: 8, osl: 2}}\n\
         phases:\n\
         \x20 - name: day\n\
         \x20   kind: profiling\n\
         \x20   arrival: constant\n\
         \x20   stages: [{{rate: 10, for: 1s}}, {{rate: 0, for: 500ms}}, {{rate: 40, for: 500ms}}]\n\
         telemetry: {{gpu: none}}\n",
        mock.url
    );
    std::fs::write(&file, yaml).unwrap();
    let ran = run(&["--config", file.to_str().unwrap()]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    assert_eq!(result["phases"][0]["requests"]["sent"], 10 + 20);
    let start = result["phases"][0]["start_ns"].as_u64().unwrap();
    let mut planned: Vec<u64> = ran
        .lines("records.jsonl")
        .iter()
        .map(|record| (record["planned_ns"].as_u64().unwrap() - start) / 1_000_000)
        .collect();
    planned.sort_unstable();
    assert_eq!(planned[..3], [0, 100, 200]);
    // The arrival that the pause is empty of comes at its border.
    assert_eq!(planned[10], 1000);
    assert_eq!(planned[11..14], [1525, 1550, 1575]);
}

#[test]
fn the_run_ends_early_once_too_many_have_failed_with_what_was_measured() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0", "--hazard", "status-500:every=2"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bench.yaml");
    let yaml = format!(
        "endpoint: {{url: \"{}\"}}\n\
         input: {{isl: 8, osl: 2}}\n\
         phases:\n\
         \x20 - {{name: steady, kind: profiling, concurrency: 1, requests: 1000}}\n\
         \x20 - {{name: after, kind: profiling, concurrency: 1, requests: 5}}\n\
         telemetry: {{gpu: none}}\n\
         limits: {{max_error_rate: 1%}}\n",
        mock.url
    );
    std::fs::write(&file, yaml).unwrap();
    let ran = run(&["--config", file.to_str().unwrap()]);
    ran.assert_code(1);
    let result = ran.assert_sound();
    assert_eq!(result["outcome"], "failed");
    let reasons = result["reasons"].to_string();
    assert!(reasons.contains("exceeds its error budget"), "{reasons}");
    let steady = phase(&result, "steady");
    // 1 % of 1000 are 10: with the eleventh it is certain.
    assert_eq!(steady["requests"]["errors"], 11, "{steady:#}");
    assert!(steady["requests"]["completed"].as_u64().unwrap() > 0, "what was measured is there");
    assert!(steady["metrics"]["request_latency"]["count"].as_u64().unwrap() > 0);
    assert_eq!(boundary(&result, "steady", "end")["released_by"], "all_acked");
    assert!(phase(&result, "after")["start_ns"].is_null());
}
