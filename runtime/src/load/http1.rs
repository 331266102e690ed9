//! HTTP/1.1 as far as an answer needs it, without I/O: the head, and where the
//! body ends.
//!
//! After RFC 9112. A general library pays a hundred times a second for what a
//! load generator does ten thousand times: channels between its halves, maps of
//! headers, a buffer for each piece. Here the body's pieces are ranges of the
//! buffer that the socket was read into.

use std::ops::Range;

use memchr::memchr;

use super::classify::HttpError;

/// The longest head that is accepted.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// What the head of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Media type without parameters; empty where there is none.
    pub(crate) media_type: String,
    /// How the content is coded, if it is.
    pub(crate) encoding: Option<String>,
    pub(crate) body: Framing,
    /// Whether another request may follow on the connection.
    pub(crate) keep_alive: bool,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// By chunks.
    Chunked(Chunks),
    /// By the end of the connection.
    Close,
}

/// Reads the head at the start of `bytes`, and how long it is; `None` while it
/// is incomplete. Interim answers (1xx) are to be skipped by the caller.
///
/// # Errors
/// If it is no head of an HTTP/1 answer.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let Some(length) = end_of_head(bytes) else {
        // What cannot become one is said at once: the server may say no more.
        let start = &bytes[..bytes.len().min(7)];
        if !b"HTTP/1.".starts_with(start) {
            return Err(HttpError::NotHttp("it does not begin with 'HTTP/1.'"));
        }
        if bytes.len() > MAX_HEAD {
            return Err(HttpError::NotHttp("its head is too long"));
        }
        return Ok(None);
    };
    let mut lines = bytes[..length].split(|byte| *byte == b'\n').map(trim_line_end);
    let (status, minor) = status_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields { keep_alive: minor > 0, ..Fields::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        fields.line(line)?;
    }
    let body = match (status, fields.coded, fields.length) {
        (100..=199 | 204 | 304, _, _) => Framing::Length(0),
        (_, Some(true), _) => Framing::Chunked(Chunks::default()),
        // Of an unknown coding only the end of the connection is the end.
        (_, Some(false), _) | (_, None, None) => Framing::Close,
        (_, None, Some(length)) => Framing::Length(length),
    };
    // Two ways to tell the end are how answers are smuggled: take no second.
    let ambiguous = fields.coded.is_some() && fields.length.is_some();
    let keep_alive = fields.keep_alive && body != Framing::Close && !ambiguous;
    let Fields { media_type, encoding, .. } = fields;
    Ok(Some((Head { status, media_type, encoding, body, keep_alive }, length)))
}

/// After the first empty line. Line ends without CR are accepted, as the
/// standard allows.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'\n', bytes.get(at..)?)? + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Status and minor version.
fn status_line(line: &[u8]) -> Result<(u16, u8), HttpError> {
    let bad = || HttpError::NotHttp("its status line cannot be read");
    let rest = line.strip_prefix(b"HTTP/1.").ok_or_else(bad)?;
    let &[
        minor @ b'0'..=b'9',
        b' ',
        a @ b'1'..=b'9',
        b @ b'0'..=b'9',
        c @ b'0'..=b'9',
        ref after @ ..,
    ] = rest
    else {
        return Err(bad());
    };
    if !matches!(after, [] | [b' ', ..]) {
        return Err(bad());
    }
    let digit = |byte: u8| u16::from(byte - b'0');
    Ok((digit(a) * 100 + digit(b) * 10 + digit(c), minor - b'0'))
}

/// The fields that matter.
#[derive(Debug, Default)]
struct Fields {
    media_type: String,
    encoding: Option<String>,
    length: Option<u64>,
    /// There is a transfer coding; whether its last one is `chunked`.
    coded: Option<bool>,
    keep_alive: bool,
}

