use proptest::prelude::*;

use super::*;
use crate::account::delta::Layout;
use crate::account::result::Moved;
use crate::message::BaselineKind::{End, Start};

/// Shows readings to a track, each at a boundary of its own.
#[derive(Default)]
struct Shown {
    track: Track,
    ends: Vec<(u64, u64)>,
}

impl Shown {
    fn show(&mut self, value: Option<f64>, times: (u64, u64), born: Born) -> usize {
        let sample = value.and_then(Sample::single);
        let (start, end) = (Tick(times.0), Tick(times.1));
        let seen = Seen { start, end, born, ..Seen::default() };
        self.track.observe(sample.as_ref(), seen, Some((self.ends.len(), Start)));
        self.ends.push(times);
        self.ends.len() - 1
    }

    fn read(&mut self, value: f64, start: u64, end: u64) -> usize {
        self.show(Some(value), (start, end), Born::default())
    }

    fn of(&mut self, process: f64, value: Option<f64>, start: u64, end: u64) -> usize {
        self.show(value, (start, end), Born { process: Some(process), ..Born::default() })
    }

    fn change(&self, first: usize, last: usize) -> Change {
        let in_order = self.ends[first].1 <= self.ends[last].0;
        self.track.between((first, Start), (last, Start), in_order).unwrap()
    }

    /// Whether it was reset, and by how much it moved.
    fn moved(&self, first: usize, last: usize) -> (bool, Option<f64>) {
        let change = self.change(first, last);
        (change.reset, total(&change))
    }
}

fn total(change: &Change) -> Option<f64> {
    change.moved().ok().as_ref().and_then(Moved::amount)
}

/// Readings that do not overlap, 10 ns apart, of these values and lives.
fn follow(readings: &[(f64, Option<f64>, Option<f64>)]) -> Shown {
    let mut shown = Shown::default();
    for ((value, process, created), i) in readings.iter().zip(0_u64..) {
        let born = Born { process: *process, created: *created, restarted: None };
        shown.show(Some(*value), (10 * i, 10 * i + 5), born);
    }
    shown
}

#[test]
fn a_process_that_was_started_again_is_a_reset_even_where_the_value_is_larger() {
    let change = follow(&[(10.0, Some(100.0), None), (12.0, Some(160.0), None)]).change(0, 1);
    assert!(change.reset);
    assert_eq!(total(&change), Some(12.0), "counted from 0 by the new process");
    let how = change.why_reset().unwrap();
    assert!(how.starts_with("began anew in a process that was started again between"), "{how}");
}

#[test]
fn a_series_that_was_created_again_is_a_reset() {
    let shown = follow(&[
        (10.0, Some(100.0), Some(1.0)),
        (13.0, Some(100.0), Some(1.0)),
        (4.0, Some(100.0), Some(50.0)),
        (20.0, Some(100.0), Some(50.0)),
    ]);
    assert_eq!(shown.moved(0, 3), (true, Some(3.0 + 20.0)));
    let how = shown.change(0, 3).why_reset().unwrap();
    assert_eq!(how, "was created again between 0.000 s and 0.000 s");
    assert!(!shown.change(2, 3).reset);
}

#[test]
fn a_life_that_is_not_said_is_no_other_life() {
    let shown = follow(&[
        (1.0, Some(100.0), Some(1.0)),
        (2.0, None, None),
        (3.0, Some(100.0), Some(1.0)),
        (4.0, Some(100.02), Some(1.0)),
    ]);
    assert!(!shown.change(0, 3).reset);
    let shown = follow(&[(1.0, Some(100.0), None), (2.0, None, None), (3.0, Some(200.0), None)]);
    assert!(!shown.change(0, 1).reset);
    assert!(shown.change(0, 2).reset, "what was said is remembered");
}

