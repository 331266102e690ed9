//! The text of an answer, where the next turn of a session sends it back or its
//! tokens are to be counted. The measurements do not need it: `response` does not
//! keep it.

use serde::Deserialize;
use serde_json::Value;

use crate::config::EndpointType;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Message>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
}

/// Appends what the answer, or an event of it, says in its first choice.
/// Reasoning is not part of it: chat templates drop that of earlier turns. What
/// is not of the API's shape adds nothing; `response` says so. Whether there was
/// any reasoning.
pub(crate) fn append(out: &mut String, kind: EndpointType, json: &[u8]) -> bool {
    match kind {
        EndpointType::Chat | EndpointType::Completions => choice(out, json),
        EndpointType::Responses => {
            let Ok(event) = serde_json::from_slice::<Value>(json) else { return false };
            if event["type"] == "response.output_text.delta" {
                out.push_str(event["delta"].as_str().unwrap_or_default());
            }
            let items = event["output"].as_array().into_iter().flatten();
            for part in
                items.clone().flat_map(|item| item["content"].as_array().into_iter().flatten())
            {
                if part["type"] == "output_text" {
                    out.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
            let delta = event["type"].as_str().is_some_and(|kind| kind.contains("reasoning"));
            delta || items.into_iter().any(|item| item["type"] == "reasoning")
        }
        EndpointType::Messages => {
            let Ok(event) = serde_json::from_slice::<Value>(json) else { return false };
            out.push_str(event["delta"]["text"].as_str().unwrap_or_default());
            let parts = event["content"].as_array().into_iter().flatten();
            for part in parts.clone() {
                out.push_str(part["text"].as_str().unwrap_or_default());
            }
            let thinks =
                |part: &Value| part["type"].as_str().is_some_and(|t| t.contains("thinking"));
            thinks(&event["delta"]) || parts.into_iter().any(thinks)
        }
        EndpointType::Embeddings | EndpointType::Rerank => false,
    }
}

fn choice(out: &mut String, json: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Body>(json) else { return false };
    let Some(choice) = body.choices.into_iter().next() else { return false };
    let said = choice.delta.or(choice.message);
    let (content, reasoning) = said.map_or((None, None), |s| (s.content, s.reasoning_content));
    if let Some(text) = content.or(choice.text) {
        out.push_str(&text);
    }
    reasoning.is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kind: EndpointType, answers: &[&str]) -> String {
        let mut out = String::new();
        let reasoning = |json: &&str| append(&mut out, kind, json.as_bytes());
        let reasoned: Vec<bool> = answers.iter().map(reasoning).collect();
        for (json, reasoned) in answers.iter().zip(reasoned) {
            assert_eq!(reasoned, json.contains("reasoning") || json.contains("thinking"), "{json}");
        }
        out
    }

    #[test]
    fn the_text_of_events_and_of_a_whole_answer_is_kept_and_reasoning_is_not() {
        let chat = [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a \"b"}}]}"#,
            r#"{"choices":[{"message":{"content":" c"}}]}"#,
            r#"{"choices":[],"usage":{}}"#,
            "no json",
        ];
        assert_eq!(all(EndpointType::Chat, &chat), "a \"b c");
        let completion = [r#"{"choices":[{"text":"a"}]}"#, r#"{"choices":[{"text":" b"}]}"#];
        assert_eq!(all(EndpointType::Completions, &completion), "a b");
        let response = [
            r#"{"type":"response.reasoning_text.delta","delta":"hm"}"#,
            r#"{"type":"response.output_text.delta","delta":"a"}"#,
            r#"{"type":"response.output_text.done","text":"a"}"#,
            r#"{"output":[{"type":"reasoning"},{"content":[{"type":"output_text","text":" b"}]}]}"#,
            r#"{"type":"response.completed","response":{"output":[]}}"#,
        ];
        assert_eq!(all(EndpointType::Responses, &response), "a b");
        let message = [
            r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":" b"}]}"#,
        ];
        assert_eq!(all(EndpointType::Messages, &message), "a b");
    }
}
