use super::*;
use crate::Tick;
use crate::account::source::Key;
use crate::account::track::{Seen, Track};
use crate::message::BaselineKind;
use crate::reading::Histogram;
use proptest::prelude::*;
use std::sync::Arc;

/// The boundary that the reading at this place is for.
fn key(place: usize) -> Key {
    (place, BaselineKind::Start)
}

/// Shows values one after the other, none overlapping, each at a boundary.
fn follow(values: impl IntoIterator<Item = Option<Value>>) -> Track {
    let mut track = Track::default();
    for (place, value) in values.into_iter().enumerate() {
        let sample = value.as_ref().and_then(|value| Sample::of(value, track.last()));
        let start = 10 * place as u64;
        let seen = Seen { start: Tick(start), end: Tick(start + 5), ..Seen::default() };
        track.observe(sample.as_ref(), seen, Some(key(place)));
    }
    track
}

/// What a counter with these values did from one of its readings to another.
fn change(values: &[f64], first: usize, last: usize) -> Change {
    let track = follow(values.iter().map(|value| Some(Value::Value(*value))));
    track.between(key(first), key(last), true).unwrap()
}

fn total(change: &Change) -> Option<f64> {
    match change.delta(None) {
        Ok(Delta::Counter { total, .. }) => Some(total),
        Ok(Delta::Histogram { .. } | Delta::Summary { .. }) | Err(_) => None,
    }
}

fn histogram(buckets: &[(&str, f64)], sum: Option<f64>, count: Option<f64>) -> Value {
    let buckets = buckets.iter().map(|(b, n)| ((*b).to_owned(), *n)).collect();
    Value::Histogram(Histogram { buckets, sum, count })
}

fn change_of(start: &Value, end: &Value) -> Change {
    let track = follow([Some(start.clone()), Some(end.clone())]);
    track.between(key(0), key(1), true).unwrap()
}

#[test]
fn a_counters_delta_is_end_less_start_and_its_rate_is_over_the_time_given() {
    let change = change(&[3.0, 8.0], 0, 1);
    let elapsed = |seconds| Some(Elapsed { seconds, error_s: 0.4 });
    let (rate_per_s, error) = (Some(2.5), Some(5.0 / 1.6 - 2.5));
    let delta = Delta::Counter { total: 5.0, rate_per_s, rate_error_per_s: error };
    assert_eq!(change.delta(elapsed(2.0)), Ok(delta));
    assert_eq!(
        change.delta(elapsed(0.0)),
        Ok(Delta::Counter { total: 5.0, rate_per_s: None, rate_error_per_s: None }),
        "no rate over no time"
    );
    assert!(!change.reset);
}

#[test]
fn a_series_born_in_between_counts_from_zero() {
    let value = |value| Some(Value::Value(value));
    for (first, born) in [(0, None), (9, value(1.0))] {
        let track = follow([born, value(4.0), value(7.0), value(2.0), value(3.0)]);
        let to = |last| track.between(key(first), key(last), true).unwrap();
        assert_eq!((total(&to(2)), to(2).reset), (Some(7.0), false));
        assert_eq!((total(&to(4)), to(4).reset), (Some(7.0 + 3.0), true), "set back since");
    }
}

#[test]
fn a_fall_is_a_reset_and_both_sides_are_summed() {
    let change = change(&[10.0, 15.0, 2.0, 4.0], 0, 3);
    assert!(change.reset);
    assert_eq!(change.fall(), Some((15.0, 2.0)));
    assert_eq!(total(&change), Some(5.0 + 4.0));
}

#[test]
fn a_reset_is_seen_even_where_the_value_has_grown_past_its_old_one() {
    let change = change(&[10.0, 0.0, 12.0], 0, 2);
    assert!(change.reset);
    assert_eq!(total(&change), Some(12.0));
}

#[test]
fn a_reset_outside_of_the_two_readings_does_not_count() {
    let change = change(&[10.0, 1.0, 6.0, 2.0], 1, 2);
    assert!(!change.reset);
    assert_eq!(total(&change), Some(5.0));
}

#[test]
fn a_series_that_was_gone_for_a_while_was_set_back() {
    let value = |value| Some(Value::Value(value));
    let change = follow([value(5.0), None, value(7.0)]).between(key(0), key(2), true).unwrap();
    assert!(change.reset);
    assert_eq!(total(&change), Some(7.0));
    let how = "was gone for a while between 0.000 s and 0.000 s";
    assert_eq!(change.why_reset().as_deref(), Some(how));
}

