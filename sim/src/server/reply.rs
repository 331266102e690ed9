//! Answers as the APIs write them: whole, or event by event. Those of chats,
//! completions and embeddings are here, as vLLM writes them; `responses`,
//! `messages` and `rerank` have the others.

use phasegate_core::seed::{Seed, open01};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde::Serialize;
use serde_json::json;

use super::config::ServerConfig;
use super::engine::JobId;
use super::hazard::{LineEnd, RequestFaults};
use super::request::{Api, Encoding, Request};

mod messages;
mod rerank;
mod responses;

/// What the answers of one request are made of.
#[derive(Debug)]
pub(crate) struct Reply {
    id: String,
    created: u64,
    model: String,
    api: Api,
    prompt_tokens: u32,
    finish: &'static str,
    words: ChaCha8Rng,
    faults: RequestFaults,
    /// Token events written so far.
    events: u64,
    /// Reasoning tokens: in all, and still to be written.
    reasoning: u32,
    reasoning_left: u32,
    /// The answer's text so far, where the API says it again at the end.
    said: String,
}

/// What stands for the invalid byte until the JSON is written.
const MARK: &str = "\u{fffd}";

const WORDS: [&str; 32] = [
    "the", "a", "gate", "phase", "load", "reading", "token", "answer", "of", "and", "to", "is",
    "in", "when", "before", "after", "each", "first", "last", "count", "energy", "time", "server",
    "queue", "batch", "model", "starts", "ends", "waits", "holds", "sends", "returns",
];

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
    completion_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    reasoning_tokens: u32,
}

