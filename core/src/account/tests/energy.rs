//! Efficiency and the idle baseline, over a whole run.

use core::time::Duration;

use super::run::*;
use crate::account::assemble::result_of;
use crate::account::efficiency::efficiency;
use crate::account::idle::take_out;
use crate::account::result::{MetricStats, PhaseResult, RunResult};
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
        resolvable: None,
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
    close(found.joules_per_output_token_error, error / 60.0);
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

#[test]
fn efficiency_says_of_each_ratio_that_is_null_why() {
    let whole = idle_run(70).phases[0].clone();
    let why = |bend: &dyn Fn(&mut PhaseResult)| {
        let mut phase = whole.clone();
        bend(&mut phase);
        efficiency(&phase).unwrap().reason
    };
    let tokens = |phase: &mut PhaseResult, count, avg| {
        let lengths = phase.metrics.get_mut("output_sequence_length").unwrap();
        (lengths.count, lengths.avg) = (count, avg);
    };
    assert_eq!(why(&|_| {}), None);
    assert_eq!(
        why(&|phase| {
            phase.requests.completed = 0;
            phase.metrics.clear();
        })
        .as_deref(),
        Some("no request was completed")
    );
    let none = why(&|phase| tokens(phase, 5, Some(0.0)));
    assert_eq!(none.as_deref(), Some("no output tokens were counted"));
    let some = why(&|phase| tokens(phase, 4, Some(12.0)));
    assert_eq!(some.as_deref(), Some("4 of 5 completed requests have a count of output tokens"));
    for (share, known) in [(0.5, true), (1.0, false), (2.0, false)] {
        let why = why(&|phase| {
            let gpu = &mut phase.gpus[0];
            gpu.energy_error_j = gpu.energy_j.map(|energy| energy * share);
        });
        let large = "the error of the energy is as large as itself";
        assert_eq!(why.as_deref(), (!known).then_some(large), "{share}");
    }
}

#[test]
fn of_one_idle_phase_its_power_is_net_of_and_the_other_was_not_planned() {
    let load = idle_run(70).phases[0].clone();
    let idle = |watts: f64| {
        let mut phase = PhaseResult { kind: PhaseKind::Idle, ..load.clone() };
        let gpu = &mut phase.gpus[0];
        gpu.energy_j = gpu.energy_seconds().map(|seconds| watts * seconds);
        phase
    };
    for first in [true, false] {
        let mut phases = vec![load.clone()];
        phases.insert(usize::from(!first), idle(70.0));
        let baseline = take_out(&mut phases).unwrap();
        let (there, lacking) = match first {
            true => (&baseline.before, &baseline.after),
            false => (&baseline.after, &baseline.before),
        };
        assert_eq!((there.gpus.len(), &there.reason), (1, &None));
        assert_eq!(lacking.reason.as_deref(), Some("it was not planned"));
        assert_eq!((phases.len(), baseline.drift_pct), (1, None));
        let [gpu] = &phases[0].gpus[..] else { panic!("{phases:?}") };
        let net = gpu.energy_j.unwrap() - 70.0 * gpu.energy_seconds().unwrap();
        assert!((gpu.net_energy_j.unwrap() - net).abs() < 1e-9);
    }
    assert_eq!(take_out(&mut vec![load.clone()]), None);
    // No drift of nothing, and none to be noted of just so much as is allowed.
    for (before, after, drift, notes) in
        [(0.0, 70.0, None, 0), (100.0, 105.0, Some(5.0), 0), (100.0, 94.0, Some(-6.0), 1)]
    {
        let mut sides = [idle(before), idle(after)];
        for (side, watts) in sides.iter_mut().zip([before, after]) {
            let gpu = &mut side.gpus[0];
            (gpu.energy_j, gpu.energy_to_ns) =
                (Some(watts), gpu.energy_from_ns.map(|from| from + Duration::from_secs(1)));
        }
        let [before, after] = sides;
        let baseline = take_out(&mut vec![before, load.clone(), after]).unwrap();
        assert_eq!((baseline.drift_pct, baseline.notes.len()), (drift, notes));
    }
}
