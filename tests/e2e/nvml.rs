//! GPUs through NVML's C ABI: a stub library, compiled here.

use serde_json::Value;

use crate::harness::{Mock, Running, boundary, notes, phase, phasegate};

#[path = "../../runtime/tests/nvml_stub/mod.rs"]
mod nvml_stub;
use nvml_stub::Stub;

/// A run with this load against `mock`, its GPUs read from the stub.
fn load(mock: &Mock, stub: &Stub, line: &str) -> Running {
    let path = stub.path();
    mock.load(&format!("{line} --gpu-telemetry nvml --nvml-lib"), &[path.to_str().unwrap()])
}

#[test]
fn energy_comes_from_the_counter_between_the_boundaries() {
    let Some(stub) = Stub::build(&[]) else { return };
    stub.control("gpus=2\npower_mw=300000\n");
    let mock = Mock::start(&["--ttft", "50ms", "--itl", "5ms"]);
    let ran = load(&mock, &stub, "-n 8 -c 2").finish();
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
    stub.control("code_energy=3\n");
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let ran = load(&mock, &stub, "-n 4").finish();
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
    stub.control("gpus=1\n");
    let mock = Mock::start(&["--ttft", "200ms", "--itl", "5ms"]);
    let line = "-n 15 -c 1 --gate-timeout 30s --settle-timeout 3s";
    let running = load(&mock, &stub, line);
    running.when("records.jsonl", |text| text.lines().count() >= 1);
    stub.control("gpus=1\nlost=0\n");
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 15, "the load goes on");
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
    let ran = mock.run("-n 4 --gpu-telemetry nvml --nvml-lib /nonexistent/libnvidia-ml.so", &[]);
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

/// The run's own notes, as one text; empty where it has none.
fn run_notes(result: &Value) -> String {
    let notes = result["notes"].as_array().into_iter().flatten();
    notes.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

const GPU: &str = "GPU GPU-00000000-0000-0000-0000-000000000000 of nvml";

#[test]
fn an_xid_inside_a_phase_is_a_note_of_that_phase_with_its_number_and_time() {
    let Some(stub) = Stub::build(&[]) else { return };
    let mock = Mock::start(&["--ttft", "200ms", "--itl", "1ms"]);
    let running = load(&mock, &stub, "-n 15 -c 1 --warmup-request-count 2 --osl 3");
    // Of the measured phase one is back, and seconds of it are to come.
    running.when("records.jsonl", |text| text.lines().count() >= 3);
    stub.control("events=2\nxid=31\n");
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let measured = phase(&result, "profiling");
    // As where an exporter tells of it: said, and no verdict of its own.
    assert_eq!(measured["verdict"], "clean", "{}", notes(measured));
    let said = format!("{GPU} reported XID error 31 (2 times) inside the phase");
    assert!(notes(measured).contains(&said), "{}", notes(measured));
    assert!(!notes(phase(&result, "warmup")).contains("XID"));
    assert_eq!(run_notes(&result), "");
    // The time that the note gives is in the phase's readings too.
    let readings = ran.lines("gpu_telemetry.jsonl");
    let mut events = readings.iter().filter(|reading| !reading["gpu_events"].is_null());
    let reading = events.next().unwrap();
    assert_eq!(events.next(), None, "it is told once");
    let event = &reading["gpu_events"][0];
    assert_eq!(event["xid"], serde_json::json!({"number": 31, "count": 2}));
    let at = |value: &Value| value.as_u64().unwrap();
    let (from, to) = (at(&event["from_ns"]), at(&event["to_ns"]));
    assert!(at(&measured["start_ns"]) < to && from < at(&measured["end_ns"]), "{event}");
    assert!(from < to && to <= at(&reading["end_ns"]), "{event}");
}

#[test]
fn an_xid_between_warmup_and_profiling_is_a_note_of_the_run_only() {
    let Some(stub) = Stub::build(&[]) else { return };
    // What the second request causes is published long after: the warm-up's END
    // gate is held meanwhile.
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "1ms", "--hazard", "publish-delay:3s"]);
    let line = "-n 2 -c 1 --warmup-request-count 2 --osl 3 --gate-timeout 60s --settle-timeout 30s";
    let running = load(&mock, &stub, line);
    // The GPU's END reading of the warm-up is complete and written.
    running.when("gpu_telemetry.jsonl", |text| text.contains("\"kind\":\"end\""));
    stub.control("events=1\nxid=13\n");
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    for phase in result["phases"].as_array().unwrap() {
        assert_eq!(phase["verdict"], "clean", "{}", notes(phase));
        assert!(!notes(phase).contains("XID"), "{}", notes(phase));
    }
    let said = format!("{GPU} reported XID error 13 outside of every phase, between ");
    assert!(run_notes(&result).starts_with(&said), "{}", run_notes(&result));
    assert!(ran.stdout.contains(&said), "{}", ran.stdout);
    let page = std::fs::read_to_string(ran.path("report.html")).unwrap();
    assert!(page.contains("reported XID error 13 outside of every phase"));
}

#[test]
fn a_gpu_that_falls_off_the_bus_leaves_the_xid_that_says_so() {
    let Some(stub) = Stub::build(&[]) else { return };
    let mock = Mock::start(&["--ttft", "200ms", "--itl", "1ms"]);
    let running = load(&mock, &stub, "-n 15 -c 1 --osl 3 --gate-timeout 30s");
    running.when("records.jsonl", |text| text.lines().count() >= 1);
    stub.control("events=1\nlost=0\n");
    let ran = running.finish();
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["verdict"], "incomplete", "{}", notes(phase));
    for said in ["reported XID error 79 inside the phase", "XID events of GPU"] {
        assert!(notes(phase).contains(said), "{said}: {}", notes(phase));
    }
}

#[test]
fn where_xids_cannot_be_seen_the_run_says_why_once_and_so_does_the_doctor() {
    for (defines, control, why) in [
        (&[][..], "code_register=3\n", "not available on the target device"),
        (&["-DWITHOUT_EVENTS"], "", "nvmlDeviceGetSupportedEventTypes"),
    ] {
        let Some(stub) = Stub::build(defines) else { return };
        stub.control(control);
        let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
        let ran = load(&mock, &stub, "-n 4 --warmup-request-count 1").finish();
        ran.assert_code(0);
        let result = ran.assert_sound();
        let said = run_notes(&result);
        assert!(said.starts_with("XID events cannot be seen by nvml: "), "{said}");
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
        for phase in result["phases"].as_array().unwrap() {
            assert_eq!(phase["verdict"], "clean", "{}", notes(phase));
            assert!(!notes(phase).contains("XID"), "{}", notes(phase));
            assert!(phase["gpus"][0]["energy_j"].as_f64().unwrap() > 0.0, "the rest is read");
        }
        let path = stub.path();
        let output = phasegate(&["doctor", "--nvml-lib", path.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("nvml")).unwrap();
        assert!(line.starts_with("warn") && line.contains("XID events cannot be seen: "), "{line}");
    }
}
