//! Every metric on records made by hand.

use super::*;
use crate::account::stats::unknown;
use crate::id::CreditId;
use crate::ledger::goodput::can_limit;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Tick {
    Tick(ms * MS)
}

/// A request of 500 ms: 10 ms late, first token after 100 ms, 5 output tokens.
pub(in crate::ledger) fn record(number: u32) -> RequestRecord {
    RequestRecord {
        credit: CreditId { phase: 0, number },
        outcome: Outcome::Completed,
        status: Some(200),
        planned: at(1000),
        started: at(1010),
        sent: Some(at(1011)),
        first_byte: Some(at(1100)),
        first_token: Some(at(1110)),
        first_output_token: Some(at(1110)),
        second_token: Some(at(1130)),
        last_token: Some(at(1490)),
        ended: at(1510),
        chunks: 4,
        prompt_tokens: Some(7),
        output_tokens: Some(5),
        reasoning_tokens: None,
        gaps_ns: vec![20 * MS, 180 * MS, 160 * MS],
    }
}

fn ended_by(number: u32, outcome: Outcome, status: Option<u16>) -> RequestRecord {
    RequestRecord { outcome, status, ..record(number) }
}

struct Setting {
    profile: Profile,
    limits: BTreeMap<String, f64>,
    announced: bool,
    urls: Vec<String>,
}

impl Setting {
    fn chat() -> Self {
        let profile = Profile { streaming: true, produces_tokens: true, goodput: false };
        Self { profile, limits: BTreeMap::new(), announced: true, urls: Vec::new() }
    }

    fn limited(limits: &[(&str, f64)]) -> Self {
        let mut setting = Self::chat();
        setting.profile.goodput = true;
        setting.limits = limits.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect();
        setting
    }

    /// The books of a phase from 1 s to 3 s.
    fn report(&self, records: &[RequestRecord]) -> PhaseLedger {
        let limits = Limits::new(&self.limits, self.profile);
        let id = PhaseId::derive(&crate::seed::Seed::root(0), 0, "p");
        let mut books = PhaseBooks::new(id, 1000, self.urls.len());
        if self.announced {
            (books.start, books.end) = (Some(at(1000)), Some(at(3000)));
        }
        for record in records {
            assert!(books.add(record, self.profile, &limits));
        }
        books.report(self.profile, &limits, &self.urls, None)
    }
}

fn value(report: &PhaseLedger, name: &str) -> Option<f64> {
    report.metrics.get(name).unwrap_or_else(|| panic!("no {name}")).avg
}

#[test]
fn every_metric_follows_its_formula() {
    let failed = ended_by(1, Outcome::Failed(ErrorClass::Status), Some(429));
    let cancelled = ended_by(2, Outcome::Cancelled, Some(200));
    let report = Setting::limited(&[("time_to_first_token", 100.0)]).report(&[
        record(0),
        failed,
        cancelled,
        RequestRecord { first_token: Some(at(1111)), ..record(3) },
    ]);
    let thought = RequestRecord { reasoning_tokens: Some(2), ..record(0) };
    let only = Setting::limited(&[("time_to_first_token", 100.0)]).report(&[thought]);
    let expected = [
        ("time_to_first_token", 100.0),
        ("time_to_first_output_token", 100.0),
        ("time_to_second_token", 20.0),
        ("inter_token_latency", 100.0),
        ("inter_chunk_latency", 120.0),
        ("tokens_per_chunk", 1.25),
        ("request_latency", 500.0),
        ("scheduled_latency", 510.0),
        ("scheduled_time_to_first_token", 110.0),
        ("dispatch_lag", 10.0),
        ("request_throughput", 0.5),
        ("output_token_throughput", 2.5),
        ("total_token_throughput", 6.0),
        ("output_token_throughput_per_user", 10.0),
        ("input_sequence_length", 7.0),
        ("output_sequence_length", 5.0),
        ("reasoning_token_count", 2.0),
        ("goodput", 0.5),
        ("error_rate", 0.0),
    ];
    assert_eq!(expected.len(), METRICS.len());
    for ((name, expected), metric) in expected.iter().zip(&METRICS) {
        assert_eq!((metric.name, value(&only, name)), (*name, Some(*expected)));
        assert_eq!(only.metrics[*name].unit, metric.unit);
    }
    assert_eq!(only.notes, [""; 0]);
    // Of four requests two completed, one within the limit, and one failed.
    assert_eq!(value(&report, "request_throughput"), Some(1.0));
    assert_eq!(value(&report, "goodput"), Some(0.5));
    assert_eq!(value(&report, "error_rate"), Some(0.25));
    assert_eq!(report.metrics["request_latency"].count, 2, "of completed requests only");
    assert_eq!(report.metrics["inter_chunk_latency"].count, 6);
    assert_eq!(report.metrics["dispatch_lag"].count, 4, "of every request");
    assert_eq!((report.prompt_tokens, report.output_tokens), (Some(14), Some(10)));
    let counts = RequestCounts { sent: 4, completed: 2, errors: 1, cancelled: 1 };
    assert_eq!(report.counts, counts);
}

