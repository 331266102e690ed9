//! Objectives: which there are, how many samples they need, and what is said of
//! one that does not hold.

use super::super::judge::show;
use super::*;

#[test]
fn an_objective_that_cannot_be_shown_or_replayed_is_refused_with_what_would_be_right() {
    for (metric, percentile, most, wrong) in [
        ("request_latency", Some("p99"), 200.0, None),
        ("error_rate", None, 0.01, None),
        ("error_rate", None, 0.0, Some("above 0 and below 1")),
        ("error_rate", None, 1.0, Some("above 0 and below 1")),
        ("error_rate", None, -0.5, Some("above 0 and below 1")),
        ("error_rate", Some("p99"), 0.01, Some("give error_rate:0.01")),
        ("request_latency", None, 0.5, Some("give e.g. request_latency:p99:200")),
        ("request_latency", Some("p99"), 0.0, Some("give milliseconds above 0")),
        ("request_latency", Some("p99"), f64::INFINITY, Some("give milliseconds above 0")),
        ("request_throughput", Some("p99"), 1.0, Some("not a latency of one request")),
    ] {
        let found = limit(metric, percentile, most).check();
        match wrong {
            None => assert_eq!(found, Ok(()), "{metric} {most}"),
            Some(says) => assert!(found.as_ref().unwrap_err().contains(says), "{found:?}"),
        }
    }
}

#[test]
fn a_limit_on_failures_needs_samples_for_ten_of_them_and_has_no_unit() {
    let failures = limit("error_rate", None, 0.003);
    assert_eq!((failures.fewest_samples(), failures.unit()), (3334, ""));
    let latency = limit("request_latency", Some("p99"), 5.0);
    assert_eq!((latency.fewest_samples(), latency.unit()), (1000, " ms"));
    assert_eq!(SearchPlan::fewest_samples(&[latency, failures]), 3334);
    assert_eq!("p99.999".parse::<Percentile>().unwrap().to_string(), "p99.999");
}

#[test]
fn only_a_latency_of_streamed_tokens_is_missing_from_an_answer_without_any() {
    let streamed = |metric| limit(metric, Some("p99"), 1.0).is_streamed();
    assert!(streamed("inter_token_latency") && streamed("time_to_first_token"));
    assert!(!streamed("request_latency") && !streamed("no_such_metric"));
}

#[test]
fn an_estimate_is_open_without_samples_and_the_last_value_is_still_one() {
    let median = limit("request_latency", Some("p50"), 10.0);
    assert_eq!(estimated(&median, [], 0).value, Point::Open);
    assert_eq!(estimated(&median, [7.0], 0).value, Point::At(7.0));
    assert_eq!(estimated(&median, [7.0], 1).value, Point::At(7.0));
    assert_eq!(estimated(&median, [7.0], 2).value, Point::Unanswered);
    assert_eq!(Estimate::of_failures(30, 1000).value, Point::At(0.03));
    assert_eq!(Estimate::of_failures(0, 0).value, Point::Open);
    // A value that is not known shows nothing, whatever number of samples it has.
    assert_eq!(objective(&median, &Estimate::unknown(1000, 0)), Outcome::NotShown);
    assert_eq!(share(1000, 1000).1, 1.0);
}

#[test]
fn what_is_said_of_a_probe_names_the_limit_and_the_interval_or_the_samples_it_lacks() {
    let of = limit("request_latency", Some("p50"), 10.0);
    let estimate =
        |samples, low, high| Estimate { samples, unanswered: 0, value: Point::At(9.0), low, high };
    let said = |estimate| {
        let measured = ProbeMeasured {
            phase: PhaseId(uuid::Uuid::nil()),
            missing: 0,
            late_ms: None,
            estimates: vec![estimate],
        };
        probe(std::slice::from_ref(&of), Some(&measured), Sent::Open).1.join("; ")
    };
    let all = [
        said(estimate(20, Point::At(8.0), Point::At(9.5))),
        said(estimate(19, Point::At(8.0), Point::At(9.5))),
        said(estimate(20, Point::At(8.0), Point::Unanswered)),
        said(estimate(20, Point::At(8.0), Point::At(10.5))),
        said(estimate(20, Point::At(10.5), Point::Unanswered)),
        said(Estimate::unknown(20, 0)),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    
    p50 of request_latency needs 20 samples and has 19
    p50 of request_latency is between 8.0 and unanswered, the limit 10 ms too
    p50 of request_latency is between 8.0 and 10.5, the limit 10 ms too
    p50 of request_latency is above 10 ms: at least 10.5
    p50 of request_latency was not measured
    ");
}

#[test]
fn a_point_is_shown_with_about_as_many_digits_as_a_person_reads() {
    let numbers = [0.01234, -0.5, 0.99996, 1.0, -1.26, 99.94, 100.0, -123.6].map(Point::At);
    let shown: Vec<_> = numbers.into_iter().map(show).collect();
    let digits = ["0.0123", "-0.5000", "1.0000", "1.0", "-1.3", "99.9", "100", "-124"];
    assert_eq!(shown, digits);
    assert_eq!([show(Point::Unanswered), show(Point::Open)], ["unanswered", "unknown"]);
    let known = [Point::At(2.5), Point::Unanswered, Point::Open].map(Point::known);
    assert_eq!(known, [Some(2.5), None, None]);
}

#[test]
fn a_value_is_cut_to_four_digits_only_where_it_stays_inside_the_range() {
    for (low, high, digits) in
        [(1.0, 1.0001, None), (1.9996, 2.0, None), (1.9, 2.0, Some(1.949)), (1.0, 2.0, Some(1.414))]
    {
        let mut search = Search::new(&plan(SweepBy::RequestRate, low, high, 1e-9), 9);
        search.judged(Outcome::Held);
        search.judged(Outcome::Failed);
        let Next::Probe(Probe { value, .. }) = search.next() else { panic!("{search:?}") };
        let middle = f64::sqrt(low * high);
        assert_eq!(value, digits.unwrap_or(middle), "{low} {high}");
    }
}
