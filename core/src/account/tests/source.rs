//! What the book of one source takes from which reading.

use std::collections::BTreeMap;

use super::run::{End, Run, Start, URL, counter, family, ms, running_gauge, vllm};
use crate::account::delta::Change;
use crate::account::result::{Maybe, Moved, PhaseResult, ServerMetric, Verdict};
use crate::account::source::{Key, SourceBook};
use crate::message::BaselineKind;
use crate::reading::{Family, FamilyType, Reading, ReadingBody, Series, Value};

const RUNNING: &str = "vllm:num_requests_running";
const SUCCESS: &str = "vllm:request_success";

type Step = (u64, Option<(usize, BaselineKind)>, Vec<Family>);

/// Two phases, from 100 ms to 1100 ms and from 1200 ms to 3200 ms.
fn two_phases(steps: Vec<Step>) -> Run {
    let mut run = Run::new(&[("warmup", false, 100, 1100, 1), ("steady", false, 1200, 3200, 5)]);
    for (at, mark, families) in steps {
        run.read(at, mark, families);
    }
    run
}

/// Every boundary of them is read.
fn all_read(mut families: impl FnMut(u64) -> Vec<Family>) -> Run {
    let steps = [(90, 0, Start), (1110, 0, End), (1190, 1, Start), (3210, 1, End)];
    two_phases(steps.map(|(at, phase, kind)| (at, Some((phase, kind)), families(at))).into())
}

fn gauge(name: &str, value: f64) -> Family {
    family(name, FamilyType::Gauge, Value::Value(value))
}

fn process(started: f64) -> Family {
    let series =
        vec![Series { labels: BTreeMap::new(), created: None, value: Value::Value(started) }];
    Family { name: "process_start_time_seconds".to_owned(), kind: FamilyType::Gauge, series }
}

fn metric(phase: &PhaseResult, name: &str) -> Option<ServerMetric> {
    phase.server_metrics.iter().find(|m| m.name == name).cloned()
}

#[test]
fn a_gauge_that_a_boundary_reading_lacks_does_not_hold_on() {
    let run = all_read(|at| {
        let gauge = (at == 90).then(|| running_gauge(3.0));
        gauge.into_iter().chain([counter(SUCCESS, 1.0)]).collect()
    });
    let result = run.result();
    let [before, after] = [0, 1].map(|phase| metric(&result.phases[phase], RUNNING).unwrap());
    assert_eq!(before.stats.known().map(|s| (s.avg, s.last)), Some((3.0, 3.0)));
    assert_eq!(after.stats, Maybe::Unknown);
    let why = "no reading gave it a finite value in the phase";
    assert_eq!(after.reason.as_deref(), Some(why));
}

#[test]
fn a_counter_that_a_boundary_reading_lacks_was_gone_for_a_while() {
    let run = all_read(|at| {
        vec![if at == 1110 { running_gauge(0.0) } else { counter(SUCCESS, at as f64) }]
    });
    let attributed = run.attributed();
    let [source] = attributed.sources() else { panic!("{:?}", attributed.sources()) };
    let counted = source.counted().next().unwrap();
    let there = |phase, kind| counted.is_at((phase, kind));
    assert_eq!([there(0, Start), there(0, End), there(1, Start)], [true, false, true]);
    let change = counted.between((0, Start), (1, Start)).unwrap();
    assert!(change.reset);
    assert_eq!(
        change.why_reset().as_deref(),
        Some("was gone for a while between 0.092 s and 1.112 s")
    );
    assert!(counted.between((0, Start), (0, End)).is_none());
}

#[test]
fn a_gauge_that_was_first_seen_after_a_phase_is_not_listed_in_it() {
    for (at, listed) in [(1098, true), (1100, true), (1102, false), (1150, false)] {
        let ends = [(90, 0, Start), (1110, 0, End), (1190, 1, Start), (3210, 1, End)];
        let mut steps: Vec<Step> = ends
            .map(|(at, phase, kind)| {
                (at, Some((phase, kind)), vec![running_gauge(1.0), counter(SUCCESS, 1.0)])
            })
            .into();
        for (_, _, families) in &mut steps[..2] {
            families.remove(0);
        }
        steps.insert(1, (at, None, vec![running_gauge(1.0)]));
        steps.sort_by_key(|(at, ..)| *at);
        let result = two_phases(steps).result();
        assert_eq!(metric(&result.phases[0], RUNNING).is_some(), listed, "{at}");
        assert!(metric(&result.phases[1], RUNNING).is_some());
    }
}

