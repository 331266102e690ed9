use proptest::prelude::*;

use super::*;

/// Statistics as a textbook would compute them.
fn oracle(values: &[f64]) -> (f64, f64, [f64; 4]) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let avg = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|x| (x - avg) * (x - avg)).sum::<f64>() / n).sqrt();
    let nearest = |p: f64| {
        let above = |x: f64| values.iter().filter(|v| **v <= x).count() as f64;
        *sorted.iter().find(|x| above(**x) * 100.0 >= p * n).unwrap()
    };
    (avg, std, [50.0, 90.0, 95.0, 99.0].map(nearest))
}

fn stats_of(limit: usize, values: &[f64]) -> MetricStats {
    let mut series = Series::with_limit(limit);
    for value in values {
        assert!(series.push(*value));
    }
    series.stats("ms")
}

fn percentiles(stats: &MetricStats) -> [f64; 4] {
    [stats.p50, stats.p90, stats.p95, stats.p99].map(Option::unwrap)
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * scale.max(1.0)
}

proptest! {
    #[test]
    fn exact_statistics_are_those_of_the_values(
        values in prop::collection::vec(-1e6..1e9_f64, 1..300),
    ) {
        let stats = stats_of(300, &values);
        let (avg, std, expected) = oracle(&values);
        let scale = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        prop_assert_eq!(percentiles(&stats), expected);
        prop_assert!(close(stats.avg.unwrap(), avg, scale));
        prop_assert!(close(stats.std.unwrap(), std, scale));
        prop_assert_eq!(stats.count, values.len() as u64);
        prop_assert_eq!(stats.relative_error, None);
    }

    #[test]
    fn folded_percentiles_are_within_the_stated_error_and_the_rest_is_exact(
        values in prop::collection::vec(
            prop_oneof![0.0..0.01_f64, 0.0..100.0_f64, 0.0..1e7_f64, Just(0.0)], 20..300),
    ) {
        let stats = stats_of(10, &values);
        let (avg, std, expected) = oracle(&values);
        let scale = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        prop_assert_eq!(stats.relative_error, Some(RELATIVE_ERROR));
        for (found, exact) in percentiles(&stats).into_iter().zip(expected) {
            let allowed = (RELATIVE_ERROR * exact).max(RESOLUTION / 2.0) * (1.0 + 1e-9);
            prop_assert!((found - exact).abs() <= allowed, "{} for {}", found, exact);
        }
        prop_assert!(close(stats.avg.unwrap(), avg, scale));
        prop_assert!(close(stats.std.unwrap(), std, scale));
        prop_assert_eq!(stats.min, values.iter().copied().reduce(f64::min));
        prop_assert_eq!(stats.max, values.iter().copied().reduce(f64::max));
    }
}

#[test]
fn an_empty_series_is_unknown_and_not_zero() {
    assert_eq!(Series::default().stats("ms"), unknown("ms"));
    assert_eq!(single(None, "req/s"), unknown("req/s"));
}

#[test]
fn a_single_value_is_every_statistic_of_itself() {
    let stats = single(Some(2.5), "req/s");
    let all = [stats.avg, stats.min, stats.max, stats.p50, stats.p90, stats.p95, stats.p99];
    assert_eq!(all, [Some(2.5); 7]);
    assert_eq!((stats.count, stats.std), (1, Some(0.0)));
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let values: Vec<f64> = (1..=10).map(f64::from).collect();
    assert_eq!(percentiles(&stats_of(100, &values)), [5.0, 9.0, 10.0, 10.0]);
    assert_eq!(percentiles(&stats_of(100, &[1.0, 2.0])), [1.0, 2.0, 2.0, 2.0]);
}

#[test]
fn a_value_that_is_not_finite_is_refused() {
    let mut series = Series::default();
    assert!(!series.push(f64::NAN));
    assert!(!series.push(f64::INFINITY));
    assert_eq!(series.count(), 0);
}

#[test]
fn a_percentile_among_values_that_the_histogram_cannot_hold_is_unknown() {
    let mut values = vec![1.0; 40];
    values.extend([-1.0; 55]);
    values.extend([1e12; 5]);
    let stats = stats_of(10, &values);
    assert_eq!((stats.p50, stats.p99), (None, None));
    assert!((stats.p90.unwrap() - 1.0).abs() <= RELATIVE_ERROR);
    assert_eq!((stats.min, stats.max), (Some(-1.0), Some(1e12)));
}

#[test]
fn a_large_offset_does_not_swallow_the_deviation() {
    let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 2)).collect();
    let std = stats_of(2000, &values).std.unwrap();
    assert!((std - 0.5).abs() < 1e-6, "{std}");
}

#[test]
fn a_small_value_is_not_lost_beside_large_ones_in_whatever_order() {
    for values in [[1e16, 1.0, -1e16], [1.0, 1e16, -1e16]] {
        let avg = stats_of(10, &values).avg.unwrap();
        assert!((avg - 1.0 / 3.0).abs() < 1e-12, "{values:?}: {avg}");
    }
}

#[test]
fn zero_is_a_value_that_a_percentile_of_many_can_be() {
    let stats = stats_of(1, &[0.0, 0.0, 0.0, 5.0]);
    assert_eq!(
        (stats.p50, stats.min, stats.relative_error),
        (Some(0.0), Some(0.0), Some(RELATIVE_ERROR))
    );
}

#[test]
fn a_rank_is_one_of_the_values_counted_from_one() {
    for limit in [1, 10] {
        let mut series = Series::with_limit(limit);
        for value in [3.0, 1.0, 2.0] {
            series.push(value);
        }
        let found = [0, 1, 2, 3, 4].map(|rank| series.at_rank(rank));
        for (found, exact) in found.iter().zip([None, Some(1.0), Some(2.0), Some(3.0), None]) {
            let near = |(a, b): (f64, f64)| (a - b).abs() <= RELATIVE_ERROR * b;
            assert!(found.zip(exact).map_or(*found == exact, near), "{limit}: {found:?}");
        }
    }
}

#[test]
fn memory_is_bounded_however_many_values_come() {
    let mut series = Series::default();
    for i in 0..EXACT_LIMIT as u32 + 40_000 {
        series.push(f64::from(i % 1000));
    }
    assert!(!series.is_exact());
    let stats = series.stats("ms");
    assert_eq!(stats.count, EXACT_LIMIT as u64 + 40_000);
    let p99 = stats.p99.unwrap();
    assert!((p99 - 989.0).abs() <= 1.0, "{p99}");
}

#[test]
fn values_are_kept_as_they_are_up_to_and_including_the_limit() {
    for (pushed, exact) in [(2, true), (3, true), (4, false)] {
        let mut series = Series::with_limit(3);
        for value in 0..pushed {
            series.push(f64::from(value));
        }
        assert_eq!((series.is_exact(), series.count()), (exact, u64::try_from(pushed).unwrap()));
    }
}
