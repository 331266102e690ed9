//! Energy of two marks: when they are of, and how far it may be off.

use super::super::counter::Point;
use super::super::power::PowerIntegral;
use super::*;

fn ms(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

fn point(mj: u64, from: Option<u64>, to: u64, direct: bool) -> Point {
    Point { mj, from: from.map(ms), to: ms(to), read: ms(to), direct, power: None }
}

fn alone(point: Point) -> CounterMark {
    CounterMark { point, before: None, after: None }
}

/// A phase from 1000 ms to 9000 ms, read in the 20 ms before it and after it, of
/// a GPU of at most 100 W.
fn scope(period_ms: Option<u64>) -> Scope {
    Scope {
        span: Some(Span { start: ms(1000), end: ms(9000) }),
        readings: [(ms(980), ms(1000)), (ms(9000), ms(9020))],
        highest_w: 100.0,
        averaged_range_w: 0.0,
        period: period_ms.map(Duration::from_millis),
    }
}

fn close(found: f64, to: f64) {
    assert!((found - to).abs() < 1e-9, "{found}, not {to}");
}

#[test]
fn what_an_exporter_shows_may_be_one_period_older_and_unseen_changes_two() {
    let end = alone(point(9000, Some(8900), 9000, false));
    // Between 500 ms and 1000 ms; not seen to change before: from 200 ms on.
    for (from, moment, half) in [(Some(900), 750, 250), (None, 600, 400)] {
        let start = alone(point(1000, from, 1000, false));
        let found = scope(Some(400)).by_counter([start, end]).unwrap();
        assert_eq!((found.from, found.to), (ms(moment), ms(8750)), "{from:?}");
        close(found.error_j, 100.0 * 0.001 * f64::from(half + 250) + 0.001);
    }
}

#[test]
fn a_value_that_was_never_seen_to_change_may_be_from_before_the_reading_that_showed_it_first() {
    let end = alone(point(9000, Some(8900), 9000, false));
    // Its reading took from 700 ms to 1000 ms: from 700 ms - 2 * 300 ms on.
    let start = alone(Point { read: ms(700), ..point(1000, None, 1000, false) });
    let found = scope(Some(300)).by_counter([start, end]).unwrap();
    assert_eq!(found.from, ms(550));
    close(found.error_j, 100.0 * (0.450 + 0.200) + 0.001);
}

#[test]
fn a_value_may_be_from_before_the_runs_zero() {
    let end = alone(point(9000, Some(8900), 9000, false));
    // From 1000 ms - 2 * 700 ms on, and from 300 ms - 700 ms on.
    for from in [None, Some(300)] {
        let start = alone(point(1000, from, 1000, false));
        let found = scope(Some(700)).by_counter([start, end]).unwrap();
        assert_eq!((found.from, found.to), (ms(500), ms(8600)), "{from:?}");
        close(found.error_j, 100.0 * (0.900 + 0.400) + 0.001);
    }
}

#[test]
fn an_exporters_period_counts_unless_both_values_were_read_from_the_gpu() {
    // Ten of these periods are more than the phase.
    let scope = scope(Some(900));
    for (first, last, known) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
    {
        let start = alone(point(1000, Some(980), 1000, first));
        let end = alone(point(9000, Some(9000), 9020, last));
        assert_eq!(scope.by_counter([start, end]).is_ok(), known, "{first} {last}");
    }
}

#[test]
fn only_the_neighbours_bound_a_value_that_lags() {
    let beside = |point: Point| CounterMark {
        before: Some(Point { mj: point.mj - 300, from: None, to: ms(1), ..point }),
        after: Some(Point { mj: point.mj + 200, from: Some(ms(20_000)), ..point }),
        point,
    };
    // 10 ms at 1 W; the neighbours leave 0.301 J.
    let scope = Scope { highest_w: 1.0, ..scope(Some(10)) };
    for (first, last, error) in
        [(true, true, 0.02), (true, false, 0.311), (false, true, 0.311), (false, false, 0.602)]
    {
        let at = |mj, to: u64, direct: bool| {
            beside(point(mj, Some(to - if direct { 20 } else { 10 }), to, direct))
        };
        let marks = [at(1000, 1000, first), at(9000, 9020, last)];
        close(scope.by_counter(marks).unwrap().error_j, error + 0.001);
    }
}

#[test]
fn values_without_order_or_of_one_moment_are_no_energy() {
    let of = |first: u64, last: u64, to: u64| {
        let start = alone(point(first, Some(980), 1000, true));
        let end = alone(point(last, Some(to - 20), to, true));
        scope(None).by_counter([start, end]).map(|found| found.joules)
    };
    assert_eq!(of(1000, 9500, 9020), Ok(8.5));
    assert!(of(1000, 1000, 1000).unwrap_err().contains("did not change"));
    assert!(of(1000, 999, 9020).unwrap_err().contains("no order"));
}

#[test]
fn integrated_power_may_be_off_by_half_of_each_boundary_reading() {
    let mut power = PowerIntegral::default();
    power.observe(ms(990), 50.0);
    let start = power.mark(ms(990));
    power.observe(ms(8990), 90.0);
    let end = power.mark(ms(8990));
    let readings = [(ms(980), ms(1000)), (ms(8970), ms(9010))];
    let found = Scope { readings, ..scope(None) }.by_power(start, end).unwrap();
    close(found.joules, 70.0 * 8.0);
    // Half of the step of 40 W for 8 s; 10 ms at 50 W and 20 ms at 90 W.
    close(found.error_j, 160.0 + 0.5 + 1.8);
    assert_eq!((found.from, found.to), (ms(990), ms(8990)));
    for (start, end, lacks) in [(None, end, "START"), (start, None, "END")] {
        let why = scope(None).by_power(start, end).unwrap_err();
        assert!(why.ends_with(&format!("no power at {lacks}")), "{why}");
    }
}

#[test]
fn coverage_is_what_lies_between_the_phase_with_its_readings_and_the_two_moments() {
    for (from, to, ms_off) in [
        (990, 9010, 0.0),
        // Begun too late, ended too late; begun too early, ended too early.
        (1050, 9010, 50.0),
        (990, 9060, 40.0),
        (970, 9010, 10.0),
        (990, 8970, 30.0),
        (1050, 9060, 90.0),
        (970, 8970, 40.0),
        (1050, 8970, 80.0),
        (970, 9060, 50.0),
    ] {
        close(scope(None).coverage(ms(from), ms(to)), ms_off * 0.001 * 100.0);
    }
}
