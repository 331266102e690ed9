//! Keep-alive, replacement of dead connections, TLS.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use phasegate_core::record::{ErrorClass, Outcome};
use phasegate_runtime::load::ConnectionCounts;
use phasegate_runtime::load::connector::{Connecting, Connector, Transport};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

#[tokio::test]
async fn a_connection_is_used_again() {
    let once = [Step::Request, write(stream())];
    let server = Server::start(vec![[&once[..], &once, &once].concat()]).await;
    let mut bench = Bench::new(&chat(&server.url));
    let mut made = Vec::new();
    for _ in 0..3 {
        let finished = bench.one(LONG).await;
        assert_eq!(finished.record.outcome, Outcome::Completed, "{:?}", finished.error);
        made.push(finished.new_connection);
        assert_eq!(finished.events.first().map(|event| event.read), Some(0), "counted anew");
    }
    assert_eq!(made, [true, false, false]);
    assert_eq!(server.connections(), 1);
    let counts = ConnectionCounts { opened: 1, reused: 2, died_idle: 0 };
    assert_eq!(bench.engine.connections(), counts);
}

#[tokio::test]
async fn an_error_answer_leaves_its_connection_usable() {
    let error = [Step::Request, write(plain("429 Slow Down", "text/plain", "later"))];
    let server =
        Server::start(vec![[&error[..], &[Step::Request, write(stream())]].concat()]).await;
    let mut bench = Bench::new(&chat(&server.url));
    assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Failed(ErrorClass::Status));
    assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Completed);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_whose_end_comes_after_the_answer_is_used_again() {
    let once = [Step::Request, write(HEAD), write(chunk(events())), pause(), write(END)];
    let server = Server::start(vec![[&once[..], &once].concat()]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for _ in 0..2 {
        assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Completed);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_died_idle_is_replaced() {
    let server = Server::start(vec![vec![Step::Request, write(stream())]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for _ in 0..3 {
        let finished = bench.one(LONG).await;
        assert_eq!(finished.record.outcome, Outcome::Completed, "{:?}", finished.error);
        assert!(finished.new_connection);
        // The server closes right after its answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(bench.engine.connections().reused, 0);
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let head = HEAD.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let body = [head.as_bytes(), &chunk(events()), END.as_bytes()].concat();
    let server = Server::start(vec![vec![Step::Request, write(body), Step::Hold]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for _ in 0..2 {
        assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Completed);
    }
    assert_eq!(server.connections(), 2);
    let counts = ConnectionCounts { opened: 2, reused: 0, died_idle: 0 };
    assert_eq!(bench.engine.connections(), counts);
}

#[tokio::test]
async fn a_request_that_was_written_is_never_sent_twice() {
    let script = [&[Step::Request, write(stream()), Step::Request][..]].concat();
    let server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Completed);
    // The server reads the second request and closes without an answer.
    let finished = bench.one(LONG).await;
    assert_eq!(finished.record.outcome, Outcome::Failed(ErrorClass::StreamCut));
    assert!(!finished.new_connection);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn requests_in_flight_together_have_a_connection_each() {
    let mut server = Server::start(vec![vec![Step::Request, Step::Hold]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for number in 0..8 {
        bench.issue(0, number, LONG);
    }
    for _ in 0..8 {
        server.until("request").await;
    }
    assert_eq!((server.connections(), bench.engine.in_flight()), (8, 8));
    bench.engine.cancel(0);
    for _ in 0..8 {
        bench.done().await;
    }
    bench.idle().await;
}

/// A network whose connections answer one request and end after so many more
/// attempts to read: in the pool, while taken out of it, or after the next
/// request was written.
struct Ending {
    after: usize,
    written: Arc<AtomicUsize>,
}

impl Connector for Ending {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        let (near, far) = (self.after, Arc::clone(&self.written));
        Box::pin(async move {
            let transport = EndingTransport { answer: None, polls_left: near, written: far };
            Ok(Box::new(transport) as Box<dyn Transport>)
        })
    }
}

struct EndingTransport {
    answer: Option<Vec<u8>>,
    polls_left: usize,
    written: Arc<AtomicUsize>,
}

impl AsyncRead for EndingTransport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        cx.waker().wake_by_ref();
        let this = &mut *self;
        match &mut this.answer {
            None => Poll::Pending,
            Some(answer) if !answer.is_empty() => {
                buf.put_slice(answer);
                answer.clear();
                Poll::Ready(Ok(()))
            }
            Some(_) if this.polls_left > 0 => {
                this.polls_left -= 1;
                Poll::Pending
            }
            Some(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for EndingTransport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.answer.get_or_insert_with(stream);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn whenever_a_connection_ends_a_request_is_written_once_and_comes_back_once() {
    let mut replaced_after_taking = 0;
    let mut cut = 0;
    for after in 0..10 {
        let written = Arc::new(AtomicUsize::new(0));
        let network = Arc::new(Ending { after, written: Arc::clone(&written) });
        let mut bench = Bench::with(&chat("http://h"), 10, |config| config.connector = network);
        assert_eq!(bench.one(LONG).await.record.outcome, Outcome::Completed);
        let second = bench.one(LONG).await;
        bench.idle().await;
        assert_eq!(written.load(Ordering::Relaxed), 2, "each request is one write");
        let counts = bench.engine.connections();
        match second.record.outcome {
            Outcome::Completed => {
                assert!(second.new_connection);
                assert_eq!((counts.opened, counts.reused), (2, 0));
                replaced_after_taking += counts.died_idle;
            }
            Outcome::Failed(ErrorClass::StreamCut) => {
                assert!(!second.new_connection);
                assert_eq!((counts.opened, counts.reused), (1, 1));
                cut += 1;
            }
            other => panic!("{other:?}: {:?}", second.error),
        }
    }
    assert!(replaced_after_taking > 0 && cut > 0, "{replaced_after_taking} replaced, {cut} cut");
}

/// A TLS server with a certificate of its own, and the store that trusts it.
async fn tls_server(scripts: Vec<Vec<Step>>) -> (String, Arc<RootCertStore>) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut scripts = scripts.into_iter();
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(socket).await else { continue };
            let script = scripts.next().unwrap_or_default();
            let (tell, _) = mpsc::unbounded_channel();
            tokio::spawn(play(stream, script, Arc::new(Mutex::default()), tell));
        }
    });
    (format!("https://localhost:{port}"), Arc::new(roots))
}

#[tokio::test]
async fn tls_works_is_reused_and_its_own_messages_are_no_answer() {
    let wait = Step::Pause(Duration::from_millis(400));
    let once = [Step::Request, wait, write(stream())];
    let (url, roots) = tls_server(vec![[&once[..], &once].concat()]).await;
    let mut bench = Bench::with(&chat(&url), 10, |config| config.roots = Some(roots));
    for new in [true, false] {
        let finished = bench.one(LONG).await;
        let record = finished.record;
        assert_eq!(record.outcome, Outcome::Completed, "{:?}", finished.error);
        assert_eq!(finished.new_connection, new);
        assert_eq!(record.chunks, 2);
        assert!(record.started <= record.sent.unwrap());
        // Session tickets come before the answer; the server waits before it.
        let wait = record.first_byte.unwrap().since(record.sent.unwrap());
        assert!(wait >= Duration::from_millis(100), "a ticket was taken for the answer: {wait:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_connect_error() {
    let (url, _) = tls_server(vec![]).await;
    let (_, others) = tls_server(vec![]).await;
    let mut bench = Bench::with(&chat(&url), 10, |config| config.roots = Some(others));
    let finished = bench.one(LONG).await;
    assert_eq!(finished.record.outcome, Outcome::Failed(ErrorClass::Connect));
    let said = finished.error.unwrap_or_default();
    assert!(said.contains("invalid peer certificate"), "{said}");
}
