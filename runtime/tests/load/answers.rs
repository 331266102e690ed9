//! Answers that are as they should be, in all the ways in which they may come.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use phasegate_core::record::{Outcome, RequestRecord};
use phasegate_runtime::config::EndpointType;
use phasegate_runtime::load::connector::{Connecting, Connector, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::*;

fn assert_whole(record: &RequestRecord) {
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!((record.status, record.chunks), (Some(200), 2));
    assert_eq!((record.prompt_tokens, record.output_tokens), (Some(5), Some(2)));
    assert_eq!(record.gaps_ns.len(), 1);
    let moments = [
        Some(record.planned),
        Some(record.started),
        record.sent,
        record.first_byte,
        record.first_token,
        record.second_token,
        record.last_token,
        Some(record.ended),
    ];
    let known: Vec<_> = moments.iter().flatten().collect();
    assert_eq!(known.len(), moments.len(), "a moment is missing: {record:?}");
    assert!(known.is_sorted(), "moments are out of order: {record:?}");
}

#[tokio::test]
async fn a_stream_is_counted_timed_and_accounted() {
    let finished = answer_to(vec![Step::Request, write(stream())], LONG).await;
    assert_whole(&finished.record);
    assert_eq!(finished.error, None);
    assert!(finished.new_connection);
    assert_eq!(finished.events.len(), 2);
}

#[tokio::test]
async fn the_request_is_the_one_that_the_api_wants() {
    let server = Server::start(vec![vec![Step::Request, write(stream())]]).await;
    let mut endpoint = chat(&server.url.replace("http://", "http://me:secret@"));
    endpoint.headers = vec![("x-test".into(), phasegate_runtime::secret::Secret::new("yes"))];
    assert_whole(&Bench::new(&endpoint).one(LONG).await.record);
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    let host = format!("host: {}\r\n", server.url.replace("http://", ""));
    for header in [host.as_str(), "authorization: Basic bWU6c2VjcmV0\r\n", "x-test: yes\r\n"] {
        assert!(request.contains(header), "{header} in {request}");
    }
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["max_tokens"], 2);
    assert_eq!(body["stream_options"]["include_usage"], true);
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    assert_eq!(prompt.split_whitespace().count(), 10);
}

#[tokio::test]
async fn line_ends_comments_and_a_byte_order_mark_change_nothing() {
    let lf = events();
    let marked = format!("\u{feff}: hello\n\n{lf}");
    for text in [lf.replace('\n', "\r\n"), lf.replace('\n', "\r"), marked] {
        let body = [HEAD.as_bytes(), &chunk(text), END.as_bytes()].concat();
        assert_whole(&answer_to(vec![Step::Request, write(body)], LONG).await.record);
    }
}

