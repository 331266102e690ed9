//! What the server said: events of a stream and whole answers, read for what a
//! load generator needs and nothing else. Those of chats and completions here,
//! `responses` and `messages` have the other streams, `usage` the counts.
//!
//! Nothing is allocated for a chunk: texts are looked at where they lie, and
//! only whether there is one is kept.

use std::fmt;

use phasegate_core::record::ErrorClass;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::classify::Failure;
use crate::config::EndpointType;

mod messages;
mod object;
mod responses;
mod usage;

use object::Object;

/// Tokens by the server's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Object<usage::Fields>")]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
    /// Those of the completion tokens that are reasoning.
    pub(crate) reasoning_tokens: Option<u32>,
}

/// What one streamed event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Chunk {
    /// It carries text, reasoning or a tool call.
    pub(crate) content: bool,
    /// It carries a part of the answer itself: anything but reasoning.
    pub(crate) answer: bool,
    /// It says why the answer ended.
    pub(crate) finished: bool,
    /// Nothing comes after it.
    pub(crate) done: bool,
    /// Token counts so far.
    pub(crate) usage: Option<Usage>,
}

/// The data with which a stream says that it is complete.
pub(crate) const DONE: &str = "[DONE]";

/// Reads one event of a stream of this API.
///
/// # Errors
/// Malformed if it is not what the API promises; status if it is an error.
pub(crate) fn event(kind: EndpointType, name: &[u8], data: &str) -> Result<Chunk, Failure> {
    if name == b"error" {
        return Err(error_event(data));
    }
    match kind {
        EndpointType::Responses => responses::event(data),
        EndpointType::Messages => messages::event(data),
        EndpointType::Chat
        | EndpointType::Completions
        | EndpointType::Embeddings
        | EndpointType::Rerank => chunk(data),
    }
}

/// Reads the data of one event of a chat or a completion.
///
/// # Errors
/// Malformed if it is not JSON of the API's shape; status if it is an error
/// object (the HTTP status was sent before the error happened).
pub(crate) fn chunk(data: &str) -> Result<Chunk, Failure> {
    let body = Body::parse(data).map_err(|e| {
        Failure::malformed(format!("an event is not a chunk: {e}: {}", start(data)))
    })?;
    body.check_error()?;
    let choices = body.choices.unwrap_or_default();
    let Choices { content, answer, finished } = choices;
    Ok(Chunk { content, answer, finished, done: false, usage: body.usage })
}

/// Reads an answer that came in one piece.
///
/// # Errors
/// As [`chunk`]; malformed too if the part that holds the answer is missing.
pub(crate) fn whole(body: &[u8], kind: EndpointType) -> Result<Usage, Failure> {
    let text = std::str::from_utf8(body).map_err(|e| {
        Failure::malformed(format!("the answer is not valid UTF-8 (at byte {})", e.valid_up_to()))
    })?;
    let body = Body::parse(text).map_err(|e| {
        Failure::malformed(format!("the answer is not JSON of this API: {e}: {}", start(text)))
    })?;
    body.check_error()?;
    let (present, name) = match kind {
        EndpointType::Chat | EndpointType::Completions => (body.choices.is_some(), "choices"),
        EndpointType::Embeddings => (body.data.is_some(), "data"),
        EndpointType::Responses => (body.output.is_some(), "output"),
        EndpointType::Messages => (body.content.is_some(), "content"),
        EndpointType::Rerank => (body.results.is_some(), "results"),
    };
    if !present {
        let what = format!("the answer has no '{name}': {}", start(text));
        return Err(Failure::malformed(what));
    }
    let usage = body.usage.unwrap_or_default();
    if kind.produces_tokens() {
        return Ok(usage);
    }
    // There are no output tokens; some servers say 0.
    Ok(Usage { completion_tokens: None, ..usage })
}

