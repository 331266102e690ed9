//! Small servers written by hand, so that they can misbehave in every way.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves each connection by `handle`, all of them at the same time. The number
/// of the connection, from 0, comes with it.
pub(crate) async fn serve<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(handle(stream, number));
        }
    });
    address
}

/// Answers every request on every connection with `answer` of its head.
pub(crate) async fn answering<F>(answer: F) -> SocketAddr
where
    F: Fn(&str) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    serve(move |mut stream, _| {
        let answer = answer.clone();
        async move {
            while let Some(head) = head(&mut stream).await {
                if stream.write_all(&answer(&head)).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// The head of the next request; `None` at the end of the connection.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An answer with its length.
pub(crate) fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads until the client closes the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// `body` as one stored block of gzip (RFC 1951, 1952).
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut out = GZIP_HEAD.to_vec();
    out.push(1);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(body);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// A gzip body that becomes about 160 times as large: one `#`, then 258 times the
/// byte before, again and again (fixed Huffman codes; it has no end).
pub(crate) fn gzip_bomb(bytes: usize) -> Vec<u8> {
    let mut bits = vec![1, 1, 0];
    // Codes go most significant bit first: the literal '#' is 0x30 + 35.
    bits.extend([0, 1, 0, 1, 0, 0, 1, 1]);
    let repeat = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    bits.extend(repeat.iter().cycle().take(bytes * 8));
    let packed = bits.chunks(8).map(|byte| byte.iter().rev().fold(0u8, |acc, bit| acc << 1 | bit));
    GZIP_HEAD.into_iter().chain(packed).collect()
}
