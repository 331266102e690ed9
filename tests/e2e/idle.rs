//! `--idle-baseline`: idle power before and after, net energy beside gross.

use crate::harness::{Mock, notes, run};

#[test]
fn idle_power_is_measured_on_both_sides_and_net_energy_is_less_by_it() {
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "2ms"]);
    let dcgm = format!("dcgm:{}/gpu/metrics", mock.url);
    let ran = run(&[
        "-u",
        &mock.url,
        "-m",
        "mock",
        "-n",
        "20",
        "-c",
        "4",
        "--gpu-telemetry",
        &dcgm,
        "--idle-baseline",
        "1s",
    ]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phases = result["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 1, "idle phases are no phases of the result");
    assert_eq!(phases[0]["verdict"], "clean", "{}", notes(&phases[0]));
    let idle = &result["idle_baseline"];
    for side in ["before", "after"] {
        let gpu = &idle[side]["gpus"][0];
        let (power, error) =
            (gpu["power_w"].as_f64().unwrap(), gpu["power_error_w"].as_f64().unwrap());
        // The simulated GPU takes 70 W idle.
        assert!((power - 70.0).abs() <= error, "{idle:#}");
        assert!(gpu["energy_j"].as_f64().unwrap() > 0.0);
    }
    assert!(idle["drift_pct"].is_number(), "{idle:#}");
    let gpu = &phases[0]["gpus"][0];
    let number = |key: &str| gpu[key].as_f64().unwrap();
    let seconds = (number("energy_to_ns") - number("energy_from_ns")) / 1e9;
    let net = number("energy_j") - 70.0 * seconds;
    assert!((number("net_energy_j") - net).abs() <= number("net_energy_error_j"), "{gpu:#}");
    assert!(number("net_energy_j") < number("energy_j"));
    assert!(ran.stdout.contains("idle baseline: "), "{}", ran.stdout);
    let records = ran.lines("records.jsonl");
    assert_eq!(records.len(), 20, "nothing was sent while idle");
}

#[test]
fn an_idle_baseline_without_gates_is_one_clear_error() {
    let ran = run(&["-u", "http://127.0.0.1:1", "--no-gate", "--idle-baseline", "1s"]);
    ran.assert_code(2);
    assert!(
        ran.stderr.contains("--idle-baseline") && ran.stderr.contains("gates"),
        "{}",
        ran.stderr
    );
}
