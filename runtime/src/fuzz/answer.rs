//! Chunks and whole answers of the OpenAI API.

use serde_json::Value;

use crate::config::EndpointType;
use crate::load::response::{self, Chunk, Usage};

/// Reads the text that follows the first byte as a chunk of a stream, as a whole
/// answer and as an error event. Where the chunk is read, a reading by way of a
/// JSON tree says the same of it.
///
/// # Panics
/// Where the two differ, or a failure is not one short sentence.
pub fn answer(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let kinds = [EndpointType::Chat, EndpointType::Completions, EndpointType::Embeddings];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    if let Err(failure) = response::whole(body, kind) {
        sentence(&failure.what);
    }
    let Ok(text) = std::str::from_utf8(body) else { return };
    sentence(&response::error_event(text).what);
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
    let names = [
        "content",
        "reasoning_content",
        "reasoning",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
    ];
    let content = choices.iter().any(|choice| {
        said(&choice["text"]) || names.iter().any(|name| said(&choice["delta"][name]))
    });
    let count = |name: &str| tree["usage"][name].as_u64().and_then(|n| u32::try_from(n).ok());
    Chunk {
        content,
        finished: choices.iter().any(|choice| !choice["finish_reason"].is_null()),
        usage: (!tree["usage"].is_null()).then(|| Usage {
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
        }),
    }
}