/// An event whose type is `error`.
pub(crate) fn error_event(data: &str) -> Failure {
    let text = serde_json::from_str::<Value>(data).map_or_else(
        |_| start(data).to_owned(),
        |value| describe(value.get("error").unwrap_or(&value)),
    );
    Failure::new(ErrorClass::Status, format!("the server sent an error event: {text}"))
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    choices: Option<Choices>,
    #[serde(default)]
    data: Option<IgnoredAny>,
    #[serde(default)]
    output: Option<IgnoredAny>,
    #[serde(default)]
    content: Option<IgnoredAny>,
    #[serde(default)]
    results: Option<IgnoredAny>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

/// Reads a JSON object.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map(|Object(fields)| fields).map_err(|e| {
        // It may quote what the server sent, whole.
        let said = e.to_string();
        match start(&said) {
            all if all.len() == said.len() => said,
            some => format!("{some}… at line {} column {}", e.line(), e.column()),
        }
    })
}

/// An error that the server sent, in one sentence.
fn server_error(raw: &RawValue) -> Failure {
    let text = serde_json::from_str(raw.get())
        .map_or_else(|_| start(raw.get()).to_owned(), |value: Value| describe(&value));
    Failure::new(ErrorClass::Status, format!("the server sent an error: {text}"))
}

impl<'a> Body<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        object(text)
    }

    fn check_error(&self) -> Result<(), Failure> {
        // Older servers put the error's fields at the top.
        let old = self.object.filter(|object| object.get() == "\"error\"").and(self.message);
        self.error.or(old).map_or(Ok(()), |raw| Err(server_error(raw)))
    }
}

/// An error object in a few words: message and code.
fn describe(error: &Value) -> String {
    let message = match error {
        Value::String(text) => start(text).to_owned(),
        Value::Object(fields) => match fields.get("message").and_then(Value::as_str) {
            Some(text) => start(text).to_owned(),
            None => start(&error.to_string()).to_owned(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            start(&error.to_string()).to_owned()
        }
    };
    match error.get("code").filter(|code| !code.is_null()) {
        Some(code) => format!("{message} (code {})", start(&code.to_string())),
        None => message,
    }
}

/// The beginning of a text, for a sentence.
fn start(text: &str) -> &str {
    let mut end = text.len().min(200);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// All choices folded into one: requests ask for one, and of several it matters
/// only whether any said something.
#[derive(Default, Clone, Copy)]
struct Choices {
    content: bool,
    answer: bool,
    finished: bool,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Object<Delta>>,
    #[serde(default)]
    text: Said,
    #[serde(default)]
    finish_reason: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    content: Said,
    reasoning_content: Said,
    reasoning: Said,
    refusal: Said,
    tool_calls: Said,
    function_call: Said,
    audio: Said,
}

impl Delta {
    fn reasoned(&self) -> bool {
        self.reasoning_content.0 || self.reasoning.0
    }

    fn answered(&self) -> bool {
        self.content.0
            || self.refusal.0
            || self.tool_calls.0
            || self.function_call.0
            || self.audio.0
    }
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices, A::Error> {
                let mut all = Choices::default();
                while let Some(Object(choice)) = list.next_element::<Object<Choice>>()? {
                    let delta = choice.delta.map(|Object(delta)| delta).unwrap_or_default();
                    let answered = choice.text.0 || delta.answered();
                    all.answer |= answered;
                    all.content |= answered || delta.reasoned();
                    all.finished |= choice.finish_reason.is_some();
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(Fold)
    }
}

/// Whether a field says anything: a text, list or object that is not empty.
#[derive(Default, Clone, Copy)]
struct Said(bool);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Said;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list, an object or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Said, E> {
                Ok(Said(!text.is_empty()))
            }
            fn visit_unit<E>(self) -> Result<Said, E> {
                Ok(Said(false))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said, A::Error> {
                let mut said = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    said = true;
                }
                Ok(Said(said))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
                let mut said = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    said = true;
                }
                Ok(Said(said))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests;
