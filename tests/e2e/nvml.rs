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
        // The stub's counter is exact at its steps, and those were seen.
        let number = |key: &str| gpu[key].as_f64().unwrap();
        let seconds = (number("energy_to_ns") - number("energy_from_ns")) / 1e9;
        let (energy, error) = (number("energy_j"), number("energy_error_j"));
        assert!((energy - 300.0 * seconds).abs() <= error, "{gpu:#}");
        assert_eq!(gpu["energy_source"], "counter");
        assert_eq!(gpu["power_kind"], "instantaneous");
    }
    let efficiency = &phase["efficiency"];
    let energy: f64 = gpus.iter().map(|gpu| gpu["energy_j"].as_f64().unwrap()).sum();
    let per_request = efficiency["joules_per_request"].as_f64().unwrap();
    assert!((per_request - energy / 8.0).abs() < 1e-9, "{efficiency:#}");
    assert!(efficiency["output_tokens_per_joule"].as_f64().unwrap() > 0.0);
    assert_eq!(result["results_joined"]["telemetry"], true);
}

#[test]
fn a_gpu_without_an_energy_counter_has_integrated_power_and_says_so() {
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
    assert_eq!(gpu["energy_source"], "power_integral", "{gpu:#}");
    let length = |key: &str| gpu[key].as_f64().unwrap() / 1e9;
    let seconds = length("energy_to_ns") - length("energy_from_ns");
    // 250 W all the time.
    assert!((gpu["energy_j"].as_f64().unwrap() - 250.0 * seconds).abs() < 1e-6, "{gpu:#}");
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
