//! Heads and bodies, whole and in pieces.

use super::*;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
                       Transfer-Encoding: gzip, Chunked\r\n\r\n";

fn read(text: &str) -> Head {
    let (head, length) = head(text.as_bytes()).unwrap().unwrap();
    assert!(length <= text.len());
    head
}

fn refused(text: &[u8]) -> bool {
    matches!(head(text), Err(HttpError::NotHttp(_)))
}

/// The body that `bytes` are, fed in pieces of `step`.
fn body(mut framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), HttpError> {
    let (mut out, mut end, mut at) = (Vec::new(), 0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + step);
        loop {
            let (piece, next) = framing.next(&bytes[..end], at)?;
            at = next;
            match piece {
                Piece::Data(range) => out.extend_from_slice(&bytes[range]),
                Piece::More => break,
                Piece::End => {
                    assert!(matches!(framing.next(&bytes[..end], at), Ok((Piece::End, _))));
                    return Ok((out, true));
                }
            }
        }
    }
    Ok((out, false))
}

#[test]
fn a_head_says_how_its_body_ends() {
    let head = read(CHUNKED);
    assert_eq!((head.status, &*head.media_type), (200, "Text/Event-Stream"));
    assert_eq!((head.body, head.keep_alive), (Framing::Chunked(Chunks::Start), true));
    let head = read("HTTP/1.1 503 Busy\r\ncontent-length: 7\r\nconnection: Close\r\n\r\n");
    assert_eq!((head.body, head.keep_alive), (Framing::Length(7), false));
    let head = read("HTTP/1.1 200\r\n\r\n");
    assert_eq!((head.body, head.keep_alive), (Framing::Close, false));
    let head = read("HTTP/1.0 200 OK\ncontent-length: 0\n\n");
    assert_eq!((head.body, head.keep_alive), (Framing::Length(0), false));
    let head = read("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
    assert!(head.keep_alive);
    assert_eq!(read("HTTP/1.1 204 None\r\ncontent-length: 9\r\n\r\n").body, Framing::Length(0));
    assert_eq!(read("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n").body, Framing::Close);
}

#[test]
fn a_connection_whose_answer_has_two_lengths_is_not_used_again() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(!read(both).keep_alive);
    assert!(refused(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"));
    let same = read("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n");
    assert_eq!(same.body, Framing::Length(1));
}

#[test]
fn a_head_is_incomplete_up_to_its_last_byte() {
    for end in 0..CHUNKED.len() {
        assert!(matches!(head(&CHUNKED.as_bytes()[..end]), Ok(None)), "{end}");
    }
}

#[test]
fn what_is_no_head_is_refused_at_once() {
    for text in ["SSH-2.0", "HTTP/2 200\r\n\r\n", "\r\n", "HTTP/1.1 20 OK\r\n\r\n"] {
        assert!(refused(text.as_bytes()), "{text}");
    }
    for value in ["", "-1", "+1", "1x", "99999999999999999999999"] {
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\n");
        assert!(refused(text.as_bytes()), "{text}");
    }
    assert!(refused(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"));
    let endless = ["HTTP/1.1 200 OK\r\nx: ", &"y".repeat(MAX_HEAD)].concat();
    assert!(refused(endless.as_bytes()));
}

#[test]
fn chunks_are_joined_however_they_are_cut() {
    let text = b"3;name=\"v\"\r\nabc\r\n00A \r\n0123456789\r\n1\nx\n0\r\nTrailer: t\r\n\r\nrest";
    for step in 1..=text.len() {
        let got = body(Framing::Chunked(Chunks::Start), text, step).unwrap();
        assert_eq!(got, (b"abc0123456789x".to_vec(), true), "{step}");
    }
}

#[test]
fn broken_chunks_are_refused() {
    for text in ["\r\n", "x\r\n", "3\r\nabcd\r\n", "ffffffffffffffffffff\r\n", "-1\r\n", "1!\r\n"] {
        for step in [1, 100] {
            let got = body(Framing::Chunked(Chunks::Start), text.as_bytes(), step);
            assert!(matches!(got, Err(HttpError::NotHttp(_))), "{text:?}: {got:?}");
        }
    }
}

#[test]
fn a_length_ends_a_body_and_so_does_nothing_else() {
    assert_eq!(body(Framing::Length(3), b"abcdef", 2).unwrap(), (b"abc".to_vec(), true));
    assert_eq!(body(Framing::Length(9), b"abc", 1).unwrap(), (b"abc".to_vec(), false));
    assert_eq!(body(Framing::Close, b"abc", 2).unwrap(), (b"abc".to_vec(), false));
}
