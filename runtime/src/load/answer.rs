//! The text of an answer, where the next turn of a session sends it back. The
//! measurements do not need it: `response` does not keep it.

use serde::Deserialize;

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
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

/// Appends what the answer, or an event of it, says in its first choice.
/// Reasoning is not part of it: chat templates drop that of earlier turns. What
/// is not of the API's shape adds nothing; `response` says so.
pub(crate) fn append(out: &mut String, json: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Body>(json) else { return };
    let Some(choice) = body.choices.into_iter().next() else { return };
    if let Some(text) = choice.delta.or(choice.message).and_then(|said| said.content) {
        out.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_events_and_of_a_whole_answer_is_kept_and_reasoning_is_not() {
        let mut out = String::new();
        for json in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a \"b"}}]}"#,
            r#"{"choices":[{"message":{"content":" c"}}]}"#,
            r#"{"choices":[],"usage":{}}"#,
            "no json",
        ] {
            append(&mut out, json.as_bytes());
        }
        assert_eq!(out, "a \"b c");
    }
}
