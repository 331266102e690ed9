//! Chunks and whole answers of the OpenAI API.

use serde_json::Value;

use crate::config::EndpointType;
use crate::load::response::{self, Chunk, Usage};
use crate::load::template::Templates;

/// Reads the text that follows the first byte as a chunk of a stream, as a whole
/// answer and as an error event. Where the chunk is read, a reading by way of a
/// JSON tree says the same of it. Its lines are read as the events of two streams, the
/// second with the templates of the first: each says what it says by itself.
///
/// # Panics
/// Where two readings differ, or a failure is not one short sentence.
pub fn answer(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kinds = EndpointType::ALL;
    let kind = kinds[usize::from(*kind) % kinds.len()];
    if let Err(failure) = response::whole(body, kind) {
        sentence(&failure.what);
    }
    let Ok(text) = std::str::from_utf8(body) else { return };
    sentence(&response::error_event(text).what);
    if let Err(failure) = response::event(kind, b"", text) {
        sentence(&failure.what);
    }
    streams(kind, text);
    match response::chunk(text) {
        Err(failure) => sentence(&failure.what),
        // What is skipped here may be more than a tree can hold.
        Ok(chunk) => {
            if let Ok(tree) = serde_json::from_str::<Value>(text) {
                assert_eq!(chunk, by_tree(&tree), "{text}");
            }
        }
    }
}

/// Lines are events; what stands before a `!` at the start of one is its type.
fn streams(kind: EndpointType, text: &str) {
    let templates = Templates::default();
    for _ in 0..2 {
        let mut template = templates.borrow();
        for line in text.split('\n') {
            let typed = line.split_once('!').filter(|(name, _)| !name.contains('{'));
            let (name, data) = typed.unwrap_or(("", line));
            let fresh = response::event(kind, name.as_bytes(), data);
            assert_eq!(template.event(kind, name.as_bytes(), data), fresh, "{data}");
        }
        templates.give_back(template);
    }
}

/// What is said of a failure comes into `records.jsonl` and onto the terminal.
fn sentence(what: &str) {
    assert!(!what.is_empty());
    assert!(what.len() < 1_000, "a long story: {what}");
}

fn by_tree(tree: &Value) -> Chunk {
    let empty = Vec::new();
    let choices = tree["choices"].as_array().unwrap_or(&empty);
    let said = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    let any = |names: &[&str]| {
        choices.iter().any(|choice| names.iter().any(|name| said(&choice["delta"][name])))
    };
    let answer = choices.iter().any(|choice| said(&choice["text"]))
        || any(&["content", "refusal", "tool_calls", "function_call", "audio"]);
    let usage = &tree["usage"];
    let of = |fields: &Value, name: &str| fields[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let count = |name: &str| of(usage, name);
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached = cached.into_iter().filter_map(count).fold(0, u32::saturating_add);
    let input = count("input_tokens").map(|input| input.saturating_add(cached));
    let completion_tokens = count("completion_tokens").or_else(|| count("output_tokens"));
    let total = count("total_tokens").filter(|_| completion_tokens.is_none());
    let details = ["completion_tokens_details", "output_tokens_details"];
    let details = details.into_iter().map(|name| &usage[name]).find(|details| !details.is_null());
    Chunk {
        content: answer || any(&["reasoning_content", "reasoning"]),
        answer,
        finished: choices.iter().any(|choice| !choice["finish_reason"].is_null()),
        done: false,
        usage: (!usage.is_null()).then(|| Usage {
            prompt_tokens: count("prompt_tokens").or(input).or(total),
            completion_tokens,
            reasoning_tokens: details.and_then(|details| of(details, "reasoning_tokens")),
        }),
    }
}
