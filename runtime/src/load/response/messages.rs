//! Events of Anthropic's Messages API: `message_start` with the prompt's tokens,
//! the content in `content_block_delta`, the output tokens in `message_delta`,
//! `message_stop` at the end, `ping` at any time.
//! (docs.anthropic.com/en/api/messages-streaming)

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::object::Object;
use super::{Chunk, Failure, Said, Usage, error_event, object, start};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    delta: Option<Object<Delta>>,
    #[serde(default)]
    message: Option<Object<Message>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    text: Said,
    thinking: Said,
    partial_json: Said,
    stop_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    usage: Option<Usage>,
}

/// Reads the data of one event.
///
/// # Errors
/// Malformed if it is no event of the API; status if it is an error.
pub(super) fn event(data: &str) -> Result<Chunk, Failure> {
    let event: Event<'_> = object(data).map_err(|e| {
        Failure::malformed(format!("an event is none of a message: {e}: {}", start(data)))
    })?;
    let delta = event.delta.map(|Object(delta)| delta).unwrap_or_default();
    Ok(match &*event.kind {
        "error" => return Err(error_event(data)),
        "message_start" => {
            let usage = event.message.and_then(|Object(message)| message.usage);
            // The output tokens are those of a beginning, not a count of the answer.
            let usage = usage.map(|usage| Usage { completion_tokens: None, ..usage });
            Chunk { usage, ..Chunk::default() }
        }
        "content_block_delta" => {
            let answer = delta.text.0 || delta.partial_json.0;
            Chunk { content: answer || delta.thinking.0, answer, ..Chunk::default() }
        }
        "message_delta" => {
            let finished = delta.stop_reason.is_some();
            Chunk { finished, usage: event.usage, ..Chunk::default() }
        }
        "message_stop" => Chunk { finished: true, done: true, ..Chunk::default() },
        // `ping`, the borders of content blocks, and whatever is added: a client
        // is asked to ignore types that it does not know.
        _other => Chunk::default(),
    })
}

#[cfg(test)]
mod tests {
    use phasegate_core::record::ErrorClass;

    use super::*;

    #[test]
    fn deltas_carry_text_thinking_and_tool_input() {
        let read = |delta: &str| {
            let data =
                format!("{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{delta}}}");
            let chunk = event(&data).unwrap();
            (chunk.content, chunk.answer)
        };
        assert_eq!(read("{\"type\":\"text_delta\",\"text\":\"a\"}"), (true, true));
        assert_eq!(read("{\"type\":\"text_delta\",\"text\":\"\"}"), (false, false));
        assert_eq!(read("{\"type\":\"thinking_delta\",\"thinking\":\"a\"}"), (true, false));
        assert_eq!(read("{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}"), (true, true));
        assert_eq!(read("{\"type\":\"signature_delta\",\"signature\":\"a\"}"), (false, false));
    }

    #[test]
    fn usage_comes_in_two_parts_and_a_cached_prompt_is_a_prompt() {
        let start = event(
            "{\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":3,\
             \"cache_read_input_tokens\":10,\"cache_creation_input_tokens\":null,\"output_tokens\":1}}}",
        );
        let usage = Usage { prompt_tokens: Some(13), ..Usage::default() };
        assert_eq!(start, Ok(Chunk { usage: Some(usage), ..Chunk::default() }));
        let delta = event(
            "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
             \"usage\":{\"output_tokens\":15}}",
        );
        let usage = Usage { completion_tokens: Some(15), ..Usage::default() };
        assert_eq!(delta, Ok(Chunk { finished: true, usage: Some(usage), ..Chunk::default() }));
    }

    #[test]
    fn the_stop_is_the_end_and_a_ping_is_nothing() {
        let end = Chunk { finished: true, done: true, ..Chunk::default() };
        assert_eq!(event("{\"type\":\"message_stop\"}"), Ok(end));
        for kind in ["ping", "content_block_start", "content_block_stop", "of the future"] {
            assert_eq!(event(&format!("{{\"type\":\"{kind}\"}}")), Ok(Chunk::default()), "{kind}");
        }
    }

    #[test]
    fn errors_and_what_is_no_event_say_so() {
        let error = event(
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
        )
        .unwrap_err();
        assert_eq!(error.class, ErrorClass::Status);
        assert!(error.what.contains("Overloaded"), "{}", error.what);
        for data in ["{}", "[]", "text"] {
            assert_eq!(event(data).unwrap_err().class, ErrorClass::Malformed, "{data}");
        }
    }
}
