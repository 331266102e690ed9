//! OpenAI's Responses API.
//! (platform.openai.com/docs/api-reference/responses-streaming)

use serde_json::{Value, json};

use super::{Reply, Said};

impl Reply {
    fn response(&self, status: &str, output: Value, usage: Value) -> Value {
        let cut = status == "incomplete";
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": cut.then(|| json!({"reason": "max_output_tokens"})),
            "model": self.model,
            "output": output,
            "usage": usage,
        })
    }

    fn item(&self) -> String {
        format!("msg-{}", self.id)
    }

    fn output(&self, text: &str) -> Value {
        json!([{
            "id": self.item(),
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }])
    }

    fn response_usage(&self, output_tokens: u32) -> Value {
        if self.faults.no_usage {
            return Value::Null;
        }
        let input_tokens = self.prompt_tokens;
        json!({
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": input_tokens.saturating_add(output_tokens),
        })
    }

    /// An answer that reached its limit is incomplete.
    fn response_end(&self) -> &'static str {
        if self.finish == "length" { "incomplete" } else { "completed" }
    }

    pub(super) fn response_opening(&self) -> Vec<u8> {
        let response = self.response("in_progress", json!([]), Value::Null);
        let item = json!({
            "id": self.item(), "type": "message", "status": "in_progress", "role": "assistant",
            "content": [],
        });
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        [
            json!({"type": "response.created", "response": response}),
            json!({"type": "response.in_progress", "response": response}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
            json!({
                "type": "response.content_part.added", "item_id": self.item(), "output_index": 0,
                "content_index": 0, "part": part,
            }),
        ]
        .iter()
        .flat_map(|event| self.named(event))
        .collect()
    }

    pub(super) fn response_delta(&self, said: Said<'_>) -> (&'static str, Vec<u8>) {
        let (name, delta) = match said {
            Said::Answer(text) => ("response.output_text.delta", text),
            Said::Reasoning(text) => ("response.reasoning_text.delta", text),
        };
        let event = json!({
            "type": name, "item_id": self.item(), "output_index": 0, "content_index": 0,
            "delta": delta,
        });
        (name, event.to_string().into_bytes())
    }

    pub(super) fn response_closing(&self, output_tokens: u32) -> Vec<u8> {
        let end = self.response_end();
        let usage = self.response_usage(output_tokens);
        let response = self.response(end, self.output(&self.said), usage);
        [
            json!({
                "type": "response.output_text.done", "item_id": self.item(), "output_index": 0,
                "content_index": 0, "text": self.said,
            }),
            json!({"type": format!("response.{end}"), "response": response}),
        ]
        .iter()
        .flat_map(|event| self.named(event))
        .collect()
    }

    pub(super) fn whole_response(&self, text: &str, output_tokens: u32) -> Vec<u8> {
        let usage = self.response_usage(output_tokens);
        self.written(&self.response(self.response_end(), self.output(text), usage))
    }
}
