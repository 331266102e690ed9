//! What series and GPUs did in a phase, and why that is not known.

use proptest::prelude::*;

use super::run::{End, Run, Start, URL, captured, counter, ms, nvml, refused, running_gauge, vllm};
use crate::account::result::{Delta, Maybe, Moved, PhaseResult, ServerMetric, Verdict};
use crate::message::{CollectorStatus, ReleasedBy};
use crate::plan::GatePlan;
use crate::reading::{GpuSample, ReadingBody};

const SUCCESS: &str = "vllm:request_success";

fn metric(phase: &PhaseResult, name: &str) -> Option<ServerMetric> {
    phase.server_metrics.iter().find(|m| m.name == name).cloned()
}

fn total(phase: &PhaseResult, name: &str) -> Option<f64> {
    match metric(phase, name)?.delta {
        Maybe::Known(Delta::Counter { total, .. }) => Some(total),
        Maybe::Known(Delta::Histogram { count, .. }) => Some(count),
        Maybe::Known(Delta::Summary { count, .. }) => count,
        Maybe::Unknown | Maybe::Absent => None,
    }
}

fn reason(phase: &PhaseResult, name: &str) -> String {
    let metric = metric(phase, name).unwrap();
    assert_eq!(metric.delta, Maybe::Unknown);
    metric.reason.unwrap()
}

/// One phase from 100 ms to 1100 ms whose counter is read as told.
fn one_phase(steps: &[(u64, Option<crate::message::BaselineKind>, f64)]) -> Run {
    let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
    for (at, kind, value) in steps {
        run.read(*at, kind.map(|kind| (0, kind)), vec![counter(SUCCESS, *value)]);
        run.watts = 1000;
        run.read_gpu(*at, kind.map(|kind| (0, kind)), at * 1000);
    }
    run
}

#[test]
fn warmup_and_measured_observations_are_kept_apart() {
    let result = Run::two_phases().result();
    assert_eq!(total(&result.phases[0], "vllm:request_prefill_time_seconds"), Some(1.0));
    assert_eq!(total(&result.phases[1], "vllm:request_prefill_time_seconds"), Some(5.0));
}

#[test]
fn a_periodic_reading_after_the_phase_does_not_count_in_it() {
    let run = one_phase(&[(90, Some(Start), 2.0), (1110, Some(End), 7.0), (1500, None, 50.0)]);
    assert_eq!(total(&run.phase(0), SUCCESS), Some(5.0));
}

#[test]
fn a_series_that_appears_inside_the_phase_counts_from_zero() {
    let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
    run.read(90, Some((0, Start)), vec![running_gauge(0.0)]);
    run.read(1110, Some((0, End)), vec![running_gauge(0.0), counter(SUCCESS, 5.0)]);
    assert_eq!(total(&run.phase(0), SUCCESS), Some(5.0));
}

