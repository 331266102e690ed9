//! The control client: raw sockets, keep-alive, one write a request, no parsing
//! beyond the end of the response, nothing recorded but times. It is the limit
//! that phasegate's figures are a share of.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The server.
    pub(crate) addr: SocketAddr,
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// Requests in all.
    pub(crate) requests: u64,
    /// Words of the prompt.
    pub(crate) words: usize,
    /// Tokens to generate.
    pub(crate) tokens: u32,
}

/// One request as it goes over the wire; the server's model is `mock`.
fn request(load: &Load) -> Vec<u8> {
    let prompt = vec!["word"; load.words].join(" ");
    let body = json!({
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": load.tokens, "ignore_eos": true, "min_tokens": load.tokens,
        "model": "mock", "stream": true, "stream_options": {"include_usage": true},
    })
    .to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nuser-agent: control\r\n\
         content-type: application/json\r\naccept: text/event-stream\r\n\
         content-length: {}\r\n\r\n{body}",
        load.addr,
        body.len()
    )
    .into_bytes()
}

/// Times of one connection's requests.
#[derive(Debug, Default)]
struct Times {
    ttft: Vec<Duration>,
    bytes: u64,
}

/// Runs the load; the result as JSON.
///
/// # Errors
/// What a socket says; a connection that ends early.
pub(crate) async fn run(load: Load) -> io::Result<Value> {
    let issued = Arc::new(AtomicU64::new(0));
    let request: Arc<[u8]> = request(&load).into();
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.addr).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let (issued, request) = (Arc::clone(&issued), Arc::clone(&request));
            tokio::spawn(connection(stream, request, issued, load.requests))
        })
        .collect();
    let mut all = Times::default();
    for task in tasks {
        let times = task.await.map_err(io::Error::other)??;
        all.ttft.extend(times.ttft);
        all.bytes += times.bytes;
    }
    let seconds = start.elapsed().as_secs_f64();
    all.ttft.sort_unstable();
    let ms = |p: usize| {
        let rank = (all.ttft.len() * p).div_ceil(100).max(1) - 1;
        all.ttft.get(rank).map(|time| time.as_secs_f64() * 1e3)
    };
    Ok(json!({
        "requests": all.ttft.len(), "seconds": seconds, "bytes": all.bytes,
        "ttft_p50_ms": ms(50), "ttft_p99_ms": ms(99),
    }))
}

async fn connection(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    issued: Arc<AtomicU64>,
    requests: u64,
) -> io::Result<Times> {
    let content = memmem::Finder::new(b"\"content\":\"");
    let mut times = Times::default();
    let mut buffer = vec![0; 16 << 10];
    while issued.fetch_add(1, Ordering::Relaxed) < requests {
        stream.write_all(&request).await?;
        let sent = Instant::now();
        let (mut first, mut tail) = (None, [0; 5]);
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                return Err(io::Error::other("the server closed a connection"));
            }
            let piece = &buffer[..n];
            times.bytes += n as u64;
            // The first text that is not empty: a role has none.
            if first.is_none()
                && content.find_iter(piece).any(|at| piece.get(at + 11) != Some(&b'"'))
            {
                first = Some(sent.elapsed());
            }
            let keep = n.min(5);
            tail.rotate_left(keep);
            tail[5 - keep..].copy_from_slice(&piece[n - keep..]);
            if &tail == b"0\r\n\r\n" {
                break;
            }
        }
        times.ttft.push(first.unwrap_or_default());
    }
    Ok(times)
}