impl Fields {
    fn line(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let Some(colon) = memchr(b':', line) else {
            return Err(HttpError::NotHttp("a line of its head is no header"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        let text = || String::from_utf8_lossy(value).into_owned();
        if is("content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(value).ok().filter(|_| digits);
            let length = number.and_then(|number| number.parse().ok());
            match (length, self.length) {
                (Some(length), None) => self.length = Some(length),
                (Some(length), Some(before)) if length == before => {}
                (Some(_), Some(_)) | (None, _) => {
                    return Err(HttpError::NotHttp("its content length cannot be read"));
                }
            }
        } else if is("transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.coded = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if is("connection") {
            for word in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if word.eq_ignore_ascii_case(b"close") {
                    self.keep_alive = false;
                } else if word.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                }
            }
        } else if is("content-type") {
            let kind = text();
            self.media_type = kind.split(';').next().unwrap_or_default().trim().to_owned();
        } else if is("content-encoding") {
            self.encoding = Some(text());
        }
        Ok(())
    }
}

/// Where in the chunked coding one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Chunks {
    /// Before the first digit of a size.
    #[default]
    Start,
    /// After at least one digit.
    Size(u64),
    /// In what follows the size, to the end of its line.
    Extension(u64),
    /// In a chunk's data, so many bytes before its end.
    Data(u64),
    /// Before the line end that follows a chunk's data.
    AfterData,
    /// In that line end, after its CR.
    AfterCr,
    /// In the trailer; whether its current line has anything in it.
    Trailer(bool),
    /// The body is over.
    Done,
}

/// What comes next of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A part of it: these bytes of the buffer.
    Data(Range<usize>),
    /// Nothing before more is read.
    More,
    /// Its end.
    End,
}

impl Framing {
    /// Takes what it can from `bytes[at..]`: what it is, and up to where it goes.
    ///
    /// # Errors
    /// If the chunked coding is broken.
    pub(crate) fn next(&mut self, bytes: &[u8], at: usize) -> Result<(Piece, usize), HttpError> {
        let here = bytes.len() - at;
        match self {
            Self::Length(0) => Ok((Piece::End, at)),
            Self::Length(_) | Self::Close if here == 0 => Ok((Piece::More, at)),
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left -= n as u64;
                Ok((Piece::Data(at..at + n), at + n))
            }
            Self::Close => Ok((Piece::Data(at..bytes.len()), bytes.len())),
            Self::Chunked(state) => state.next(bytes, at),
        }
    }
}

/// A size beyond this is no size.
const MAX_CHUNK: u64 = 1 << 60;

impl Chunks {
    fn next(&mut self, bytes: &[u8], mut at: usize) -> Result<(Piece, usize), HttpError> {
        let bad = |what| Err(HttpError::NotHttp(what));
        loop {
            if *self == Self::Done {
                return Ok((Piece::End, at));
            }
            let Some(&byte) = bytes.get(at) else { return Ok((Piece::More, at)) };
            if let Self::Data(left) = self {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::AfterData;
                }
                return Ok((Piece::Data(at..at + n), at + n));
            }
            at += 1;
            *self = match *self {
                Self::Start => match hex(byte) {
                    Some(digit) => Self::Size(digit),
                    None => return bad("the size of a chunk cannot be read"),
                },
                Self::Size(size) => match (hex(byte), byte) {
                    (Some(_), _) if size >= MAX_CHUNK >> 4 => {
                        return bad("the size of a chunk is beyond measure");
                    }
                    (Some(digit), _) => Self::Size(size << 4 | digit),
                    (None, b'\n') => Self::sized(size),
                    (None, b'\r' | b';' | b' ' | b'\t') => Self::Extension(size),
                    (None, _) => return bad("the size of a chunk cannot be read"),
                },
                Self::Extension(size) if byte == b'\n' => Self::sized(size),
                Self::Extension(size) => Self::Extension(size),
                Self::AfterData if byte == b'\r' => Self::AfterCr,
                Self::AfterData | Self::AfterCr if byte == b'\n' => Self::Start,
                Self::AfterData | Self::AfterCr => return bad("a chunk is longer than it says"),
                Self::Trailer(line) => match byte {
                    b'\n' if line => Self::Trailer(false),
                    b'\n' => Self::Done,
                    b'\r' => Self::Trailer(line),
                    _ => Self::Trailer(true),
                },
                Self::Data(_) | Self::Done => return Ok((Piece::End, at)),
            };
        }
    }

    fn sized(size: u64) -> Self {
        if size == 0 { Self::Trailer(false) } else { Self::Data(size) }
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