#[test]
fn errors_are_counted_by_class_and_statuses_by_code() {
    let failed = |n, class, status| ended_by(n, Outcome::Failed(class), status);
    let report = Setting::chat().report(&[
        failed(0, ErrorClass::Status, Some(429)),
        failed(1, ErrorClass::Status, Some(500)),
        failed(2, ErrorClass::Status, Some(429)),
        failed(3, ErrorClass::StreamCut, Some(200)),
        failed(4, ErrorClass::Connect, None),
    ]);
    let errors: Vec<(&str, u64)> = report.errors.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    assert_eq!(errors, [("connect", 1), ("status_429", 2), ("status_500", 1), ("stream_cut", 1)]);
    assert_eq!(value(&report, "error_rate"), Some(1.0));
    assert_eq!(value(&report, "request_throughput"), Some(0.0));
    assert_eq!(report.metrics["request_latency"], unknown("ms"));
}

#[test]
fn a_token_count_without_a_source_is_unknown_and_never_zero() {
    let bare = RequestRecord { prompt_tokens: None, output_tokens: None, ..record(0) };
    let report = Setting::chat().report(std::slice::from_ref(&bare));
    for name in ["output_token_throughput", "total_token_throughput"] {
        assert_eq!(report.metrics[name], unknown("tok/s"), "{name}");
    }
    assert_eq!(report.metrics["inter_token_latency"], unknown("ms"));
    assert_eq!(report.metrics["output_sequence_length"], unknown("tokens"));
    assert_eq!((report.prompt_tokens, report.output_tokens), (None, None));
    assert!(report.notes.iter().any(|n| n.contains("output tokens for 1 of 1 completed")));

    let report = Setting::chat().report(&[bare, record(1)]);
    assert_eq!(report.metrics["output_sequence_length"].count, 1, "of those with a count");
    assert_eq!(report.metrics["output_token_throughput"], unknown("tok/s"));
    for what in ["prompt", "output"] {
        let note = format!("{what} tokens for 1 of 2 completed");
        assert!(report.notes.iter().any(|n| n.contains(&note)), "{note}");
    }
}

#[test]
fn one_output_token_has_no_inter_token_latency() {
    let single = RequestRecord { output_tokens: Some(1), second_token: None, ..record(0) };
    let report = Setting::chat().report(&[single]);
    assert_eq!(report.metrics["inter_token_latency"].count, 0);
    assert_eq!(report.metrics["output_token_throughput_per_user"].count, 0);
    assert_eq!(report.metrics["time_to_second_token"].count, 0);
    assert_eq!(report.metrics["time_to_first_token"].count, 1);
}

#[test]
fn an_answer_without_content_has_no_time_to_first_token_and_is_noted() {
    let empty = RequestRecord { first_token: None, second_token: None, ..record(0) };
    let report = Setting::chat().report(&[empty]);
    assert_eq!(report.metrics["time_to_first_token"], unknown("ms"));
    assert!(report.notes.iter().any(|n| n.contains("1 of 1 completed requests streamed no")));
}

#[test]
fn what_is_not_in_the_books_is_noted_with_its_number_and_nothing_else_is() {
    let chat = Setting::chat();
    let limits = Limits::new(&chat.limits, chat.profile);
    let id = PhaseId::derive(&crate::seed::Seed::root(0), 0, "p");
    let notes_of = |sent: u64, refused: Refused, numbers: &[u32]| {
        let mut books = PhaseBooks::new(id, 1000, 1);
        (books.start, books.end, books.sent) = (Some(at(1000)), Some(at(3000)), Some(sent));
        books.refused = refused;
        for number in numbers {
            assert!(books.add(&record(*number), chat.profile, &limits));
        }
        books.report(chat.profile, &limits, &[], Some(ProfileFinish::Fallback)).notes
    };
    assert_eq!(notes_of(2, Refused::default(), &[0, 1]), [""; 0]);
    assert_eq!(
        notes_of(3, Refused { duplicate: 4, late: 5, beyond_sent: 6 }, &[0, 7, 9]),
        [
            "2 of 3 requests have no record; the credits-complete fallback ran out",
            "5 records came after the books were closed: not counted",
            "4 records came twice: counted once",
            "2 of 3 records are of credits beyond the 3 that were sent",
            "6 records of credits beyond the 3 that were sent: not counted",
        ]
    );
}

#[test]
fn a_phase_of_no_duration_has_no_throughput() {
    let moment = RequestRecord { started: at(1), ended: at(1), ..record(0) };
    let mut silent = Setting::chat();
    silent.announced = false;
    assert_eq!(silent.report(&[moment]).metrics["request_throughput"], unknown("req/s"));
}