#[test]
fn start_times_are_of_one_process_up_to_the_stated_difference() {
    for (later, reset) in [(SAME_START_S, false), (SAME_START_S + 1e-9, true)] {
        let shown = follow(&[(1.0, Some(0.0), None), (2.0, Some(later), None)]);
        assert_eq!(shown.change(0, 1).reset, reset);
        let shown = follow(&[(1.0, None, Some(0.0)), (2.0, None, Some(later))]);
        assert_eq!(shown.change(0, 1).reset, reset);
    }
}

#[test]
fn a_reading_that_begins_when_the_one_before_is_complete_comes_after_it() {
    let mut shown = Shown::default();
    let start = shown.read(10.0, 0, 10);
    let fallen = shown.read(3.0, 10, 20);
    let end = shown.read(12.0, 20, 30);
    assert_eq!(shown.moved(start, end), (true, Some(12.0)), "it fell to 3 in between");
    let why = shown.change(start, fallen).why_reset().unwrap();
    assert!(why.contains(" between "), "{why}");
}

#[test]
fn a_restart_between_the_same_readings_as_nothing_else_is_dated_by_them() {
    let mut track = Track::default();
    let ms = Tick::from_millis;
    let mut read = |value: f64, at: u64, after: u64, key| {
        let seen = Seen { start: ms(at), end: ms(at + 10), after: ms(after), ..Seen::default() };
        track.observe(Sample::single(value).as_ref(), seen, Some((0, key)));
    };
    read(5.0, 1000, 0, Start);
    // Readings that the writer left the series out of came until 4010 ms.
    read(2.0, 5000, 4010, End);
    let how = |track: &Track| track.between((0, Start), (0, End), true).unwrap().why_reset();
    let said = "fell from 5 to 2 between 4.010 s and 5.010 s";
    assert_eq!(how(&track).as_deref(), Some(said));
    // One that overlaps this one does not date it.
    let mut read = |value: f64, at: u64, after: u64, key| {
        let seen = Seen { start: ms(at), end: ms(at + 10), after: ms(after), ..Seen::default() };
        track.observe(Sample::single(value).as_ref(), seen, Some((0, key)));
    };
    read(1.0, 6000, 6005, End);
    let said = "fell from 2 to 1 between 5.010 s and 6.010 s";
    assert_eq!(how(&track).as_deref(), Some(said));
}

#[test]
fn a_slow_reading_of_the_process_before_does_not_count() {
    let mut shown = Shown::default();
    let before = shown.of(100.0, Some(50.0), 0, 5);
    shown.of(200.0, Some(3.0), 40, 50);
    let slow = shown.of(100.0, Some(55.0), 30, 60);
    let after = shown.of(200.0, Some(4.0), 70, 75);
    let later = shown.of(200.0, Some(70.0), 80, 85);
    assert_eq!(shown.moved(before, after), (true, Some(4.0)));
    // It stands for the process before, also where a boundary asked for it.
    assert_eq!(shown.moved(before, slow), (false, Some(5.0)));
    assert_eq!(shown.moved(slow, later), (true, Some(70.0)));
}

#[test]
fn a_fall_between_overlapping_readings_is_not_a_reset() {
    let mut shown = Shown::default();
    let start = shown.read(5.0, 0, 10);
    // A periodic reading, and a boundary's that began while it was under way.
    shown.read(9.0, 20, 40);
    let end = shown.read(8.0, 30, 50);
    assert_eq!(shown.moved(start, end), (false, Some(3.0)));
    let later = shown.read(8.5, 60, 70);
    assert_eq!(shown.moved(end, later), (false, Some(0.5)));
    assert_eq!(shown.moved(start, later), (true, Some(4.0 + 8.5)), "it fell from 9");
}

#[test]
fn after_a_reset_each_of_two_overlapping_readings_counts_for_its_own_boundary() {
    let mut shown = Shown::default();
    let start = shown.read(50.0, 0, 5);
    shown.read(1.0, 10, 15);
    let newer = shown.read(7.0, 30, 40);
    let older = shown.read(4.0, 20, 45);
    let later = shown.read(9.0, 50, 55);
    let fallen = shown.read(1.0, 60, 65);
    assert_eq!(shown.moved(start, older), (true, Some(4.0)));
    assert_eq!(shown.moved(start, newer), (true, Some(7.0)));
    assert_eq!(shown.moved(older, later), (false, Some(5.0)));
    assert_eq!(shown.moved(older, fallen), (true, Some(5.0 + 1.0)));
}

