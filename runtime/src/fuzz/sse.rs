//! Server-sent events in arbitrary splits.

use crate::load::sse::{Event, Parser, SseError};

/// What came of a stream: its events, and why it could not be read on.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<(Vec<u8>, String)>,
    error: Option<SseError>,
}

/// A limit that no input reaches.
const UNBOUNDED: usize = 1 << 20;

/// Reads the stream that follows the first three bytes in one piece, byte by
/// byte, and split as those bytes say; and, where no limit is met, as the
/// standard describes it, by a reading that shares no code with the parser.
///
/// # Panics
/// Where two of them differ.
pub fn sse(bytes: &[u8]) {
    let Some(([limit, seed, width], stream)) = bytes.split_first_chunk() else { return };
    let limit = match limit {
        0..=15 => usize::from(*limit) * 8,
        _ => UNBOUNDED,
    };
    let whole = parse(limit, [stream]);
    let bytewise = parse(limit, stream.chunks(1));
    assert_eq!(whole, bytewise, "byte by byte");
    let split = parse(limit, pieces(stream, *seed, *width));
    assert_eq!(whole, split, "in pieces");
    if limit == UNBOUNDED {
        assert_eq!(whole, by_the_standard(stream), "by the standard");
    }
}

fn parse<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    let mut on_event = |event: Event<'_>| {
        events.push((event.name.to_vec(), event.data.to_owned()));
        Ok::<(), SseError>(())
    };
    let read = pieces.into_iter().try_for_each(|piece| parser.push(piece, &mut on_event));
    let error = read.and_then(|()| parser.finish(&mut on_event)).err();
    Outcome { events, error }
}

/// The stream in pieces of 0 to `width` bytes.
fn pieces(stream: &[u8], seed: u8, width: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (stream, u32::from(seed));
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // A linear congruential generator: Numerical Recipes' constants.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 16) as usize % (usize::from(width) + 2);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>,
/// sentence by sentence, with the parser's two deliberate differences: the last
/// event counts though no blank line ends it, and bad UTF-8 ends the stream.
fn by_the_standard(stream: &[u8]) -> Outcome {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut before = None;
    for byte in stream {
        match (byte, before) {
            (b'\n', Some(b'\r')) => {}
            (b'\n' | b'\r', _) => lines.push(Vec::new()),
            (other, _) => {
                if let Some(line) = lines.last_mut() {
                    line.push(*other);
                }
            }
        }
        before = Some(*byte);
    }
    lines.push(Vec::new());
    let mut outcome = Outcome { events: Vec::new(), error: None };
    let (mut data, mut name): (Option<Vec<u8>>, Vec<u8>) = (None, Vec::new());
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.take() {
                match String::from_utf8(data) {
                    Ok(text) => outcome.events.push((std::mem::take(&mut name), text)),
                    Err(error) => {
                        let at = error.utf8_error().valid_up_to();
                        outcome.error = Some(SseError::Utf8 { at });
                        return outcome;
                    }
                }
            }
            name.clear();
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let field = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            b"event" => name = value.to_vec(),
            _ => {}
        }
    }
    outcome
}
