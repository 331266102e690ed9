//! The client's ledger against the server's, through whole runs.

use super::run::{End, Run, Start, captured, counter, ms, running_gauge, vllm};
use crate::account::result::{Maybe, PhaseResult, Reconciliation, ReconciliationStatus, Verdict};
use crate::message::{BaselineKind, CollectorStatus};
use crate::reading::{Family, FamilyType, Histogram, ReadingBody, Series, Value};

use ReconciliationStatus::{Match, Mismatch, Unknown};

const SUCCESS: &str = "vllm:request_success";
const OUTPUT: &str = "vllm:generation_tokens";

/// A warm-up of 1 and a phase of 5 requests of 5 output tokens, with the server's
/// requests and tokens at the four boundaries.
fn run(requests: [f64; 4], tokens: [f64; 4]) -> Run {
    let mut run = Run::new(&[("warmup", false, 100, 1100, 1), ("steady", false, 1200, 3200, 5)]);
    let marks: [(u64, (usize, BaselineKind)); 4] =
        [(90, (0, Start)), (1110, (0, End)), (1190, (1, Start)), (3210, (1, End))];
    for (((at, mark), requests), tokens) in marks.into_iter().zip(requests).zip(tokens) {
        run.read(at, Some(mark), vec![counter(SUCCESS, requests), counter(OUTPUT, tokens)]);
        run.watts = 1000;
        run.read_gpu(at, Some(mark), at * 1000);
    }
    run
}

fn perfect() -> Run {
    run([7.0, 8.0, 8.0, 13.0], [70.0, 75.0, 75.0, 100.0])
}

fn line(phase: &PhaseResult, name: &str) -> Reconciliation {
    phase.reconciliation.iter().find(|l| l.server_metric == name).unwrap().clone()
}

fn status(phase: &PhaseResult, name: &str) -> ReconciliationStatus {
    line(phase, name).status
}

#[test]
fn two_ledgers_that_agree_make_a_clean_phase_with_nothing_to_say() {
    let run = perfect();
    for index in [0, 1] {
        let phase = run.phase(index);
        assert_eq!((phase.verdict, phase.notes.as_slice()), (Verdict::Clean, [].as_slice()));
        assert_eq!([SUCCESS, OUTPUT].map(|name| status(&phase, name)), [Match, Match]);
    }
    let tokens = line(&run.phase(1), OUTPUT);
    assert_eq!((tokens.client, tokens.server, tokens.reason), (Some(25.0), Some(25.0), None));
    assert_eq!(tokens.client_max, Maybe::Absent, "exact");
}

#[test]
fn that_nothing_is_compared_is_said_where_something_was_counted() {
    let unknown = counter("strange:things", 1.0);
    for (family, said) in [(unknown, true), (running_gauge(0.0), false)] {
        let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
        for (at, kind) in [(90, Start), (1110, End)] {
            run.read(at, Some((0, kind)), vec![family.clone()]);
        }
        let notes = run.phase(0).notes.join("\n");
        assert_eq!(notes.contains("the two ledgers are not compared"), said, "{notes}");
    }
}

