//! The client's counts against the server's own truth.

use crate::harness::{Mock, counter, phase, run};

#[test]
fn requests_and_tokens_are_exact_per_phase_and_in_all() {
    for endpoint in ["chat", "completions"] {
        let mock = Mock::start(&["--ttft", "3ms", "--itl", "1ms", "--seed", "3"]);
        let ran = run(&[
            "-u",
            &mock.url,
            "-m",
            "mock",
            "--endpoint-type",
            endpoint,
            "--warmup-request-count",
            "3",
            "-n",
            "17",
            "-c",
            "5",
            "--isl",
            "33",
            "--isl-stddev",
            "7",
            "--osl",
            "12",
            "--osl-stddev",
            "3",
            "--gpu-telemetry",
            "none",
        ]);
        ran.assert_code(0);
        let result = ran.assert_sound();
        let truth = &mock.truth()["total"];
        let mut sums = [0.0; 3];
        for (name, requests) in [("warmup", 3), ("profiling", 17)] {
            let phase = phase(&result, name);
            assert_eq!(phase["verdict"], "clean", "{phase:#}");
            assert_eq!(phase["requests"]["completed"], requests);
            let tokens = |metric: &str| {
                let stats = &phase["metrics"][metric];
                stats["avg"].as_f64().unwrap() * stats["count"].as_f64().unwrap()
            };
            // The server's counters, between the two readings, say the same.
            let server = |name: &str| counter(phase, name).unwrap();
            let client = [
                f64::from(requests),
                tokens("input_sequence_length").round(),
                tokens("output_sequence_length").round(),
            ];
            assert_eq!(server("vllm:request_success"), client[0]);
            assert_eq!(server("vllm:prompt_tokens"), client[1]);
            assert_eq!(server("vllm:generation_tokens"), client[2]);
            for (sum, value) in sums.iter_mut().zip(client) {
                *sum += value;
            }
        }
        assert_eq!(truth["finished"].as_f64(), Some(sums[0]));
        assert_eq!(truth["finished_prompt_tokens"].as_f64(), Some(sums[1]));
        assert_eq!(truth["finished_output_tokens"].as_f64(), Some(sums[2]));
    }
}

#[test]
fn a_histograms_observations_belong_to_the_phase_that_caused_them() {
    // The split that tools on a timer get wrong: one warm-up request, five
    // measured ones.
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "1ms"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "--warmup-request-count",
        "1",
        "-n",
        "5",
        "--osl",
        "4",
        "--gpu-telemetry",
        "none",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    for (name, count) in [("warmup", 1.0), ("profiling", 5.0)] {
        let metrics = phase(&result, name)["server_metrics"].as_array().unwrap();
        let ttft =
            metrics.iter().find(|m| m["name"] == "vllm:time_to_first_token_seconds").unwrap();
        assert_eq!(ttft["delta"]["count"].as_f64(), Some(count), "{ttft:#}");
        assert_eq!(ttft["delta"]["buckets"]["+Inf"].as_f64(), Some(count));
        assert_eq!(ttft["reset"], false);
    }
}

#[test]
fn the_energy_between_the_boundaries_is_what_the_counter_says() {
    let mock = Mock::start(&["--gpus", "2", "--ttft", "10ms", "--itl", "2ms"]);
    let dcgm = format!("dcgm:{}/gpu/metrics", mock.url);
    let ran =
        run(&["-u", &mock.url, "-m", "mock", "-n", "20", "-c", "4", "--gpu-telemetry", &dcgm]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let gpus = result["phases"][0]["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 2);
    let readings = ran.lines("gpu_telemetry.jsonl");
    let at = |kind: &str, uuid: &str| {
        let reading = readings.iter().find(|r| r["boundary"]["kind"] == kind).unwrap();
        let gpus = reading["gpus"].as_array().unwrap();
        gpus.iter().find(|g| g["uuid"] == uuid).unwrap()["energy_mj"].as_f64().unwrap()
    };
    for gpu in gpus {
        let uuid = gpu["uuid"].as_str().unwrap();
        let expected = (at("end", uuid) - at("start", uuid)) / 1000.0;
        assert!((gpu["energy_j"].as_f64().unwrap() - expected).abs() < 1e-9, "{gpu:#}");
        assert!(gpu["power_w"]["avg"].as_f64().unwrap() > 50.0);
    }
}
