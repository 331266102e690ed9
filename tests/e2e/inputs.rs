//! What is sent: histories, schedules, prompts that do not repeat.

use serde_json::Value;

use crate::harness::{Mock, Ran, notes, phase, phasegate, run};

/// A file of prompts, and the arguments that name it.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn measured(mock: &Mock, file: &tempfile::NamedTempFile, args: &[&str]) -> Ran {
    let path = file.path().to_str().unwrap();
    let mut all = vec!["--url", &mock.url, "--gpu-telemetry", "none", "--input-file", path];
    all.extend(args);
    let ran = run(&all);
    ran.assert_code(0);
    ran
}

fn numbers(ran: &Ran, key: &str) -> Vec<u64> {
    let mut lines = ran.lines("records.jsonl");
    lines.sort_by_key(|line| (line["phase"].to_string(), line["number"].as_u64()));
    lines
        .iter()
        .map(|line| line[key].as_u64().unwrap_or_else(|| panic!("{key} of {line}")))
        .collect()
}

/// The planned times of a phase's requests in nanoseconds after its start, in
/// order.
fn planned(ran: &Ran, result: &Value, name: &str) -> Vec<u64> {
    let start = phase(result, name)["start_ns"].as_u64().unwrap();
    let of_phase = |line: &&Value| line["phase"] == name;
    let lines = ran.lines("records.jsonl");
    let mut planned: Vec<u64> = lines
        .iter()
        .filter(of_phase)
        .map(|line| line["planned_ns"].as_u64().unwrap() - start)
        .collect();
    planned.sort_unstable();
    planned
}

#[test]
fn a_conversation_sends_back_its_history_with_the_servers_own_answers() {
    let mock = Mock::start(&["--ttft", "2ms", "--itl", "0ms"]);
    // The server counts a word as a token, over all messages.
    let file = file(
        "{\"system\":\"be brief\",\"turns\":[\"one two three\",{\"content\":\"four five\",\
         \"delay_ms\":30},\"six\"]}\n",
    );
    let args = ["--dataset-type", "conversation", "--osl", "7", "--ignore-eos"];
    let ran = measured(&mock, &file, &args);
    let result = ran.assert_sound();
    let measured = phase(&result, "profiling");
    assert_eq!(measured["requests"]["completed"], 3, "every turn, once");
    // 2 + 3 words, then 7 tokens of an answer and 2 words, then 7 and 1.
    assert_eq!(numbers(&ran, "input_tokens"), [5, 5 + 7 + 2, 14 + 7 + 1]);
    let notes = notes(measured);
    assert!(notes.contains("Of 1 sessions, 1 were completed"), "{notes}");
    // Turn 1 was planned its think time after the answer to turn 0.
    let (planned, ended) = (numbers(&ran, "planned_ns"), numbers(&ran, "ended_ns"));
    assert!(planned[1] >= ended[0] + 30_000_000 && planned[2] >= ended[1]);
}

#[test]
fn sessions_hold_their_slots_and_a_number_of_them_ends_the_phase() {
    let mock = Mock::start(&["--ttft", "5ms", "--itl", "1ms"]);
    let file = file("{\"turns\":[\"a\",\"b\",\"c\"]}\n{\"turns\":[\"d\"]}\n");
    let args = ["--dataset-type", "multi_turn", "-c", "2", "--num-sessions", "4", "--osl", "3"];
    let ran = measured(&mock, &file, &args);
    let measured = &ran.assert_sound()["phases"][0];
    assert_eq!(measured["requests"]["completed"], 8);
    let notes = notes(measured);
    assert!(notes.contains("Of 4 sessions, 4 were completed"), "{notes}");
    assert!(notes.contains("2 prompts had been sent before"), "{notes}");
}

#[test]
fn a_turn_that_fails_ends_its_session() {
    let mock = Mock::start(&["--hazard", "status-503"]);
    let file = file("{\"turns\":[\"a\",\"b\",\"c\"]}\n");
    let path = file.path().to_str().unwrap();
    let args = ["--url", &mock.url, "--gpu-telemetry", "none", "--ready-timeout", "0", "-m", "m"];
    let more = ["--input-file", path, "--dataset-type", "conversation"];
    let ran = run(&[&args[..], &more].concat());
    let measured = &ran.assert_sound()["phases"][0];
    assert_eq!(measured["requests"]["sent"], 1, "{measured:#}");
    assert!(notes(measured).contains("1 ended with a turn that was not answered"));
}

const TRACE: &str = "{\"timestamp\": 27000, \"input_length\": 600, \"output_length\": 2, \"hash_ids\": [1, 2]}\n\
    {\"timestamp\": 27000, \"input_length\": 600, \"output_length\": 3, \"hash_ids\": [1, 2]}\n\
    {\"timestamp\": 27100, \"input_length\": 10, \"output_length\": 4, \"hash_ids\": []}\n\
    {\"timestamp\": 27400, \"input_length\": 520, \"output_length\": 5, \"hash_ids\": [1, 3]}\n";

#[test]
fn a_trace_is_sent_at_its_own_times_with_its_own_lengths() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let file = file(TRACE);
    let args = ["--dataset-type", "mooncake_trace", "--fixed-schedule", "--ignore-eos"];
    let ran = measured(&mock, &file, &args);
    let result = ran.assert_sound();
    assert_eq!(planned(&ran, &result, "profiling"), [0, 0, 100_000_000, 400_000_000]);
    assert_eq!(numbers(&ran, "input_tokens"), [600, 600, 10, 520]);
    assert_eq!(numbers(&ran, "output_tokens"), [2, 3, 4, 5]);
    // Equal ids are equal text.
    let prompts = mock.truth()["prompts"].as_array().unwrap().clone();
    assert_eq!(prompts.len(), 4);
    assert_eq!(prompts.iter().filter(|p| **p == prompts[0]).count(), 2);
}