#[test]
fn a_histograms_delta_is_taken_bucket_by_bucket() {
    let start = histogram(&[("0.1", 1.0), ("+Inf", 1.0)], Some(0.05), Some(1.0));
    let end = histogram(&[("0.1", 6.0), ("+Inf", 6.0)], Some(0.30), Some(6.0));
    match change_of(&start, &end).delta(None) {
        Ok(Delta::Histogram { count, sum, mean, buckets, quantiles }) => {
            assert_eq!(count, 5.0);
            assert_eq!(mean, Some(0.05));
            assert_eq!(sum, Some(0.25));
            assert_eq!(buckets, [("0.1".to_owned(), 5.0), ("+Inf".to_owned(), 5.0)]);
            assert_eq!(quantiles["p50"].upper, Some(0.1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_histogram_without_a_count_has_the_count_of_its_infinite_bucket() {
    let start = histogram(&[("1", 0.0), ("+Inf", 2.0)], None, None);
    let end = histogram(&[("1", 0.0), ("+Inf", 5.0)], None, None);
    let delta = change_of(&start, &end).delta(None);
    assert!(
        matches!(delta, Ok(Delta::Histogram { count, sum: None, .. }) if count == 3.0),
        "{delta:?}"
    );
    assert_eq!(Sample::of(&histogram(&[("1", 0.0)], None, None), None), None);
}

#[test]
fn other_buckets_at_end_than_at_start_give_no_delta() {
    let start = histogram(&[("1", 1.0), ("+Inf", 1.0)], None, Some(1.0));
    let end = histogram(&[("2", 9.0), ("+Inf", 9.0)], None, Some(9.0));
    let change = change_of(&start, &end);
    assert!(change.reset);
    assert_eq!(change.why_reset().as_deref(), Some("got other buckets"));
    assert!(change.delta(None).is_err());
}

#[test]
fn a_sum_may_fall_where_negative_values_are_observed() {
    let start = Value::Summary { sum: Some(5.0), count: Some(1.0) };
    let end = Value::Summary { sum: Some(3.0), count: Some(2.0) };
    let change = change_of(&start, &end);
    assert!(!change.reset);
    assert_eq!(
        change.delta(None),
        Ok(Delta::Summary { count: Some(1.0), sum: Some(-2.0), mean: Some(-2.0) })
    );
}

#[test]
fn a_part_that_is_not_given_is_not_known() {
    let start = Value::Summary { sum: None, count: Some(1.0) };
    let end = Value::Summary { sum: Some(3.0), count: Some(2.0) };
    let delta = change_of(&start, &end).delta(None);
    assert_eq!(delta, Ok(Delta::Summary { count: Some(1.0), sum: None, mean: None }));
    assert_eq!(Sample::single(f64::NAN), None);
    assert_eq!(Sample::of(&Value::Summary { sum: None, count: None }, None), None);
}

#[test]
fn a_histogram_whose_buckets_disagree_is_not_repaired() {
    let good = histogram(&[("0.1", 1.0), ("+Inf", 2.0)], None, Some(2.0));
    let falls = histogram(&[("0.1", 5.0), ("0.5", 3.0), ("+Inf", 5.0)], None, Some(5.0));
    let low = histogram(&[("0.1", 1.0), ("0.5", 3.0), ("+Inf", 3.0)], None, Some(3.0));
    let change = change_of(&low, &falls);
    assert!(change.torn && !change.reset);
    assert_eq!(
        change.delta(None).unwrap_err(),
        "the buckets of its END reading disagree: its bucket 0.5 holds 3 and its bucket 0.1 holds 5"
    );
    let other = histogram(&[("0.1", 4.0), ("+Inf", 6.0)], None, Some(7.0));
    assert_eq!(
        change_of(&good, &other).delta(None).unwrap_err(),
        "the buckets of its END reading disagree: its bucket +Inf holds 6 and its count is 7"
    );
    let grown = histogram(&[("0.1", 3.0), ("+Inf", 3.0)], None, Some(3.0));
    let change = change_of(&good, &grown);
    assert!(change.torn && !change.reset);
    assert_eq!(
        change.delta(None).unwrap_err(),
        "its buckets grew by amounts that disagree: its bucket +Inf holds 1 and its bucket 0.1 \
         holds 2"
    );
}

#[test]
fn a_histogram_that_disagrees_in_a_periodic_reading_is_passed_over() {
    let read = |low: f64, all: f64| histogram(&[("1", low), ("+Inf", all)], None, Some(all));
    let track = follow([read(1.0, 1.0), read(7.0, 3.0), read(4.0, 5.0)].map(Some));
    let change = track.between(key(0), key(2), true).unwrap();
    assert!(!change.reset);
    assert!(matches!(change.moved(), Ok(Moved::Histogram { count, .. }) if count == 4.0));
}

proptest! {
    #[test]
    fn what_was_counted_across_resets_is_the_sum_of_the_rises(
        steps in proptest::collection::vec((any::<bool>(), 0_u32..1000), 2..20),
    ) {
        // A server that counts, and now and then starts again and counts on.
        let (mut value, mut values, mut counted, mut resets) = (0.0, vec![], vec![0.0], 0);
        for (i, (reset, more)) in steps.iter().enumerate() {
            let more = f64::from(*more);
            // A restart is only visible where it leaves a smaller value.
            let restarts = i > 0 && *reset && more < value;
            resets += u32::from(restarts);
            value = if restarts { more } else { value + more };
            if i > 0 {
                counted.push(counted[i - 1] + more);
            }
            values.push(value);
        }
        let change = change(&values, 0, values.len() - 1);
        prop_assert_eq!(change.reset, resets > 0);
        prop_assert_eq!(total(&change), counted.last().copied());
    }
}

#[test]
fn a_bucket_or_a_count_that_falls_is_a_reset_and_a_sum_that_falls_is_none() {
    let of = |low, all, sum| histogram(&[("0.1", low), ("+Inf", all)], Some(sum), Some(all));
    let start = of(4.0, 5.0, 9.0);
    for (end, fall) in [
        (of(2.0, 3.0, 9.0), Some((4.0, 2.0))),
        (of(4.0, 4.0, 9.0), Some((5.0, 4.0))),
        (of(4.0, 5.0, 8.0), None),
    ] {
        let change = change_of(&start, &end);
        assert_eq!((change.reset, change.fall()), (fall.is_some(), fall));
    }
    let summary = |count, sum| Value::Summary { sum: Some(sum), count: Some(count) };
    assert!(change_of(&summary(5.0, 9.0), &summary(4.0, 9.0)).reset);
    assert!(!change_of(&summary(5.0, 9.0), &summary(5.0, 8.0)).reset);
}

#[test]
fn changes_are_added_where_they_have_the_same_parts() {
    let counted = |value: f64| change(&[0.0, value], 0, 1);
    let of = |bound: &str, n: f64| {
        let read = |n| histogram(&[(bound, n), ("+Inf", n)], None, Some(n));
        change_of(&read(0.0), &read(n))
    };
    assert_eq!(counted(2.0).plus(&counted(3.0)).as_ref().and_then(total), Some(5.0));
    assert!(of("1", 2.0).plus(&of("1", 3.0)).is_some());
    assert_eq!(of("1", 2.0).plus(&of("2", 3.0)), None, "as many parts, of other bounds");
    let reset = change(&[5.0, 1.0], 0, 1);
    for (a, b) in [(&reset, &counted(1.0)), (&counted(1.0), &reset)] {
        assert!(a.plus(b).is_some_and(|sum| sum.reset));
    }
}

#[test]
fn changes_are_equal_as_far_as_sums_are_exact_and_nothing_is_no_change() {
    let to = |value: f64| change(&[0.0, value], 0, 1);
    let summary = |sum, count| {
        let start = Value::Summary { sum: Some(0.0), count: Some(0.0) };
        change_of(&start, &Value::Summary { sum, count: Some(count) })
    };
    for (a, b, equal) in [
        (to(5.0), to(5.0), true),
        (to(5.0), to(6.0), false),
        (to(0.0), to(1e-10), true),
        (to(1e9), to(1e9 + 0.5), true),
        (to(1e9), to(1e9 + 2.0), false),
        (summary(None, 1.0), summary(None, 1.0), true),
        (summary(None, 1.0), summary(Some(1.0), 1.0), false),
        (summary(None, 1.0), to(1.0), false),
    ] {
        assert_eq!((a.equals(&b), b.equals(&a)), (equal, equal), "{a:?} {b:?}");
    }
    let none = change(&[5.0, 1.0], 0, 1).nothing();
    assert_eq!((total(&none), none.why_reset(), none.broke), (Some(0.0), None, None));
}

#[test]
fn readings_of_one_histogram_share_their_bounds_while_those_are_the_same() {
    let read = |bound: &str| histogram(&[(bound, 1.0), ("+Inf", 1.0)], None, Some(1.0));
    let bounds = |sample: &Sample| match &sample.layout {
        Layout::Buckets(bounds) => bounds.clone(),
        Layout::Single | Layout::SumAndCount => panic!("{sample:?}"),
    };
    let first = Sample::of(&read("1"), None).unwrap();
    let same = Sample::of(&read("1"), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&bounds(&first), &bounds(&same)));
    let other = Sample::of(&read("2"), Some(&first)).unwrap();
    assert_eq!(bounds(&other).to_vec(), ["2", "+Inf"]);
}
