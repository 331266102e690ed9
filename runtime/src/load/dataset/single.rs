//! One prompt, or one request body, a line.

use std::sync::Arc;

use serde_json::Value;

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
/// what its endpoint cannot do without.
pub(super) fn openai(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let object = object(line)?;
    match kind {
        EndpointType::Chat => {
            let Some(list) = object.get("messages") else {
                let remedy = "give 'messages', or choose the endpoint that the bodies are for";
                return Err(("is no body of a chat request: 'messages' is missing".into(), remedy));
            };
            messages(list)?;
        }
        EndpointType::Completions if !object.contains_key("prompt") => {
            let remedy = "give 'prompt', or choose the endpoint that the bodies are for";
            return Err(("is no body of a completion: 'prompt' is missing".into(), remedy));
        }
        EndpointType::Embeddings if !object.contains_key("input") => {
            let remedy = "give 'input', or choose the endpoint that the bodies are for";
            return Err(("is no body of an embedding: 'input' is missing".into(), remedy));
        }
        EndpointType::Responses if !object.contains_key("input") => {
            let remedy = "give 'input', or choose the endpoint that the bodies are for";
            return Err(("is no body of a response: 'input' is missing".into(), remedy));
        }
        EndpointType::Messages if !object.contains_key("messages") => {
            let remedy = "give 'messages', or choose the endpoint that the bodies are for";
            return Err(("is no body of a message: 'messages' is missing".into(), remedy));
        }
        EndpointType::Rerank
            if !(object.contains_key("query") && object.contains_key("documents")) =>
        {
            let remedy = "give both, or choose the endpoint that the bodies are for";
            let problem = "is no body to rerank: 'query' or 'documents' is missing";
            return Err((problem.into(), remedy));
        }
        EndpointType::Completions
        | EndpointType::Embeddings
        | EndpointType::Responses
        | EndpointType::Messages
        | EndpointType::Rerank => {}
    }
    Ok(Entry::single(Part::Body(Arc::new(object)), None, None))
}
