//! Efficiency and the idle baseline, over a whole run.

use core::time::Duration;

use super::run::*;
use crate::account::assemble::result_of;
use crate::account::result::{MetricStats, RunResult};
use crate::message::{CollectError, CollectErrorKind};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::reading::ReadingBody;

/// A run with idle power of 70 W and `after` watts around a phase at 300 W of one
/// second and five requests.
fn idle_run(after: u64) -> RunResult {
    let mut run = Run::new(&[
        ("idle before", false, 100, 1100, 1),
        ("steady", false, 1200, 2200, 5),
        ("idle after", false, 2300, 3300, 1),
    ]);
    // The same phases, two of them planned idle: ids are of seed, place and name.
    let mut specs = vec![PhaseSpec::idle("idle before", Duration::from_secs(1))];
    let mut steady = PhaseSpec::new("steady", PhaseKind::Profiling);
    steady.concurrency = Some(1);
    steady.requests = Some(5);
    specs.push(steady);
    specs.push(PhaseSpec::idle("idle after", Duration::from_secs(1)));
    run.plan = RunPlan::new(7, specs, GatePlan::default(), Limits::default()).unwrap();
    let books = &mut run.ledger.phases[1];
    let tokens = MetricStats {
        unit: "tokens".to_owned(),
        count: 5,
        avg: Some(12.0),
        min: None,
        max: None,
        std: None,
        p50: None,
        p90: None,
        p95: None,
        p99: None,
        relative_error: None,
    };
    books.metrics.insert("output_sequence_length".to_owned(), tokens);
    let mut mj = 1_000_000;
    let mut last = 90;
    let steps = [
        (90, Some((0, Start)), 70),
        (600, None, 70),
        (1110, Some((0, End)), 70),
        (1190, Some((1, Start)), 70),
        (1700, None, 300),
        (2210, Some((1, End)), 300),
        (2290, Some((2, Start)), after),
        (2800, None, after),
        (3310, Some((2, End)), after),
    ];
    for (at, mark, watts) in steps {
        mj += (at - last) * watts;
        last = at;
        run.watts = watts;
        run.read(at, mark, vec![]);
        run.read_gpu(at, mark, mj);
    }
    result_of(&run.evidence(), &run.readings, run.facts.clone())
}

#[test]
fn idle_phases_are_the_idle_baseline_and_no_phases() {
    let result = idle_run(80);
    let names: Vec<_> = result.phases.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["steady"]);
    assert_eq!(result.boundaries.len(), 2);
    // Time goes on: windows add up to all of the run.
    let windows: Vec<_> = result.windows.iter().map(|w| w.phases.join("+")).collect();
    assert_eq!(windows, ["idle before", "", "steady", "", "idle after"]);
    let idle = result.idle_baseline.unwrap();
    let close = |value: Option<f64>, to: f64| assert!((value.unwrap() - to).abs() < 1e-9);
    close(idle.before.gpus[0].power_w, 70.0);
    close(idle.after.gpus[0].power_w, 80.0);
    close(idle.after.gpus[0].energy_j, 1.02 * 80.0);
    close(idle.drift_pct, 100.0 / 7.0);
    assert_eq!(idle.notes.len(), 1);
    assert!(idle.notes[0].contains("70.0 W") && idle.notes[0].contains("80.0 W"));
}

#[test]
fn net_energy_is_gross_less_mean_idle_power_and_half_the_drift_is_part_of_its_error() {
    let result = idle_run(80);
    let gpu = &result.phases[0].gpus[0];
    let (energy, error) = (gpu.energy_j.unwrap(), gpu.energy_error_j.unwrap());
    assert!((energy - 306.0).abs() < 1e-9);
    assert!((gpu.net_energy_j.unwrap() - (306.0 - 75.0 * 1.02)).abs() < 1e-9);
    let idle = result.idle_baseline.unwrap();
    let watts = [&idle.before, &idle.after].map(|side| side.gpus[0].power_error_w.unwrap());
    let expected = error + (watts[0].max(watts[1]) + 5.0) * 1.02;
    assert!((gpu.net_energy_error_j.unwrap() - expected).abs() < 1e-9);
}

#[test]
fn idle_power_that_stays_says_nothing() {
    let idle = idle_run(71).idle_baseline.unwrap();
    assert_eq!(idle.notes, [] as [&str; 0]);
}

#[test]
fn efficiency_is_of_the_same_energy_with_its_error_carried_along() {
    let result = idle_run(70);
    let phase = &result.phases[0];
    let found = phase.efficiency.clone().unwrap();
    let (energy, error) = (306.0, phase.gpus[0].energy_error_j.unwrap());
    let close = |value: Option<f64>, to: f64| assert!((value.unwrap() - to).abs() < 1e-9);
    close(found.energy_j, energy);
    close(found.energy_error_j, error);
    close(found.average_power_w, energy / 1.02);
    close(found.joules_per_request, energy / 5.0);
    close(found.joules_per_request_error, error / 5.0);
    close(found.joules_per_output_token, energy / 60.0);
    close(found.output_tokens_per_joule, 60.0 / energy);
    close(found.output_tokens_per_joule_error, 60.0 / (energy - error) - 60.0 / energy);
    close(found.net_energy_j, energy - 70.0 * 1.02);
    assert_eq!(found.reason, None);
}

#[test]
fn efficiency_without_energy_says_why() {
    let mut run = Run::two_phases();
    run.fail(1, End);
    for reading in &mut run.readings {
        if reading.service == nvml() && reading.boundary.is_some_and(|b| b.kind == End) {
            let why = CollectError::new(CollectErrorKind::Lost, "the GPU is lost");
            reading.body = ReadingBody::Error(why);
        }
    }
    let phase = run.phase(1);
    let found = phase.efficiency.unwrap();
    assert_eq!((found.energy_j, found.joules_per_request), (None, None));
    assert!(found.reason.unwrap().contains("the GPU is lost"));
}
