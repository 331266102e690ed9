//! Sweeps, several URLs, and what varies within a phase.

use phasegate_core::plan::{Arrival, Cancellation, PhaseKind, Stage};

use super::tests::{config, error};
use super::*;

const URL: &str = "--url=http://h:1";

fn phases(line: &[&str]) -> Vec<(String, Arrival, Option<u64>)> {
    let config = config(&[&[URL], line].concat(), &[], "");
    let phases = config.plan.phases().iter();
    phases.map(|p| (p.name.clone(), p.arrival, p.stop.requests())).collect()
}

fn slots(concurrency: u32) -> Arrival {
    Arrival::Concurrency { concurrency }
}

#[test]
fn several_concurrencies_are_a_phase_each_after_one_warm_up() {
    let swept = phases(&["-c", "2, 8", "--warmup-request-count", "5"]);
    assert_eq!(
        swept,
        [
            ("warmup".to_owned(), slots(2), Some(5)),
            ("concurrency-2".to_owned(), slots(2), Some(10)),
            ("concurrency-8".to_owned(), slots(8), Some(16)),
        ]
    );
}

#[test]
fn several_rates_are_a_phase_each_under_one_cap() {
    let swept = phases(&["--request-rate", "5,12.5,inf", "-c", "3", "-n", "20"]);
    let names: Vec<&str> = swept.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["rate-5", "rate-12.5", "rate-inf"]);
    for (_, arrival, requests) in &swept {
        assert!(matches!(arrival, Arrival::Rate { max_concurrency: Some(3), .. }), "{arrival:?}");
        assert_eq!(*requests, Some(20));
    }
    let capped = phases(&["--request-rate", "5", "-c", "1,2"]);
    assert_eq!(capped[1].0, "concurrency-2");
    assert!(matches!(capped[1].1, Arrival::Rate { max_concurrency: Some(2), .. }));
}

#[test]
fn a_sweep_of_two_things_or_of_one_value_twice_is_refused() {
    let both = error(&[URL, "--request-rate", "5,10", "-c", "1,2"], &[], "");
    assert!(both.starts_with("--concurrency: --request-rate has several values too"), "{both}");
    let line = ["phasegate", "run", URL, "-c", "4,2,4"];
    let twice = <crate::args::Cli as clap::Parser>::try_parse_from(line).unwrap_err().to_string();
    assert!(twice.contains("'4' is listed twice"), "{twice}");
}

#[test]
fn requests_are_cancelled_in_profiling_phases_only() {
    let line = ["--request-cancellation-rate", "25", "--request-cancellation-delay", "500ms"];
    let warmed = [&[URL, "--warmup-request-count", "2"], &line[..]].concat();
    let plan = config(&warmed, &[], "").plan;
    assert_eq!(plan.phases()[0].cancellation, None);
    let delay = Duration::from_millis(500);
    assert_eq!(plan.phases()[1].cancellation, Some(Cancellation { share: 0.25, delay }));
    let alone = error(&[URL, "--request-cancellation-delay", "1s"], &[], "");
    assert!(alone.contains("give --request-cancellation-rate too"), "{alone}");
}

#[test]
fn the_error_budget_is_that_of_every_profiling_phase() {
    let line = [URL, "--max-error-rate", "5%", "--warmup-request-count", "1", "-c", "1,2"];
    let plan = config(&line, &[], "").plan;
    for phase in plan.phases() {
        let most = (phase.kind == PhaseKind::Profiling).then_some(0.05);
        assert_eq!(phase.max_error_rate, most, "{}", phase.name);
    }
}

const FILE: &str = "endpoint: {url: ['http://h:1', 'http://i:2/p']}\n\
    phases:\n  - name: day\n    kind: profiling\n    cancellation_rate: 10%\n    stages:\n";

#[test]
fn stages_come_from_the_file_and_a_wrong_one_is_named_with_its_line() {
    let yaml = format!("{FILE}      - {{ramp_to: 20, for: 10s}}\n      - {{rate: 5, for: 3s}}\n");
    let config = config(&[], &[], &yaml);
    let phase = &config.plan.phases()[0];
    let stage =
        |rate, linear, seconds| Stage { rate, linear, length: Duration::from_secs(seconds) };
    assert_eq!(phase.stages, [stage(20.0, true, 10), stage(5.0, false, 3)]);
    let cancelled = Cancellation { share: 0.1, delay: Duration::ZERO };
    assert_eq!(phase.cancellation, Some(cancelled));
    assert_eq!(config.endpoint.more_urls, ["http://i:2/p"]);
    let wrong = |stage: &str| error(&[], &[], &format!("{FILE}      - {{{stage}}}\n"));
    insta::assert_snapshot!(
        [
            wrong("rate: 5, ramp_to: 6, for: 1s"),
            wrong("for: 1s"),
            wrong("rate: 5"),
            wrong("rate: -5, for: 1s"),
            wrong("rate: 0, for: 1s"),
            wrong("rat: 5, for: 1s"),
            error(&[], &[], &format!("{FILE}      []\n")),
        ]
        .join("\n")
    );
}

#[test]
fn several_urls_are_asked_in_turn_and_each_exporter_is_read_once() {
    let line = ["--url=http://h:1,http://h:1/b", "--url", "http://i:2"];
    let config = config(&line, &[], "");
    assert_eq!(
        config.endpoint.urls().collect::<Vec<_>>(),
        ["http://h:1", "http://h:1/b", "http://i:2"]
    );
    assert_eq!(config.telemetry.server_metrics, ["http://h:1/metrics", "http://i:2/metrics"]);
    let twice = error(&["--url=http://h:1,http://h:1/"], &[], "");
    assert!(twice.contains("http://h:1 is listed twice"), "{twice}");
    let two = error(&["--url=http://h:1,http://u:secret@i:2"], &[], "");
    assert!(two.contains("a URL after the first has a user") && !two.contains("secret"), "{two}");
}

#[test]
fn what_an_api_lacks_is_refused_in_its_words() {
    let wrong = |line: &[&str]| error(&[&[URL], line].concat(), &[], "");
    let osl = wrong(&["--endpoint-type", "rerank", "--osl", "5"]);
    assert!(osl.starts_with("--osl: rerank has no output tokens"), "{osl}");
    let stream = wrong(&["--endpoint-type", "embeddings", "--streaming"]);
    assert!(stream.starts_with("--streaming: embeddings is never streamed"), "{stream}");
    let messages = wrong(&["--endpoint-type", "messages", "--osl", "none"]);
    assert!(messages.starts_with("--osl: Anthropic's API requires max_tokens"), "{messages}");
}
