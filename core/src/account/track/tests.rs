use proptest::prelude::*;

use super::*;
use crate::account::delta::{Change, between};
use crate::account::result::Moved;

/// Follows readings that do not overlap, 10 ns apart, of these values and lives.
fn follow(readings: &[(f64, Option<f64>, Option<f64>)]) -> (Track, Vec<Arc<Mark>>) {
    let mut track = Track::default();
    let mut marks = Vec::new();
    for ((value, process, created), i) in readings.iter().zip(0_u64..) {
        let sample = Sample::single(*value).unwrap();
        let born = Born { process: *process, created: *created, restarted: None };
        let times = (Tick(10 * i), Tick(10 * i + 5));
        track.observe_of(&sample, times, born, Tick((10 * i).saturating_sub(5)));
        marks.push(track.mark(&sample));
    }
    (track, marks)
}

fn total(change: &Change) -> Option<f64> {
    change.moved().ok().as_ref().and_then(Moved::amount)
}

#[test]
fn a_process_that_was_started_again_is_a_reset_even_where_the_value_is_larger() {
    let (_, m) = follow(&[(10.0, Some(100.0), None), (12.0, Some(160.0), None)]);
    let change = between(Some(&m[0]), &m[1]);
    assert!(change.reset);
    assert_eq!(total(&change), Some(12.0), "counted from 0 by the new process");
    let how = change.why_reset().unwrap();
    assert!(how.starts_with("began anew in a process that was started again between"), "{how}");
}

#[test]
fn a_series_that_was_created_again_is_a_reset() {
    let (_, m) = follow(&[
        (10.0, Some(100.0), Some(1.0)),
        (13.0, Some(100.0), Some(1.0)),
        (4.0, Some(100.0), Some(50.0)),
        (20.0, Some(100.0), Some(50.0)),
    ]);
    let change = between(Some(&m[0]), &m[3]);
    assert_eq!((change.reset, total(&change)), (true, Some(3.0 + 20.0)));
    assert_eq!(change.why_reset().unwrap(), "was created again between 0.000 s and 0.000 s");
    assert!(!between(Some(&m[2]), &m[3]).reset);
}

#[test]
fn a_life_that_is_not_said_is_no_other_life() {
    let (_, m) = follow(&[
        (1.0, Some(100.0), Some(1.0)),
        (2.0, None, None),
        (3.0, Some(100.0), Some(1.0)),
        (4.0, Some(100.02), Some(1.0)),
    ]);
    assert!(!between(Some(&m[0]), &m[3]).reset);
}

#[test]
fn a_restart_between_the_same_readings_as_nothing_else_is_dated_by_them() {
    let mut track = Track::default();
    let ms = Tick::from_millis;
    let mut read = |value: f64, at: u64, after: u64| {
        let sample = Sample::single(value).unwrap();
        track.observe_of(&sample, (ms(at), ms(at + 10)), Born::default(), ms(after));
        track.mark(&sample)
    };
    let start = read(5.0, 1000, 0);
    // Readings that the writer left the series out of came until 4010 ms.
    let end = read(2.0, 5000, 4010);
    let change = between(Some(&start), &end);
    assert_eq!(change.why_reset().unwrap(), "fell from 5 to 2 between 4.010 s and 5.010 s");
}

#[test]
fn a_slow_reading_of_the_process_before_does_not_count() {
    let mut track = Track::default();
    let mut read = |value: f64, start: u64, end: u64, process: f64| {
        let sample = Sample::single(value).unwrap();
        let born = Born { process: Some(process), ..Born::default() };
        track.observe_of(&sample, (Tick(start), Tick(end)), born, Tick::ZERO);
        track.mark(&sample)
    };
    let before = read(50.0, 0, 5, 100.0);
    read(3.0, 40, 50, 200.0);
    let slow = read(55.0, 30, 60, 100.0);
    let after = read(4.0, 70, 75, 200.0);
    let change = between(Some(&before), &after);
    assert_eq!((change.reset, total(&change)), (true, Some(4.0)));
    // It stands for the process before, also where a boundary asked for it.
    let change = between(Some(&before), &slow);
    assert_eq!((change.reset, total(&change)), (false, Some(5.0)));
    let change = between(Some(&slow), &read(70.0, 80, 85, 200.0));
    assert_eq!((change.reset, total(&change)), (true, Some(70.0 - 3.0)));
}