#[test]
fn metrics_that_do_not_apply_to_the_endpoint_are_absent() {
    let mut plain = Setting::chat();
    plain.profile.streaming = false;
    let report = plain.report(&[record(0)]);
    assert!(!report.metrics.contains_key("time_to_first_token"));
    assert!(!report.metrics.contains_key("goodput"));
    assert_eq!(value(&report, "output_token_throughput"), Some(2.5));

    let mut embeddings = Setting::chat();
    embeddings.profile = Profile { streaming: false, produces_tokens: false, goodput: false };
    let report = embeddings.report(&[RequestRecord { output_tokens: None, ..record(0) }]);
    assert!(!report.metrics.contains_key("output_sequence_length"));
    assert_eq!(value(&report, "total_token_throughput"), Some(3.5));
    assert_eq!((report.output_tokens, report.notes.len()), (None, 0));

    // Nothing is streamed, so that nothing is missing from the stream.
    for profile in [
        Profile { streaming: false, produces_tokens: true, goodput: false },
        Profile { streaming: true, produces_tokens: false, goodput: false },
    ] {
        let setting = Setting { profile, ..Setting::chat() };
        let report = setting.report(&[RequestRecord { first_token: None, ..record(0) }]);
        assert_eq!(report.notes, [""; 0], "{profile:?}");
    }
}

#[test]
fn a_duration_that_was_not_announced_is_taken_from_the_records_and_noted() {
    let mut silent = Setting::chat();
    silent.announced = false;
    let report = silent.report(&[record(0)]);
    assert_eq!(value(&report, "request_throughput"), Some(2.0));
    assert!(report.notes.iter().any(|n| n.contains("were not announced")));
    let report = silent.report(&[]);
    assert_eq!(report.metrics["request_throughput"], unknown("req/s"));
    assert_eq!(report.metrics["error_rate"], unknown("ratio"));
    assert_eq!(report.notes, ["no request of this phase has a record"]);
}

#[test]
fn goodput_needs_every_limit_to_be_met() {
    let good = |limits: &[(&str, f64)], record| {
        value(&Setting::limited(limits).report(&[record]), "goodput").map(|rate| rate * 2.0)
    };
    let met = ("time_to_first_token", 100.0);
    assert_eq!(good(&[met, ("inter_token_latency", 100.0)], record(0)), Some(1.0));
    assert_eq!(good(&[met, ("inter_token_latency", 99.9)], record(0)), Some(0.0));
    assert_eq!(good(&[met, ("scheduled_latency", 509.0)], record(0)), Some(0.0));
    // No gap, no limit on it broken; no first token, its limit is.
    let one = RequestRecord { output_tokens: Some(1), ..record(0) };
    assert_eq!(good(&[("inter_token_latency", 0.1)], one), Some(1.0));
    let none = RequestRecord { first_token: None, ..record(0) };
    assert_eq!(good(&[met], none), Some(0.0));
}

#[test]
fn a_goodput_that_cannot_be_judged_is_unknown() {
    let setting = Setting::limited(&[("inter_token_latency", 100.0), ("request_latency", 1e9)]);
    let unmeasured = RequestRecord { output_tokens: None, ..record(0) };
    let report = setting.report(&[unmeasured.clone(), record(1)]);
    assert_eq!(report.metrics["goodput"], unknown("req/s"));
    assert!(report.notes.iter().any(|n| n.contains("1 of 2 completed requests cannot be judged")));
    // Another limit that it breaks settles the matter.
    let setting = Setting::limited(&[("inter_token_latency", 100.0), ("request_latency", 1.0)]);
    assert_eq!(value(&setting.report(&[unmeasured]), "goodput"), Some(0.0));

    let mut plain = Setting::limited(&[("time_to_first_token", 100.0)]);
    plain.profile.streaming = false;
    let report = plain.report(&[record(0)]);
    assert_eq!(report.metrics["goodput"], unknown("req/s"));
    assert!(report.notes.iter().any(|n| n.contains("the endpoint does not stream")));
}

#[test]
fn only_a_latency_of_one_request_can_be_limited() {
    let can: Vec<&str> = METRICS.iter().map(|m| m.name).filter(|name| can_limit(name)).collect();
    assert_eq!(
        can,
        [
            "time_to_first_token",
            "time_to_first_output_token",
            "time_to_second_token",
            "inter_token_latency",
            "request_latency",
            "scheduled_latency",
            "scheduled_time_to_first_token",
            "dispatch_lag"
        ]
    );
    assert!(!can_limit("ttft"), "aliases are the caller's");
}