#[test]
fn a_series_that_is_gone_at_end_has_no_delta_and_the_phase_is_incomplete() {
    let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
    run.read(90, Some((0, Start)), vec![counter(SUCCESS, 5.0)]);
    run.read(1110, Some((0, End)), vec![running_gauge(0.0)]);
    run.watts = 0;
    run.read_gpu(90, Some((0, Start)), 1);
    run.read_gpu(1110, Some((0, End)), 2);
    let phase = run.phase(0);
    assert_eq!(reason(&phase, SUCCESS), "it was there at START and not at END");
    assert_eq!(phase.verdict, Verdict::Incomplete);
    insta::assert_snapshot!(phase.notes.join("\n"), @r#"1 series of http://127.0.0.1:8000/metrics that were there at START were gone at END, so what they counted is not known: vllm:request_success{model_name="m"}."#);
}

#[test]
fn a_series_of_a_later_phase_is_not_in_an_earlier_one() {
    let mut run = Run::two_phases();
    let families = vec![counter("vllm:preemptions", 2.0), running_gauge(0.0)];
    let last = run.readings.iter_mut().rfind(|r| r.service == vllm()).unwrap();
    last.body = ReadingBody::Families(families);
    let result = run.result();
    assert_eq!(metric(&result.phases[0], "vllm:preemptions"), None);
    assert_eq!(total(&result.phases[1], "vllm:preemptions"), Some(2.0));
}

#[test]
fn a_reset_inside_the_phase_contaminates_it_and_is_named_with_its_numbers() {
    let run = one_phase(&[
        (90, Some(Start), 10.0),
        (500, None, 13.0),
        (600, None, 1.0),
        (1110, Some(End), 20.0),
    ]);
    let phase = run.phase(0);
    let metric = metric(&phase, SUCCESS).unwrap();
    assert!(metric.reset);
    assert_eq!(total(&phase, SUCCESS), Some(3.0 + 20.0));
    assert_eq!(phase.verdict, Verdict::Contaminated);
    insta::assert_snapshot!(phase.notes.join("\n"), @r#"1 of 1 counted series of http://127.0.0.1:8000/metrics were set back inside the phase; their deltas are lower bounds: vllm:request_success{model_name="m"} fell from 13 to 1 between 0.502 s and 0.602 s."#);
}

#[test]
fn a_reset_before_the_phase_does_not_contaminate_it() {
    let run = one_phase(&[
        (50, None, 100.0),
        (90, Some(Start), 1.0),
        (1110, Some(End), 6.0),
        (1500, None, 0.0),
    ]);
    let phase = run.phase(0);
    assert_eq!((phase.verdict, total(&phase, SUCCESS)), (Verdict::Clean, Some(5.0)));
}

#[test]
fn a_periodic_reading_may_leave_out_what_did_not_change() {
    let mut run = one_phase(&[(90, Some(Start), 2.0)]);
    run.read(500, None, vec![]);
    run.read(1110, Some((0, End)), vec![counter(SUCCESS, 7.0)]);
    run.read_gpu(1110, Some((0, End)), 2_000_000);
    let phase = run.phase(0);
    assert_eq!((phase.verdict, total(&phase, SUCCESS)), (Verdict::Clean, Some(5.0)));
}

#[test]
fn a_family_that_was_not_read_at_end_is_listed_with_the_reason() {
    let mut run = Run::two_phases();
    run.fail(1, End);
    let phase = run.phase(1);
    assert_eq!(reason(&phase, SUCCESS), "no reading at END: 127.0.0.1:8000 refused the connection");
    assert!(matches!(metric(&phase, "vllm:num_requests_running").unwrap().stats, Maybe::Known(_)));
    assert_eq!(phase.verdict, Verdict::Incomplete);
    assert_eq!(phase.gpus[0].energy_j, Some(300.0), "the other collector's evidence stands");
}

#[test]
fn a_failed_reading_in_the_artifacts_says_why_itself() {
    let mut run = Run::two_phases();
    run.fail(1, Start);
    run.push(vllm(), URL, 1190, Some((1, Start)), ReadingBody::Error(refused()));
    let phase = run.phase(1);
    assert_eq!(
        reason(&phase, SUCCESS),
        "no reading at START: 127.0.0.1:8000 refused the connection"
    );
    let failed = phase.notes.iter().find(|n| n.contains("readings of")).unwrap();
    assert!(failed.starts_with("1 of 3 readings of http://127.0.0.1:8000/metrics failed"));
}

#[test]
fn an_endpoint_that_gave_nothing_is_named_in_the_notes() {
    let mut run = Run::two_phases();
    run.readings.retain(|r| r.service != vllm());
    for (index, kind) in [(0, Start), (0, End), (1, Start), (1, End)] {
        *run.status(index, kind) = CollectorStatus::Failed { error: refused() };
    }
    run.push(vllm(), URL, 2000, None, ReadingBody::Error(refused()));
    let phase = run.phase(1);
    assert!(phase.server_metrics.is_empty());
    assert_eq!(phase.verdict, Verdict::Incomplete);
    let note = "http://127.0.0.1:8000/metrics gave nothing at all in the phase; the last error: \
                127.0.0.1:8000 refused the connection.";
    assert!(phase.notes.iter().any(|n| n == note), "{:?}", phase.notes);
}

#[test]
fn a_late_reading_that_ended_after_load_went_on_is_not_used() {
    let mut run = Run::two_phases();
    *run.status(1, Start) = CollectorStatus::Late { reading: None, error: None, at: ms(1300) };
    let mark =
        run.readings.iter_mut().find(|r| r.service == vllm() && r.start == ms(1188)).unwrap();
    mark.end = ms(1290);
    let phase = run.phase(1);
    assert_eq!(
        reason(&phase, SUCCESS),
        "no reading at START: its START reading was complete at 1.290 s, after the boundary was \
         closed at 1.200 s"
    );
    assert_eq!(phase.verdict, Verdict::Incomplete);
}

#[test]
fn a_reading_in_time_whose_acknowledgement_was_lost_is_used_but_never_clean() {
    let mut run = Run::two_phases();
    *run.status(1, Start) = CollectorStatus::Missing;
    let phase = run.phase(1);
    assert_eq!(total(&phase, SUCCESS), Some(5.0));
    assert_eq!(phase.verdict, Verdict::Incomplete);
}

#[test]
fn a_reading_that_began_before_the_boundary_was_asked_for_is_not_used() {
    let mut run = Run::two_phases();
    let mark =
        run.readings.iter_mut().find(|r| r.service == vllm() && r.start == ms(1188)).unwrap();
    mark.start = ms(1100);
    let why = reason(&run.phase(1), SUCCESS);
    assert!(
        why.contains("began at 1.100 s, before the boundary was asked for at 1.180 s"),
        "{why}"
    );
}

#[test]
fn without_gates_there_are_no_deltas_but_gauges() {
    let mut run = Run::two_phases();
    let gate = GatePlan { enabled: false, ..GatePlan::default() };
    run.plan = super::run::plan(
        &[("warmup", false, 100, 1100, 1), ("steady", false, 1200, 3200, 5)],
        gate,
    );
    run.controller.boundaries.clear();
    for report in &mut run.conductor.phases {
        for wait in &mut report.gates {
            wait.by = ReleasedBy::Disabled;
        }
    }
    for reading in &mut run.readings {
        reading.boundary = None;
    }
    let phase = run.phase(1);
    assert_eq!(reason(&phase, SUCCESS), "no reading at START and END: gates are disabled");
    let running = metric(&phase, "vllm:num_requests_running").unwrap();
    assert_eq!(running.stats.known().map(|s| s.avg), Some(1.0));
    assert_eq!(phase.gpus[0].energy_j, None);
    assert_eq!(phase.gpus[0].power_w.max, Some(150.0));
    assert_eq!(phase.verdict, Verdict::Incomplete);
    assert!(phase.notes[0].contains("Gates are disabled"));
    let boundaries = run.result().boundaries;
    assert_eq!(boundaries.len(), 4);
    assert!(boundaries.iter().all(|b| b.released_by == ReleasedBy::Disabled));
}

#[test]
fn a_gpu_lost_inside_the_phase_makes_it_incomplete() {
    let mut run = Run::two_phases();
    let other = GpuSample { uuid: "GPU-2".to_owned(), ..GpuSample::default() };
    let last = run.readings.iter_mut().rfind(|r| r.service == nvml()).unwrap();
    last.body = ReadingBody::Gpus(vec![other]);
    let phase = run.phase(1);
    let gpu = phase.gpus.iter().find(|g| g.uuid == "GPU-1").unwrap();
    assert_eq!(gpu.energy_j, None);
    assert_eq!(
        gpu.reason.as_deref(),
        Some("it was in the START reading and not in the END reading")
    );
    assert_eq!(phase.verdict, Verdict::Incomplete);
}

#[test]
fn an_energy_counter_that_was_set_back_contaminates_the_phase() {
    let mut run = Run::two_phases();
    run.readings.retain(|r| r.service != nvml());
    for (at, mark, mj) in [
        (1190, Some((1, Start)), 5_000),
        (2000, None, 6_500),
        (2500, None, 250),
        (3210, Some((1, End)), 9_000),
    ] {
        run.read_gpu(at, mark, mj);
    }
    *run.status(0, Start) = captured(80);
    let phase = run.phase(1);
    assert_eq!(phase.gpus[0].energy_j, None);
    assert_eq!(phase.verdict, Verdict::Contaminated);
    assert!(phase.notes[0].contains("fell from 6.5 J to 0.25 J"), "{:?}", phase.notes);
}

proptest! {
    #[test]
    fn the_windows_of_a_run_sum_to_last_less_first(
        steps in proptest::collection::vec((1_u64..40, 0_u32..1000), 6),
        periodic in proptest::collection::vec(0_u32..1000, 6),
        lost in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let mut run = Run::new(&[
            ("warmup", false, 100, 1000, 1),
            ("steady", false, 1100, 2150, 8),
            ("stress", true, 2000, 3000, 4),
        ]);
        let at = [
            (90, (0, Start)), (1010, (0, End)), (1090, (1, Start)),
            (2010, (2, Start)), (2160, (1, End)), (3010, (2, End)),
        ];
        let (mut value, mut read) = (0.0, vec![]);
        for ((((at, mark), (wait, more)), between), lost) in at.into_iter().zip(steps).zip(periodic).zip(lost) {
            value += f64::from(more);
            if lost {
                run.fail(mark.0, mark.1);
            } else {
                run.read(at, Some(mark), vec![counter(SUCCESS, value)]);
                read.push(value);
            }
            value += f64::from(between);
            run.read(at + 10 + wait, None, vec![counter(SUCCESS, value)]);
        }
        let deltas = run.attributed().window_deltas();
        let windows = deltas.iter().flat_map(|s| &s.windows);
        let mut sum = 0.0;
        for window in windows {
            prop_assert!(!window.reset);
            match window.delta.as_ref().map(Moved::amount) {
                Ok(Some(total)) => sum += total,
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let whole = read.last().zip(read.first()).map_or(0.0, |(last, first)| last - first);
        prop_assert_eq!(sum, whole);
    }
}
