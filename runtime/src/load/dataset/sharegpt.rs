//! ShareGPT: a JSON list of `{"conversations": [{"from": …, "value": …}, …]}`.
//!
//! As `vllm bench serve` reads it (benchmarks/datasets.py, ShareGPTDataset and
//! is_valid_sequence): the first message is the prompt, the length of the second
//! the output length where none is given. Prompts under 4 tokens, answers under 4
//! (where their length is used), prompts over 1024 and both together over 2048
//! tokens are left out. There is no tokenizer at this point: four bytes are
//! taken for a token. The order is the file's.

use serde::Deserialize;

use super::{Entry, Part, Wrong};

const LEAST: usize = 4;
const MOST_PROMPT: usize = 1024;
const MOST_BOTH: usize = 2048;
const BYTES_PER_TOKEN: usize = 4;

/// What there is.
pub(super) struct Given {
    pub(super) entries: Vec<Entry>,
    pub(super) skipped: Vec<(&'static str, u64)>,
}

#[derive(Deserialize)]
struct Talk {
    #[serde(default, alias = "conversation")]
    conversations: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    value: String,
}

/// Reads the whole list. `osl_given`: the answers' lengths are not used.
pub(super) fn read(text: &str, osl_given: bool) -> Result<Given, (Option<usize>, Wrong)> {
    let talks: Vec<Talk> = serde_json::from_str(text).map_err(|e| {
        let remedy = "give [{\"conversations\": [{\"from\": \"human\", \"value\": \"…\"}, …]}, …]";
        let line = (e.line() > 0).then_some(e.line());
        (line, (format!("is not a ShareGPT list: {e}"), remedy))
    })?;
    let mut entries = Vec::with_capacity(talks.len());
    let (mut unanswered, mut short, mut long) = (0, 0, 0);
    for mut talk in talks {
        if talk.conversations.len() < 2 {
            unanswered += 1;
            continue;
        }
        let tokens = |message: &Message| message.value.len().div_ceil(BYTES_PER_TOKEN);
        let (prompt, answer) = (tokens(&talk.conversations[0]), tokens(&talk.conversations[1]));
        if prompt < LEAST || (answer < LEAST && !osl_given) {
            short += 1;
        } else if prompt > MOST_PROMPT || (prompt + answer > MOST_BOTH && !osl_given) {
            long += 1;
        } else {
            let max_tokens = if osl_given { None } else { u32::try_from(answer).ok() };
            let text = Part::Text(talk.conversations.swap_remove(0).value);
            entries.push(Entry::single(text, max_tokens, None));
        }
    }
    let skipped = [("without an answer", unanswered), ("too short", short), ("too long", long)];
    Ok(Given { entries, skipped: skipped.into_iter().filter(|(_, n)| *n > 0).collect() })
}