#[test]
fn what_a_slow_reading_shows_from_before_a_fall_is_not_counted_after_it() {
    let mut shown = Shown::default();
    let start = shown.read(4.0, 0, 5);
    shown.read(0.0, 20, 30);
    let slow = shown.read(4.0, 15, 40);
    shown.read(1.0, 50, 60);
    let end = shown.read(2.0, 70, 80);
    assert_eq!(shown.moved(start, end), (true, Some(2.0)));
    assert_eq!(shown.moved(start, slow), (false, Some(0.0)));
    assert_eq!(shown.moved(slow, end), (true, Some(2.0)));
}

#[test]
fn a_series_that_an_overlapping_reading_lacks_was_not_gone() {
    let mut shown = Shown::default();
    let start = shown.read(4.0, 0, 20);
    shown.show(None, (15, 28), Born::default());
    let end = shown.read(6.0, 30, 40);
    assert_eq!(shown.moved(start, end), (false, Some(2.0)));
}

#[test]
fn a_reading_that_lacks_a_series_counts_from_nothing_whatever_it_overlaps() {
    // Before it, or in it, the series was set back; or it was not there yet.
    for before in [Some((0, 10)), None] {
        let mut shown = Shown::default();
        if let Some((start, end)) = before {
            shown.read(20.0, start, end);
        }
        let high = shown.read(24.0, 11, 30);
        let lacks = shown.show(None, (20, 40), Born::default());
        let end = shown.read(27.0, 50, 60);
        assert_eq!(shown.moved(lacks, end), (false, Some(27.0)));
        assert_eq!(shown.moved(high, end), (false, Some(3.0)));
    }
}

#[test]
fn a_series_that_first_came_up_in_a_reading_that_overlaps_a_boundarys_counts_from_nothing_there() {
    let mut shown = Shown::default();
    shown.track.lacked((9, Start), Tick(20), Born::default());
    let first = shown.read(24.0, 10, 30);
    assert_eq!(
        shown.track.between((9, Start), (first, Start), false).as_ref().and_then(total),
        Some(24.0)
    );
    let fallen = shown.read(2.0, 40, 50);
    let end = shown.read(3.0, 60, 70);
    let change = |last| shown.track.between((9, Start), (last, Start), true).unwrap();
    assert_eq!((change(fallen).reset, total(&change(fallen))), (false, Some(2.0)));
    assert_eq!((change(end).reset, total(&change(end))), (false, Some(3.0)));
}

#[test]
fn a_series_that_first_came_up_in_a_process_that_was_started_again_was_reset() {
    let mut track = Track::default();
    let of = |process| Born { process: Some(process), ..Born::default() };
    track.lacked((0, Start), Tick(5), of(100.0));
    track.lacked((1, Start), Tick(25), of(200.0));
    let restarted = Some((Tick::from_millis(10), Tick::from_millis(20)));
    let born = Born { process: Some(200.0), created: None, restarted };
    let seen = Seen { start: Tick(30), end: Tick(40), born, ..Seen::default() };
    track.observe(Sample::single(7.0).as_ref(), seen, Some((0, End)));
    let change = track.between((0, Start), (0, End), true).unwrap();
    assert_eq!((change.reset, total(&change)), (true, Some(7.0)));
    let how = "began anew in a process that was started again between 0.010 s and 0.020 s";
    assert_eq!(change.why_reset().as_deref(), Some(how));
    assert!(!track.between((1, Start), (0, End), true).unwrap().reset, "not since then");
}