#[tokio::test]
async fn split_at_every_byte_the_answer_is_the_same() {
    let whole = stream();
    let mut script = Vec::new();
    for at in 0..whole.len() {
        script.extend([Step::Request, write(&whole[..at]), write(&whole[at..])]);
    }
    let server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for _ in 0..whole.len() {
        assert_whole(&bench.one(LONG).await.record);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_megabyte_event_is_one_event() {
    let big = [token(&"x".repeat(1 << 20)), events()].concat();
    let body = [HEAD.as_bytes(), &chunk(big), END.as_bytes()].concat();
    let finished = answer_to(vec![Step::Request, write(body)], LONG).await;
    assert_eq!(finished.record.outcome, Outcome::Completed, "{:?}", finished.error);
    assert_eq!(finished.record.chunks, 3);
    assert!(finished.events[0].read > 0, "a megabyte takes more than one read");
}

#[tokio::test]
async fn a_stream_may_end_with_its_connection() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let head = format!("{version} 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        let script = vec![Step::Request, write(head), write(events())];
        assert_whole(&answer_to(script, LONG).await.record);
    }
}

#[tokio::test]
async fn a_finish_reason_ends_a_stream_without_done() {
    let text = events().replace("data: [DONE]\n\n", "");
    let body = [HEAD.as_bytes(), &chunk(text), END.as_bytes()].concat();
    assert_whole(&answer_to(vec![Step::Request, write(body)], LONG).await.record);
}

#[tokio::test]
async fn done_completes_a_request_whose_body_never_ends() {
    let script = vec![Step::Request, write(HEAD), write(chunk(events())), Step::Hold];
    let server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    assert_whole(&bench.one(LONG).await.record);
    // Such a connection is not used again.
    assert_whole(&bench.one(LONG).await.record);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_whole_answer_has_usage_and_no_token_times() {
    let body = "{\"choices\":[{\"message\":{\"content\":\"hi\"}}],\
                \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}";
    // With streaming asked for or not: the content type says what came.
    for streaming in [true, false] {
        let script = vec![Step::Request, write(plain("200 OK", "application/json", body))];
        let server = Server::start(vec![script]).await;
        let mut endpoint = chat(&server.url);
        endpoint.streaming = streaming;
        let record = Bench::new(&endpoint).one(LONG).await.record;
        assert_eq!(record.outcome, Outcome::Completed);
        assert_eq!((record.prompt_tokens, record.output_tokens), (Some(5), Some(2)));
        assert_eq!((record.first_token, record.chunks), (None, 0));
        assert!(record.first_byte.is_some_and(|at| at <= record.ended));
    }
}

#[tokio::test]
async fn embeddings_count_prompt_tokens_only() {
    let body =
        "{\"data\":[{\"embedding\":[0.5]}],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}";
    let script = vec![Step::Request, write(plain("200 OK", "application/json", body))];
    let server = Server::start(vec![script]).await;
    let mut endpoint = chat(&server.url);
    endpoint.kind = EndpointType::Embeddings;
    let record = Bench::new(&endpoint).one(LONG).await.record;
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!((record.prompt_tokens, record.output_tokens), (Some(7), None));
    assert!(server.requests()[0].starts_with("POST /v1/embeddings "));
}

/// A network on which each element of a list is exactly one socket read.
struct Reads(Vec<Vec<u8>>);

impl Connector for Reads {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        let reads = ReadList { reads: self.0.clone().into(), asked: false };
        Box::pin(async { Ok(Box::new(reads) as Box<dyn Transport>) })
    }
}

struct ReadList {
    reads: VecDeque<Vec<u8>>,
    asked: bool,
}

impl AsyncRead for ReadList {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        cx.waker().wake_by_ref();
        if !self.asked {
            return Poll::Pending;
        }
        if let Some(read) = self.reads.pop_front() {
            buf.put_slice(&read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadList {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn reads(reads: Vec<Vec<u8>>) -> phasegate_runtime::load::Finished {
    let mut bench =
        Bench::with(&chat("http://h"), 10, |config| config.connector = Arc::new(Reads(reads)));
    bench.one(LONG).await
}

#[tokio::test]
async fn each_event_has_the_number_of_the_read_that_brought_its_last_byte() {
    let (a, b, c) = (token("a"), token("b"), token("c"));
    let (b_head, b_tail) = b.split_at(20);
    let finished = reads(vec![
        // 0: the head. 1: two chunks in one read, and the half of a third.
        HEAD.into(),
        [chunk(&a), chunk(&a), chunk(b_head)].concat(),
        // 2: the other half, and a whole event, in one chunk.
        chunk(format!("{b_tail}{c}")),
        // 3: the rest.
        [&chunk(events())[..], END.as_bytes()].concat(),
    ])
    .await;
    assert_eq!(finished.record.outcome, Outcome::Completed, "{:?}", finished.error);
    let reads: Vec<u32> = finished.events.iter().map(|event| event.read).collect();
    assert_eq!(reads, [1, 1, 2, 2, 3, 3]);
    for pair in finished.events.windows(2) {
        assert_eq!(pair[0].read == pair[1].read, pair[0].at == pair[1].at, "{pair:?}");
    }
    assert_eq!(finished.record.first_token, finished.events.first().map(|event| event.at));
    assert_eq!(finished.record.last_token, finished.events.last().map(|event| event.at));
}

#[tokio::test]
async fn an_answer_in_reads_of_any_two_sizes_is_the_same() {
    let whole = stream();
    for at in 1..whole.len() {
        let finished = reads(vec![whole[..at].to_vec(), whole[at..].to_vec()]).await;
        assert_whole(&finished.record);
    }
    assert_whole(&reads(whole.iter().map(|byte| vec![*byte]).collect()).await.record);
}
