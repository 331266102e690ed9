//! GPUs through NVML's C ABI: a stub library, compiled here.

use serde_json::Value;

use crate::harness::{Mock, boundary, notes, run, start};

#[path = "../../runtime/tests/nvml_stub/mod.rs"]
mod nvml_stub;
use nvml_stub::Stub;

#[test]
fn energy_comes_from_the_counter_between_the_boundaries() {
    let Some(stub) = Stub::build(&[]) else { return };
    let path = stub.path();
    stub.control("gpus=2\npower_mw=300000\n");
    let mock = Mock::start(&["--ttft", "50ms", "--itl", "5ms"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-n",
        "8",
        "-c",
        "2",
        "--gpu-telemetry",
        "nvml",
        "--nvml-lib",
        path.to_str().unwrap(),
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["verdict"], "clean", "{}", notes(phase));
    let gpus = phase["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 2);
    for gpu in gpus {
        assert!(gpu["energy_j"].as_f64().unwrap() > 0.0, "{gpu:#}");
        let power = gpu["power_w"]["avg"].as_f64().unwrap();
        assert!((power - 300.0).abs() < 1e-6, "{gpu:#}");
    }
    assert_eq!(result["results_joined"]["telemetry"], true);
}

#[test]
fn a_gpu_without_an_energy_counter_has_null_and_a_reason() {
    let Some(stub) = Stub::build(&[]) else { return };
    let path = stub.path();
    stub.control("code_energy=3\n");
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-n",
        "4",
        "--gpu-telemetry",
        "nvml",
        "--nvml-lib",
        path.to_str().unwrap(),
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let gpu = &result["phases"][0]["gpus"][0];
    assert_eq!(gpu["energy_j"], Value::Null);
    assert!(gpu["reason"].is_string(), "{gpu:#}");
    assert!(gpu["power_w"]["avg"].as_f64().unwrap() > 0.0, "what it has is reported");
}

#[test]
fn a_gpu_that_is_lost_in_the_middle_is_a_failed_reading() {
    let Some(stub) = Stub::build(&[]) else { return };
    let path = stub.path();
    stub.control("gpus=1\n");
    let mock = Mock::start(&["--ttft", "200ms", "--itl", "5ms"]);
    let running = start(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-n",
        "6",
        "-c",
        "1",
        "--gpu-telemetry",
        "nvml",
        "--nvml-lib",
        path.to_str().unwrap(),
        "--gate-timeout",
        "2s",
        "--settle-timeout",
        "1s",
    ]);
    running.when("records.jsonl", |text| text.lines().count() >= 1);
    stub.control("gpus=1\nlost=0\n");
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 6, "the load goes on");
    assert_eq!(phase["verdict"], "incomplete");
    let end = boundary(&result, "profiling", "end");
    let collectors = end["collectors"].as_array().unwrap();
    let nvml = collectors.iter().find(|c| c["service_id"] == "gpu_telemetry/nvml").unwrap();
    assert_eq!(nvml["status"], "failed");
    assert!(nvml["error"].as_str().unwrap().contains("GPU"), "{nvml:#}");
    assert!(phase["gpus"].as_array().unwrap().iter().all(|gpu| gpu["energy_j"] == Value::Null));
    assert!(notes(phase).contains("gpu_telemetry/nvml"), "{}", notes(phase));
}

#[test]
fn no_library_where_one_was_asked_for_is_named_and_the_phase_is_incomplete() {
    let mock = Mock::start(&["--ttft", "3ms", "--itl", "1ms"]);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-n",
        "4",
        "--gpu-telemetry",
        "nvml",
        "--nvml-lib",
        "/nonexistent/libnvidia-ml.so",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let text = result.to_string();
    assert!(text.contains("gpu_telemetry/nvml") && text.contains("libnvidia-ml"), "not named");
    let nvml = boundary(&result, "profiling", "start")["collectors"].as_array().unwrap().clone();
    let nvml = nvml.iter().find(|c| c["service_id"] == "gpu_telemetry/nvml").unwrap();
    assert_eq!(nvml["status"], "failed");
    assert_eq!(result["phases"][0]["gpus"], serde_json::json!([]));
    assert_eq!(result["phases"][0]["verdict"], "incomplete");
}
