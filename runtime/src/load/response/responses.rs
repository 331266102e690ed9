//! Events of OpenAI's Responses API: each says its type; text comes in
//! `….delta` events, and the whole response, with its usage, at the end.
//! (platform.openai.com/docs/api-reference/responses-streaming)

use std::borrow::Cow;

use phasegate_core::record::ErrorClass;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::Object;
use super::{Chunk, Failure, Said, Usage, error_event, object, server_error, start};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    delta: Said,
    #[serde(borrow, default)]
    response: Option<Object<Response<'a>>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Reads the data of one event.
///
/// # Errors
/// Malformed if it is no event of the API; status if it is an error, or a
/// response that failed.
pub(super) fn event(data: &str) -> Result<Chunk, Failure> {
    let event: Event<'_> = object(data).map_err(|e| {
        Failure::malformed(format!("an event is none of a response: {e}: {}", start(data)))
    })?;
    let usage = event.response.as_ref().and_then(|Object(response)| response.usage);
    match &*event.kind {
        "error" => Err(error_event(data)),
        "response.failed" => match event.response.and_then(|Object(response)| response.error) {
            Some(error) => Err(server_error(error)),
            None => Err(Failure::new(ErrorClass::Status, "the server says that it failed")),
        },
        "response.completed" | "response.incomplete" => {
            Ok(Chunk { finished: true, done: true, usage, ..Chunk::default() })
        }
        kind if kind.ends_with(".delta") => {
            let content = event.delta.0;
            // `response.reasoning_text.delta`, `response.reasoning_summary_text.delta`
            let answer = content && !kind.contains("reasoning");
            Ok(Chunk { content, answer, ..Chunk::default() })
        }
        // Of the others (`response.created`, `….done`, …) none carries anything
        // that no delta carried.
        _other => Ok(Chunk::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_carry_text_and_reasoning_apart() {
        let read = |kind: &str, delta: &str| {
            let data = format!("{{\"type\":\"response.{kind}.delta\",\"delta\":\"{delta}\"}}");
            let chunk = event(&data).unwrap();
            assert!(!chunk.done && !chunk.finished && chunk.usage.is_none());
            (chunk.content, chunk.answer)
        };
        assert_eq!(read("output_text", "a"), (true, true));
        assert_eq!(read("output_text", ""), (false, false));
        assert_eq!(read("refusal", "a"), (true, true));
        assert_eq!(read("function_call_arguments", "{"), (true, true));
        assert_eq!(read("reasoning_text", "a"), (true, false));
        assert_eq!(read("reasoning_summary_text", "a"), (true, false));
    }

    #[test]
    fn what_only_announces_or_repeats_carries_nothing() {
        for data in [
            "{\"type\":\"response.created\",\"response\":{\"usage\":null,\"error\":null}}",
            "{\"type\":\"response.output_text.done\",\"text\":\"all of it\"}",
            "{\"type\":\"response.output_item.added\",\"item\":{\"content\":[]}}",
        ] {
            assert_eq!(event(data), Ok(Chunk::default()), "{data}");
        }
    }

    #[test]
    fn the_end_has_the_usage_and_nothing_comes_after_it() {
        let data = "{\"type\":\"response.completed\",\"response\":{\"output\":[1],\"usage\":\
                    {\"input_tokens\":3,\"output_tokens\":7,\"total_tokens\":10,\
                    \"output_tokens_details\":{\"reasoning_tokens\":2}}}}";
        let usage =
            Usage { prompt_tokens: Some(3), completion_tokens: Some(7), reasoning_tokens: Some(2) };
        let end = Chunk { finished: true, done: true, usage: Some(usage), ..Chunk::default() };
        assert_eq!(event(data), Ok(end));
        assert_eq!(event(&data.replace("completed", "incomplete")), Ok(end));
    }

    #[test]
    fn failures_and_what_is_no_event_say_so() {
        let failed = event(
            "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\",\"message\":\"gone\"}}}",
        )
        .unwrap_err();
        assert_eq!(failed.class, ErrorClass::Status);
        assert!(failed.what.contains("gone"), "{}", failed.what);
        assert!(event("{\"type\":\"response.failed\"}").is_err());
        let error = event("{\"type\":\"error\",\"message\":\"busy\"}").unwrap_err();
        assert!(error.what.contains("busy"), "{}", error.what);
        for data in ["{}", "[]", "{\"type\":5}", "text"] {
            assert_eq!(event(data).unwrap_err().class, ErrorClass::Malformed, "{data}");
        }
    }
}