#[test]
fn a_later_process_that_lacks_a_series_ends_its_life() {
    for (process, reset) in [(1_000.0, false), (1_020.0, true)] {
        let mut shown = Shown::default();
        let start = shown.of(1_000.0, Some(6.0), 0, 20);
        let lacks = shown.of(process, None, 25, 30);
        let end = shown.of(1_020.0, Some(3.0), 40, 50);
        assert_eq!(shown.moved(start, end), (true, Some(3.0)), "process {process}");
        assert_eq!(shown.moved(lacks, end), (!reset, Some(3.0)), "process {process}");
    }
}

#[test]
fn a_fall_is_seen_by_the_first_reading_that_overlaps_no_other() {
    let mut shown = Shown::default();
    shown.read(6.0, 0, 20);
    let slow = shown.read(1.0, 15, 40);
    let start = shown.read(1.0, 30, 50);
    let end = shown.read(3.0, 60, 70);
    assert_eq!(shown.moved(start, end), (false, Some(2.0)));
    assert_eq!(shown.moved(slow, end), (false, Some(2.0)));
}

#[test]
fn a_long_reading_is_compared_with_the_first_that_begins_after_it_however_late_that_is() {
    let mut shown = Shown::default();
    shown.read(10.0, 0, 5);
    shown.read(12.0, 30, 40);
    let long = shown.read(11.0, 8, 50);
    shown.read(13.0, 45, 60);
    shown.read(14.0, 70, 80);
    shown.read(2.0, 90, 95);
    let end = shown.read(20.0, 100, 105);
    assert_eq!(shown.moved(long, end), (true, Some(3.0 + 20.0)));
}

#[test]
fn each_of_several_readings_that_overlap_is_compared_with_what_comes_after() {
    let mut shown = Shown::default();
    shown.read(10.0, 0, 50);
    let slow = [(9.0, 20, 60), (9.5, 30, 70)].map(|(value, at, end)| shown.read(value, at, end));
    shown.read(12.0, 80, 90);
    shown.read(1.0, 100, 110);
    let end = shown.read(30.0, 120, 130);
    let moved = slow.map(|slow| shown.moved(slow, end));
    assert_eq!(moved, [(true, Some(3.0 + 30.0)), (true, Some(2.5 + 30.0))]);
}

#[test]
fn a_fall_just_after_an_overlapping_reading_is_another_than_the_next() {
    let mut shown = Shown::default();
    shown.read(10.0, 0, 20);
    let slow = shown.read(9.0, 15, 25);
    shown.read(5.0, 30, 40);
    let fallen = shown.read(1.0, 50, 60);
    let end = shown.read(70.0, 70, 80);
    assert_eq!(shown.moved(slow, fallen), (true, Some(5.0 + 1.0)));
    assert_eq!(shown.moved(slow, end), (true, Some(5.0 + 70.0)));
}

#[test]
fn between_readings_that_overlap_the_chain_what_it_saw_is_counted() {
    // The chain shows 5 twice and then 1; the one before it shows 4, the one after it 2.
    let mut shown = Shown::default();
    shown.read(5.0, 10, 12);
    let before = shown.read(4.0, 0, 15);
    shown.read(5.0, 20, 25);
    shown.read(1.0, 30, 60);
    let after = shown.read(2.0, 40, 70);
    assert_eq!(shown.moved(before, after), (true, Some(1.0 + 2.0)));
}

#[test]
fn a_reading_that_began_before_every_other_shows_no_reset_of_theirs() {
    let mut shown = Shown::default();
    shown.track.lacked((9, Start), Tick(5), Born::default());
    shown.read(9.0, 10, 20);
    shown.read(1.0, 30, 40);
    let long = shown.read(8.0, 6, 50);
    let change = shown.track.between((9, Start), (long, Start), true).unwrap();
    assert_eq!((change.reset, total(&change)), (false, Some(8.0)));
}

