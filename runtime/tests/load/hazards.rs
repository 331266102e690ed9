//! Servers that do not do what they should: each is one classified error, with
//! a sentence, in bounded time.

use std::sync::Arc;
use std::time::Duration;

use phasegate_core::record::{ErrorClass, Outcome};
use phasegate_runtime::load::Finished;
use phasegate_runtime::load::connector::{Connecting, Connector};
use phasegate_runtime::secret::Secret;
use tokio::net::TcpListener;

use crate::support::*;

const SHORT: Duration = Duration::from_millis(300);

fn assert_failed(finished: &Finished, class: ErrorClass, sentence: &str) {
    assert_eq!(finished.record.outcome, Outcome::Failed(class), "{finished:?}");
    let said = finished.error.as_deref().unwrap_or_default();
    assert!(said.starts_with("http://"), "no URL in front: {said}");
    assert!(said.contains(sentence), "'{sentence}' is not in: {said}");
}

/// Answers with these pieces, each written by itself, and closes.
async fn pieces(pieces: Vec<Vec<u8>>) -> Finished {
    let mut script = vec![Step::Request];
    for piece in pieces {
        script.extend([Step::Write(piece), pause()]);
    }
    answer_to(script, LONG).await
}

fn streamed(text: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
    vec![HEAD.into(), chunk(text), END.into()]
}

#[tokio::test]
async fn a_refused_connection_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let finished = Bench::new(&chat(&url)).one(LONG).await;
    assert_failed(&finished, ErrorClass::Connect, "cannot connect: Connection refused");
    assert_eq!((finished.record.sent, finished.record.status), (None, None));
}

#[tokio::test]
async fn a_stall_before_the_answer_is_a_timeout() {
    let finished = answer_to(vec![Step::Request, Step::Hold], SHORT).await;
    assert_failed(&finished, ErrorClass::Timeout, "while waiting for the answer");
    assert!(finished.record.sent.is_some());
    assert_eq!(finished.record.first_byte, None);
}

#[tokio::test]
async fn a_stall_in_the_stream_is_a_timeout_that_keeps_what_came() {
    let script = vec![Step::Request, write(HEAD), write(chunk(token("a"))), Step::Hold];
    let finished = answer_to(script, Duration::from_secs(3)).await;
    assert_failed(&finished, ErrorClass::Timeout, "(1 events with content came)");
    assert_eq!(finished.record.chunks, 1);
    assert!(finished.record.first_token.is_some_and(|at| at <= finished.record.ended));
    assert_eq!((finished.record.status, finished.record.output_tokens), (Some(200), None));
}

struct Unreachable;

