//! One prompt, or one request body, a line.

use std::sync::Arc;

use serde_json::Value;

use super::body::Body;
use super::file::{messages, object, output_length, timestamp};
use super::{Entry, Part, Wrong};
use crate::config::EndpointType;

/// One line with `prompt` or `messages`. Other keys (an id, a source) are
/// allowed and ignored.
pub(super) fn jsonl(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let object = object(line)?;
    let content = match (object.get("prompt"), object.get("messages")) {
        (Some(Value::String(text)), None) if !text.is_empty() => Part::Text(text.clone()),
        (Some(_), None) => {
            return Err(("'prompt' is not a text, or is empty".into(), "give it some text"));
        }
        (None, Some(list)) => match kind {
            EndpointType::Chat | EndpointType::Responses | EndpointType::Messages => {
                messages(list)?;
                Part::Messages(Arc::from(list.to_string()))
            }
            EndpointType::Completions | EndpointType::Embeddings | EndpointType::Rerank => {
                let remedy = "use the chat endpoint, or give 'prompt'";
                return Err(("'messages' only go to a chat endpoint".into(), remedy));
            }
        },
        (Some(_), Some(_)) => {
            return Err(("has both 'prompt' and 'messages'".into(), "give one of them"));
        }
        (None, None) => {
            let remedy = if object.contains_key("turns") {
                "give one of them, or --dataset-type conversation"
            } else if object.contains_key("input_length") {
                "give one of them, or --dataset-type mooncake"
            } else {
                "give one of them"
            };
            return Err(("has neither 'prompt' nor 'messages'".into(), remedy));
        }
    };
    Ok(Entry::single(content, output_length(&object)?, timestamp(&object)?))
}

/// One request body. It is passed through as it is: nothing of it is read but
/// what its endpoint cannot do without, and whether it is streamed.
pub(super) fn openai(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let body = Body::read(line)?;
    let needs = |names: &[&str], what: &str| -> Result<(), Wrong> {
        match names.iter().find(|name| !body.has(name)) {
            None => Ok(()),
            Some(name) => {
                let remedy = "give it, or choose the endpoint that the bodies are for";
                Err((format!("is no body of {what}: '{name}' is missing"), remedy))
            }
        }
    };
    match kind {
        EndpointType::Chat => {
            needs(&["messages"], "a chat request")?;
            let list = body.raw("messages").map(serde_json::from_str::<Value>);
            messages(&list.and_then(Result::ok).unwrap_or_default())?;
        }
        EndpointType::Completions => needs(&["prompt"], "a completion")?,
        EndpointType::Embeddings => needs(&["input"], "an embedding")?,
        EndpointType::Responses => needs(&["input"], "a response")?,
        EndpointType::Messages => needs(&["messages"], "a message")?,
        EndpointType::Rerank => needs(&["query", "documents"], "a request to rerank")?,
    }
    Ok(Entry::single(Part::Body(Arc::new(body)), None, None))
}