#[test]
fn a_source_takes_part_in_the_phases_that_a_reading_good_or_failed_is_of() {
    let mut run = two_phases(vec![(90, Some((0, Start)), vec![running_gauge(0.0)])]);
    let took = |run: &Run| {
        let attributed = run.attributed();
        [0, 1].map(|phase| attributed.services(phase).any(|service| *service == vllm()))
    };
    assert_eq!(took(&run), [true, false]);
    run.push(vllm(), URL, 2000, None, ReadingBody::Error(super::run::refused()));
    assert_eq!(took(&run), [true, true]);
}

#[test]
fn a_source_without_any_reading_in_a_phase_gave_nothing_in_it() {
    let run = two_phases(vec![(90, Some((0, Start)), vec![running_gauge(0.0)])]);
    let notes = run.phase(1).notes.join("\n");
    assert!(notes.contains(&format!("{URL} gave nothing at all in the phase.")), "{notes}");
}

#[test]
fn the_busiest_gauge_is_the_one_that_shows_most_and_of_equals_the_first_at_its_first_time() {
    let waiting = "vllm:num_requests_waiting";
    for (values, expected) in
        [([2.0, 3.0], (waiting, 3.0)), ([3.0, 2.0], (RUNNING, 3.0)), ([2.0, 2.0], (RUNNING, 2.0))]
    {
        let both = || vec![gauge(waiting, values[1]), gauge(RUNNING, values[0])];
        let run = two_phases(vec![(500, None, both()), (700, None, both())]);
        let attributed = run.attributed();
        let peak = attributed.sources()[0].busiest(0).unwrap();
        assert_eq!((peak.gauge.as_str(), peak.value), expected);
        assert_eq!(peak.at, ms(502));
    }
}

#[test]
fn a_phase_says_at_which_of_its_boundaries_there_is_no_reading_and_why() {
    let families = || vec![counter(SUCCESS, 1.0)];
    let why = |run: &Run| metric(&run.phase(0), SUCCESS).unwrap().reason.unwrap();
    let run = |at: [Option<u64>; 2]| {
        let mut run = Run::new(&[("steady", false, 100, 101, 5)]);
        for (at, kind) in at.into_iter().zip([Start, End]) {
            match at {
                Some(at) => {
                    run.read(at, Some((0, kind)), families());
                }
                None => run.fail(0, kind),
            }
        }
        run.read(150, None, families());
        run
    };
    let refused = "127.0.0.1:8000 refused the connection";
    let both = why(&run([None, None]));
    assert!(both.starts_with("no reading at START and END: ") && both.contains(refused), "{both}");
    let mut apart = run([None, Some(103)]);
    apart.lose(0, End);
    let apart = why(&apart);
    assert!(apart.starts_with("no reading at START: ") && apart.contains("; none at END: "));
    // Readings of 4 ms each: END's began before START's was complete, and when it was.
    let overlapping = run([Some(100), Some(103)]);
    let phase = overlapping.phase(0);
    assert_eq!(phase.verdict, Verdict::Incomplete);
    assert!(phase.notes.iter().any(|n| n.starts_with(&format!("{URL} has no deltas: its START"))));
    let late = why(&overlapping);
    assert_eq!(late, "its START reading was not complete before its END reading began");
    let touching = metric(&run([Some(99), Some(103)]).phase(0), SUCCESS).unwrap();
    assert_eq!((touching.reason, touching.delta.known().is_some()), (None, true));
}

