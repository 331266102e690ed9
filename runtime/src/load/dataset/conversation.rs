//! One conversation a line: `turns`, or `messages` that are cut into turns.
//!
//! What an assistant says in the file is left out: the server's own answers are
//! sent back.

use serde_json::{Map, Value, json};

use super::file::{messages, object, output_length};
use super::{Entry, Part, Turn, Wrong};
use crate::config::EndpointType;

const EXAMPLE: &str = "give {\"turns\": [\"…\", {\"content\": \"…\", \"delay_ms\": 500}]}";

pub(super) fn line(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    match kind {
        EndpointType::Chat => {}
        EndpointType::Completions
        | EndpointType::Embeddings
        | EndpointType::Responses
        | EndpointType::Messages
        | EndpointType::Rerank => {
            let remedy = "use the chat endpoint, or another --dataset-type";
            return Err(("a conversation only goes to a chat endpoint".into(), remedy));
        }
    }
    let object = object(line)?;
    let system = match object.get("system") {
        None => None,
        Some(Value::String(text)) => Some(json!({"role": "system", "content": text})),
        Some(_) => return Err(("'system' is not a text".into(), "give it some text")),
    };
    let mut turns = match (object.get("turns"), object.get("messages"), object.get("prompt")) {
        (Some(turns), None, None) => of_turns(turns)?,
        (None, Some(list), None) => of_messages(messages(list)?)?,
        (None, None, Some(Value::String(text))) if !text.is_empty() => {
            vec![said(&[user(text)], &object, "the line")?]
        }
        (None, None, Some(_)) => {
            return Err(("'prompt' is not a text, or is empty".into(), "give it some text"));
        }
        (None, None, None) => return Err(("has neither 'turns' nor 'messages'".into(), EXAMPLE)),
        _ => {
            let problem = "has more than one of 'turns', 'messages' and 'prompt'";
            return Err((problem.into(), "give one of them"));
        }
    };
    if let (Some(system), Some(Turn { content: Part::Adds(first), .. })) =
        (system, turns.first_mut())
    {
        *first = format!("{system},{first}").into();
    }
    Ok(Entry { at_ms: None, turns })
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// A turn that adds `list`; its lengths and times are those of `fields`.
fn said(list: &[Value], fields: &Map<String, Value>, what: &str) -> Result<Turn, Wrong> {
    let list: Vec<String> = list.iter().map(Value::to_string).collect();
    let think_ms = match (fields.get("delay_ms"), fields.get("delay")) {
        (None, None) => None,
        (Some(ms), None) | (None, Some(ms)) => {
            let ms = ms.as_f64().filter(|ms| *ms >= 0.0 && *ms <= f64::from(u32::MAX));
            let Some(ms) = ms else {
                let problem = format!("the delay of {what} is not a time");
                return Err((problem, "give it in milliseconds, from 0 on"));
            };
            Some(ms.round() as u32)
        }
        (Some(_), Some(_)) => {
            let problem = format!("{what} has both 'delay_ms' and 'delay'");
            return Err((problem, "give one of them"));
        }
    };
    let max_tokens = output_length(fields)?;
    Ok(Turn { content: Part::Adds(list.join(",").into()), max_tokens, think_ms })
}

fn of_turns(turns: &Value) -> Result<Vec<Turn>, Wrong> {
    let Some(list) = turns.as_array().filter(|list| !list.is_empty()) else {
        return Err(("'turns' is not a list, or is empty".into(), EXAMPLE));
    };
    let one = |(index, turn): (usize, &Value)| {
        let what = format!("turns[{index}]");
        let fields = match turn {
            Value::String(text) if !text.is_empty() => {
                return said(&[user(text)], &Map::new(), &what);
            }
            Value::Object(fields) => fields,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                return Err((format!("{what} is neither a text nor an object"), EXAMPLE));
            }
        };
        let content = match (fields.get("content"), fields.get("text")) {
            (Some(content), None) | (None, Some(content)) => content,
            (None, None) => return Err((format!("{what} has no 'content'"), EXAMPLE)),
            (Some(_), Some(_)) => {
                return Err((format!("{what} has both 'content' and 'text'"), "give one of them"));
            }
        };
        if !content.is_string() && !content.is_array() {
            return Err((format!("the content of {what} is neither a text nor a list"), EXAMPLE));
        }
        match fields.get("role").map(|role| role.as_str().unwrap_or_default()) {
            None | Some("user") => {}
            Some(_) => {
                let problem = format!("{what} is not said by the user");
                return Err((problem, "give the user's turns only: answers are the server's own"));
            }
        }
        said(&[json!({"role": "user", "content": content})], fields, &what)
    };
    list.iter().enumerate().map(one).collect()
}

/// A turn ends with each message of the user that no other one follows.
fn of_messages(list: &[Value]) -> Result<Vec<Turn>, Wrong> {
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let (mut turns, mut adds): (Vec<Turn>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut fields = Map::new();
    let mut has_user = false;
    for (index, message) in list.iter().enumerate() {
        let role = role(message).unwrap_or_default();
        if role == "assistant" {
            if has_user {
                turns.push(said(&adds, &fields, &format!("messages[{}]", index - 1))?);
                adds.clear();
                has_user = false;
            }
            continue;
        }
        let mut message = message.clone();
        if let (Some(object), "user") = (message.as_object_mut(), role.as_str()) {
            has_user = true;
            fields = Map::new();
            for key in ["delay_ms", "delay", "max_tokens", "output_length"] {
                if let Some(value) = object.remove(key) {
                    fields.insert(key.to_owned(), value);
                }
            }
        }
        adds.push(message);
    }
    if has_user {
        turns.push(said(&adds, &fields, "the last message")?);
    }
    if turns.is_empty() {
        return Err(("'messages' has none of the user".into(), EXAMPLE));
    }
    Ok(turns)
}
