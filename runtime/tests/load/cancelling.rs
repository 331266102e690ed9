//! Cancellation in each state: every credit comes back exactly once.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use phasegate_core::record::Outcome;
use phasegate_runtime::load::connector::{Connecting, Connector, Tcp, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::support::*;

/// The real network, telling of each read that brought something. On a runtime
/// of one thread the engine has dealt with it by the time anybody hears.
struct Watched(Arc<Notify>);

struct WatchedTransport(Box<dyn Transport>, Arc<Notify>);

impl Connector for Watched {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let socket = Tcp.connect(host, port).await?;
            Ok(Box::new(WatchedTransport(socket, Arc::clone(&self.0))) as Box<dyn Transport>)
        })
    }
}

impl AsyncRead for WatchedTransport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.0).poll_read(cx, buf);
        if result.is_ready() {
            self.1.notify_one();
        }
        result
    }
}

impl AsyncWrite for WatchedTransport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// One request in flight to a server that answers with `bytes` in one write and
/// then says nothing more; returns when they have been read.
async fn received(bytes: Vec<u8>) -> (Server, Bench) {
    let server = Server::start(vec![vec![Step::Request, write(bytes), Step::Hold]]).await;
    let read = Arc::new(Notify::new());
    let network = Arc::new(Watched(Arc::clone(&read)));
    let bench = Bench::with(&chat(&server.url), 10, |config| config.connector = network);
    bench.issue(0, 0, LONG);
    read.notified().await;
    (server, bench)
}

async fn cancelled(bench: &mut Bench) -> phasegate_core::record::RequestRecord {
    bench.engine.cancel(0);
    let finished = bench.done().await;
    assert_eq!(finished.record.outcome, Outcome::Cancelled, "{:?}", finished.error);
    assert_eq!(finished.error, None);
    bench.idle().await;
    finished.record
}

