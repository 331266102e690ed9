//! Answers of HTTP/1.1, whole and in arbitrary splits.

use crate::load::http1::{Framing, Piece, head};

/// Reads bytes as the head of an answer and what follows as its body: however
/// they arrive, the head says the same and the body has the same bytes and the
/// same end. Then takes the bytes as a body, codes it in chunks, and reads it
/// back.
///
/// # Panics
/// Where that is not so.
pub fn http1(bytes: &[u8]) {
    let whole = head(bytes);
    for cut in 0..bytes.len().min(256) {
        let early = head(&bytes[..cut]);
        match (&early, &whole) {
            (Ok(None), _) => {}
            (Ok(Some(early)), Ok(whole)) => {
                assert!(early.1 <= cut && Some(early) == whole.as_ref(), "{cut} bytes");
            }
            (Ok(Some(_)), Err(error)) => panic!("read after {cut} bytes, then {error:?}"),
            (Err(_), whole) => assert!(whole.is_err(), "refused after {cut} bytes only"),
        }
    }
    if let Ok(Some((head, length))) = whole {
        let body = &bytes[length..];
        let at_once = read(head.body, [body]);
        assert_eq!(at_once, read(head.body, body.chunks(1)), "byte by byte");
        assert_eq!(at_once, read(head.body, body.chunks(7)), "by sevens");
    }
    there_and_back(bytes);
}

/// A body as it was read: its bytes, and whether its end came.
type Body = Result<(Vec<u8>, bool), String>;

fn read<'a>(mut framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Body {
    let (mut body, mut buffer) = (Vec::new(), Vec::new());
    // A body may end before its first byte.
    for piece in std::iter::once(&[][..]).chain(pieces) {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let (found, next) = framing.next(&buffer, at).map_err(|e| format!("{e:?}"))?;
            assert!(next >= at && next <= buffer.len(), "from {at} to {next}");
            at = next;
            match found {
                Piece::Data(range) => {
                    assert!(!range.is_empty() && range.end <= at);
                    body.extend_from_slice(&buffer[range]);
                }
                Piece::More => break,
                Piece::End => return Ok((body, true)),
            }
        }
        buffer.drain(..at);
    }
    Ok((body, false))
}

/// RFC 9112, section 7.1: sizes by the first byte, an extension and a trailer by
/// its lowest bits.
fn there_and_back(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let mut coded = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(usize::from(*first) + 1) {
        let extension = if first & 1 == 0 { "" } else { ";a=\"b\"" };
        coded.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n");
    coded.extend_from_slice(if first & 2 == 0 { b"\r\n" } else { b"a: b\r\n\r\n" });
    let end = coded.len();
    coded.extend_from_slice(b"HTTP/1.1 next");
    let Ok(Some((head, length))) = head(&coded) else { panic!("no head of what we wrote") };
    assert!(head.keep_alive && head.status == 200);
    let mut framing = head.body;
    let (mut at, mut found) = (length, Vec::new());
    loop {
        match framing.next(&coded, at) {
            Ok((Piece::Data(range), next)) => {
                found.extend_from_slice(&coded[range]);
                at = next;
            }
            Ok((Piece::End, next)) => {
                assert_eq!(next, end, "the next answer begins where this one ends");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, body);
}