#[test]
fn a_reading_that_came_too_late_does_not_take_the_place_of_one_that_belongs_to_its_boundary() {
    let mut run = all_read(|at| vec![counter(SUCCESS, at as f64)]);
    let told = |run: &Run| {
        let metric = metric(&run.phase(0), SUCCESS).unwrap();
        (metric.delta.known().cloned().map(Moved::from).and_then(|m| m.amount()), metric.reason)
    };
    assert_eq!(told(&run), (Some(1110.0 - 90.0), None));
    // The same collector, started again, answers what it was asked for once more.
    let is_end = |r: &&Reading| r.boundary.is_some_and(|b| b.kind == End && r.end < ms(1200));
    let again = run.readings.iter().find(is_end).unwrap().clone();
    let (start, end) = (ms(1500), ms(1504));
    let body = ReadingBody::Families(vec![counter(SUCCESS, 1500.0)]);
    run.readings.push(Reading { start, end, body, ..again });
    assert_eq!(told(&run), (Some(1110.0 - 90.0), None));
}

/// What the one counted series of a run did between two boundaries.
fn change(run: &Run, first: Key, last: Key) -> Change {
    let attributed = run.attributed();
    let [source] = attributed.sources() else { panic!("{:?}", attributed.sources()) };
    source.counted().next().unwrap().between(first, last).unwrap()
}

#[test]
fn a_failed_reading_does_not_date_a_reset() {
    let mut run = two_phases(vec![(90, Some((0, Start)), vec![counter(SUCCESS, 5.0)])]);
    run.push(vllm(), URL, 600, None, ReadingBody::Error(super::run::refused()));
    run.read(1110, Some((0, End)), vec![counter(SUCCESS, 2.0)]);
    let said = "fell from 5 to 2 between 0.092 s and 1.112 s";
    assert_eq!(change(&run, (0, Start), (0, End)).why_reset().as_deref(), Some(said));
}

#[test]
fn a_reading_from_before_its_boundary_was_asked_for_does_not_keep_the_right_one_out() {
    let steps = [(90, Start, 1.0), (1095, End, 7.0), (1110, End, 9.0)];
    let steps = steps.map(|(at, kind, n)| (at, Some((0, kind)), vec![counter(SUCCESS, n)]));
    let metric = metric(&two_phases(steps.into()).phase(0), SUCCESS).unwrap();
    assert_eq!(metric.reason, None);
    assert_eq!(Moved::from(metric.delta.known().cloned().unwrap()).amount(), Some(8.0));
}

#[test]
fn a_fall_that_only_a_passed_over_reading_showed_is_one_where_the_series_is_then_left_out() {
    let counted = |value| vec![counter(SUCCESS, value), running_gauge(0.0)];
    let mut run = two_phases(vec![
        (90, Some((0, Start)), counted(30.0)),
        (1110, Some((0, End)), counted(40.0)),
        // It overlaps that one, and what was the same in the next was left out there.
        (1113, None, counted(3.0)),
        (1150, None, vec![running_gauge(1.0)]),
    ]);
    run.read(1190, Some((1, Start)), counted(45.0));
    let change = change(&run, (0, End), (1, Start));
    assert_eq!((change.reset, change.moved().unwrap().amount()), (true, Some(45.0)));
}

#[test]
fn what_a_periodic_reading_leaves_out_is_as_it_was_also_where_readings_overlapped() {
    let both = |value, running| vec![counter(SUCCESS, value), running_gauge(running)];
    let run = two_phases(vec![
        (90, Some((0, Start)), both(30.0, 3.0)),
        (93, None, both(30.0, 3.0)),
        (300, None, both(32.0, 5.0)),
        (600, None, vec![gauge("vllm:num_requests_waiting", 1.0)]),
        (1110, Some((0, End)), both(37.0, 5.0)),
    ]);
    let change = change(&run, (0, Start), (0, End));
    assert_eq!((change.reset, change.moved().unwrap().amount()), (false, Some(7.0)));
    let running = metric(&run.phase(0), RUNNING).unwrap().stats.known().unwrap().avg;
    // 3 from 100 ms to 300 ms, 5 up to 1100 ms.
    assert!((running - 4.6).abs() < 0.05, "{running}");
}

