//! What makes a source's numbers less than they seem.

use std::collections::BTreeMap;

use super::run::{End, Run, Start, counter, family, vllm};
use crate::account::result::{Maybe, Moved, Verdict};
use crate::message::BaselineKind;
use crate::reading::{Family, FamilyType, Histogram, Malformed, ReadingBody, Series, Value};

const SUCCESS: &str = "vllm:request_success";

fn process(started: f64) -> Family {
    let value = Value::Value(started);
    let series = vec![Series { labels: BTreeMap::new(), created: None, value }];
    let (name, kind) = ("process_start_time_seconds".to_owned(), FamilyType::Gauge);
    Family { name, kind, series }
}

/// One phase from 100 to 1100 ms, read as told.
fn one_phase(steps: &[(u64, Option<BaselineKind>, Vec<Family>)]) -> Run {
    let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
    for (at, kind, families) in steps {
        run.read(*at, kind.map(|kind| (0, kind)), families.clone());
        run.watts = 1000;
        run.read_gpu(*at, kind.map(|kind| (0, kind)), at * 1000);
    }
    run
}

#[test]
fn a_server_that_was_started_again_contaminates_the_phase_though_no_counter_fell() {
    let run = one_phase(&[
        (90, Some(Start), vec![process(1000.0), counter(SUCCESS, 2.0)]),
        (500, None, vec![counter(SUCCESS, 4.0)]),
        // What did not change is left out of periodic readings.
        (600, None, vec![process(1030.0)]),
        (1110, Some(End), vec![process(1030.0), counter(SUCCESS, 9.0)]),
    ]);
    let phase = run.phase(0);
    let metric = phase.server_metrics.iter().find(|m| m.name == SUCCESS).unwrap();
    let total = metric.delta.known().cloned().map(Moved::from).and_then(|m| m.amount());
    assert_eq!((metric.reset, total), (true, Some(2.0 + 9.0)));
    assert_eq!(phase.verdict, Verdict::Contaminated);
    insta::assert_snapshot!(phase.notes.join("\n"), @r#"1 of 1 counted series of http://127.0.0.1:8000/metrics were set back inside the phase; their deltas are lower bounds: vllm:request_success{model_name="m"} began anew in a process that was started again between 0.502 s and 0.602 s."#);
}

#[test]
fn a_series_that_was_created_again_contaminates_the_phase() {
    let created = |value: f64, at: f64| {
        let mut family = counter(SUCCESS, value);
        family.series[0].created = Some(at);
        vec![family]
    };
    let run = one_phase(&[
        (90, Some(Start), created(2.0, 1.7e9)),
        (1110, Some(End), created(7.0, 1.7e9 + 50.0)),
    ]);
    let phase = run.phase(0);
    assert_eq!(phase.verdict, Verdict::Contaminated);
    assert!(
        phase.notes[0].contains("was created again between 0.092 s and 1.112 s"),
        "{:?}",
        phase.notes
    );
}

#[test]
fn an_address_that_answers_as_several_processes_is_refused() {
    let told = one_phase(&[
        (90, Some(Start), vec![process(1000.0), counter(SUCCESS, 100.0)]),
        (500, None, vec![process(900.0), counter(SUCCESS, 300.0)]),
        (1110, Some(End), vec![process(1000.0), counter(SUCCESS, 105.0)]),
    ]);
    // Without start times: the values fall and rise again.
    let fallen = one_phase(&[
        (90, Some(Start), vec![counter(SUCCESS, 300.0)]),
        (300, None, vec![counter(SUCCESS, 100.0)]),
        (400, None, vec![counter(SUCCESS, 302.0)]),
        (500, None, vec![counter(SUCCESS, 103.0)]),
        (1110, Some(End), vec![counter(SUCCESS, 305.0)]),
    ]);
    for run in [told, fallen] {
        let result = run.result();
        let phase = &result.phases[0];
        let metric = phase.server_metrics.iter().find(|m| m.name == SUCCESS).unwrap();
        assert_eq!(metric.delta, Maybe::Unknown);
        let why = metric.reason.as_deref().unwrap();
        assert!(
            why.starts_with("it answers as several processes in turn; name each replica"),
            "{why}"
        );
        assert_eq!(phase.verdict, Verdict::Contaminated);
        assert!(phase.notes.iter().any(|n| n.contains("name each replica")), "{:?}", phase.notes);
        assert!(result.windows.iter().all(|w| w.server_metrics.is_empty()));
        let line = &phase.reconciliation[0];
        assert_eq!(line.status, crate::account::result::ReconciliationStatus::Unknown);
    }
}

#[test]
fn a_server_that_is_started_again_twice_is_one_process() {
    let run = one_phase(&[
        (90, Some(Start), vec![process(1000.0), counter(SUCCESS, 100.0)]),
        (300, None, vec![process(1010.0), counter(SUCCESS, 40.0)]),
        (400, None, vec![counter(SUCCESS, 120.0)]),
        (500, None, vec![process(1020.0), counter(SUCCESS, 50.0)]),
        (1110, Some(End), vec![process(1020.0), counter(SUCCESS, 60.0)]),
    ]);
    let phase = run.phase(0);
    let metric = phase.server_metrics.iter().find(|m| m.name == SUCCESS).unwrap();
    assert!(metric.reset && metric.delta.known().is_some());
}

#[test]
fn a_histogram_that_disagrees_with_itself_has_no_delta_and_the_phase_says_so() {
    let histogram = |low: f64, all: f64| {
        let buckets = vec![("0.1".to_owned(), low), ("+Inf".to_owned(), all)];
        let value = Histogram { buckets, sum: Some(0.5), count: Some(all) };
        vec![family("acme_seconds", FamilyType::Histogram, Value::Histogram(value))]
    };
    let run = one_phase(&[
        (90, Some(Start), histogram(0.0, 0.0)),
        (1110, Some(End), histogram(5.0, 4.0)),
    ]);
    let phase = run.phase(0);
    let metric = phase.server_metrics.iter().find(|m| m.name == "acme_seconds").unwrap();
    assert_eq!((metric.delta.clone(), metric.reset), (Maybe::Unknown, false));
    assert_eq!(phase.verdict, Verdict::Incomplete);
    insta::assert_snapshot!(phase.notes[0], @r#"1 of the histograms of http://127.0.0.1:8000/metrics disagree with themselves, so that what they counted is not known: acme_seconds{model_name="m"}: the buckets of its END reading disagree: its bucket +Inf holds 4 and its bucket 0.1 holds 5."#);
}

#[test]
fn lines_that_cannot_be_read_are_named_in_the_notes_and_change_no_verdict() {
    let mut run = Run::two_phases();
    let first: Vec<String> =
        (1..=3).map(|n| format!("line {n} (no value): nonsense {n}")).collect();
    for reading in run.readings.iter_mut().filter(|r| r.service == vllm()).skip(3) {
        assert!(matches!(reading.body, ReadingBody::Families(_)));
        reading.malformed = Some(Malformed { lines: 5, first: first.clone() });
    }
    assert!(run.phase(0).notes.is_empty());
    let phase = run.phase(1);
    assert_eq!(phase.verdict, Verdict::Clean);
    insta::assert_snapshot!(phase.notes.join("\n"), @r"5 lines of http://127.0.0.1:8000/metrics cannot be read and were left out (3 of its readings had such lines): line 1 (no value): nonsense 1; line 2 (no value): nonsense 2; line 3 (no value): nonsense 3 and 2 more.");
}