#[test]
fn two_readings_that_overlap_have_no_fall() {
    let mut shown = Shown::default();
    let a = shown.read(6.0, 0, 20);
    let b = shown.read(4.0, 10, 30);
    let change = shown.change(a, b);
    assert!(!change.reset && !change.torn);
    let why = "its readings at the two ends overlapped, and which was first is not known";
    assert_eq!(change.moved().unwrap_err(), why);
    assert_eq!(shown.moved(b, a), (false, Some(2.0)), "by what was counted between them at least");
}

#[test]
fn a_reading_that_overlaps_more_than_is_remembered_tells_of_a_reset_that_came_before_it() {
    // Of five short readings the first four are forgotten when a long one is complete.
    for (third, reset) in [(2.0, true), (13.0, false)] {
        let mut shown = Shown::default();
        let start = shown.read(10.0, 0, 5);
        for (value, at) in [(11.0, 10), (12.0, 20), (third, 30), (14.0, 40), (15.0, 50)] {
            shown.read(value, at, at + 5);
        }
        let long = shown.read(14.5, 8, 60);
        assert_eq!(shown.moved(start, long), (reset, Some(4.5)));
        let since_birth = shown.track.between((99, Start), (long, Start), true).unwrap();
        assert_eq!((since_birth.reset, total(&since_birth)), (reset, Some(14.5)));
    }
}

#[test]
fn a_long_reading_of_the_process_before_is_not_reset_by_a_start_that_is_forgotten() {
    // The process is started again while a long reading of the old one is taken; a fall of
    // the old one before that is still told of.
    for (second, starts, reset) in
        [(11.0, Some([1.0, 90.0]), false), (3.0, Some([1.0, 90.0]), true), (11.0, None, true)]
    {
        let mut shown = Shown::default();
        let mut read = |life: usize, value, start, end| {
            let process = starts.map(|starts: [f64; 2]| starts[life]);
            shown.show(Some(value), (start, end), Born { process, ..Born::default() })
        };
        let start = read(0, 10.0, 0, 5);
        read(0, second, 10, 15);
        for (value, at) in [(1.0, 20), (2.0, 30), (3.0, 40), (4.0, 50)] {
            read(1, value, at, at + 5);
        }
        let long = read(0, 12.0, 8, 60);
        assert_eq!(shown.moved(start, long), (reset, Some(2.0)));
    }
}

#[test]
fn two_long_readings_of_a_process_are_not_reset_by_the_start_that_came_after() {
    let mut shown = Shown::default();
    shown.of(100.0, Some(5.0), 0, 8);
    let first = shown.of(100.0, Some(6.0), 5, 10);
    for (value, at) in [(1.0, 20), (2.0, 30), (3.0, 40), (4.0, 50)] {
        shown.of(200.0, Some(value), at, at + 5);
    }
    let long = shown.of(100.0, Some(7.0), 12, 60);
    assert_eq!(shown.moved(first, long), (false, Some(1.0)));
}

#[test]
fn a_fall_in_a_reading_that_was_passed_over_is_none_until_the_series_is_left_out() {
    let seen = |start, end| Seen { start: Tick(start), end: Tick(end), ..Seen::default() };
    let sample = |value| Sample::single(value).unwrap();
    for (passed_over, is_anew) in [(3.0, true), (40.0, false), (42.0, false)] {
        let mut track = Track::default();
        track.observe(Some(&sample(40.0)), seen(0, 5), Some((0, Start)));
        assert!(!track.is_anew_if_left_out());
        let slow = Seen { passed_over: true, ..seen(10, 15) };
        track.observe(Some(&sample(passed_over)), slow, None);
        assert_eq!(track.is_anew_if_left_out(), is_anew);
        if is_anew {
            track.observe(None, seen(20, 25), None);
        }
        track.observe(Some(&sample(45.0)), seen(30, 35), Some((0, End)));
        let change = track.between((0, Start), (0, End), true).unwrap();
        let counted = if is_anew { 45.0 } else { 5.0 };
        assert_eq!((change.reset, total(&change)), (is_anew, Some(counted)));
    }
}

