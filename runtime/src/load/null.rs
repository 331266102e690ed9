//! An endpoint that answers at once: what a client measures of it is the
//! client's own share.
//!
//! No HTTP library, no parsing beyond the end of a request, one write an answer
//! (or, with a gap, one an event). It runs on a thread of its own with a
//! runtime of its own, so that it takes nothing from the client but CPU.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::sleep::Sleeper;

/// A request larger than this is no request of ours.
const MAX_REQUEST: usize = 8 << 20;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullAnswer {
    /// Streamed events, each with one token.
    pub events: u32,
    /// The time from one event to the next; zero writes all of them at once.
    pub gap: Duration,
}

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct NullServer {
    addr: SocketAddr,
    first: Arc<OnceLock<Instant>>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl NullServer {
    /// Listens at `at` and answers until it is dropped.
    ///
    /// # Errors
    /// What the operating system says of the address or of the thread.
    pub fn start(at: SocketAddr, answer: NullAnswer) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let first = Arc::new(OnceLock::new());
        let canned = Arc::new(Canned::new(answer, Arc::clone(&first)));
        let (told, addr) = mpsc::sync_channel(1);
        let thread =
            std::thread::Builder::new().name("null-server".to_owned()).spawn(move || {
                let listening = || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    let listener = runtime.block_on(TcpListener::bind(at))?;
                    let addr = listener.local_addr()?;
                    Ok::<_, io::Error>((runtime, listener, addr))
                };
                match listening() {
                    Ok((runtime, listener, addr)) => {
                        let _ = told.send(Ok(addr));
                        runtime.block_on(accept(listener, canned, stopped));
                    }
                    Err(error) => {
                        let _ = told.send(Err(error));
                    }
                }
            })?;
        let addr = addr.recv().map_err(io::Error::other)??;
        Ok(Self { addr, first, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// When the last byte of the first POST was read.
    #[must_use]
    pub fn first_request(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    /// Waits until it ends, which it does not by itself.
    pub fn wait(&self) {
        if let Ok(Some(thread)) = self.thread.lock().map(|mut thread| thread.take()) {
            let _ = thread.join();
        }
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.wait();
    }
}

async fn accept(listener: TcpListener, canned: Arc<Canned>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&canned)))),
                // Out of descriptors: the connections that there are go on.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// Answers in the form in which they are written.
struct Canned {
    head: Vec<u8>,
    event: Vec<u8>,
    last: Vec<u8>,
    /// Everything, for a server without a gap.
    whole: Vec<u8>,
    answer: NullAnswer,
    first: Arc<OnceLock<Instant>>,
}

impl Canned {
    fn new(answer: NullAnswer, first: Arc<OnceLock<Instant>>) -> Self {
        let chunk = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8);
        let choice = |delta: &str, finish: &str| {
            format!(
                "{{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,\
                 \"model\":\"null\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
                 \"finish_reason\":{finish}}}]}}"
            )
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let event = chunk(&choice("{\"content\":\" word\"}", "null"));
        let usage = format!(
            "{{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,\
             \"model\":\"null\",\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\
             \"completion_tokens\":{n},\"total_tokens\":{}}}}}",
            u64::from(answer.events) + 1,
            n = answer.events,
        );
        let last =
            chunk(&choice("{}", "\"stop\"")) + &chunk(&usage) + &chunk("[DONE]") + "0\r\n\r\n";
        let whole = head.to_owned() + &event.repeat(answer.events as usize) + &last;
        Self {
            head: head.into(),
            event: event.into(),
            last: last.into(),
            whole: whole.into(),
            answer,
            first,
        }
    }

    async fn answer(&self, stream: &mut TcpStream, sleeper: &mut Sleeper) -> io::Result<()> {
        let gap = self.answer.gap;
        if gap.is_zero() {
            return stream.write_all(&self.whole).await;
        }
        stream.write_all(&self.head).await?;
        let start = Instant::now();
        for n in 0..self.answer.events {
            if n > 0 {
                sleeper.until(start.checked_add(gap.saturating_mul(n))).await;
            }
            stream.write_all(&self.event).await?;
        }
        stream.write_all(&self.last).await
    }
}

/// What a readiness probe is answered.
const MODELS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 51\r\n\r\n{\"object\":\"list\",\"data\":[{\"id\":\"null\",\"owner\":\"\"}]}";

async fn serve(mut stream: TcpStream, canned: Arc<Canned>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut sleeper = if canned.answer.gap.is_zero() { Sleeper::Wheel } else { Sleeper::precise() };
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let (posted, length) = loop {
            if let Some((posted, length)) = request(&buffer)
                && buffer.len() >= length
            {
                break (posted, length);
            }
            if buffer.len() > MAX_REQUEST || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        buffer.drain(..length);
        if posted {
            canned.first.get_or_init(Instant::now);
            canned.answer(&mut stream, &mut sleeper).await?;
        } else {
            stream.write_all(MODELS).await?;
        }
    }
}

/// Whether the request at the start of `bytes` is a POST, and how long it is,
/// once its head is complete.
fn request(bytes: &[u8]) -> Option<(bool, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let length = bytes[..head].split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let text = || std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok();
        name.eq_ignore_ascii_case(b"content-length:").then(text).flatten()
    });
    Some((bytes.starts_with(b"POST "), head.saturating_add(length.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_body_does() {
        let text = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!(request(text), Some((true, text.len() - 4)));
        assert_eq!(request(b"GET /v1/models HTTP/1.1\r\n\r\n"), Some((false, 27)));
        assert_eq!(request(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn the_models_answer_is_as_long_as_it_says() {
        let at = memmem::find(MODELS, b"\r\n\r\n").unwrap() + 4;
        assert_eq!(MODELS.len() - at, 51);
    }
}