impl Connector for Unreachable {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_connection_that_never_comes_is_a_timeout_while_connecting() {
    let mut bench =
        Bench::with(&chat("http://h"), 10, |config| config.connector = Arc::new(Unreachable));
    assert_failed(&bench.one(SHORT).await, ErrorClass::Timeout, "while connecting");
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let server = Server::start(vec![vec![Step::Hold]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    let finished = bench.one(Duration::ZERO).await;
    assert_failed(&finished, ErrorClass::Timeout, "before it was sent");
    assert_eq!((finished.record.sent, server.connections()), (None, 0));
}

#[tokio::test]
async fn a_cut_is_a_cut_wherever_it_happens() {
    let cut = ErrorClass::StreamCut;
    let head = |text: &str| text.as_bytes().to_vec();
    let before = answer_to(vec![Step::Request], LONG).await;
    assert_failed(&before, cut, "while waiting for the answer");
    let in_head = pieces(vec![head("HTTP/1.1 200 OK\r\ncontent-")]).await;
    assert_failed(&in_head, cut, "the connection ended");
    let in_body = pieces(vec![head(HEAD), chunk(token("a"))]).await;
    assert_failed(&in_body, cut, "while receiving the answer");
    assert_eq!(in_body.record.chunks, 1);
    let in_chunk = pieces(vec![head(HEAD), head("ff\r\ndata: ")]).await;
    assert_failed(&in_chunk, cut, "while receiving the answer");
    let length = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    assert_failed(&pieces(vec![head(length)]).await, cut, "while receiving the answer");
}

#[tokio::test]
async fn a_stream_that_ends_in_the_middle_of_an_event_is_cut() {
    let finished = pieces(streamed(format!("{}data: {{\"choi", token("a")))).await;
    assert_failed(&finished, ErrorClass::StreamCut, "without [DONE]");
    assert_eq!(finished.record.chunks, 1);
    let empty = pieces(streamed(": nothing\n\n")).await;
    assert_failed(&empty, ErrorClass::StreamCut, "without [DONE]");
}

#[tokio::test]
async fn what_is_not_the_api_is_malformed() {
    let malformed = ErrorClass::Malformed;
    let json = |body: &str| vec![plain("200 OK", "application/json", body)];
    let html = vec![plain("200 OK", "text/html", "<html>hello</html>")];
    let cases = [
        (streamed("data: nonsense\n\n"), "an event is not a chunk"),
        (streamed(b"data: \xff\n\n"), "not valid UTF-8"),
        (json("{\"hello\":1}"), "the answer has no 'choices'"),
        (json("oops"), "is not JSON"),
        (html, "is not JSON"),
        (vec![b"SSH-2.0-OpenSSH_9\r\n\r\n".to_vec()], "is not HTTP"),
        (vec![HEAD.into(), b"zz\r\ndata: x".to_vec()], "is not HTTP"),
    ];
    for (answer, sentence) in cases {
        assert_failed(&pieces(answer).await, malformed, sentence);
    }
    let gzip = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n";
    assert_failed(&pieces(vec![gzip.into()]).await, malformed, "compressed (gzip)");
}

#[tokio::test]
async fn an_event_or_answer_over_its_limit_is_malformed() {
    let big = token(&"x".repeat(5000));
    let server =
        Server::start(vec![vec![Step::Request, write([HEAD.as_bytes(), &chunk(big)].concat())]])
            .await;
    let mut bench = Bench::with(&chat(&server.url), 10, |config| config.max_event_bytes = 4096);
    assert_failed(&bench.one(LONG).await, ErrorClass::Malformed, "longer than 4096 bytes");
    let huge =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n";
    assert_failed(&pieces(vec![huge.into()]).await, ErrorClass::Malformed, "larger than 64 MiB");
}

#[tokio::test]
async fn an_error_status_is_a_status_error_that_quotes_the_body() {
    for status in ["429 Too Many Requests", "500 Internal Server Error", "302 Found"] {
        let body = format!("{{\"error\":\"because {}\"}}\n{}", &status[..3], "x".repeat(2000));
        let finished = pieces(vec![plain(status, "application/json", &body)]).await;
        assert_failed(&finished, ErrorClass::Status, &format!("because {}", &status[..3]));
        assert_eq!(finished.record.status, status[..3].parse().ok());
        assert!(finished.error.is_some_and(|said| said.len() < 700), "quotes at most 512 bytes");
    }
}

#[tokio::test]
async fn an_error_status_stays_one_if_its_body_stalls_or_is_cut() {
    let head = "HTTP/1.1 503 Busy\r\ncontent-length: 100\r\n\r\nbusy";
    let stalls = answer_to(vec![Step::Request, write(head), Step::Hold], LONG).await;
    assert_failed(&stalls, ErrorClass::Status, "answered 503: busy");
    assert_failed(&pieces(vec![head.into()]).await, ErrorClass::Status, "answered 503: busy");
}

#[tokio::test]
async fn an_error_in_the_stream_is_a_status_error() {
    let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
    let finished = pieces(streamed(format!("{}{error}", token("a")))).await;
    assert_failed(&finished, ErrorClass::Status, "out of memory (code 500)");
    assert_eq!((finished.record.status, finished.record.chunks), (Some(200), 1));
    let finished = pieces(streamed("event: error\ndata: overloaded\n\n")).await;
    assert_failed(&finished, ErrorClass::Status, "overloaded");
}

#[tokio::test]
async fn no_error_has_a_secret_in_it() {
    let body = "Incorrect API key provided: sk-very-secret";
    let script = vec![Step::Request, write(plain("401 Unauthorized", "text/plain", body))];
    let server = Server::start(vec![script]).await;
    let mut endpoint = chat(&format!("{}?key=hidden", server.url.replace("://", "://u:pass@")));
    endpoint.api_key = Some(Secret::new("sk-very-secret"));
    let finished = Bench::new(&endpoint).one(LONG).await;
    assert_failed(&finished, ErrorClass::Status, "provided: ***");
    let said = finished.error.unwrap_or_default();
    assert!(!["sk-very", "pass", "hidden"].iter().any(|secret| said.contains(secret)), "{said}");
}