#[test]
fn a_schedule_can_be_played_faster_and_in_part_after_a_warm_up_that_shares_no_prompt() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let file = file(TRACE);
    let args = [
        "--dataset-type",
        "mooncake",
        "--fixed-schedule",
        "--schedule-speed",
        "4",
        "--fixed-schedule-end-offset",
        "27100",
        "--warmup-request-count",
        "2",
    ];
    let ran = measured(&mock, &file, &args);
    let result = ran.assert_sound();
    assert_eq!(planned(&ran, &result, "profiling"), [0, 0, 25_000_000]);
    assert_eq!(phase(&result, "warmup")["requests"]["completed"], 2);
    let prompts = mock.truth()["prompts"].as_array().unwrap().clone();
    assert_ne!(prompts[0], prompts[2]);
}

#[test]
fn prompts_of_a_file_go_on_across_phases_unless_they_may_repeat() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let lines: String = (1..=4)
        .map(|n| {
            let words = vec!["w"; n].join(" ");
            format!("{{\"prompt\":\"{words}\"}}\n")
        })
        .collect();
    let file = file(&lines);
    let args = ["--warmup-request-count", "3", "-n", "3", "--osl", "2"];
    let sent = |ran: &Ran, name: &str| {
        let lines = ran.lines("records.jsonl");
        let mut of_phase: Vec<_> = lines.iter().filter(|line| line["phase"] == name).collect();
        of_phase.sort_by_key(|line| line["number"].as_u64());
        of_phase.iter().map(|line| line["input_tokens"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let ran = measured(&mock, &file, &args);
    assert_eq!([sent(&ran, "warmup"), sent(&ran, "profiling")], [[1, 2, 3], [4, 1, 2]]);
    let result = ran.assert_sound();
    let said = notes(phase(&result, "profiling"));
    assert!(said.contains("2 prompts had been sent before in this run"), "{said}");
    let ran = measured(&mock, &file, &[&args[..], &["--repeat-prompts"]].concat());
    assert_eq!([sent(&ran, "warmup"), sent(&ran, "profiling")], [[1, 2, 3], [1, 2, 3]]);
}

#[test]
fn shared_prefixes_are_in_front_of_the_prompts() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let ran = run(&[
        "--url",
        &mock.url,
        "--gpu-telemetry",
        "none",
        "-n",
        "4",
        "--isl",
        "20",
        "--num-prefix-prompts",
        "2",
        "--prefix-prompt-length",
        "30",
        "--osl",
        "2",
    ]);
    ran.assert_code(0);
    assert_eq!(numbers(&ran, "input_tokens"), [50; 4]);
}

#[test]
fn request_bodies_keep_their_own_model_and_streaming_and_the_result_says_how_many() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let usage = "\"stream_options\":{\"include_usage\":true}";
    let message = "\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"max_tokens\":3";
    let file = file(&format!(
        "{{{message}}}\n{{{message},\"stream\":false}}\n{{{message},\"stream\":true}}\n\
         {{{message},\"stream\":true,{usage}}}\n"
    ));
    let args = ["--dataset-type", "openai", "-n", "4", "--streaming"];
    let ran = measured(&mock, &file, &args);
    let result = ran.assert_sound();
    let profiling = phase(&result, "profiling");
    assert_eq!(profiling["requests"]["completed"], 4);
    let metrics = &profiling["metrics"];
    assert_eq!(metrics["time_to_first_token"]["count"], 3, "one is not streamed");
    assert_eq!(metrics["output_sequence_length"]["count"], 3, "one asks for no usage");
    let said = result["notes"].as_array().unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    for (note, part) in said.iter().zip([
        "1 of 4 request bodies of the file say that they are not to be streamed",
        "1 of 4 request bodies of the file are streamed without stream_options.include_usage",
    ]) {
        assert!(note.as_str().unwrap().starts_with(part), "{note}");
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    // What is merged in wins, and the counts are there.
    let extra = "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
    let ran = measured(&mock, &file, &[&args[..], &["--extra-inputs", extra]].concat());
    let result = ran.assert_sound();
    let metrics = &phase(&result, "profiling")["metrics"];
    assert_eq!(metrics["output_sequence_length"]["count"], 4);
    assert_eq!(metrics["time_to_first_token"]["count"], 4);
    assert_eq!(result["notes"], Value::Null);
}

#[test]
fn what_is_wrong_with_an_input_is_said_before_anything_is_sent() {
    let bad = file("{\"prompt\":\"a\"}\n{\"prompt\":\n");
    let path = bad.path().to_str().unwrap();
    let url = "http://127.0.0.1:9";
    let cases: [(&[&str], &str); 6] = [
        (&["--input-file", path], ":2: is not a JSON object"),
        (&["--fixed-schedule"], "--fixed-schedule: there is no file with timestamps"),
        (&["--schedule-speed", "2"], "--schedule-speed: no phase has a fixed schedule"),
        (&["--session-count", "2"], "--session-count: the input has no sessions to count"),
        (&["--prefix-count", "2"], "--prefix-count: has no length"),
        (&["--think-time", "1s"], "--think-time: only conversations have turns"),
    ];
    for (args, said) in cases {
        let output = phasegate(&[&["run", "--url", url, "--dry-run"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
