//! GPUs through NVML's C ABI: a stub library, compiled here.

use crate::harness::{Mock, run};

#[test]
fn no_library_is_a_disabled_collector_where_it_was_asked_for() {
    let mock = Mock::start(&["--ttft", "3ms", "--itl", "1ms"]);
    let ran = run(&[
        "-u", &mock.url, "-m", "mock", "-n", "4", "--gpu-telemetry", "nvml", "--nvml-lib",
        "/nonexistent/libnvidia-ml.so",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let text = result.to_string();
    assert!(text.contains("gpu_telemetry/nvml"), "{result:#}");
    assert!(text.contains("libnvidia-ml"), "the reason names the library: {result:#}");
    assert_eq!(result["phases"][0]["gpus"], serde_json::json!([]));
}
