//! A file of prompts as text and as lines.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DatasetError, Entry, Wrong, error};

/// The largest file that is read: it is held in memory.
const MAX_BYTES: u64 = 2 << 30;

/// The whole text of the file, without a byte-order mark.
pub(super) fn read(path: &Path) -> Result<String, DatasetError> {
    let wrong = |problem: String, remedy: &str| error(path, None, (problem, remedy));
    let unreadable = |e: std::io::Error| wrong(format!("cannot be read: {e}"), "check the path");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        let problem = format!("is {} MiB, which is too large to hold", size >> 20);
        return Err(wrong(problem, "split it: at most 2 GiB"));
    }
    let mut bytes = std::fs::read(path).map_err(unreadable)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(wrong("is UTF-16".into(), "save it as UTF-8"));
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return Err(wrong("is compressed (gzip)".into(), "unpack it first"));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        error(path, Some(line), ("is not valid UTF-8".to_owned(), "save the file as UTF-8"))
    })
}

/// Reads each line that is not empty.
pub(super) fn lines(
    path: &Path,
    text: &str,
    read: impl Fn(&str) -> Result<Entry, Wrong>,
) -> Result<Vec<(Option<usize>, Entry)>, DatasetError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let number = Some(index + 1);
            read(line).map(|entry| (number, entry)).map_err(|wrong| error(path, number, wrong))
        })
        .collect()
}

/// A line as a JSON object.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, Wrong> {
    object_of(line)
}

/// A line as an object of this form.
pub(super) fn object_of<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, Wrong> {
    if line.trim_start().starts_with('[') {
        let remedy = "give one JSON object a line, or --dataset-type sharegpt for its list";
        return Err(("is a JSON list and not an object".into(), remedy));
    }
    serde_json::from_str(line).map_err(|e| {
        (
            // The line that it names is that of this one line.
            format!("is not a JSON object: {}", e.to_string().replace(" line 1 column", " column")),
            "give one JSON object a line, e.g. {\"prompt\": \"…\"}",
        )
    })
}

/// A length in tokens.
pub(super) fn length(length: &Value) -> Result<u32, Wrong> {
    let length = length.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    length.ok_or_else(|| {
        ("the output length is not a number of tokens".into(), "give a whole number above 0")
    })
}

/// The output length under either of its names.
pub(super) fn output_length(object: &Map<String, Value>) -> Result<Option<u32>, Wrong> {
    match (object.get("max_tokens"), object.get("output_length")) {
        (Some(n), None) | (None, Some(n)) => Ok(Some(length(n)?)),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let problem = "has both 'max_tokens' and 'output_length'";
            Err((problem.into(), "give one of them"))
        }
    }
}

/// `timestamp`, in milliseconds.
pub(super) fn timestamp(object: &Map<String, Value>) -> Result<Option<f64>, Wrong> {
    let Some(value) = object.get("timestamp") else { return Ok(None) };
    match value.as_f64().filter(|ms| ms.is_finite() && *ms >= 0.0) {
        Some(ms) => Ok(Some(ms)),
        None => Err(("'timestamp' is not a time".into(), "give it in milliseconds, from 0 on")),
    }
}

/// A non-empty list of messages, as it is.
pub(super) fn messages(messages: &Value) -> Result<&[Value], Wrong> {
    let remedy = "give [{\"role\": \"user\", \"content\": \"…\"}]";
    let Some(list) = messages.as_array().filter(|list| !list.is_empty()) else {
        return Err(("'messages' is not a list, or is empty".into(), remedy));
    };
    match list.iter().position(|m| !m.get("role").is_some_and(Value::is_string)) {
        Some(index) => Err((format!("messages[{index}] has no 'role'"), remedy)),
        None => Ok(list),
    }
}
