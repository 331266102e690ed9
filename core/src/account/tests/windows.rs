//! `run.json`'s windows, and what a phase shares with its neighbours.

use proptest::prelude::*;

use super::run::{End, Run, Start, counter, prefill};
use crate::account::result::{Moved, RunResult};
use crate::message::BaselineKind;

const SUCCESS: &str = "vllm:request_success";

/// When a boundary was read, in ms, and which.
type At = (u64, (usize, BaselineKind));

/// Three phases, the third seamless to the second, and the middles of their
/// boundary readings.
fn seamless() -> (Run, [At; 6]) {
    let run = Run::new(&[
        ("warmup", false, 100, 1000, 1),
        ("steady", false, 1100, 2150, 8),
        ("stress", true, 2000, 3000, 4),
    ]);
    let at = [
        (90, (0, Start)),
        (1010, (0, End)),
        (1090, (1, Start)),
        (2010, (2, Start)),
        (2160, (1, End)),
        (3010, (2, End)),
    ];
    (run, at)
}

fn amounts(result: &RunResult) -> Vec<(Vec<&str>, f64, Option<u64>)> {
    let mut all = Vec::new();
    for window in &result.windows {
        for metric in window.server_metrics.iter().filter(|m| m.name == SUCCESS) {
            let phases = window.phases.iter().map(String::as_str).collect();
            let amount = metric.delta.as_ref().and_then(Moved::amount).unwrap();
            all.push((phases, amount, metric.from_ns.map(|t| t.as_nanos() / 1_000_000)));
        }
    }
    all
}

#[test]
fn a_window_lists_what_moved_in_it() {
    let (mut run, at) = seamless();
    for ((at, mark), value) in at.into_iter().zip([10.0, 11.0, 11.0, 17.0, 20.0, 23.0]) {
        run.read(at, Some(mark), vec![counter(SUCCESS, value), prefill(value)]);
    }
    let result = run.result();
    let expected = [
        (vec!["warmup"], 1.0, None),
        (vec!["steady"], 6.0, None),
        (vec!["steady", "stress"], 3.0, None),
        (vec!["stress"], 3.0, None),
    ];
    assert_eq!(amounts(&result), expected, "nothing moved between the first two phases");
    let json = serde_json::to_value(&result.windows).unwrap();
    let counters = json[0]["server_metrics"].as_array().unwrap();
    assert_eq!(counters[1]["delta"], serde_json::json!({"total": 1}), "an integer");
}

#[test]
fn an_endpoint_that_was_not_read_at_a_boundary_counts_in_the_window_that_closes_later() {
    let (mut run, at) = seamless();
    for ((at, mark), value) in at.into_iter().zip([10.0, 11.0, 12.0, 17.0, 20.0, 23.0]) {
        if mark == (0, End) || mark == (1, Start) {
            run.fail(mark.0, mark.1);
            continue;
        }
        run.read(at, Some(mark), vec![counter(SUCCESS, value)]);
    }
    let expected = [
        (vec!["steady"], 7.0, Some(90)),
        (vec!["steady", "stress"], 3.0, None),
        (vec!["stress"], 3.0, None),
    ];
    assert_eq!(amounts(&run.result()), expected);
}

#[test]
fn a_series_that_a_boundary_lacks_is_shared_out_only_where_it_was_not_there_before() {
    let there = |values: [Option<f64>; 3]| {
        let (mut run, at) = seamless();
        let families = at.map(|(_, mark)| {
            let place = [(1, Start), (2, Start), (1, End)].iter().position(|of| *of == mark);
            place.and_then(|place| values[place])
        });
        for ((at, mark), value) in at.into_iter().zip(families) {
            let counted = value.map(|value| counter("vllm:prompt_tokens", value));
            let families = counted.into_iter().chain([counter(SUCCESS, 1.0)]).collect();
            run.read(at, Some(mark), families);
        }
        let phase = run.phase(1);
        let found = phase.server_metrics.iter().find(|m| m.name == "vllm:prompt_tokens").cloned();
        let amount = |moved: Option<Moved>| moved.as_ref().and_then(Moved::amount);
        found.map(|m| (m.reset, amount(m.own), amount(m.shared))).unwrap()
    };
    assert_eq!(there([Some(5.0), Some(6.0), Some(8.0)]), (false, Some(1.0), Some(2.0)));
    assert_eq!(there([None, None, Some(5.0)]), (false, Some(0.0), Some(5.0)), "it came up later");
    // What it counted before it was gone is not known.
    assert_eq!(there([Some(5.0), None, Some(8.0)]), (true, None, None));
}

#[test]
fn two_boundaries_of_one_moment_have_no_window_between_them() {
    let mut run = Run::new(&[("a", false, 100, 1000, 1), ("b", false, 1020, 2000, 1)]);
    let at = [(90, (0, Start)), (1010, (0, End)), (1010, (1, Start)), (2010, (1, End))];
    for ((at, mark), value) in at.into_iter().zip([10.0, 11.0, 11.0, 17.0]) {
        run.read(at, Some(mark), vec![counter(SUCCESS, value)]);
    }
    let result = run.result();
    assert_eq!(result.windows.len(), 2);
    assert_eq!(amounts(&result), [(vec!["a"], 1.0, None), (vec!["b"], 6.0, None)]);
}

proptest! {
    #[test]
    fn the_windows_of_run_json_sum_to_last_less_first_and_a_phase_is_its_own_and_what_it_shares(
        steps in proptest::collection::vec((0_u32..1000, any::<bool>(), 1_u32..40), 6),
    ) {
        let (mut run, at) = seamless();
        let (mut value, mut read) = (0.0, Vec::new());
        for ((at, mark), (more, lost, half)) in at.into_iter().zip(steps) {
            value += f64::from(more);
            if lost && more % 3 == 0 {
                run.fail(mark.0, mark.1);
            } else {
                let reading = run.read(at, Some(mark), vec![counter(SUCCESS, value)]);
                // Slow ones overlap with what comes before and after.
                let width = core::time::Duration::from_millis(u64::from(half) / 5);
                reading.end = reading.end + width;
                read.push(value);
            }
        }
        let result = run.result();
        let sum: f64 = amounts(&result).iter().map(|(_, amount, _)| amount).sum();
        let whole = read.last().zip(read.first()).map_or(0.0, |(last, first)| last - first);
        prop_assert_eq!(sum, whole);
        for metric in result.phases.iter().flat_map(|p| &p.server_metrics) {
            if let (Some(own), Some(shared)) = (&metric.own, &metric.shared) {
                let delta = metric.delta.known().cloned().map(Moved::from).unwrap();
                let parts = own.amount().zip(shared.amount()).map(|(a, b)| a + b);
                prop_assert_eq!(parts, delta.amount());
            }
        }
    }
}