#[test]
fn after_a_reset_the_smaller_of_two_overlapping_readings_counts_for_its_own_boundary() {
    let mut track = Track::default();
    let mut read = |value: f64, start: u64, end: u64| {
        let sample = Sample::single(value).unwrap();
        track.observe(&sample, Tick(start), Tick(end));
        track.mark(&sample)
    };
    let start = read(50.0, 0, 5);
    read(1.0, 10, 15);
    let newer = read(7.0, 30, 40);
    let older = read(4.0, 20, 45);
    let change = between(Some(&start), &older);
    assert_eq!((change.reset, total(&change)), (true, Some(4.0)));
    assert_eq!(total(&between(Some(&start), &newer)), Some(7.0));
    let later = read(9.0, 50, 55);
    assert_eq!(total(&between(Some(&older), &later)), Some(5.0));
    // Whether 7 came after 4 is not known, once it has fallen: a lower bound.
    assert_eq!(total(&between(Some(&older), &read(1.0, 60, 65))), Some(3.0));
}

#[test]
fn what_a_slow_reading_shows_from_before_a_fall_is_not_counted_after_it() {
    let mut track = Track::default();
    let mut read = |value: f64, start: u64, end: u64| {
        let sample = Sample::single(value).unwrap();
        track.observe(&sample, Tick(start), Tick(end));
        track.mark(&sample)
    };
    let start = read(4.0, 0, 5);
    read(0.0, 20, 30);
    read(4.0, 15, 40);
    read(1.0, 50, 60);
    let change = between(Some(&start), &read(2.0, 70, 80));
    assert_eq!((change.reset, total(&change)), (true, Some(2.0)));
}

#[test]
fn a_series_that_an_overlapping_reading_lacks_was_not_gone() {
    let mut track = Track::default();
    let sample = |value| Sample::single(value).unwrap();
    track.observe(&sample(4.0), Tick(0), Tick(20));
    let start = track.mark(&sample(4.0));
    track.vanish((Tick(15), Tick(28)), None);
    track.observe(&sample(6.0), Tick(30), Tick(40));
    let change = between(Some(&start), &track.mark(&sample(6.0)));
    assert_eq!((change.reset, total(&change)), (false, Some(2.0)));
}

#[test]
fn a_series_that_a_later_process_lacks_is_gone_also_where_readings_overlap() {
    let sample = |value| Sample::single(value).unwrap();
    let of = |process| Born { process: Some(process), ..Born::default() };
    // The reading without it is of this process; what counts by the end.
    for (process, counted) in [(900.0, 9.0), (1_000.0, 9.0), (1_020.0, 3.0)] {
        let mut track = Track::default();
        track.observe_of(&sample(6.0), (Tick(0), Tick(20)), of(1_000.0), Tick::ZERO);
        track.vanish((Tick(15), Tick(25)), Some(process));
        track.observe_of(&sample(3.0), (Tick(18), Tick(30)), of(1_020.0), Tick(25));
        let change = between(None, &track.mark(&sample(3.0)));
        assert_eq!(total(&change), Some(counted), "process {process}");
    }
}

#[test]
fn a_reading_of_the_process_before_is_none_of_a_new_life_where_a_later_process_lacks_the_series() {
    let sample = |value| Sample::single(value).unwrap();
    let of = |process| Born { process: Some(process), ..Born::default() };
    let mut track = Track::default();
    track.observe_of(&sample(3.0), (Tick(0), Tick(10)), of(1_000.0), Tick::ZERO);
    let start = track.mark(&sample(3.0));
    track.vanish((Tick(25), Tick(30)), Some(1_020.0));
    track.observe_of(&sample(5.0), (Tick(20), Tick(40)), of(1_000.0), Tick(30));
    let end = track.mark(&sample(5.0));
    let change = between(Some(&start), &end);
    assert_eq!((change.reset, total(&change)), (false, Some(2.0)));
    track.observe_of(&sample(1.0), (Tick(50), Tick(60)), of(1_020.0), Tick(40));
    let change = between(Some(&end), &track.mark(&sample(1.0)));
    assert_eq!((change.reset, total(&change)), (true, Some(1.0)));
}

#[test]
fn a_series_that_was_there_before_and_is_lacking_was_set_back_also_where_a_reading_overlaps() {
    let sample = |value| Sample::single(value).unwrap();
    // Seen before the reading that lacks it: it was set back.
    let mut track = Track::default();
    track.observe(&sample(20.0), Tick(0), Tick(10));
    track.observe(&sample(24.0), Tick(11), Tick(30));
    track.vanish((Tick(20), Tick(40)), None);
    track.observe(&sample(3.0), Tick(50), Tick(60));
    assert_eq!(total(&between(None, &track.mark(&sample(3.0)))), Some(3.0));
    // Seen by nothing but a reading that overlaps it: that may have come later.
    let mut track = Track::default();
    track.observe(&sample(24.0), Tick(11), Tick(30));
    track.vanish((Tick(20), Tick(40)), None);
    track.observe(&sample(27.0), Tick(50), Tick(60));
    assert_eq!(total(&between(None, &track.mark(&sample(27.0)))), Some(27.0));
}

