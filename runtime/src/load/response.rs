//! What the server said: chunks of a stream and whole answers of the OpenAI
//! API, read for what a load generator needs and nothing else.
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

/// Tokens by the server's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) completion_tokens: Option<u32>,
}

/// What one streamed chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Chunk {
    /// It carries text, reasoning or a tool call.
    pub(crate) content: bool,
    /// A choice says why it ended.
    pub(crate) finished: bool,
    /// Token counts so far.
    pub(crate) usage: Option<Usage>,
}

/// The data with which a stream says that it is complete.
pub(crate) const DONE: &str = "[DONE]";

/// Reads the data of one event.
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
    Ok(Chunk { content: choices.content, finished: choices.finished, usage: body.usage })
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
    };
    if !present {
        let what = format!("the answer has no '{name}': {}", start(text));
        return Err(Failure::malformed(what));
    }
    let usage = body.usage.unwrap_or_default();
    Ok(match kind {
        EndpointType::Chat | EndpointType::Completions => usage,
        // Embeddings have no output tokens; some servers say 0.
        EndpointType::Embeddings => Usage { completion_tokens: None, ..usage },
    })
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
    usage: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        // serde would read a list as the fields in their order.
        if !text.trim_start().starts_with('{') {
            return Err("it is not a JSON object".into());
        }
        serde_json::from_str(text).map_err(|e| {
            // It may quote what the server sent, whole.
            let said = e.to_string();
            match start(&said) {
                all if all.len() == said.len() => said,
                some => format!("{some}… at line {} column {}", e.line(), e.column()),
            }
        })
    }

    fn check_error(&self) -> Result<(), Failure> {
        // Older servers put the error's fields at the top.
        let old = self.object.filter(|object| object.get() == "\"error\"").and(self.message);
        match self.error.or(old) {
            None => Ok(()),
            Some(raw) => {
                let text = serde_json::from_str(raw.get())
                    .map_or_else(|_| start(raw.get()).to_owned(), |value: Value| describe(&value));
                let what = format!("the server sent an error: {text}");
                Err(Failure::new(ErrorClass::Status, what))
            }
        }
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
    finished: bool,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
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
    fn said(&self) -> bool {
        self.content.0
            || self.reasoning_content.0
            || self.reasoning.0
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
                while let Some(choice) = list.next_element::<Choice>()? {
                    all.content |= choice.text.0 || choice.delta.is_some_and(|d| d.said());
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
mod tests {
    use super::*;

    fn content(delta: &str) -> bool {
        chunk(&format!("{{\"choices\":[{{\"delta\":{delta},\"finish_reason\":null}}]}}"))
            .unwrap()
            .content
    }

    #[test]
    fn text_reasoning_and_tool_calls_are_content() {
        for delta in [
            "{\"content\":\"a\"}",
            "{\"content\":\"\\u00e4\\n\"}",
            "{\"content\":null,\"reasoning_content\":\"x\"}",
            "{\"content\":\"\",\"reasoning\":\"x\"}",
            "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\"}}]}",
        ] {
            assert!(content(delta), "{delta}");
        }
        assert!(chunk("{\"choices\":[{\"text\":\" a\"}]}").unwrap().content);
    }

    #[test]
    fn role_only_and_empty_events_are_no_token() {
        for delta in ["{\"role\":\"assistant\"}", "{\"role\":\"assistant\",\"content\":\"\"}", "{}"]
        {
            assert!(!content(delta), "{delta}");
        }
        assert!(!content("{\"content\":null,\"tool_calls\":[],\"reasoning_content\":\"\"}"));
        assert_eq!(chunk("{\"choices\":[]}"), Ok(Chunk::default()));
        assert_eq!(chunk("{\"id\":\"ping\"}"), Ok(Chunk::default()));
        assert_eq!(chunk("{\"choices\":[{\"delta\":null,\"text\":null}]}"), Ok(Chunk::default()));
    }

    #[test]
    fn what_is_said_of_a_failure_is_short_however_much_the_server_said() {
        let long = "\u{7f}".repeat(5_000);
        for data in [
            format!("{{\"choices\":\"{long}\"}}"),
            format!("{{\"error\":{{\"message\":\"{long}\",\"code\":\"{long}\"}}}}"),
            format!("{{\"error\":\"{long}\"}}"),
            long,
        ] {
            let failure = chunk(&data).unwrap_err();
            assert!(failure.what.len() < 1_000, "{} bytes", failure.what.len());
            let failure = error_event(&data);
            assert!(failure.what.len() < 1_000, "{} bytes", failure.what.len());
        }
        let failure = chunk(&format!("{{\"choices\":\"{}\"}}", "a".repeat(500))).unwrap_err();
        assert!(failure.what.contains("… at line 1 column 5"), "{}", failure.what);
    }

    #[test]
    fn usage_and_the_end_are_seen() {
        let data = "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":10,\
                    \"completion_tokens\":7,\"prompt_tokens_details\":null}}";
        let usage = Usage { prompt_tokens: Some(3), completion_tokens: Some(7) };
        assert_eq!(chunk(data).unwrap().usage, Some(usage));
        assert_eq!(chunk("{\"choices\":[],\"usage\":null}").unwrap().usage, None);
        let data = "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}";
        assert!(chunk(data).unwrap().finished);
    }

    #[test]
    fn an_error_in_the_stream_is_a_status_error_with_its_message_and_code() {
        let data = "{\"error\":{\"message\":\"out of memory\",\"code\":500}}";
        let failure = chunk(data).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Status);
        assert!(failure.what.contains("out of memory (code 500)"), "{}", failure.what);
        let old = chunk("{\"object\":\"error\",\"message\":\"gone\",\"code\":1}").unwrap_err();
        assert!(old.what.contains("gone"), "{}", old.what);
        assert_eq!(error_event("{\"error\":\"x\"}").class, ErrorClass::Status);
        assert!(error_event("plain").what.ends_with("plain"));
    }

    #[test]
    fn what_is_not_the_api_is_malformed() {
        for data in ["", "{", "[]", "{\"choices\":1}", "{\"choices\":[{\"text\":5}]}", "nonsense"] {
            assert_eq!(chunk(data).unwrap_err().class, ErrorClass::Malformed, "{data}");
        }
        let class = |body: &[u8], kind| whole(body, kind).unwrap_err().class;
        assert_eq!(class(b"{}", EndpointType::Chat), ErrorClass::Malformed);
        assert_eq!(class(b"{\"choices\":[]}", EndpointType::Embeddings), ErrorClass::Malformed);
        assert_eq!(class(b"{\"choices\":\"\xff\"}", EndpointType::Chat), ErrorClass::Malformed);
    }

    #[test]
    fn a_whole_answer_gives_its_usage_and_unknown_counts_stay_unknown() {
        let body = b"{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
        let usage = Usage { prompt_tokens: Some(1), completion_tokens: Some(2) };
        assert_eq!(whole(body, EndpointType::Chat), Ok(usage));
        assert_eq!(whole(b"{\"choices\":[]}", EndpointType::Completions), Ok(Usage::default()));
        let body = b"{\"data\":[{\"embedding\":[0.1]}],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":0}}";
        let usage = Usage { prompt_tokens: Some(4), completion_tokens: None };
        assert_eq!(whole(body, EndpointType::Embeddings), Ok(usage));
    }
}