#[test]
fn a_series_that_does_not_move_shares_its_mark() {
    let mut shown = Shown::default();
    let marks = [(3.0, 0), (3.0, 10), (4.0, 20)].map(|(v, at)| shown.read(v, at, at + 5));
    let mark = |n: usize| shown.track.marks.get(&(marks[n], Start)).unwrap();
    assert!(Arc::ptr_eq(mark(0), mark(1)));
    assert!(!Arc::ptr_eq(mark(1), mark(2)));
    assert_eq!(shown.track.links.len(), 2);
}

#[test]
fn a_series_that_came_back_to_its_value_has_a_mark_of_its_own() {
    let mut shown = Shown::default();
    let start = shown.read(3.0, 0, 5);
    let seen = Seen { start: Tick(10), end: Tick(15), ..Seen::default() };
    shown.track.observe(Sample::single(0.0).as_ref(), seen, None);
    let end = shown.read(3.0, 20, 25);
    assert_eq!(shown.moved(start, end), (true, Some(3.0)));
}

/// A histogram without a sum, of two buckets.
fn histogram(bounds: [&str; 2], values: [f64; 2]) -> crate::reading::Value {
    let buckets = bounds.map(str::to_owned).into_iter().zip(values).collect();
    let histogram = crate::reading::Histogram { buckets, sum: None, count: Some(values[1]) };
    crate::reading::Value::Histogram(histogram)
}

#[test]
fn a_histogram_with_other_buckets_in_between_counted_from_nothing() {
    let mut track = Track::default();
    for (place, bound, all) in [(0, "0.1", 2.0), (1, "0.2", 7.0), (2, "0.1", 9.0)] {
        let sample = Sample::of(&histogram([bound, "+Inf"], [1.0, all]), None).unwrap();
        let start = 10 * place as u64;
        let seen = Seen { start: Tick(start), end: Tick(start + 5), ..Seen::default() };
        track.observe(Some(&sample), seen, Some((place, Start)));
    }
    let change = track.between((0, Start), (2, Start), true).unwrap();
    assert_eq!((change.reset, total(&change)), (true, Some(9.0)));
    let why = change.why_reset().unwrap();
    assert!(why.starts_with("got other buckets between"), "{why}");
}

#[test]
fn the_bounds_of_a_histogram_are_kept_once() {
    let mut track = Track::default();
    let bounds = |sample: &Sample| {
        let Layout::Buckets(bounds) = &sample.layout else { panic!("{sample:?}") };
        bounds.clone()
    };
    let first = Sample::of(&histogram(["1", "+Inf"], [1.0, 2.0]), None).unwrap();
    track.observe(Some(&first), Seen { end: Tick(5), ..Seen::default() }, None);
    let next = Sample::of(&histogram(["1", "+Inf"], [2.0, 4.0]), track.last()).unwrap();
    assert!(Arc::ptr_eq(&bounds(&first), &bounds(&next)));
}

#[test]
fn processes_that_answer_in_turn_are_told_from_one_that_is_started_again() {
    let values = |values: &[f64]| {
        let readings: Vec<_> = values.iter().map(|v| (*v, None, None)).collect();
        follow(&readings).track.alternates()
    };
    assert!(values(&[100.0, 50.0, 101.0, 51.0]));
    assert!(values(&[100.0, 50.0, 200.0, 101.0, 50.0, 201.0, 102.0, 52.0]), "three of them");
    assert!(!values(&[100.0, 0.0, 40.0, 0.0, 60.0]), "restarts leave nothing");
    assert!(!values(&[100.0, 3.0, 40.0, 2.0, 60.0, 1.0]));
    assert!(!values(&[1.0, 2.0, 3.0]));
    assert!(!values(&[5.0, 0.0, 6.0, 0.0, 7.0, 0.0]));
}

#[test]
fn a_series_counts_once_it_was_above_zero_or_began_anew() {
    let counts = |readings: &[(f64, Option<f64>, Option<f64>)]| follow(readings).track.counts();
    assert!(!counts(&[]) && !counts(&[(0.0, None, None), (0.0, None, None)]));
    assert!(counts(&[(3.0, None, None)]));
    assert!(counts(&[(0.0, Some(100.0), None), (0.0, Some(160.0), None)]));
}