#[test]
fn a_fall_is_seen_by_the_first_reading_that_began_after_the_one_that_stands() {
    let mut track = Track::default();
    let mut read = |value: f64, start: u64, end: u64| {
        let sample = Sample::single(value).unwrap();
        track.observe(&sample, Tick(start), Tick(end));
        track.mark(&sample)
    };
    read(6.0, 0, 20);
    read(1.0, 15, 40);
    // It overlaps the one before, and not the one whose value stands.
    let start = read(1.0, 30, 50);
    let end = read(3.0, 60, 70);
    let change = between(Some(&start), &end);
    assert_eq!((change.reset, total(&change)), (false, Some(2.0)));
}

#[test]
fn processes_that_answer_in_turn_are_told_from_one_that_is_started_again() {
    let values = |values: &[f64]| {
        let readings: Vec<_> = values.iter().map(|v| (*v, None, None)).collect();
        follow(&readings).0.alternates()
    };
    assert!(values(&[100.0, 50.0, 101.0, 51.0]));
    assert!(values(&[100.0, 50.0, 200.0, 101.0, 50.0, 201.0, 102.0, 52.0]), "three of them");
    assert!(!values(&[100.0, 0.0, 40.0, 0.0, 60.0]), "restarts leave nothing");
    assert!(!values(&[100.0, 3.0, 40.0, 2.0, 60.0, 1.0]));
    assert!(!values(&[1.0, 2.0, 3.0]));
}

proptest! {
    #[test]
    fn what_two_overlapping_readings_saw_is_counted_once(
        steps in proptest::collection::vec((0_u64..8, 1_u64..40, 0_u32..50), 2..24),
    ) {
        // A server that only counts, read over and over without waiting for the
        // answer before: each reading has the value of some moment within it.
        let mut readings = Vec::new();
        let (mut now, mut value) = (0_u64, 0.0);
        for (wait, width, more) in steps {
            now += wait + 1;
            value += f64::from(more);
            readings.push((now, now + width, value));
        }
        // Complete in the order of their ends, not in that of their values.
        readings.sort_by_key(|r| r.1);
        let mut track = Track::default();
        let mut marks = Vec::new();
        for (start, end, value) in &readings {
            let sample = Sample::single(*value).unwrap();
            track.observe(&sample, Tick(*start), Tick(*end));
            marks.push((*start, *end, *value, track.mark(&sample)));
        }
        for (i, first) in marks.iter().enumerate() {
            for last in &marks[i + 1..] {
                // Two that overlap have no order and no delta.
                if first.1 <= last.0 {
                    let change = between(Some(&first.3), &last.3);
                    prop_assert!(!change.reset);
                    prop_assert_eq!(total(&change), Some(last.2 - first.2));
                }
            }
        }
    }
}

#[test]
fn a_series_counts_once_it_was_above_zero_or_began_anew() {
    let counts = |readings: &[(f64, Option<f64>, Option<f64>)]| follow(readings).0.counts();
    assert!(!counts(&[]) && !counts(&[(0.0, None, None), (0.0, None, None)]));
    assert!(counts(&[(3.0, None, None)]));
    assert!(counts(&[(0.0, Some(100.0), None), (0.0, Some(160.0), None)]));
}

#[test]
fn a_server_that_begins_at_zero_again_and_again_is_one_process() {
    let values = [5.0, 0.0, 6.0, 0.0, 7.0, 0.0].map(|value| (value, None, None));
    assert!(!follow(&values).0.alternates());
}

#[test]
fn of_two_readings_that_overlapped_each_part_stands_at_its_larger_value() {
    let sample = |low: f64, all: f64| {
        let buckets = vec![("0.1".to_owned(), low), ("+Inf".to_owned(), all)];
        let histogram = crate::reading::Histogram { buckets, sum: Some(9.0), count: Some(all) };
        Sample::of(&crate::reading::Value::Histogram(histogram), None).unwrap()
    };
    let mut track = Track::default();
    track.observe(&sample(4.0, 7.0), Tick(0), Tick(10));
    track.observe(&sample(6.0, 6.0), Tick(5), Tick(15));
    assert_eq!((track.counted.as_slice(), track.resets), ([6.0, 7.0, 7.0, 9.0].as_slice(), 0));
}
