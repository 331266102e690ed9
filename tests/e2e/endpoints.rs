//! Each API over real sockets, several URLs, reasoning, packed events.

use serde_json::Value;

use crate::harness::{Mock, Ran, notes, run};

fn ask(mock: &Mock, kind: &str, more: &[&str]) -> Ran {
    let mut args = vec!["-u", &mock.url, "--endpoint-type", kind, "-n", "6", "-c", "2"];
    args.extend(["--gpu-telemetry", "none", "--isl", "20"]);
    args.extend(more);
    run(&args)
}

/// All six completed, and the server saw as many tokens as the client.
fn assert_all(ran: &Ran, mock: &Mock) -> Value {
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests"]["completed"], 6, "{phase:#}");
    assert_eq!(phase["metrics"]["input_sequence_length"]["avg"], 20.0);
    let truth = mock.truth();
    assert_eq!(truth["total"]["finished_prompt_tokens"], 6 * 20);
    phase.clone()
}

#[test]
fn responses_and_messages_are_streamed_and_answered_whole() {
    for kind in ["responses", "messages"] {
        let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
        let ran = ask(&mock, kind, &["--osl", "9", "--api-key", "sk-not-checked"]);
        let phase = assert_all(&ran, &mock);
        let metrics = &phase["metrics"];
        assert_eq!(metrics["output_sequence_length"]["avg"], 9.0, "{kind}");
        assert_eq!(metrics["time_to_first_token"]["count"], 6, "{kind}");
        assert_eq!(metrics["inter_chunk_latency"]["count"], 6 * 8, "{kind}");
        assert_eq!(metrics["tokens_per_chunk"]["avg"], 1.0, "{kind}");
        assert_eq!(mock.truth()["total"]["finished_output_tokens"], 6 * 9);

        let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
        let ran = ask(&mock, kind, &["--osl", "9", "--no-streaming"]);
        let phase = assert_all(&ran, &mock);
        assert_eq!(phase["metrics"]["output_sequence_length"]["avg"], 9.0, "{kind}");
        assert!(phase["metrics"].get("time_to_first_token").is_none(), "{kind}");
    }
}

#[test]
fn a_ranking_has_a_prompt_and_no_output_tokens() {
    let mock = Mock::start(&[]);
    let phase = assert_all(&ask(&mock, "rerank", &[]), &mock);
    assert_eq!(phase["metrics"]["request_latency"]["count"], 6);
    assert!(phase["metrics"].get("output_sequence_length").is_none());
}

#[test]
fn a_stream_that_is_cut_before_its_end_is_an_error_in_every_api() {
    for kind in ["responses", "messages"] {
        let mock =
            Mock::start(&["--ttft", "3ms", "--itl", "1ms", "--hazard", "cut-mid-stream:after=3"]);
        let ran = ask(&mock, kind, &["--osl", "9"]);
        ran.assert_code(1);
        let phase = &ran.assert_sound()["phases"][0];
        assert_eq!(phase["errors"]["stream_cut"], 6, "{kind}: {:#}", phase["errors"]);
    }
}

#[test]
fn reasoning_and_the_answer_have_their_own_first_token() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "100ms", "--reasoning-tokens", "6"]);
    for kind in ["chat", "responses"] {
        let ran = ask(&mock, kind, &["--osl", "9"]);
        ran.assert_code(0);
        let metrics = &ran.assert_sound()["phases"][0]["metrics"];
        assert_eq!(metrics["reasoning_token_count"]["avg"], 6.0, "{kind}");
        let first = |name: &str| metrics[name]["min"].as_f64().unwrap();
        // Six tokens apart.
        let apart = first("time_to_first_output_token") - first("time_to_first_token");
        assert!(apart > 20.0, "{kind}: {apart} ms");
        for record in ran.lines("records.jsonl") {
            assert!(record["first_output_token_ns"].as_u64() > record["first_token_ns"].as_u64());
            assert_eq!(record["reasoning_tokens"], 6);
        }
    }
}

#[test]
fn an_event_of_several_tokens_is_said_to_be_one() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms", "--tokens-per-chunk", "4"]);
    let ran = ask(&mock, "chat", &["--osl", "16"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["metrics"]["tokens_per_chunk"]["avg"], 4.0);
    assert_eq!(phase["metrics"]["inter_token_latency"]["resolvable"], false);
    assert!(phase["metrics"]["inter_chunk_latency"].get("resolvable").is_none());
    assert!(
        notes(phase).contains("an event carried 4.00 output tokens")
            || notes(phase).contains("An event carried 4.00 output tokens"),
        "{}",
        notes(phase)
    );
}

#[test]
fn several_urls_are_sent_to_in_turn_and_each_is_read() {
    let (one, two) = (Mock::start(&["--ttft", "3ms"]), Mock::start(&["--ttft", "3ms"]));
    let urls = format!("{},{}", one.url, two.url);
    let ran = run(&["-u", &urls, "-n", "7", "-c", "2", "--osl", "4", "--gpu-telemetry", "none"]);
    ran.assert_code(0);
    let result = ran.assert_sound();
    let phase = &result["phases"][0];
    assert_eq!(phase["requests_by_url"][&one.url]["completed"], 4, "{phase:#}");
    assert_eq!(phase["requests_by_url"][&two.url]["completed"], 3);
    assert_eq!(one.truth()["total"]["finished"], 4);
    assert_eq!(two.truth()["total"]["finished"], 3);
    let metrics = phase["server_metrics"].as_array().unwrap();
    for mock in [&one, &two] {
        let host = mock.url.strip_prefix("http://").unwrap();
        let of = |m: &&Value| m["endpoint"].as_str().is_some_and(|e| e.contains(host));
        assert!(metrics.iter().any(|m| of(&m)), "{} was not read", mock.url);
    }
    assert_eq!(phase["verdict"], "clean", "{}", notes(phase));
    assert!(ran.stdout.contains(&format!("{}: 4 sent", one.url)), "{}", ran.stdout);
}