#[test]
fn a_fall_between_two_boundaries_in_order_is_one_also_where_periodic_readings_overlap_both() {
    let mut book = SourceBook::new(URL.to_owned(), vllm(), 1, []);
    let mut run = two_phases(Vec::new());
    for (start, end, value, kind) in [
        (0, 100, 8.0, None),
        (10, 110, 9.0, Some(Start)),
        (112, 190, 10.0, None),
        (120, 200, 1.0, Some(End)),
    ] {
        let mark = kind.map(|kind| (0, kind));
        let reading = run.read(start + 2, mark, vec![counter(SUCCESS, value)]);
        (reading.start, reading.end) = (ms(start), ms(end));
        book.feed(&[None], reading, mark.map(|mark| (mark, true)));
    }
    let change = book.counted().next().unwrap().between((0, Start), (0, End)).unwrap();
    assert_eq!(change.moved().unwrap().amount(), Some(1.0));
    assert!(change.reset);
}

#[test]
fn a_counter_that_is_no_number_at_a_boundary_has_no_delta_there() {
    for (without, why) in [(90, [true, false]), (1110, [true, false]), (3210, [false, true])] {
        let run = all_read(|at| {
            vec![counter(SUCCESS, if at == without { f64::NAN } else { 100.0 + at as f64 })]
        });
        for (index, is_unknown) in why.into_iter().enumerate() {
            let phase = run.phase(index);
            let found = metric(&phase, SUCCESS).unwrap();
            assert_eq!(found.delta.known().is_none(), is_unknown, "{without} {found:?}");
            let line = &phase.reconciliation[0];
            assert_eq!(line.server.is_none(), is_unknown, "{line:?}");
            if is_unknown {
                let at = if without == 90 { "START" } else { "END" };
                let why = format!("its value at {at} is not a number");
                assert_eq!(found.reason.as_deref(), Some(&*why));
                let said = line.reason.as_deref().is_some_and(|reason| reason.contains(&why));
                assert!(said && !phase.notes.join(" ").contains("was gone"), "{phase:?}");
            }
        }
    }
    // The same boundary read again, with a number.
    let mut run = all_read(|at| vec![counter(SUCCESS, at as f64)]);
    let mut before = run.readings[1].clone();
    before.body = ReadingBody::Families(vec![counter(SUCCESS, f64::NAN)]);
    (before.start, before.end) = (ms(1090), ms(1094));
    run.readings.insert(1, before);
    let found = metric(&run.phase(0), SUCCESS).unwrap();
    assert_eq!(
        found.delta.known().cloned().map(Moved::from).and_then(|m| m.amount()),
        Some(1020.0)
    );
}

#[test]
fn a_delta_beyond_every_number_is_not_known_and_its_buckets_are_not_blamed() {
    let run = all_read(|at| vec![counter(SUCCESS, if at == 90 { -f64::MAX } else { f64::MAX })]);
    let phase = run.phase(0);
    let reason = metric(&phase, SUCCESS).unwrap().reason.unwrap();
    assert_eq!(reason, "its count is not known at START or at END");
    let notes = phase.notes.join("\n");
    assert!(!notes.contains(&reason), "{notes}");
}

#[test]
fn several_processes_are_no_matter_where_nothing_is_counted() {
    for (counted, said) in [(false, false), (true, true)] {
        let mut started = [2000.0, 1000.0].into_iter().cycle();
        let run = all_read(|_| {
            let mut families = vec![process(started.next().unwrap()), running_gauge(0.0)];
            families.extend(counted.then(|| counter(SUCCESS, 1.0)));
            families
        });
        let notes = run.phase(0).notes.join("\n");
        assert_eq!(notes.contains("cannot be counted"), said, "{notes}");
    }
}

#[test]
fn of_series_that_were_set_back_those_that_are_compared_are_named_first() {
    let names = ["a_stranger", "b_stranger", "vllm:prompt_tokens", SUCCESS, "z_stranger"];
    let run = all_read(|at| {
        let value = if at == 90 { 9.0 } else { 1.0 };
        names.map(|name| counter(name, value)).into()
    });
    let notes = run.phase(0).notes.join("\n");
    let place = |name: &str| notes.find(name);
    assert!(place("vllm:prompt_tokens") < place("a_stranger"), "{notes}");
    assert!(place(SUCCESS) < place("a_stranger") && place(SUCCESS).is_some(), "{notes}");
    assert!(place("b_stranger").is_none() && notes.contains("and 2 more"), "{notes}");
}
