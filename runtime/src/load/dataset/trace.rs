//! Traces of lengths and times, as Mooncake publishes them: `{"timestamp": ms,
//! "input_length": n, "output_length": n, "hash_ids": [...]}` a line. Each id
//! stands for a block of 512 tokens of the prompt, in order; equal ids are equal
//! text (Qin et al., Mooncake, 2024, section 4: the trace's format). A line with
//! `prompt` or `messages` instead of lengths is sent as it is.

use serde_json::{Map, Value};

use super::file::{length, object, output_length, timestamp};
use super::{Entry, Part, Wrong, single};
use crate::config::EndpointType;

/// The tokens of a block.
pub(super) const BLOCK: u32 = 512;

pub(super) fn line(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let object = object(line)?;
    let Some(input) = object.get("input_length") else {
        if object.contains_key("prompt") || object.contains_key("messages") {
            return single::jsonl(line, kind);
        }
        return Err(("has no 'input_length'".into(), "give it, or 'prompt' or 'messages'"));
    };
    let tokens = length(input)
        .map_err(|_| ("'input_length' is not a number of tokens".to_owned(), "give one above 0"))?;
    let ids = ids(&object)?;
    if ids.len() > tokens.div_ceil(BLOCK) as usize {
        let problem = format!("{} hash_ids are more than {tokens} tokens have blocks", ids.len());
        return Err((problem, "give one for each block of 512 tokens"));
    }
    let content = Part::Blocks { tokens, ids };
    Ok(Entry::single(content, output_length(&object)?, timestamp(&object)?))
}

fn ids(object: &Map<String, Value>) -> Result<Box<[u64]>, Wrong> {
    let wrong = || {
        (
            "'hash_ids' is not a list of whole numbers".to_owned(),
            "give one for each block of 512 tokens",
        )
    };
    let Some(ids) = object.get("hash_ids") else { return Ok(Box::default()) };
    let list = ids.as_array().ok_or_else(wrong)?;
    list.iter().map(|id| id.as_u64().ok_or_else(wrong)).collect()
}
