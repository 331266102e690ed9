//! Token counts as the servers write them.

use serde::Deserialize;

use super::Usage;
use super::object::Object;

/// Every name of a count: `prompt_tokens` and `completion_tokens` of chats and
/// completions, `input_tokens` and `output_tokens` of responses and messages,
/// `total_tokens` of a server that has nothing else (a ranking).
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Fields {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    total_tokens: Option<u32>,
    /// Anthropic's `input_tokens` are those after the last cache breakpoint; the
    /// whole prompt is the sum of the three.
    cache_creation_input_tokens: Option<u32>,
    cache_read_input_tokens: Option<u32>,
    completion_tokens_details: Option<Object<Details>>,
    output_tokens_details: Option<Object<Details>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    reasoning_tokens: Option<u32>,
}

impl From<Object<Fields>> for Usage {
    fn from(Object(fields): Object<Fields>) -> Self {
        let cached = [fields.cache_creation_input_tokens, fields.cache_read_input_tokens];
        let cached = cached.into_iter().flatten().fold(0, u32::saturating_add);
        let input = fields.input_tokens.map(|input| input.saturating_add(cached));
        let completion_tokens = fields.completion_tokens.or(fields.output_tokens);
        let total = fields.total_tokens.filter(|_| completion_tokens.is_none());
        let details = fields.completion_tokens_details.or(fields.output_tokens_details);
        Self {
            prompt_tokens: fields.prompt_tokens.or(input).or(total),
            completion_tokens,
            reasoning_tokens: details.and_then(|Object(details)| details.reasoning_tokens),
        }
    }
}