#[test]
fn reasoning_is_a_token_and_not_yet_the_answer() {
    let thought = RequestRecord {
        first_output_token: Some(at(1310)),
        reasoning_tokens: Some(3),
        ..record(0)
    };
    let mut silent = thought.clone();
    (silent.credit.number, silent.first_output_token) = (1, None);
    let report = Setting::chat().report(&[thought, silent]);
    assert_eq!(value(&report, "time_to_first_token"), Some(100.0));
    assert_eq!(value(&report, "time_to_first_output_token"), Some(300.0));
    assert_eq!(report.metrics["time_to_first_output_token"].count, 1, "the other never answered");
    assert_eq!(value(&report, "reasoning_token_count"), Some(3.0));
    let plain = Setting::chat().report(&[record(0)]);
    assert!(!plain.metrics.contains_key("reasoning_token_count"), "the usage says nothing of it");
}

#[test]
fn where_an_event_carries_several_tokens_those_of_tokens_are_not_resolvable() {
    // 5 tokens in 4 events, one of them the end of the sequence.
    let report = Setting::chat().report(&[record(0)]);
    assert_eq!(value(&report, "tokens_per_chunk"), Some(1.25));
    assert!(report.metrics.values().all(|stats| stats.resolvable.is_none()));
    // Now and then two tokens come in one event: up to one in twenty is let pass.
    for (tokens, resolvable) in [(106, None), (107, Some(false))] {
        let long = RequestRecord { chunks: 100, output_tokens: Some(tokens), ..record(0) };
        let report = Setting::chat().report(&[long]);
        assert_eq!(report.metrics["inter_token_latency"].resolvable, resolvable, "{tokens}");
    }
    let packed = RequestRecord { output_tokens: Some(9), ..record(0) };
    let report = Setting::chat().report(&[packed]);
    assert_eq!(value(&report, "tokens_per_chunk"), Some(2.25));
    let marked = report.metrics.iter().filter(|(_, stats)| stats.resolvable == Some(false));
    let marked: Vec<&str> = marked.map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        marked,
        ["inter_token_latency", "output_token_throughput_per_user", "time_to_second_token"]
    );
    assert!(report.notes.iter().any(|n| n.contains("carried 2.25 output tokens")), "{report:?}");
    let uncounted = RequestRecord { output_tokens: None, ..record(0) };
    let report = Setting::chat().report(&[uncounted]);
    assert_eq!(report.metrics["tokens_per_chunk"].count, 0);
}

#[test]
fn a_probe_is_measured_from_the_series_of_its_phase() {
    use crate::search::{Estimate, Point};
    let setting = Setting::chat();
    let limits = Limits::new(&setting.limits, setting.profile);
    let phase = PhaseId::derive(&crate::seed::Seed::root(0), 0, "p");
    let mut books = PhaseBooks::new(phase, 1000, 0);
    let silent = RequestRecord { first_token: None, first_output_token: None, ..record(1) };
    let failed = ended_by(2, Outcome::Failed(ErrorClass::Connect), None);
    for record in [record(0), silent, failed] {
        assert!(books.add(&record, setting.profile, &limits));
    }
    let objective = |metric: &str| Objective {
        metric: metric.to_owned(),
        percentile: (metric != "error_rate").then_some(Percentile::P99),
        limit: 1.0,
    };
    let objectives =
        ["request_latency", "time_to_first_token", "error_rate", "no_such_metric"].map(objective);
    // Of eight that were sent, one was written off and four have no record.
    let probe = MeasureProbe { phase, sent: 8, written_off: 1 };
    let measured = books.measured(probe, &objectives);
    assert_eq!((measured.phase, measured.missing), (phase, 4));
    let counts = measured.estimates.iter().map(|e| (e.samples, e.unanswered)).collect::<Vec<_>>();
    // Two of eight completed, one of them without a first token.
    assert_eq!(counts, [(8, 6), (8, 7), (8, 6), (0, 0)]);
    assert_eq!(measured.estimates[2].value, Point::At(0.75));
    assert_eq!(measured.estimates[3], Estimate::unknown(0, 0));
    assert_eq!(measured.late_ms, Some(10.0));
}

#[test]
fn requests_are_counted_by_the_url_that_their_number_goes_to() {
    let mut two = Setting::chat();
    two.urls = vec!["http://a".to_owned(), "http://b".to_owned()];
    let failed = Outcome::Failed(ErrorClass::Connect);
    let cancelled = ended_by(4, Outcome::Cancelled, None);
    let report = two.report(&[record(0), ended_by(1, failed, None), record(2), cancelled]);
    let a = RequestCounts { sent: 3, completed: 2, cancelled: 1, ..RequestCounts::default() };
    let b = RequestCounts { sent: 1, errors: 1, ..RequestCounts::default() };
    assert_eq!(report.by_url, BTreeMap::from([("http://a".into(), a), ("http://b".into(), b)]));
    assert!(Setting::chat().report(&[record(0)]).by_url.is_empty());
}