#[tokio::test]
async fn before_its_task_has_begun() {
    let server = Server::start(vec![vec![Step::Hold]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    // On this runtime of one thread the task cannot run before we wait.
    bench.issue(0, 0, LONG);
    assert_eq!(cancelled(&mut bench).await.sent, None);
    assert_eq!(server.connections(), 0);
}

struct Unreachable(Arc<Notify>);

impl Connector for Unreachable {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
        self.0.notify_one();
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn while_connecting() {
    let begun = Arc::new(Notify::new());
    let network = Arc::new(Unreachable(Arc::clone(&begun)));
    let mut bench = Bench::with(&chat("http://h"), 10, |config| config.connector = network);
    bench.issue(0, 0, LONG);
    begun.notified().await;
    assert_eq!(cancelled(&mut bench).await.sent, None);
}

#[tokio::test]
async fn while_sending() {
    let mut server = Server::start(vec![vec![Step::Hold]]).await;
    // Far more than the sockets' buffers take.
    let mut bench = Bench::with(&chat(&server.url), 3_000_000, |_| ());
    bench.issue(0, 0, LONG);
    server.until("accepted").await;
    assert_eq!(cancelled(&mut bench).await.sent, None);
}

#[tokio::test]
async fn while_waiting_for_the_answer() {
    let mut server = Server::start(vec![vec![Step::Request, Step::Hold]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    bench.issue(0, 0, LONG);
    server.until("request").await;
    let record = cancelled(&mut bench).await;
    assert!(record.sent.is_some());
    assert_eq!((record.first_byte, record.status), (None, None));
}

#[tokio::test]
async fn while_receiving() {
    let (_server, mut bench) = received([HEAD.as_bytes(), &chunk(token("a"))].concat()).await;
    let record = cancelled(&mut bench).await;
    assert_eq!((record.status, record.chunks), (Some(200), 1));
    assert!(record.last_token.is_some_and(|at| at < record.ended));
}

#[tokio::test]
async fn an_answer_that_is_complete_stays_completed() {
    let (_server, mut bench) = received([HEAD.as_bytes(), &chunk(events())].concat()).await;
    bench.engine.cancel(0);
    assert_eq!(bench.done().await.record.outcome, Outcome::Completed);
    bench.idle().await;
}

#[tokio::test]
async fn other_phases_and_later_credits_are_left_alone() {
    let once = vec![Step::Request, Step::Pause(Duration::from_millis(200)), write(stream())];
    let mut server = Server::start(vec![once]).await;
    let mut bench = Bench::new(&chat(&server.url));
    bench.issue(0, 0, LONG);
    bench.issue(1, 0, LONG);
    server.until("request").await;
    server.until("request").await;
    bench.engine.cancel(0);
    bench.issue(0, 1, LONG);
    let mut ends = BTreeSet::new();
    for _ in 0..3 {
        let record = bench.done().await.record;
        ends.insert((record.credit, record.outcome == Outcome::Completed));
    }
    let completed: Vec<bool> = ends.into_iter().map(|(_, completed)| completed).collect();
    assert_eq!(completed, [false, true, true]);
    bench.engine.cancel(7);
    bench.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_any_race_every_credit_comes_back_once() {
    let once = [Step::Request, write(stream())];
    let server = Server::start(vec![once.iter().cycle().take(80).cloned().collect()]).await;
    let mut bench = Bench::new(&chat(&server.url));
    let mut completed = 0;
    for round in 0..20_u16 {
        for number in 0..20 {
            bench.issue(round, number, LONG);
        }
        if round > 0 {
            tokio::time::sleep(Duration::from_micros(u64::from(round) * 100)).await;
        }
        bench.engine.cancel(round);
        let mut back = BTreeSet::new();
        for _ in 0..20 {
            let finished = bench.done().await;
            let outcome = finished.record.outcome;
            assert!(matches!(outcome, Outcome::Completed | Outcome::Cancelled), "{finished:?}");
            completed += u32::from(outcome == Outcome::Completed);
            assert!(back.insert(finished.record.credit.number), "twice");
        }
    }
    bench.idle().await;
    // Otherwise the race was none.
    assert!(completed < 400);
}

#[tokio::test]
async fn a_request_that_is_cancelled_by_plan_lives_so_long_after_it_was_sent() {
    let hold = vec![Step::Request, Step::Hold];
    let server = Server::start(vec![hold.clone(), hold]).await;
    let mut bench = Bench::new(&chat(&server.url));
    for delay in [Duration::ZERO, Duration::from_millis(40)] {
        bench.issue_to_cancel(0, 0, LONG, Some(delay));
        let finished = bench.done().await;
        let record = finished.record;
        assert_eq!(record.outcome, Outcome::Cancelled);
        assert_eq!(finished.error, None);
        let lived = record.ended.since(record.sent.expect("it was sent"));
        assert!(lived >= delay, "{lived:?} of {delay:?}");
    }
    bench.idle().await;
}

#[tokio::test]
async fn one_that_is_answered_before_that_completes() {
    let server = Server::start(vec![vec![Step::Request, write(stream())]]).await;
    let mut bench = Bench::new(&chat(&server.url));
    bench.issue_to_cancel(0, 0, LONG, Some(LONG));
    assert_eq!(bench.done().await.record.outcome, Outcome::Completed);
    bench.idle().await;
}

#[tokio::test]
async fn one_that_is_never_sent_is_not_cancelled_by_plan() {
    // Nobody accepts: the connection is never made.
    struct Never;
    impl Connector for Never {
        fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> Connecting<'a> {
            Box::pin(std::future::pending())
        }
    }
    let mut bench =
        Bench::with(&chat("http://h:1"), 10, |config| config.connector = Arc::new(Never));
    bench.issue_to_cancel(0, 0, Duration::from_millis(60), Some(Duration::from_millis(1)));
    let record = bench.done().await.record;
    assert_eq!(record.outcome, Outcome::Failed(phasegate_core::record::ErrorClass::Timeout));
}
