//! The search against servers whose truth is known, and its statistics.

use proptest::prelude::*;

use super::interval::{ranks, share};
use super::judge::{Outcome, Sent, objective, probe};
use super::*;
use crate::account::stats::Series;
use crate::account::sweep::SweepBy;
use crate::id::PhaseId;

mod limits;

fn limit(metric: &str, percentile: Option<&str>, limit: f64) -> Objective {
    let percentile = percentile.map(|p| p.parse().unwrap());
    Objective { metric: metric.to_owned(), percentile, limit }
}

fn plan(by: SweepBy, low: f64, high: f64, tolerance: f64) -> SearchPlan {
    let objectives = vec![limit("request_latency", Some("p50"), 100.0)];
    SearchPlan { by, low, high, tolerance, requests: 20, most_requests: 80, objectives }
}

/// Probes until the end: every probe with what it came to.
fn run(
    plan: &SearchPlan,
    probes: usize,
    mut server: impl FnMut(Probe) -> Outcome,
) -> (Search, Vec<(Probe, Outcome)>, End) {
    let mut search = Search::new(plan, probes);
    let mut done = Vec::new();
    loop {
        match search.next() {
            Next::End(end) => return (search, done, end),
            Next::Probe(probe) => {
                let outcome = server(probe);
                done.push((probe, outcome));
                search.judged(outcome);
            }
        }
    }
}

fn up_to(most: f64) -> impl FnMut(Probe) -> Outcome {
    move |probe| if probe.value <= most { Outcome::Held } else { Outcome::Failed }
}

#[test]
fn it_doubles_until_one_fails_and_then_halves_the_range() {
    let plan = plan(SweepBy::RequestRate, 1.0, 100.0, 0.1);
    let (search, done, end) = run(&plan, 16, up_to(11.0));
    let values: Vec<f64> = done.iter().map(|(probe, _)| probe.value).collect();
    assert_eq!(values, [1.0, 2.0, 4.0, 8.0, 16.0, 11.31, 9.512, 10.37]);
    assert_eq!((search.held(), search.not_held(), end), (Some(10.37), Some(11.31), End::Found));
}

#[test]
fn the_ends_of_the_range_are_probed_and_end_the_search() {
    let plan = plan(SweepBy::RequestRate, 3.0, 10.0, 0.05);
    let (search, done, end) = run(&plan, 16, up_to(1.0));
    assert_eq!((done.len(), search.held(), end), (1, None, End::LowestFailed));
    let (search, done, end) = run(&plan, 16, up_to(99.0));
    assert_eq!((done.len(), search.held(), end), (3, Some(10.0), End::HighestHeld));
    let (search, done, end) = run(&plan, 2, up_to(99.0));
    assert_eq!((done.len(), search.held(), end), (2, Some(6.0), End::ProbesSpent));
}

#[test]
fn a_probe_that_is_not_decided_is_repeated_with_more_requests_and_then_counts_as_not_held() {
    let plan = plan(SweepBy::RequestRate, 1.0, 2.0, 1.0);
    let (search, done, end) =
        run(&plan, 16, |probe| if probe.value > 1.0 { Outcome::Undecided } else { Outcome::Held });
    let requests: Vec<u64> = done.iter().map(|(probe, _)| probe.requests).collect();
    assert_eq!(requests, [20, 20, 40, 80]);
    assert_eq!((search.held(), search.not_held(), end), (Some(1.0), Some(2.0), End::Found));
}

#[test]
fn a_probe_that_shows_nothing_is_repeated_twice_and_then_counts_as_not_held() {
    let plan = plan(SweepBy::RequestRate, 1.0, 2.0, 1.0);
    let (search, done, end) = run(&plan, 16, |_| Outcome::NotShown);
    assert_eq!((done.len(), search.not_held(), end), (3, Some(1.0), End::LowestFailed));
    let mut hiccup = true;
    let (search, done, _) =
        run(
            &plan,
            16,
            |_| {
                if std::mem::take(&mut hiccup) { Outcome::NotShown } else { Outcome::Held }
            },
        );
    let requests: Vec<u64> = done.iter().map(|(probe, _)| probe.requests).collect();
    assert_eq!((requests, search.held()), (vec![20, 20, 20], Some(2.0)));
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Held),
        Just(Outcome::Failed),
        Just(Outcome::Undecided),
        Just(Outcome::NotShown)
    ]
}