/// What an event of tokens carries.
#[derive(Clone, Copy)]
enum Said<'a> {
    Answer(&'a str),
    Reasoning(&'a str),
}

impl Reply {
    pub(crate) fn new(
        request: &Request,
        job: JobId,
        created: u64,
        faults: RequestFaults,
        config: &ServerConfig,
    ) -> Self {
        let seed = Seed::root(config.seed);
        let prefix = match request.api {
            Api::Chat => "chatcmpl",
            Api::Completions => "cmpl",
            Api::Embeddings => "embd",
            Api::Responses => "resp",
            Api::Messages => "msg",
            Api::Rerank => "score",
        };
        let thinks = request.api.generates() && request.api != Api::Completions;
        let most = request.output_tokens.saturating_sub(1);
        let reasoning = if thinks { config.reasoning_tokens.min(most) } else { 0 };
        Self {
            id: format!("{prefix}-{}", seed.uuid(&format!("request {job}")).simple()),
            created,
            model: config.model.clone(),
            api: request.api,
            prompt_tokens: request.prompt_tokens,
            finish: request.finish.name(),
            words: seed.child("text").child(&request.prompt).rng(),
            faults,
            events: 0,
            reasoning,
            reasoning_left: reasoning,
            said: String::new(),
        }
    }

    /// The text of the next tokens: a word each.
    fn words(&mut self, tokens: u32, first: bool) -> String {
        let mut text = String::new();
        for n in 0..tokens {
            if n > 0 || !first {
                text.push(' ');
            }
            let word = self.words.next_u64() as usize % WORDS.len();
            text.push_str(WORDS[word]);
        }
        text
    }

    /// The text of the next tokens, with whatever faults strike it.
    fn text(&mut self, tokens: u32) -> String {
        let first = self.events == 0;
        let mut text = self.words(tokens, first);
        if first {
            if let Some(bytes) = self.faults.big_event {
                let padding = usize::try_from(bytes).unwrap_or(0).saturating_sub(text.len());
                text.push_str(&"x".repeat(padding));
            }
            if self.faults.invalid_utf8 {
                text.push_str(MARK);
            }
        }
        text
    }

    fn usage(&self, completion_tokens: u32) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens,
            total_tokens: self.prompt_tokens.saturating_add(completion_tokens),
            completion_tokens,
            completion_tokens_details: self.details(),
        }
    }

    /// How many tokens were reasoning, where any was asked for.
    fn details(&self) -> Option<Details> {
        (self.reasoning > 0).then_some(Details { reasoning_tokens: self.reasoning })
    }

    fn chunk(&self, choices: &[Choice<'_>], usage: Option<Usage>) -> Vec<u8> {
        let object = match self.api {
            Api::Chat => "chat.completion.chunk",
            Api::Completions | Api::Embeddings | Api::Responses | Api::Messages | Api::Rerank => {
                "text_completion"
            }
        };
        let Self { id, created, model, .. } = self;
        let chunk = Chunk { id, object, created: *created, model, choices, usage };
        // Strings and numbers: writing them cannot fail.
        serde_json::to_vec(&chunk).unwrap_or_default()
    }

    fn event(&self, data: &[u8]) -> Vec<u8> {
        let end = self.line_end();
        [b"data: ", data, end, end].concat()
    }

    /// An event with its type, which is the `type` of its data too.
    fn named(&self, data: &serde_json::Value) -> Vec<u8> {
        let name = data["type"].as_str().unwrap_or_default();
        self.named_data(name, data.to_string().as_bytes())
    }

    fn named_data(&self, name: &str, data: &[u8]) -> Vec<u8> {
        [b"event: ", name.as_bytes(), self.line_end(), &self.event(data)].concat()
    }

    fn line_end(&self) -> &'static [u8] {
        match self.faults.line_end {
            LineEnd::Lf => b"\n",
            LineEnd::Crlf => b"\r\n",
            LineEnd::Cr => b"\r",
        }
    }

    fn choice(
        &self,
        said: Option<Said<'_>>,
        role: Option<&'static str>,
        finish: Option<&'static str>,
    ) -> Vec<u8> {
        let (text, reasoning_content) = match said {
            Some(Said::Answer(text)) => (Some(text), None),
            Some(Said::Reasoning(text)) => (None, Some(text)),
            None => (None, None),
        };
        let (delta, text) = match self.api {
            Api::Chat => (Some(Delta { role, reasoning_content, content: text }), None),
            Api::Completions | Api::Embeddings | Api::Responses | Api::Messages | Api::Rerank => {
                (None, Some(text.unwrap_or_default()))
            }
        };
        let choice = Choice { index: 0, delta, text, logprobs: None, finish_reason: finish };
        self.chunk(&[choice], None)
    }

    /// What comes before the first token: a chat's role, the announcements of a
    /// response or a message.
    pub(crate) fn opening(&self) -> Option<Vec<u8>> {
        match self.api {
            Api::Chat => {
                let role = self.choice(Some(Said::Answer("")), Some("assistant"), None);
                Some(self.event(&role))
            }
            Api::Responses => Some(self.response_opening()),
            Api::Messages => Some(self.message_opening()),
            Api::Completions | Api::Embeddings | Api::Rerank => None,
        }
    }

    /// The event of the next tokens.
    pub(crate) fn tokens(&mut self, tokens: u32, last: bool) -> Vec<u8> {
        let text = self.text(tokens);
        let said = if self.reasoning_left > 0 {
            self.reasoning_left = self.reasoning_left.saturating_sub(tokens);
            Said::Reasoning(&text)
        } else {
            self.said.push_str(&text);
            Said::Answer(&text)
        };
        let (name, mut data) = match self.api {
            Api::Responses => self.response_delta(said),
            Api::Messages => self.message_delta(said),
            Api::Chat | Api::Completions | Api::Embeddings | Api::Rerank => {
                ("", self.choice(Some(said), None, None))
            }
        };
        if self.faults.invalid_utf8 {
            data = spoil(&data);
        }
        if self.faults.malformed_json && (self.events == 1 || (self.events == 0 && last)) {
            data.truncate(data.len() / 2);
        }
        self.events += 1;
        if name.is_empty() { self.event(&data) } else { self.named_data(name, &data) }
    }

    /// What comes after the last token: why it is the last, the usage if it was
    /// asked for, and the end of the stream.
    pub(crate) fn closing(&self, completion_tokens: u32, include_usage: bool) -> Vec<u8> {
        match self.api {
            Api::Responses => return self.response_closing(completion_tokens),
            Api::Messages => return self.message_closing(completion_tokens),
            Api::Chat | Api::Completions | Api::Embeddings | Api::Rerank => {}
        }
        let mut events = self.event(&self.choice(None, None, Some(self.finish)));
        if include_usage && !self.faults.no_usage {
            let usage = self.chunk(&[], Some(self.usage(completion_tokens)));
            events.extend(self.event(&usage));
        }
        events.extend(self.done());
        events
    }

    /// The end of the stream; a response and a message have none after an error.
    pub(crate) fn done(&self) -> Vec<u8> {
        match self.api {
            Api::Responses | Api::Messages => Vec::new(),
            Api::Chat | Api::Completions | Api::Embeddings | Api::Rerank => self.event(b"[DONE]"),
        }
    }

    /// An error within the stream.
    pub(crate) fn error(&self, error: &serde_json::Value) -> Vec<u8> {
        match self.api {
            Api::Responses | Api::Messages => {
                let mut error = error.clone();
                error["type"] = json!("error");
                self.named(&error)
            }
            Api::Chat | Api::Completions | Api::Embeddings | Api::Rerank => {
                self.event(error.to_string().as_bytes())
            }
        }
    }

    /// The whole answer of a request that is not streamed.
    pub(crate) fn whole(&mut self, completion_tokens: u32) -> Vec<u8> {
        let thought = (self.reasoning > 0).then(|| self.text(self.reasoning));
        // As in a stream, the answer goes on where the reasoning ended.
        self.events += u64::from(thought.is_some());
        let text = self.text(completion_tokens.saturating_sub(self.reasoning));
        match self.api {
            Api::Responses => return self.whole_response(&text, completion_tokens),
            Api::Messages => return self.whole_message(&text, completion_tokens),
            Api::Chat | Api::Completions | Api::Embeddings | Api::Rerank => {}
        }
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": self.finish});
        let object = match self.api {
            Api::Chat => {
                choice["message"] = json!({"role": "assistant", "content": text});
                if let Some(thought) = thought {
                    choice["message"]["reasoning_content"] = json!(thought);
                }
                "chat.completion"
            }
            Api::Completions | Api::Embeddings | Api::Responses | Api::Messages | Api::Rerank => {
                choice["text"] = json!(text);
                "text_completion"
            }
        };
        self.finish_whole(object, "choices", json!([choice]), completion_tokens)
    }

    /// The answer to an embedding request: a vector for each input, seeded by
    /// its text.
    pub(crate) fn embeddings(&self, request: &Request, config: &ServerConfig) -> Vec<u8> {
        let seed = Seed::root(config.seed).child("embedding");
        let vectors = request.inputs.iter().enumerate().map(|(index, input)| {
            let mut rng = seed.child(input).rng();
            let size = config.embedding_size;
            let vector: Vec<f32> =
                (0..size).map(|_| (2.0 * open01(&mut rng) - 1.0) as f32).collect();
            let embedding = match request.encoding {
                Encoding::Float => json!(vector),
                Encoding::Base64 => json!(base64(&vector)),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        });
        self.finish_whole("list", "data", vectors.collect(), 0)
    }

    fn finish_whole(
        &self,
        object: &str,
        key: &str,
        value: serde_json::Value,
        completion_tokens: u32,
    ) -> Vec<u8> {
        let mut answer = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
        });
        answer[key] = value;
        if !self.faults.no_usage {
            answer["usage"] = json!(self.usage(completion_tokens));
        }
        self.written(&answer)
    }

    /// A whole answer as it leaves, with whatever faults strike it.
    fn written(&self, answer: &serde_json::Value) -> Vec<u8> {
        let mut body = answer.to_string().into_bytes();
        if self.faults.invalid_utf8 {
            body = spoil(&body);
        }
        if self.faults.malformed_json {
            body.truncate(body.len() / 2);
        }
        body
    }
}

/// Puts a byte that cannot occur in UTF-8 where the mark is.
fn spoil(json: &[u8]) -> Vec<u8> {
    let mark = MARK.as_bytes();
    match json.windows(mark.len()).position(|window| window == mark) {
        Some(at) => [&json[..at], b"\xff", &json[at + mark.len()..]].concat(),
        None => json.to_vec(),
    }
}

/// The little-endian bytes of `vector` in base64 (RFC 4648, section 4).
fn base64(vector: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            if digit <= group.len() {
                let index = bits >> (18 - 6 * digit) & 63;
                text.push(char::from(DIGITS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded_little_endian() {
        // Python: base64.b64encode(struct.pack("<2f", 1.0, -2.5))
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[0.5, 0.25, 2.0]), "AAAAPwAAgD4AAABA");
    }

    #[test]
    fn the_mark_becomes_one_byte_that_is_not_utf8() {
        let spoiled = spoil("{\"a\":\"x\u{fffd}\"}".as_bytes());
        assert_eq!(spoiled, b"{\"a\":\"x\xff\"}");
        assert!(String::from_utf8(spoiled).is_err());
    }
}
