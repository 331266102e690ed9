//! Anthropic's Messages API. (docs.anthropic.com/en/api/messages-streaming)

use serde_json::{Value, json};

use super::{Reply, Said};

impl Reply {
    fn stop_reason(&self) -> &'static str {
        if self.finish == "length" { "max_tokens" } else { "end_turn" }
    }

    fn message(&self, content: Value, stop: Option<&str>, usage: Value) -> Value {
        let mut message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": null,
        });
        if !self.faults.no_usage {
            message["usage"] = usage;
        }
        message
    }

    fn message_usage(&self, output_tokens: u32) -> Value {
        json!({
            "input_tokens": self.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        })
    }

    pub(super) fn message_opening(&self) -> Vec<u8> {
        let message = self.message(json!([]), None, self.message_usage(1));
        let block = json!({"type": "text", "text": ""});
        [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "ping"}),
        ]
        .iter()
        .flat_map(|event| self.named(event))
        .collect()
    }

    pub(super) fn message_delta(&self, said: Said<'_>) -> (&'static str, Vec<u8>) {
        let delta = match said {
            Said::Answer(text) => json!({"type": "text_delta", "text": text}),
            Said::Reasoning(text) => json!({"type": "thinking_delta", "thinking": text}),
        };
        let name = "content_block_delta";
        let event = json!({"type": name, "index": 0, "delta": delta});
        (name, event.to_string().into_bytes())
    }

    pub(super) fn message_closing(&self, output_tokens: u32) -> Vec<u8> {
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        let mut end = json!({"type": "message_delta", "delta": delta});
        if !self.faults.no_usage {
            end["usage"] = json!({"output_tokens": output_tokens});
        }
        [json!({"type": "content_block_stop", "index": 0}), end, json!({"type": "message_stop"})]
            .iter()
            .flat_map(|event| self.named(event))
            .collect()
    }

    pub(super) fn whole_message(&self, text: &str, output_tokens: u32) -> Vec<u8> {
        let content = json!([{"type": "text", "text": text}]);
        let usage = self.message_usage(output_tokens);
        self.written(&self.message(content, Some(self.stop_reason()), usage))
    }
}