proptest! {
    #[test]
    fn of_a_monotone_server_the_answer_brackets_the_truth(
        low in 0.1_f64..50.0, span in 1.5_f64..200.0, truth in 0.0_f64..1.2,
        tolerance in 0.02_f64..0.5, slots: bool,
    ) {
        let by = if slots { SweepBy::Concurrency } else { SweepBy::RequestRate };
        let (low, high) = if slots { (low.ceil(), (low * span).ceil() + 1.0) } else { (low, low * span) };
        let truth = low + (high - low) * truth - (high - low) * 0.1;
        let plan = plan(by, low, high, tolerance);
        // log₂ of the span, and of ln 2 / ln(1 + tolerance), each rounded up.
        let most = 1 + (span + 2.0).log2().ceil() as usize + 2
            + (2f64.ln() / tolerance.ln_1p()).log2().ceil().max(0.0) as usize;
        let (search, done, end) = run(&plan, most, up_to(truth));
        prop_assert!(done.len() <= most);
        for (probe, _) in &done {
            prop_assert!(probe.value >= low && probe.value <= high);
            prop_assert!(!slots || probe.value.fract() == 0.0);
        }
        match end {
            End::LowestFailed => prop_assert!(truth < low),
            End::HighestHeld => prop_assert!(truth >= high),
            End::Found => {
                let (held, not_held) = (search.held().unwrap(), search.not_held().unwrap());
                prop_assert!(held <= truth && truth < not_held);
                let close = not_held <= held * (1.0 + tolerance);
                prop_assert!(close || slots && not_held - held <= 1.0);
            }
            End::ProbesSpent => prop_assert!(false, "{most} probes are enough: {done:?}"),
        }
    }

    #[test]
    fn whatever_comes_it_ends_and_never_claims_what_no_probe_held(
        outcomes in prop::collection::vec(outcomes(), 1..40), probes in 0_usize..40, slots: bool,
    ) {
        let by = if slots { SweepBy::Concurrency } else { SweepBy::RequestRate };
        let mut all = outcomes.iter().cycle();
        let (search, done, _) =
            run(&plan(by, 1.0, 64.0, 0.05), probes, |_| *all.next().unwrap());
        prop_assert!(done.len() <= probes);
        if let Some(held) = search.held() {
            let its = |(probe, _): &&(Probe, Outcome)| probe.value == held;
            prop_assert_eq!(done.iter().rfind(its).unwrap().1, Outcome::Held);
        }
        if let (Some(held), Some(not_held)) = (search.held(), search.not_held()) {
            prop_assert!(held < not_held);
        }
    }

    /// Against the binomial distribution itself, added up from its definition (as
    /// far as its smallest weight is no subnormal number).
    #[test]
    fn the_ranks_leave_out_a_fortieth_on_each_side(n in 1_u64..150, hundredths in 1_u32..100) {
        let percentile: Percentile = format!("p{}", hundredths).parse().unwrap();
        let p = percentile.share();
        let mut pmf = vec![(1.0 - p).powi(n as i32)];
        for k in 1..=n {
            let last = pmf[k as usize - 1];
            pmf.push(last * (n - k + 1) as f64 / k as f64 * p / (1.0 - p));
        }
        let below = |k: u64| pmf[..k as usize].iter().sum::<f64>();
        let (low, high) = ranks(percentile, n);
        const EDGE: f64 = 1e-9;
        match low {
            Some(r) => {
                prop_assert!(below(r) <= 0.025 + EDGE);
                prop_assert!(r == n || below(r + 1) > 0.025 - EDGE);
            }
            None => prop_assert!(below(1) > 0.025 - EDGE),
        }
        match high {
            Some(s) => {
                prop_assert!(1.0 - below(s) <= 0.025 + EDGE);
                prop_assert!(1.0 - below(s - 1) > 0.025 - EDGE);
            }
            None => prop_assert!(1.0 - below(n) > 0.025 - EDGE),
        }
    }
}

#[test]
fn the_interval_of_a_median_is_the_textbook_s() {
    // Conover, Practical Nonparametric Statistics: n = 16, p = 0.5 gives X(4), X(13).
    assert_eq!(ranks("p50".parse().unwrap(), 16), (Some(4), Some(13)));
    assert_eq!(ranks("p99".parse().unwrap(), 100), (Some(97), None), "too few for an upper end");
    let (low, high) = ranks("p99".parse().unwrap(), 1_000_000);
    // 1.96 standard deviations, √(n·p·(1 − p)) = 99.5, on each side.
    assert!(low.unwrap().abs_diff(989_805) <= 1 && high.unwrap().abs_diff(990_196) <= 1);
}

#[test]
fn the_interval_of_a_share_is_wilson_s() {
    // Newcombe, Statistics in Medicine 17 (1998) 857, table I: 15 of 148.
    let (low, high) = share(15, 148);
    assert!((low - 0.0624).abs() < 5e-5 && (high - 0.1605).abs() < 5e-5, "{low} {high}");
    assert_eq!(share(0, 0), (0.0, 1.0));
    assert!(share(0, 1000).0 == 0.0 && share(0, 1000).1 < 0.004);
}

