//! Events of one stream differ in their text and in nothing else.
//!
//! An event that was read in full, as JSON, is the template of those that
//! follow: one that has the same bytes before and after its text says the same,
//! whatever its text, and need not be read again. In valid JSON a quotation mark
//! within a string has a backslash before it; so `"content":"` is found only
//! where a field of that name begins, and a text without backslashes, quotation
//! marks and control characters changes nothing around it.

use std::sync::{Mutex, PoisonError};

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

/// No longer event is a template: they are kept for as long as the engine is.
const LONGEST: usize = 4096;

/// Templates that no stream uses now, the latest first out. Never more than there
/// were streams at a time: each learns what is new to it.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<Vec<Template>>);

impl Templates {
    /// For a stream that begins.
    pub(crate) fn borrow(&self) -> Template {
        self.lock().pop().unwrap_or_default()
    }

    /// From a stream that has come to its end.
    pub(crate) fn give_back(&self, template: Template) {
        self.lock().push(template);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Template>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the streams that had it had in common.
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
        if let Some((chunk, before, after)) = self.known(bytes) {
            // Not for what has no text: it says nothing of those that follow.
            if chunk.content {
                self.repeat(chunk, before, after);
            }
            return Ok(chunk);
        }
        let chunk = response::chunk(data)?;
        // Token counts are not to be repeated.
        if chunk.usage.is_some() || bytes.len() > LONGEST {
            return Ok(chunk);
        }
        // Nor are ends, within a stream.
        let plain = chunk.content && !chunk.finished;
        let text = split(bytes).filter(|(_, text, _)| plain && !text.is_empty());
        if let Some((before, _, after)) = text {
            self.repeat(chunk, before, after);
        }
        if let Some(parts) = apart(bytes) {
            self.keep(parts, text.is_some(), chunk);
        }
        Ok(chunk)
    }

    /// What an event says that fits a shape, with what is before and after its text.
    fn known<'a>(&self, data: &'a [u8]) -> Option<(Chunk, &'a [u8], &'a [u8])> {
        let rest = after_id(data)?;
        self.shapes.iter().find_map(|shape| {
            let (text, after) = shape.fits(rest)?;
            let (before, _) = data.split_at(data.len().checked_sub(text + after.len())?);
            Some((shape.chunk, before, after))
        })
    }

    /// This is what the events of the stream have in common.
    fn repeat(&mut self, chunk: Chunk, before: &[u8], after: &[u8]) {
        self.chunk = Some(chunk);
        self.before.clear();
        self.before.extend_from_slice(before);
        self.after.clear();
        self.after.extend_from_slice(after);
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
        text_between(data, &self.before, &self.after).is_some()
    }
}

impl Shape {
    /// How long the text is, and what is after it, of an event that fits; given from
    /// its id on. Nothing is searched for.
    fn fits<'a>(&self, rest: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let rest = after_number(rest.strip_prefix(&self.middle[..])?)?;
        match &self.after {
            Some(after) => {
                let text = text_between(rest, &self.before, after)?;
                rest.get(self.before.len() + text..).map(|after| (text, after))
            }
            None => (rest == self.before).then_some((0, &[])),
        }
    }
}

/// The length of the text, where there is a plain one between these two, and nothing
/// else.
fn text_between(data: &[u8], before: &[u8], after: &[u8]) -> Option<usize> {
    let text = data.strip_prefix(before)?.strip_suffix(after)?;
    (!text.is_empty() && is_plain(text)).then_some(text.len())
}

/// What follows the id of an event that begins with one.
fn after_id(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(ID)?;
    let (id, rest) = rest.split_at(memchr(b'"', rest)?);
    is_plain(id).then_some(rest)
}

/// What follows a whole number.
fn after_number(data: &[u8]) -> Option<&[u8]> {
    let digits = data.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = data.split_at(digits);
    // JSON has no number that begins with another zero.
    matches!(number, [b'0'] | [b'1'..=b'9', ..]).then_some(rest)
}

/// What stands between id and time of creation, and after that. As with the text, in
/// valid JSON the name is found only where such a field begins. `None` for an event
/// that has them not, or in another order.
fn apart(data: &[u8]) -> Option<[&[u8]; 2]> {
    let rest = after_id(data)?;
    let (middle, rest) = rest.split_at(memmem::find(rest, CREATED)? + CREATED.len());
    after_number(rest).map(|rest| [middle, rest])
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
