//! `run.json` as it is written.

use super::run::End;
use super::run::{Run, Start, counter, prefill, running_gauge};
use crate::account::result::{Delta, Maybe, RunResult, Verdict};

#[test]
fn a_warmup_and_a_profiling_phase() {
    let result = Run::two_phases().result();
    insta::assert_json_snapshot!(result);
}

fn seamless() -> Run {
    let mut run = Run::new(&[
        ("warmup", false, 100, 1000, 1),
        ("steady", false, 1100, 2150, 8),
        ("stress", true, 2000, 3000, 4),
    ]);
    run.outcome(2, Start).in_flight = 2;
    run.outcome(1, End).in_flight = 4;
    let steps = [
        (90, (0, Start), 0.0),
        (1010, (0, End), 1.0),
        (1090, (1, Start), 1.0),
        (2010, (2, Start), 7.0),
        (2160, (1, End), 10.0),
        (3010, (2, End), 13.0),
    ];
    for (at, mark, requests) in steps {
        let running = if requests > 1.0 && requests < 13.0 { 1.0 } else { 0.0 };
        let families = vec![
            running_gauge(running),
            prefill(requests),
            counter("vllm:request_success", requests),
        ];
        run.read(at, Some(mark), families);
        run.read_gpu(at, Some(mark), at * 100);
    }
    run
}

#[test]
fn three_phases_one_of_them_seamless() {
    let run = seamless();
    let result = run.result();
    let verdicts: Vec<_> = result.phases.iter().map(|p| p.verdict).collect();
    assert_eq!(verdicts, [Verdict::Clean, Verdict::Overlapped, Verdict::Overlapped]);
    insta::assert_json_snapshot!(result);
}

#[test]
fn the_window_deltas_of_a_seamless_run() {
    let deltas = seamless().attributed().window_deltas();
    let counter: Vec<_> = deltas.iter().filter(|s| s.name == "vllm:request_success").collect();
    insta::assert_debug_snapshot!(counter);
}

#[test]
fn a_result_is_read_back_as_it_was_written() {
    for mut run in [Run::two_phases(), seamless()] {
        run.fail(0, End);
        let mut result = run.result();
        // Estimates that need all digits may come back a rounding away.
        let metrics = result.phases.iter_mut().flat_map(|p| &mut p.server_metrics);
        for metric in metrics {
            if let Maybe::Known(Delta::Histogram { quantiles, .. }) = &mut metric.delta {
                quantiles.values_mut().for_each(|q| q.estimate = Some(0.0625));
            }
        }
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<RunResult>(&text).unwrap(), result);
    }
}

#[test]
fn a_field_that_does_not_apply_is_absent_and_one_that_is_not_known_is_null() {
    let mut run = Run::two_phases();
    run.fail(1, End);
    let json = serde_json::to_value(run.result()).unwrap();
    let metrics = json["phases"][1]["server_metrics"].as_array().unwrap();
    let of = |kind: &str| metrics.iter().find(|m| m["type"] == kind).unwrap().as_object().unwrap();
    assert!(of("counter")["delta"].is_null());
    assert!(!of("counter").contains_key("stats"));
    assert!(!of("gauge").contains_key("delta"));
    assert!(of("gauge")["stats"].is_object());
    let read: RunResult = serde_json::from_value(json).unwrap();
    let metric = &read.phases[1].server_metrics.iter().find(|m| m.name == "vllm:request_success");
    assert_eq!(metric.map(|m| (&m.delta, &m.stats)), Some((&Maybe::Unknown, &Maybe::Absent)));
}

#[test]
fn sources_may_be_interleaved_in_any_way() {
    let mut run = Run::two_phases();
    let interleaved = run.result();
    run.readings.sort_by(|a, b| a.service.cmp(&b.service));
    assert_eq!(run.result(), interleaved);
    run.readings.sort_by(|a, b| b.service.cmp(&a.service));
    assert_eq!(run.result(), interleaved);
}
