//! `--tokenizer`: the client's own counts against the server's usage. The simulated
//! server counts words; so does this tokenizer, which takes marks for words too.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Mock, Ran, notes, phase, run};

/// A tokenizer for which each word, and each run of other marks, is one token.
fn tokenizer() -> tempfile::NamedTempFile {
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.to_string().as_bytes()).unwrap();
    file
}

fn measured(mock: &Mock, args: &[&str]) -> Ran {
    let tokenizer = tokenizer();
    let path = tokenizer.path().to_str().unwrap();
    let base = ["--url", &mock.url, "--gpu-telemetry", "none", "--tokenizer", path];
    let ran = run(&[&base[..], args].concat());
    ran.assert_code(0);
    ran
}

#[test]
fn counts_that_agree_are_in_the_result_and_need_no_note() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms", "--reasoning-tokens", "2"]);
    for kind in ["chat", "completions", "responses", "messages"] {
        for streaming in ["--streaming", "--no-streaming"] {
            let args = ["--endpoint-type", kind, streaming, "--isl", "20", "--osl", "7", "-n", "5"];
            let ran = measured(&mock, &[&args[..], &["--warmup-request-count", "2"]].concat());
            let result = ran.assert_sound();
            let profiling = phase(&result, "profiling");
            let check = &profiling["token_check"];
            assert_eq!((&check["sampled"], &check["completed"]), (&json!(5), &json!(5)));
            let side = |client: u64| json!({"compared": 5, "differ": 0, "client": client, "server": client, "overhead": 0});
            assert_eq!(check["prompt"], side(100), "{kind}");
            assert_eq!(phase(&result, "warmup")["token_check"]["sampled"], 2);
            if (kind, streaming) == ("messages", "--no-streaming") {
                // This server's whole messages hide their reasoning, but count it.
                assert_eq!(
                    (&check["output"]["overhead"], &check["output"]["differ"]),
                    (&json!(2), &json!(0))
                );
                assert!(
                    notes(profiling).contains("differ in output tokens"),
                    "{}",
                    notes(profiling)
                );
                continue;
            }
            // Where the usage tells how much was reasoned.
            let reasoning = profiling["metrics"]["reasoning_token_count"]["avg"].as_f64();
            if check["output"]["compared"] != 0 {
                let answered = 5 * (7 - reasoning.unwrap_or_default() as u64);
                assert_eq!(check["output"], side(answered), "{kind} {streaming}");
            }
            assert!(!notes(profiling).contains("tokenizer"), "{}", notes(profiling));
        }
    }
}

#[test]
fn counts_that_differ_are_counted_and_said() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    // Three words for the server each; 3, 5 and 6 tokens for the tokenizer.
    let lines = ["a b c", "a, b c.", "a. b, c!"].map(|text| json!({"prompt": text}).to_string());
    std::fs::write(file.path(), lines.join("\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let ran = measured(&mock, &["--input-file", path, "--osl", "4", "-n", "3"]);
    let result = ran.assert_sound();
    let profiling = phase(&result, "profiling");
    let prompt = &profiling["token_check"]["prompt"];
    assert_eq!((&prompt["compared"], &prompt["differ"]), (&json!(3), &json!(2)));
    assert_eq!((&prompt["client"], &prompt["server"]), (&json!(14), &json!(9)));
    let notes = notes(profiling);
    assert!(notes.contains("differ in prompt tokens of 3 sampled requests"), "{notes}");
    assert!(!notes.contains("differ in output tokens"), "{notes}");
    assert_eq!(profiling["token_check"]["output"]["differ"], 0);
}

#[test]
fn a_large_phase_is_sampled_and_says_how_far() {
    let mock = Mock::start(&["--ttft", "0ms", "--itl", "0ms"]);
    let ran = measured(&mock, &["-c", "8", "-n", "300", "--isl", "5", "--osl", "2"]);
    let check = phase(&ran.assert_sound(), "profiling")["token_check"].clone();
    assert_eq!((&check["sampled"], &check["completed"]), (&json!(200), &json!(300)));
    assert_ne!(check["prompt"]["client"], Value::Null);
}