fn estimated(of: &Objective, values: impl IntoIterator<Item = f64>, unanswered: u64) -> Estimate {
    let mut series = Series::default();
    for value in values {
        assert!(series.push(value));
    }
    Estimate::of_latency(of, &mut series, unanswered)
}

#[test]
fn an_objective_holds_or_fails_only_with_its_whole_interval() {
    let values = || (1..=1000).map(f64::from);
    let at = |most: f64| {
        let of = limit("request_latency", Some("p90"), most);
        objective(&of, &estimated(&of, values(), 0))
    };
    // X(881) to X(919) of 1 … 1000.
    let of = limit("request_latency", Some("p90"), 1.0);
    let e = estimated(&of, values(), 0);
    assert_eq!((e.low, e.value, e.high), (Point::At(881.0), Point::At(900.0), Point::At(919.0)));
    assert_eq!(
        [at(880.0), at(881.0), at(918.0), at(919.0)],
        [Outcome::Failed, Outcome::Undecided, Outcome::Undecided, Outcome::Held]
    );
}

#[test]
fn requests_that_were_not_answered_rank_above_all_and_too_few_samples_decide_nothing_good() {
    let of = limit("request_latency", Some("p90"), 10.0);
    let e = estimated(&of, vec![1.0; 800], 200);
    assert_eq!((e.samples, e.value), (1000, Point::Unanswered));
    assert_eq!(objective(&of, &e), Outcome::Failed);
    assert_eq!(objective(&of, &estimated(&of, vec![1.0; 99], 0)), Outcome::Undecided);
    assert_eq!(objective(&of, &estimated(&of, vec![99.0; 99], 0)), Outcome::Failed);
    assert_eq!(objective(&of, &estimated(&of, vec![1.0; 100], 0)), Outcome::Held);
    assert_eq!(objective(&of, &estimated(&of, [], 0)), Outcome::NotShown);
    let failures = limit("error_rate", None, 0.01);
    assert_eq!(objective(&failures, &Estimate::of_failures(0, 1000)), Outcome::Held);
    assert_eq!(objective(&failures, &Estimate::of_failures(8, 1000)), Outcome::Undecided);
    assert_eq!(objective(&failures, &Estimate::of_failures(30, 1000)), Outcome::Failed);
}

#[test]
fn a_probe_without_its_evidence_or_with_load_that_came_late_is_not_shown_to_hold() {
    let objectives = vec![limit("request_latency", Some("p50"), 10.0)];
    let estimates = vec![estimated(&objectives[0], vec![1.0; 100], 0)];
    let phase = PhaseId(uuid::Uuid::nil());
    let good = ProbeMeasured { phase, missing: 0, late_ms: Some(0.1), estimates };
    let of = |measured: Option<&ProbeMeasured>, sent| {
        let (outcome, reasons) = probe(&objectives, measured, sent);
        assert_eq!(reasons.is_empty(), outcome == Outcome::Held, "{reasons:?}");
        (outcome, reasons.join("; "))
    };
    assert_eq!(of(Some(&good), Sent::Open).0, Outcome::Held);
    assert_eq!(of(None, Sent::Open).0, Outcome::NotShown);
    let missing = ProbeMeasured { missing: 1, ..good.clone() };
    assert_eq!(of(Some(&missing), Sent::Open).0, Outcome::NotShown);
    let late = ProbeMeasured { late_ms: Some(7.0), ..good.clone() };
    let (outcome, why) = of(Some(&late), Sent::Open);
    assert!(outcome == Outcome::NotShown && why.starts_with("the client kept"), "{why}");
    assert!(of(Some(&late), Sent::Capped).1.starts_with("the concurrency cap"));
    assert_eq!(of(Some(&late), Sent::Closed).0, Outcome::Held, "a closed loop plans by its sends");
    let unmeasured = ProbeMeasured { estimates: Vec::new(), ..good };
    assert_eq!(of(Some(&unmeasured), Sent::Open).0, Outcome::NotShown);
}

#[test]
fn percentiles_read_back_and_say_how_many_samples_they_need() {
    for (text, fewest) in
        [("p50", 20), ("p90", 100), ("p99", 1000), ("p99.9", 10_000), ("p1", 1000)]
    {
        let percentile: Percentile = text.parse().unwrap();
        assert_eq!((percentile.to_string().as_str(), percentile.fewest_samples()), (text, fewest));
    }
    for bad in ["99", "p", "p0", "p100", "p99.", "p99.9999", "p-1", "p1e1", "p+9"] {
        assert!(bad.parse::<Percentile>().is_err(), "{bad}");
    }
    assert_eq!("p99".parse::<Percentile>().unwrap().rank(101), 100);
}
