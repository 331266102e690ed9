//! Events of one stream differ in their text and in nothing else.
//!
//! An event that was read in full, as JSON, is the template of those that
//! follow: one that has the same bytes before and after its text says the same,
//! whatever its text, and need not be read again. In valid JSON a quotation mark
//! within a string has a backslash before it; so `"content":"` is found only
//! where a field of that name begins, and a text without backslashes, quotation
//! marks and control characters changes nothing around it.

use memchr::{memchr2, memmem};

use super::classify::Failure;
use super::response::{self, Chunk};
use crate::config::EndpointType;

/// What stands before the text.
const BEFORE: &[u8] = b"\"content\":\"";

/// The template of a stream, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
    chunk: Option<Chunk>,
}

impl Template {
    /// Reads one event of a stream of this API.
    ///
    /// # Errors
    /// As [`response::event`].
    pub(crate) fn event(
        &mut self,
        kind: EndpointType,
        name: &[u8],
        data: &str,
    ) -> Result<Chunk, Failure> {
        match kind {
            EndpointType::Chat | EndpointType::Completions if name != b"error" => self.chunk(data),
            EndpointType::Chat
            | EndpointType::Completions
            | EndpointType::Embeddings
            | EndpointType::Responses
            | EndpointType::Messages
            | EndpointType::Rerank => response::event(kind, name, data),
        }
    }

    /// Reads the data of one event.
    ///
    /// # Errors
    /// As [`response::chunk`].
    fn chunk(&mut self, data: &str) -> Result<Chunk, Failure> {
        if let Some(chunk) = self.chunk.filter(|_| self.fits(data.as_bytes())) {
            return Ok(chunk);
        }
        let chunk = response::chunk(data)?;
        // Token counts and ends are not to be repeated.
        let plain = chunk.content && !chunk.finished && chunk.usage.is_none();
        if plain && let Some((before, text, after)) = split(data.as_bytes()) {
            self.chunk = (!text.is_empty()).then_some(chunk);
            self.before.clear();
            self.before.extend_from_slice(before);
            self.after.clear();
            self.after.extend_from_slice(after);
        }
        Ok(chunk)
    }

    fn fits(&self, data: &[u8]) -> bool {
        let rest = data.strip_prefix(&self.before[..]);
        let text = rest.and_then(|rest| rest.strip_suffix(&self.after[..]));
        text.is_some_and(|text| !text.is_empty() && is_plain(text))
    }
}

/// Whether a text stands in JSON as it is. It is valid UTF-8 by the parser of
/// events.
fn is_plain(text: &[u8]) -> bool {
    memchr2(b'"', b'\\', text).is_none() && text.iter().all(|byte| *byte >= b' ')
}

/// Before, text, after.
fn split(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let start = memmem::find(data, BEFORE)? + BEFORE.len();
    let (before, rest) = data.split_at(start);
    let end = memchr2(b'"', b'\\', rest)?;
    let (text, after) = rest.split_at(end);
    // Two fields of the name, or an escape: read each one in full.
    let alone = after.first() == Some(&b'"') && memmem::find(after, BEFORE).is_none();
    alone.then_some((before, text, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(text: &str, finish: &str) -> String {
        format!(
            "{{\"id\":\"a\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\
             \"finish_reason\":{finish}}}]}}"
        )
    }

    #[test]
    fn what_is_not_the_same_is_read_in_full() {
        let mut template = Template::default();
        assert!(template.chunk(&event(" a", "null")).unwrap().content);
        assert!(template.fits(event("b \u{e4}", "null").as_bytes()));
        for (text, finish) in
            [("", "null"), ("a\\n", "null"), ("a\"b", "null"), ("a\n", "null"), ("a", "\"stop\"")]
        {
            assert!(!template.fits(event(text, finish).as_bytes()), "{text:?} {finish}");
        }
        assert!(!template.chunk(&event("", "null")).unwrap().content);
        assert!(template.chunk(&event("a", "\"stop\"")).unwrap().finished);
        assert!(template.chunk(&event("a\"b", "null")).is_err());
    }

    #[test]
    fn a_text_that_names_the_field_is_only_a_text() {
        let data = event("\\\"content\\\":\\\"x", "null");
        let mut template = Template::default();
        assert!(template.chunk(&data).unwrap().content);
        assert!(template.chunk.is_none(), "an escape is no template");
    }

    proptest! {
        #[test]
        fn a_template_never_changes_what_an_event_says(
            texts in prop::collection::vec(("[ -~\u{e4}\n]{0,6}", any::<bool>(), any::<bool>()), 1..8),
        ) {
            let mut template = Template::default();
            for (text, raw, end) in texts {
                let escaped = serde_json::to_string(&text).unwrap();
                let inner = if raw { &text[..] } else { &escaped[1..escaped.len() - 1] };
                let data = event(inner, if end { "\"stop\"" } else { "null" });
                prop_assert_eq!(template.chunk(&data), response::chunk(&data));
            }
        }
    }
}
