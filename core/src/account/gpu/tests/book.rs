//! What the book of one GPU takes from which reading.

use super::*;

fn at(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

/// A reading of no length in milliseconds; its counter became true within the
/// 10 ms before it.
fn sample(ms: u64, energy_mj: Option<u64>, watts: u64) -> GpuSample {
    GpuSample {
        energy_mj,
        energy_from: energy_mj.map(|_| at(ms - 10)),
        energy_to: energy_mj.map(|_| at(ms)),
        energy_tick_ns: energy_mj.map(|_| 10_000_000),
        power_mw: Some(1000 * watts),
        ..GpuSample::default()
    }
}

fn feed(
    book: &mut GpuBook,
    spans: &[Option<Span>],
    ms: u64,
    sample: &GpuSample,
    kind: Option<BaselineKind>,
) {
    let times = (at(ms), at(ms), at(ms));
    book.observe(spans, sample, times, kind.map(|kind| (0, kind)), true);
}

fn span(start: u64, end: u64) -> Option<Span> {
    Some(Span { start: at(start), end: at(end) })
}

fn error_j(energy: &Energy) -> f64 {
    let Energy::Known(found) = energy else { panic!("{energy:?}") };
    found.error_j
}

/// Energy from 100 ms to 200 ms, between 1 J and 2 J, of a GPU under `limit_mw`.
fn error_with(limit_mw: Option<u64>, watts: u64, last_mj: u64) -> f64 {
    let (spans, mut book) = ([span(100, 200)], GpuBook::default());
    for (ms, mj, kind) in [(95, 1000, Start), (205, last_mj, End)] {
        let read = GpuSample { power_limit_mw: limit_mw, ..sample(ms, Some(mj), watts) };
        feed(&mut book, &spans, ms, &read, Some(kind));
    }
    error_j(&book.energy_in(&spans, 0))
}

#[test]
fn the_error_is_by_the_highest_of_limit_power_and_what_the_counter_shows() {
    // 5 ms at each end, and the counter's resolution.
    let by = |watts: f64| 0.010 * watts + 0.001;
    let close = |found: f64, to: f64| assert!((found - to).abs() < 1e-9, "{found} {to}");
    close(error_with(Some(700_500), 300, 2000), by(700.5));
    close(error_with(None, 300, 2000), by(300.0));
    close(error_with(Some(10_000), 300, 2000), by(300.0));
    // 120 J from 85 ms to 205 ms: it was at 1 kW, whatever it says.
    close(error_with(Some(700_500), 300, 121_000), by(1000.0));
}

#[test]
fn a_reading_that_overlaps_a_boundarys_is_not_compared_with_the_next() {
    let (spans, mut book) = ([span(55, 200)], GpuBook::default());
    let readings = [
        (50, 50, 50_000, Some((0, Start))),
        (55, 75, 101_000, None),
        (60, 80, 2_000, Some((1, Start))),
        (100, 100, 3_000, Some((0, End))),
    ];
    for (start, end, mj, mark) in readings {
        let read = sample(end, Some(mj), 300);
        let times = (at(start), at(start.midpoint(end)), at(end));
        book.observe(&spans, &read, times, mark, mark.is_some());
    }
    let energy = book.energy_in(&spans, 0);
    assert!(matches!(energy, Energy::Reset(50.0, 2.0)), "{energy:?}");
}

#[test]
fn a_value_is_bounded_by_the_next_other_value_and_not_by_itself_read_again() {
    let spans = [span(100, 200)];
    let mut book = GpuBook::default();
    let steps = [
        (50, 1490, None),
        (90, 1500, Some(Start)),
        (110, 1500, None),
        (150, 1600, None),
        (160, 1900, None),
        (210, 4000, Some(End)),
    ];
    for (ms, mj, kind) in steps {
        let read = GpuSample { power_limit_mw: Some(700_000), ..sample(ms, Some(mj), 1) };
        feed(&mut book, &spans, ms, &read, kind);
    }
    // At START 100 mJ up to 1600 mJ, which is less than 5 ms at 700 W; at END that.
    let found = error_j(&book.energy_in(&spans, 0));
    assert!((found - (0.101 + 3.5 + 0.001)).abs() < 1e-9, "{found}");
}

#[test]
fn what_a_reading_saw_is_of_the_phases_that_it_lies_in_or_was_taken_for() {
    let spans = [span(100, 200), span(300, 400)];
    let cases = [
        (50, None, [false, false]),
        (150, None, [true, false]),
        (350, None, [false, true]),
        (90, Some(Start), [true, false]),
        (210, Some(End), [true, false]),
        (350, Some(End), [true, true]),
    ];
    for (ms, kind, expected) in cases {
        let mut book = GpuBook::default();
        let held = GpuSample { throttle: vec!["sw_power_cap".to_owned()], ..sample(ms, None, 1) };
        feed(&mut book, &spans, ms, &held, kind);
        let lost = Energy::Unknown(String::new());
        let said = [0, 1].map(|phase| !book.findings("u", "nvml", (phase, None), &lost).is_empty());
        assert_eq!(said, expected, "at {ms} for {kind:?}");
    }
}

#[test]
fn what_a_gpu_did_while_it_was_in_no_reading_is_not_made_up() {
    let spans = [span(100, 200)];
    let mut book = GpuBook::default();
    let read = |ms, watts| GpuSample {
        utilization_pct: Some(watts as f64),
        memory_used_mib: Some(watts as f64),
        temperature_c: Some(watts as f64),
        ..sample(ms, None, watts)
    };
    feed(&mut book, &spans, 90, &read(90, 50), Some(Start));
    book.gone(&spans, at(100));
    feed(&mut book, &spans, 150, &read(150, 40), None);
    feed(&mut book, &spans, 210, &read(210, 40), Some(End));
    let energy = book.energy_in(&spans, 0);
    let why = "it gives no energy, and its power was not known all the time".to_owned();
    assert_eq!(energy, Energy::Unknown(why));
    // Of the half of the phase in which it was there.
    let result = book.result("u", 0, &spans, &energy);
    let half = AvgMax { avg: Some(40.0), max: Some(40.0) };
    assert_eq!((result.power_w, result.utilization_pct), (half, half));
    let half = Max { max: Some(40.0) };
    assert_eq!((result.memory_used_mib, result.temperature_c), (half, half));
}

#[test]
fn an_energy_counter_that_was_gone_has_no_earlier_value_that_bounds_its_age() {
    let spans = [span(100, 200)];
    let copied = |mj| GpuSample { energy_mj: Some(mj), ..GpuSample::default() };
    for (gone, known) in [(false, true), (true, false)] {
        let mut book = GpuBook::default();
        feed(&mut book, &spans, 50, &copied(500), None);
        if gone {
            book.gone(&spans, at(70));
        }
        feed(&mut book, &spans, 90, &copied(1000), Some(Start));
        feed(&mut book, &spans, 210, &copied(2000), Some(End));
        let energy = book.energy_in(&spans, 0);
        assert_eq!(matches!(energy, Energy::Known(_)), known, "{energy:?}");
    }
}

#[test]
fn averaged_power_may_be_off_by_its_range_for_the_time_of_the_averaging() {
    let spans = [span(100, 200)];
    for (kind, range) in [(PowerKind::Averaged, 60.0), (PowerKind::Momentary, 0.0)] {
        let mut book = GpuBook::default();
        for (ms, watts, mark) in [(90, 100, Some(Start)), (150, 160, None), (210, 160, Some(End))] {
            let read = GpuSample { power_kind: Some(kind), ..sample(ms, None, watts) };
            feed(&mut book, &spans, ms, &read, mark);
        }
        // Half of the step of 60 W for 60 ms, and the averaging of 1 s.
        let found = error_j(&book.energy_in(&spans, 0));
        assert!((found - (1.8 + range)).abs() < 1e-9, "{kind:?}: {found}");
    }
}

#[test]
fn a_difference_of_just_what_is_allowed_is_not_flagged() {
    let measured = |joules, integral| Measured {
        joules,
        error_j: 3.0,
        from: at(0),
        to: at(1),
        source: EnergySource::Counter,
        coverage_j: 0.0,
        integral: Some(integral),
    };
    // 5 % of 100 J, and 3 J + 4 J where both may be off by more.
    for (joules, integral, flagged) in [
        (105.0, (100.0, 0.0), false),
        (105.5, (100.0, 0.0), true),
        (107.0, (100.0, 4.0), false),
        (107.5, (100.0, 4.0), true),
    ] {
        let found = disagreement("u", &measured(joules, integral));
        assert_eq!(found.is_some(), flagged, "{joules} {integral:?}");
    }
    let note = disagreement("u", &measured(150.0, (100.0, 0.0))).unwrap().note;
    assert!(note.ends_with("they differ by 50.0 %."), "{note}");
}