#[test]
fn foreign_traffic_contaminates_the_phase_with_both_numbers() {
    let run = run([7.0, 8.0, 8.0, 15.0], [70.0, 75.0, 75.0, 130.0]);
    let phase = run.phase(1);
    assert_eq!(phase.verdict, Verdict::Contaminated);
    assert_eq!([SUCCESS, OUTPUT].map(|name| status(&phase, name)), [Mismatch, Mismatch]);
    insta::assert_snapshot!(phase.notes.join("\n"), @r"The client counted 5 requests, the server 7 by vllm:request_success: foreign traffic (another client uses the server too), or something in between that sends requests again.
The client counted 25 output tokens, the server 55 by vllm:generation_tokens: foreign traffic (another client uses the server too), or something in between that sends requests again.");
}

#[test]
fn requests_published_late_are_never_a_match() {
    // The warm-up's request is counted in the phase, and none of the phase's is
    // missing, or one is.
    let all = run([7.0, 7.0, 7.0, 13.0], [70.0, 70.0, 70.0, 100.0]);
    assert_eq!(status(&all.phase(0), SUCCESS), Mismatch);
    assert_eq!(status(&all.phase(1), SUCCESS), Mismatch);
    insta::assert_snapshot!(all.phase(1).notes.join("\n"), @r"The client counted 5 requests, the server 6 by vllm:request_success: late publication: at START the server had counted 0 of the 1 requests of the earlier phases.
The client counted 25 output tokens, the server 30 by vllm:generation_tokens: late publication: at START the server had counted 0 of the 5 output tokens of the earlier phases.");
    let one = run([7.0, 7.0, 7.0, 12.0], [70.0, 70.0, 70.0, 95.0]);
    let phase = one.phase(1);
    assert_eq!((status(&phase, SUCCESS), phase.verdict), (Unknown, Verdict::Unsettled));
    insta::assert_snapshot!(phase.notes.join("\n"), @r"The client counted 5 requests, the server 5 by vllm:request_success: at START the server had counted 0 of the 1 requests of the earlier phases: the others may have been counted late, in this phase.
The client counted 25 output tokens, the server 25 by vllm:generation_tokens: at START the server had counted 0 of the 5 output tokens of the earlier phases: the others may have been counted late, in this phase.");
    let before = one.phase(0);
    assert_eq!((status(&before, SUCCESS), before.verdict), (Mismatch, Verdict::Contaminated));
}

#[test]
fn what_was_counted_between_two_phases_belongs_to_the_one_before() {
    let run = run([7.0, 7.0, 8.0, 13.0], [70.0, 75.0, 75.0, 100.0]);
    let late = line(&run.phase(0), SUCCESS);
    assert_eq!(late.status, Mismatch);
    assert!(late.reason.unwrap().starts_with("late publication: the server counted 1 more"));
    assert_eq!(status(&run.phase(1), SUCCESS), Match);
    assert_eq!(run.phase(1).verdict, Verdict::Clean);
}

#[test]
fn a_server_that_was_still_publishing_is_unsettled_and_not_called_wrong() {
    let mut run = run([7.0, 8.0, 8.0, 11.0], [70.0, 75.0, 75.0, 100.0]);
    let mut moving = captured(3200);
    if let CollectorStatus::Captured { reading } = &mut moving {
        reading.settled = Some(false);
        reading.unsettled = vec![SUCCESS.to_owned()];
    }
    *run.status(1, End) = moving;
    let phase = run.phase(1);
    assert_eq!([SUCCESS, OUTPUT].map(|name| status(&phase, name)), [Unknown, Unknown]);
    assert_eq!(phase.verdict, Verdict::Unsettled);
}

#[test]
fn a_boundary_that_was_not_read_leaves_it_unknown() {
    let mut run = perfect();
    run.fail(1, Start);
    let phase = run.phase(1);
    assert_eq!(status(&phase, SUCCESS), Unknown);
    assert!(line(&phase, SUCCESS).reason.unwrap().contains("refused the connection"));
    assert_eq!(status(&run.phase(0), SUCCESS), Match);
}

#[test]
fn requests_that_did_not_complete_give_bounds() {
    let mut run = run([0.0, 1.0, 1.0, 5.0], [0.0, 5.0, 5.0, 27.0]);
    run.conductor.phases[1].counts.completed = 3;
    run.conductor.phases[1].counts.cancelled = 2;
    run.ledger.phases[1].counts.completed = 3;
    run.ledger.phases[1].counts.cancelled = 2;
    run.ledger.phases[1].output_tokens = Some(15);
    let phase = run.phase(1);
    let requests = line(&phase, SUCCESS);
    assert_eq!((requests.client, requests.client_max), (Some(3.0), Maybe::Known(5.0)));
    assert_eq!((requests.server, requests.status), (Some(4.0), Match));
    let tokens = line(&phase, OUTPUT);
    assert_eq!((tokens.client_max.clone(), tokens.status), (Maybe::Unknown, Unknown));
    assert_eq!(phase.verdict, Verdict::Clean);
}

#[test]
fn answers_without_usage_have_no_count_and_records_that_are_missing_none_either() {
    let mut run = perfect();
    run.ledger.phases[1].output_tokens = None;
    let phase = run.phase(1);
    assert_eq!((status(&phase, OUTPUT), phase.verdict), (Unknown, Verdict::Clean));
    assert_eq!(line(&phase, OUTPUT).client, None);
    let mut run = perfect();
    run.ledger.phases[1].counts.completed = 4;
    assert_eq!(line(&run.phase(1), OUTPUT).client, None, "25 tokens are not those of all");
}

#[test]
fn several_endpoints_are_summed() {
    let mut run = perfect();
    let second = "http://127.0.0.1:8001/metrics";
    let halves: Vec<_> = run.readings.iter().filter(|r| r.service == vllm()).cloned().collect();
    for mut reading in halves {
        let ReadingBody::Families(families) = &mut reading.body else { continue };
        let shared: Vec<Family> = std::mem::take(families);
        // Two replicas: the second has counted 2 requests of the phase.
        let of = |n: f64| if n > 8.0 { 2.0 } else { 0.0 };
        let value = |f: &Family| match f.series[0].value {
            Value::Value(v) => v,
            Value::Histogram(_) | Value::Summary { .. } => f64::NAN,
        };
        let requests = value(&shared[0]);
        let tokens = value(&shared[1]);
        let on_second = (of(requests), 5.0 * of(requests));
        *families = vec![counter(SUCCESS, on_second.0), counter(OUTPUT, on_second.1)];
        reading.source = second.to_owned();
        let (start, kind) = (reading.start, reading.boundary);
        let first = run.readings.iter_mut().find(|r| {
            r.service == vllm() && r.start == start && r.boundary == kind && r.source != second
        });
        first.unwrap().body = ReadingBody::Families(vec![
            counter(SUCCESS, requests - on_second.0),
            counter(OUTPUT, tokens - on_second.1),
        ]);
        run.readings.push(reading);
    }
    let phase = run.phase(1);
    assert_eq!([SUCCESS, OUTPUT].map(|name| status(&phase, name)), [Match, Match]);
    // One that is not scraped leaves too few.
    run.readings.retain(|r| r.source != second);
    assert_eq!(status(&run.phase(1), SUCCESS), Mismatch);
}

#[test]
fn one_endpoint_that_counted_more_than_the_client_sent_says_so_where_another_was_not_read() {
    // The client sent 5 requests in the phase.
    for (requests, expected) in [(18.0, Mismatch), (12.0, Unknown)] {
        let mut run = run([7.0, 7.0, 7.0, requests], [0.0; 4]);
        let second = "http://127.0.0.1:8001/metrics";
        let ours = run.readings.iter().filter(|r| r.service == vllm());
        let others: Vec<_> = ours.filter(|r| r.boundary.is_some()).cloned().collect();
        for mut reading in others.into_iter().take(3) {
            reading.source = second.to_owned();
            reading.body = ReadingBody::Families(vec![counter(SUCCESS, 0.0)]);
            run.readings.push(reading);
        }
        let phase = run.phase(1);
        let found = line(&phase, SUCCESS);
        assert_eq!((found.status, found.client), (expected, Some(5.0)), "{found:?}");
        let why = found.reason.unwrap();
        match expected {
            Mismatch => {
                assert_eq!(found.server, Some(requests - 7.0));
                assert!(why.starts_with("foreign traffic"), "{why}");
                assert!(why.contains("; it is more, as http://127.0.0.1:8001"), "{why}");
                assert_eq!(phase.verdict, Verdict::Contaminated);
            }
            Match | Unknown => {
                assert_eq!(found.server, None);
                assert!(why.starts_with(second), "{why}");
            }
        }
    }
}

#[test]
fn one_server_at_two_endpoints_is_told_by_its_times_where_the_ledgers_fit_by_chance() {
    const TIME: &str = "vllm:e2e_request_latency_seconds";
    let took = |count: f64, sum: f64| Family {
        name: TIME.to_owned(),
        kind: FamilyType::Histogram,
        series: vec![Series {
            labels: Default::default(),
            created: None,
            value: Value::Histogram(Histogram {
                buckets: vec![("+Inf".to_owned(), count)],
                sum: Some(sum),
                count: Some(count),
            }),
        }],
    };
    // Of 10 requests 4 completed, and 4 are counted at each endpoint.
    for (others, same) in [(2.123, true), (2.124, false), (2.0, false)] {
        let mut run = Run::new(&[("steady", false, 100, 1000, 4)]);
        let counts = &mut run.conductor.phases[0].counts;
        (counts.sent, counts.cancelled) = (10, 6);
        let sum = if others == 2.0 { 2.0 } else { 2.123 };
        for (at, mark, n) in [(90, (0, Start), 0.0), (1010, (0, End), 1.0)] {
            let families = vec![counter(SUCCESS, 4.0 * n), took(4.0 * n, sum * n)];
            run.read(at, Some(mark), families);
            run.read_gpu(at, Some(mark), 0);
        }
        let ours: Vec<_> = run.readings.iter().filter(|r| r.service == vllm()).cloned().collect();
        for (mut reading, n) in ours.into_iter().zip([0.0, 1.0]) {
            reading.source = "http://localhost:8000/metrics".to_owned();
            // What counts scrapes differs, and load does not move it.
            let scrapes = counter("http_requests", 7.0 + n);
            let families = vec![counter(SUCCESS, 4.0 * n), took(4.0 * n, others * n), scrapes];
            reading.body = ReadingBody::Families(families);
            run.readings.push(reading);
        }
        let phase = run.phase(0);
        let is_said = phase.notes.iter().any(|note| note.contains("are one server, named twice"));
        assert_eq!(is_said, same, "{:?}", phase.notes);
        let expected =
            if same { (Unknown, Verdict::Contaminated) } else { (Match, Verdict::Clean) };
        assert_eq!((status(&phase, SUCCESS), phase.verdict), expected, "{:?}", phase.notes);
    }
}

#[test]
fn a_server_at_work_before_the_phase_is_somebody_elses() {
    let mut run = perfect();
    for reading in run.readings.iter_mut().filter(|r| r.service == vllm()) {
        let running = if reading.end < ms(1100) { 0.0 } else { 2.0 };
        if let ReadingBody::Families(families) = &mut reading.body {
            families.push(running_gauge(running));
        }
    }
    assert_eq!(run.phase(0).verdict, Verdict::Clean);
    let phase = run.phase(1);
    assert_eq!(phase.verdict, Verdict::Contaminated);
    insta::assert_snapshot!(phase.notes.join("\n"), @r"vllm:num_requests_running of http://127.0.0.1:8000/metrics was 2 at 1.192 s, before the phase began, with 0 of the client's requests possibly unfinished: somebody else uses the server.");
    // What the client gave up may be worked on still.
    run.conductor.phases[0].counts.cancelled = 2;
    run.conductor.phases[0].counts.sent = 3;
    run.ledger.phases[0].counts.cancelled = 2;
    run.ledger.phases[0].counts.sent = 3;
    assert_eq!(run.phase(1).verdict, Verdict::Clean, "{:?}", run.phase(1).notes);
}

#[test]
fn more_than_the_load_explains_is_foreign_at_that_time() {
    let mut run = perfect();
    run.read(2000, None, vec![running_gauge(3.0)]);
    run.readings.sort_by_key(|r| r.end);
    let notes = run.phase(1).notes;
    insta::assert_snapshot!(notes.join("\n"), @r"vllm:num_requests_running of http://127.0.0.1:8000/metrics was 3 at 2.002 s, more than 2, the most that the client's load explains: somebody else uses the server.");
}

#[test]
fn a_server_that_is_not_known_is_not_compared_and_that_is_said() {
    let mut run = Run::new(&[("steady", false, 100, 1100, 5)]);
    run.read(90, Some((0, Start)), vec![counter("acme_requests", 0.0)]);
    run.read(1110, Some((0, End)), vec![counter("acme_requests", 5.0)]);
    run.watts = 0;
    run.read_gpu(90, Some((0, Start)), 1);
    run.read_gpu(1110, Some((0, End)), 2);
    let phase = run.phase(0);
    assert_eq!((phase.reconciliation.len(), phase.verdict), (0, Verdict::Clean));
    assert!(phase.notes[0].starts_with("No metric that was read is known to count"));
}

#[test]
fn a_reset_between_phases_leaves_nothing_to_publish() {
    let run = run([7.0, 8.0, 0.0, 5.0], [70.0, 75.0, 0.0, 25.0]);
    let phase = run.phase(1);
    assert_eq!((status(&phase, SUCCESS), phase.verdict), (Match, Verdict::Clean));
}

#[test]
fn prompt_tokens_are_compared_as_output_tokens_are() {
    let prompt = "vllm:prompt_tokens";
    for (last, expected) in [(150.0, Match), (151.0, Mismatch)] {
        let mut run = perfect();
        let counts = [90.0, 100.0, 100.0, last];
        let server = run.readings.iter_mut().filter(|r| r.service == vllm());
        for (reading, value) in server.zip(counts) {
            let ReadingBody::Families(families) = &mut reading.body else { panic!("{reading:?}") };
            families.push(counter(prompt, value));
        }
        let found = line(&run.phase(1), prompt);
        assert_eq!((found.status, found.client), (expected, Some(50.0)));
        assert_eq!(status(&run.phase(0), prompt), Match);
    }
}

#[test]
fn a_shared_window_in_which_a_family_stood_still_leaves_both_phases_their_own_count() {
    // The second is seamless: its START is read before the END of the first.
    let mut run = Run::new(&[("steady", false, 100, 1100, 4), ("stress", true, 1000, 2000, 5)]);
    let marks = [(90, (0, Start)), (1010, (1, Start)), (1110, (0, End)), (2010, (1, End))];
    let (still, moving) = ([0.0, 4.0, 4.0, 9.0], [0.0, 10.0, 20.0, 45.0]);
    for (((at, mark), requests), tokens) in marks.into_iter().zip(still).zip(moving) {
        run.read(at, Some(mark), vec![counter(SUCCESS, requests), counter(OUTPUT, tokens)]);
    }
    for (index, requests) in [(0, 4.0), (1, 5.0)] {
        let phase = run.phase(index);
        let own = line(&phase, SUCCESS);
        assert_eq!((own.status, own.server), (Match, Some(requests)), "{own:?}");
        let shared = line(&phase, OUTPUT);
        assert_eq!(shared.status, Unknown);
        let why = shared.reason.unwrap();
        assert!(why.contains("the phase shares windows with"), "{why}");
        assert!(why.ends_with("together the ledgers agree"), "{why}");
    }
}

#[test]
fn where_an_endpoint_gave_nothing_at_all_too_few_are_not_known_and_not_wrong() {
    let mut run = run([7.0, 8.0, 8.0, 11.0], [70.0, 75.0, 75.0, 90.0]);
    assert_eq!(status(&run.phase(1), SUCCESS), Mismatch);
    let second = "http://127.0.0.1:8001/metrics";
    run.push(vllm(), second, 2000, None, ReadingBody::Error(super::run::refused()));
    let found = line(&run.phase(1), SUCCESS);
    assert_eq!(found.status, Unknown);
    assert_eq!(found.reason, Some(format!("{second} gave nothing at all")));
}

#[test]
fn a_server_that_is_named_twice_is_recognised() {
    let mut run = perfect();
    let again: Vec<_> = run.readings.iter().filter(|r| r.service == vllm()).cloned().collect();
    for mut reading in again {
        reading.source = "http://localhost:8000/metrics".to_owned();
        run.readings.push(reading);
    }
    let found = line(&run.phase(1), SUCCESS);
    assert_eq!((found.status, found.server), (Mismatch, Some(10.0)));
    assert!(found.reason.unwrap().starts_with("the server counted each 2 times"));
}

#[test]
fn what_another_family_lost_in_a_reset_says_nothing_of_this_one() {
    // Output tokens begin anew between the phases; the warm-up's request is counted late.
    let phase = run([7.0, 7.0, 7.0, 12.0], [70.0, 75.0, 5.0, 30.0]).phase(1);
    assert_eq!([SUCCESS, OUTPUT].map(|name| status(&phase, name)), [Unknown, Match]);
}

#[test]
fn readings_that_overlapped_have_no_order_and_those_that_touched_have_one() {
    // Each took 4 ms.
    for (start, expected) in [(100, Unknown), (99, Match), (98, Match)] {
        let mut run = Run::new(&[("steady", false, 100, 101, 5)]);
        run.read(start, Some((0, Start)), vec![counter(SUCCESS, 0.0)]);
        run.read(103, Some((0, End)), vec![counter(SUCCESS, 5.0)]);
        let found = line(&run.phase(0), SUCCESS);
        assert_eq!(found.status, expected, "{start}: {found:?}");
        let why = found.reason.unwrap_or_default();
        assert_eq!(why.contains("have no order"), expected == Unknown, "{why}");
    }
}