/// The start and end of a reading, its value, and the step that it shows.
type Taken = (u64, u64, f64, usize);

/// A server that counts and is set back now and then, read over and over without
/// waiting for the answer before: each reading has the value of some moment in it.
fn readings(steps: Vec<(u64, u64, u32, bool)>) -> (Vec<Taken>, Vec<(f64, u32)>) {
    // What was counted, and how often it was set back, after each step.
    let (mut now, mut value, mut counted, mut resets) = (0, 0.0, 0.0, 0);
    let (mut readings, mut truth) = (Vec::new(), Vec::new());
    for (step, (wait, width, more, is_reset)) in steps.into_iter().enumerate() {
        now += wait + 1;
        if is_reset {
            (value, resets) = (0.0, resets + 1);
        }
        value += f64::from(more);
        counted += f64::from(more);
        truth.push((counted, resets));
        // Read at `now`, which lies anywhere in the reading.
        let before = width * u64::from(more % 4) / 4;
        readings.push((now.saturating_sub(before), now + width - before, value, step));
    }
    // Complete in the order of their ends, not in that of their values.
    readings.sort_by_key(|r| r.1);
    (readings, truth)
}

proptest! {
    #[test]
    fn what_two_readings_in_order_show_is_never_more_than_was_counted_and_exact_without_a_reset(
        steps in proptest::collection::vec((0_u64..8, 0_u64..40, 0_u32..50, 0_u8..8), 2..32),
    ) {
        let steps = steps.into_iter().map(|(wait, width, more, r)| (wait, width, more, r == 0));
        let (readings, truth) = readings(steps.collect());
        let mut shown = Shown::default();
        for (start, end, value, _) in &readings {
            shown.read(*value, *start, *end);
        }
        for (i, first) in readings.iter().enumerate() {
            for (j, last) in readings.iter().enumerate() {
                // Two that overlap have no order and no delta.
                if i == j || first.1 > last.0 {
                    continue;
                }
                let change = shown.change(i, j);
                let (from, to) = (truth[first.3], truth[last.3]);
                let right = to.0 - from.0;
                let said = total(&change).unwrap();
                prop_assert!(said <= right, "{said} of {right}");
                if from.1 == to.1 {
                    prop_assert_eq!(said, right);
                    // Where it overlaps more than is remembered a reset in that time is told.
                    let overlapped = readings[..j].iter().filter(|r| r.1 > last.0).count();
                    prop_assert!(!change.reset || overlapped >= LINKS);
                }
            }
        }
    }
}

#[test]
fn parts_that_fall_between_overlapping_readings_stand_each_for_its_own() {
    let sample = |low: f64, all: f64| {
        let buckets = vec![("0.1".to_owned(), low), ("+Inf".to_owned(), all)];
        let histogram = crate::reading::Histogram { buckets, sum: Some(9.0), count: Some(all) };
        Sample::of(&crate::reading::Value::Histogram(histogram), None).unwrap()
    };
    let mut track = Track::default();
    let mut show = |low, all, start, end, place| {
        let seen = Seen { start: Tick(start), end: Tick(end), ..Seen::default() };
        track.observe(Some(&sample(low, all)), seen, Some((place, Start)));
    };
    show(1.0, 2.0, 0, 5, 0);
    show(4.0, 7.0, 10, 20, 1);
    show(3.0, 6.0, 15, 25, 2);
    show(5.0, 9.0, 30, 35, 3);
    let count = |first, last| match track.between((first, Start), (last, Start), true) {
        Some(change) => (change.reset, total(&change)),
        None => (false, None),
    };
    assert_eq!([count(0, 1), count(0, 2)], [(false, Some(5.0)), (false, Some(4.0))]);
    assert_eq!([count(1, 3), count(2, 3)], [(false, Some(2.0)), (false, Some(3.0))]);
}
