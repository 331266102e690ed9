//! Envelopes as bytes on a stream: sans-IO, incremental, of bounded size.
//!
//! A frame is the length of its body (four bytes, big-endian) and the body: one
//! envelope in its wire form, which is JSON. A frame without a body is a sign of
//! life: a stream whose peer stops giving any is dead, whatever TCP thinks.
//!
//! An envelope that cannot be read costs itself and no other: the next frame
//! begins where its length said. A length beyond the limit ends the stream, since
//! nothing after it can be trusted.

use phasegate_core::message::Envelope;

/// The longest body of a frame. A grant over 250 collectors with long lists of
/// what was unsettled stays far below it.
pub const MAX_BODY: usize = 1 << 20;

/// The bytes before a body.
const HEAD: usize = 4;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A sign of life.
    Beat,
    /// An envelope.
    Envelope(Box<Envelope>),
}

/// Why bytes are no frame, or an envelope makes none.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The stream is unusable from here on.
    #[error("a frame of {length} bytes is longer than the {MAX_BODY} that a stream carries")]
    TooLong {
        /// What the frame's head said, or the envelope has.
        length: usize,
    },
    /// This frame is lost; the next one can be read.
    #[error("a frame of {length} bytes holds no envelope: {problem}")]
    Malformed {
        /// The length of the body.
        length: usize,
        /// Where and why.
        problem: serde_json::Error,
    },
}

impl CodecError {
    /// Whether the stream is unusable after this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::TooLong { .. } => true,
            Self::Malformed { .. } => false,
        }
    }
}

/// Appends the frame of an envelope to `out`.
///
/// # Errors
/// [`CodecError::TooLong`]; then nothing is appended.
pub fn encode(envelope: &Envelope, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let body = envelope.encode();
    let length = body.len();
    let head = u32::try_from(length).ok().filter(|_| length <= MAX_BODY);
    let head = head.ok_or(CodecError::TooLong { length })?;
    out.extend_from_slice(&head.to_be_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// Appends a sign of life to `out`.
pub fn encode_beat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; HEAD]);
}

/// Takes bytes in whatever pieces they come, and gives frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`.
    start: usize,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Call [`Decoder::frame`] until it gives
    /// nothing before the next piece, and what is held stays below one frame and
    /// one piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// [`CodecError`]; after one that [is fatal](CodecError::is_fatal) the stream
    /// has to be given up: the same error is given again.
    pub fn frame(&mut self) -> Result<Option<Frame>, CodecError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_BODY {
            return Err(CodecError::TooLong { length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.start += HEAD + length;
        if body.is_empty() {
            return Ok(Some(Frame::Beat));
        }
        let envelope =
            Envelope::decode(body).map_err(|problem| CodecError::Malformed { length, problem })?;
        Ok(Some(Frame::Envelope(Box::new(envelope))))
    }

    /// Bytes that are held because their frame is not whole yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::ServiceId;
    use phasegate_core::id::MessageId;
    use phasegate_core::message::{Message, ServiceStatus};
    use proptest::prelude::*;

    use super::*;

    fn envelope(sequence: u64, reason: &str) -> Envelope {
        let status = ServiceStatus::Disabled { reason: reason.to_owned() };
        Envelope {
            from: ServiceId::new("a"),
            to: ServiceId::new("b"),
            message_id: MessageId(sequence / 2),
            sequence,
            body: Message::Status(status),
        }
    }

    fn frames(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.frame().unwrap_or(None)).collect()
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            said in proptest::collection::vec(proptest::option::of(".{0,40}"), 0..12),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let (mut stream, mut wanted) = (Vec::new(), Vec::new());
            for (sequence, reason) in (0..).zip(&said) {
                match reason {
                    None => {
                        encode_beat(&mut stream);
                        wanted.push(Frame::Beat);
                    }
                    Some(reason) => {
                        let envelope = envelope(sequence, reason);
                        prop_assert!(encode(&envelope, &mut stream).is_ok());
                        wanted.push(Frame::Envelope(Box::new(envelope)));
                    }
                }
            }
            let (mut decoder, mut got, mut rest) = (Decoder::new(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                decoder.push(piece);
                got.extend(frames(&mut decoder));
                rest = after;
            }
            prop_assert_eq!(got, wanted);
            prop_assert_eq!(decoder.held(), 0);
        }

        #[test]
        fn any_bytes_give_frames_or_errors_and_hold_no_more_than_a_frame(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..40),
        ) {
            let mut decoder = Decoder::new();
            'stream: for piece in &pieces {
                decoder.push(piece);
                loop {
                    match decoder.frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) if error.is_fatal() => break 'stream,
                        Err(_) => {}
                    }
                }
                prop_assert!(decoder.held() < HEAD + MAX_BODY);
            }
        }
    }

    #[test]
    fn an_unreadable_envelope_costs_itself_and_no_other() {
        let mut decoder = Decoder::new();
        let mut stream = vec![0, 0, 0, 3];
        stream.extend_from_slice(b"{x}");
        encode_beat(&mut stream);
        decoder.push(&stream);
        let error = decoder.frame().expect_err("no envelope");
        assert!(!error.is_fatal() && error.to_string().contains("line 1"), "{error}");
        assert_eq!(decoder.frame().ok(), Some(Some(Frame::Beat)));
    }

    #[test]
    fn a_length_beyond_the_limit_ends_the_stream_before_it_is_waited_for() {
        let mut decoder = Decoder::new();
        decoder.push(&(1 << 20 | 1_u32).to_be_bytes());
        for _ in 0..2 {
            assert!(decoder.frame().expect_err("too long").is_fatal());
        }
        let long = envelope(0, &"x".repeat(MAX_BODY));
        let mut out = Vec::new();
        assert!(encode(&long, &mut out).is_err() && out.is_empty());
    }
}
