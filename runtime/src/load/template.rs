//! Events of one stream differ in their text and in nothing else.
//!
//! An event that was read in full, as JSON, is the template of those that
//! follow: one that has the same bytes before and after its text says the same,
//! whatever its text, and need not be read again. In valid JSON a quotation mark
//! within a string has a backslash before it; so `"content":"` is found only
//! where a field of that name begins, and a text without backslashes, quotation
//! marks and control characters changes nothing around it.

use memchr::{memchr, memchr2, memmem};

use super::classify::Failure;
use super::response::{self, Chunk};
use crate::config::EndpointType;

/// What stands before the text.
const BEFORE: &[u8] = b"\"content\":\"";

/// What stands before the id, at the start of an event.
const ID: &[u8] = b"{\"id\":\"";

/// What stands before the time of creation.
const CREATED: &[u8] = b"\"created\":";

/// So many shapes are kept: the beginning of a stream, its text, and its end; and
/// one more, for servers that vary one of them.
const SHAPES: usize = 4;

/// No longer event is a template: a connection keeps them for as long as it lives.
const LONGEST: usize = 4096;

/// The templates of the streams of one connection, once it has some.
#[derive(Debug, Default)]
pub(crate) struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
    chunk: Option<Chunk>,
    shapes: Vec<Shape>,
    /// The shape whose place the next one takes, when there is no other.
    oldest: usize,
}

/// An event but for its id, its time of creation, and its text, if it has any.
#[derive(Debug)]
struct Shape {
    /// From the end of the id to the time of creation.
    middle: Vec<u8>,
    /// From there to the text; without a text, to the end.
    before: Vec<u8>,
    /// What is after the text.
    after: Option<Vec<u8>>,
    chunk: Chunk,
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
        let bytes = data.as_bytes();
        let parts = apart(bytes);
        let known = parts.and_then(|parts| self.shapes.iter().find(|shape| shape.fits(parts)));
        let (chunk, known) = match known {
            Some(shape) => (shape.chunk, true),
            None => (response::chunk(data)?, false),
        };
        if bytes.len() > LONGEST {
            return Ok(chunk);
        }
        // Token counts and ends are not to be repeated within a stream.
        let plain = chunk.content && !chunk.finished && chunk.usage.is_none();
        let text = split(bytes).filter(|(_, text, _)| plain && !text.is_empty());
        if let Some((before, _, after)) = text {
            self.chunk = Some(chunk);
            self.before.clear();
            self.before.extend_from_slice(before);
            self.after.clear();
            self.after.extend_from_slice(after);
        }
        if let Some(parts) = parts.filter(|_| !known && chunk.usage.is_none()) {
            self.keep(parts, text.is_some(), chunk);
        }
        Ok(chunk)
    }

    /// Keeps the shape of an event that was read in full.
    fn keep(&mut self, [middle, rest]: [&[u8]; 2], text: bool, chunk: Chunk) {
        let (before, after) = match split(rest).filter(|_| text) {
            Some((before, _, after)) => (before, Some(after.to_vec())),
            // A text that is not cut out would be another one the next time.
            None if chunk.content => return,
            None => (rest, None),
        };
        let shape = Shape { middle: middle.to_vec(), before: before.to_vec(), after, chunk };
        if self.shapes.len() < SHAPES {
            self.shapes.push(shape);
        } else if let Some(place) = self.shapes.get_mut(self.oldest) {
            *place = shape;
            self.oldest = (self.oldest + 1) % SHAPES;
        }
    }

    fn fits(&self, data: &[u8]) -> bool {
        is_text_between(data, &self.before, &self.after)
    }
}

impl Shape {
    fn fits(&self, [middle, rest]: [&[u8]; 2]) -> bool {
        middle == self.middle
            && match &self.after {
                Some(after) => is_text_between(rest, &self.before, after),
                None => rest == self.before,
            }
    }
}

/// Whether there is a plain text between these two, and nothing else.
fn is_text_between(data: &[u8], before: &[u8], after: &[u8]) -> bool {
    let rest = data.strip_prefix(before);
    let text = rest.and_then(|rest| rest.strip_suffix(after));
    text.is_some_and(|text| !text.is_empty() && is_plain(text))
}

/// What stands between id and time of creation, and after that. As with the text, in
/// valid JSON both names are found only where such a field begins. `None` for an
/// event that has them not, or in another order.
fn apart(data: &[u8]) -> Option<[&[u8]; 2]> {
    let rest = data.strip_prefix(ID)?;
    let (id, rest) = rest.split_at(memchr(b'"', rest)?);
    let (middle, rest) = rest.split_at(memmem::find(rest, CREATED)? + CREATED.len());
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    // JSON has no number that begins with another zero.
    let valid = matches!(number, [b'0'] | [b'1'..=b'9', ..]);
    (is_plain(id) && valid).then_some([middle, rest])
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
#[path = "template_tests.rs"]
mod tests;
