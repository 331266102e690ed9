use super::*;

fn plan() -> SearchPlan {
    SearchPlan {
        by: SweepBy::RequestRate,
        low: 1.0,
        high: 64.0,
        tolerance: 0.05,
        requests: 100,
        most_requests: 400,
        objectives: vec![Objective {
            metric: "time_to_first_token".into(),
            percentile: Some("p90".parse().unwrap()),
            limit: 200.0,
        }],
    }
}

fn probe(value: f64, outcome: Outcome) -> SloProbe {
    SloProbe {
        phase: format!("probe-{value}"),
        value,
        requests: 100,
        request_throughput: Some(value),
        objectives: vec![SloMeasured {
            metric: "time_to_first_token".into(),
            percentile: Some("p90".parse().unwrap()),
            samples: 100,
            unanswered: 0,
            value: Some(187.0),
            low: Some(180.0),
            high: Some(195.0),
            outcome,
        }],
        outcome: Some(outcome),
        reasons: match outcome {
            Outcome::Held => Vec::new(),
            Outcome::Failed | Outcome::Undecided | Outcome::NotShown => {
                vec!["p90 of time_to_first_token is above 200 ms: at least 212".into()]
            }
        },
        client_bound: Some(false),
        doubt: None,
        verdict: Verdict::Clean,
    }
}

#[test]
fn the_answer_is_one_line_that_says_why() {
    let (held, failed) = (probe(42.5, Outcome::Held), probe(44.6, Outcome::Failed));
    let lowest = probe(1.0, Outcome::Failed);
    let doubt = doubt(Verdict::Clean, true).map(str::to_owned);
    let busy = SloProbe { doubt, ..held.clone() };
    let say = |end, best, held, beyond| reason(&plan(), end, best, held, beyond);
    let (h, f) = (Some(&held), Some(&failed));
    let lines = [
        say(Some(End::Found), h, h, f),
        say(Some(End::HighestHeld), h, h, None),
        say(Some(End::ProbesSpent), h, h, f),
        say(Some(End::LowestFailed), None, None, Some(&lowest)),
        say(Some(End::Found), None, Some(&busy), f),
        say(Some(End::Found), Some(&probe(20.0, Outcome::Held)), Some(&busy), f),
        say(None, None, h, f),
        say(None, None, None, None),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_contaminated_verdict_or_a_client_without_cpu_is_no_evidence() {
    assert_eq!(doubt(Verdict::Clean, false), None);
    assert_eq!(doubt(Verdict::Unsettled, false), None);
    assert!(doubt(Verdict::Clean, true).is_some());
    assert!(doubt(Verdict::Contaminated, false).is_some());
}
