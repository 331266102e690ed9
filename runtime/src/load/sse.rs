//! Server-sent events, parsed incrementally and without I/O.
//!
//! After <https://html.spec.whatwg.org/multipage/server-sent-events.html>:
//! lines end in LF, CRLF or CR (also when split between two reads), a leading
//! byte order mark is dropped, comments are skipped, several `data` lines are
//! joined by LF, and an event without data is none. `id` and `retry` mean
//! nothing to a load generator and are ignored.
//!
//! Unlike the standard, invalid UTF-8 in an event is an error and not replaced:
//! a server that sends it is broken, and the benchmark has to say so.

use memchr::{memchr, memchr2};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Its type; empty where the server gave none.
    pub(crate) name: &'a [u8],
    /// Its data, the lines joined by LF.
    pub(crate) data: &'a str,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// A line, or an event's data, is longer than the limit.
    #[error("an event is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// An event's data is not text.
    #[error("an event is not valid UTF-8 (at byte {at} of its data)")]
    Utf8 {
        /// Where the first bad byte is.
        at: usize,
    },
}

/// The parser of one stream. Memory is bounded by the event limit.
#[derive(Debug)]
pub(crate) struct Parser {
    /// A line whose end has not come.
    line: Vec<u8>,
    /// Data of the current event, where it could not be borrowed.
    data: Vec<u8>,
    /// The current event has a data line.
    has_data: bool,
    /// Type of the current event.
    name: Vec<u8>,
    /// The last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand here.
    at_start: bool,
    limit: usize,
}

impl Parser {
    /// A parser that refuses an event of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// Feeds the next bytes of the stream; `on_event` gets each event that they
    /// complete. Events that lie within `bytes` are borrowed from it.
    ///
    /// # Errors
    /// [`SseError`], or what `on_event` returned. The parser is spent then.
    pub(crate) fn push<E: From<SseError>>(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // The only data line of the event so far, while it can be borrowed.
        let mut borrowed: Option<&[u8]> = None;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (head, tail) = rest.split_at(end);
            rest = self.after_line_end(tail);
            if self.line.is_empty() {
                self.line_ended(head, true, &mut borrowed, on_event)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                // Its bytes do not outlive this call: data is copied.
                let mut none = None;
                self.keep(borrowed.take());
                self.line_ended(&line, false, &mut none, on_event)?;
                line.clear();
                self.line = line;
            }
        }
        self.keep(borrowed);
        self.line.extend_from_slice(rest);
        self.within_limit(self.line.len())?;
        Ok(())
    }

    /// The stream has ended: whatever event is unfinished goes to `on_event`.
    /// The standard drops it; the caller judges.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) fn finish<E: From<SseError>>(
        &mut self,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.after_cr = false;
        self.push(if self.line.is_empty() { b"\n" } else { b"\n\n" }, on_event)
    }

    fn after_line_end<'a>(&mut self, tail: &'a [u8]) -> &'a [u8] {
        match tail {
            [b'\r', b'\n', rest @ ..] => rest,
            [b'\r'] => {
                self.after_cr = true;
                &[]
            }
            [_, rest @ ..] => rest,
            [] => &[],
        }
    }

    fn line_ended<'a, E: From<SseError>>(
        &mut self,
        line: &'a [u8],
        borrow: bool,
        borrowed: &mut Option<&'a [u8]>,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.within_limit(line.len())?;
        let mut line = line;
        if self.at_start {
            self.at_start = false;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(borrowed.take(), on_event);
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => {
                let (field, value) = (&line[..colon], &line[colon + 1..]);
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" if borrow && !self.has_data => {
                self.has_data = true;
                *borrowed = Some(value);
            }
            b"data" => {
                self.keep(borrowed.take());
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.within_limit(self.data.len() + value.len())?;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E: From<SseError>>(
        &mut self,
        borrowed: Option<&[u8]>,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.has_data {
            let bytes = borrowed.unwrap_or(&self.data);
            let data = std::str::from_utf8(bytes)
                .map_err(|e| E::from(SseError::Utf8 { at: e.valid_up_to() }))?;
            on_event(Event { name: &self.name, data })?;
        }
        self.has_data = false;
        self.data.clear();
        self.name.clear();
        Ok(())
    }

    /// Copies a data line that was borrowed.
    fn keep(&mut self, borrowed: Option<&[u8]>) {
        if let Some(bytes) = borrowed {
            self.data.extend_from_slice(bytes);
        }
    }

    fn within_limit<E: From<SseError>>(&self, length: usize) -> Result<(), E> {
        if length > self.limit {
            return Err(E::from(SseError::TooLong { limit: self.limit }));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
