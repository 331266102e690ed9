//! Cancellation in each state: every credit comes back exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::record::Outcome;
use phasegate_runtime::load::connector::{Connecting, Connector};
use tokio::sync::Notify;

use crate::support::*;

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
    let mut bench = Bench::with(&chat(&server.url), 8_000_000, |_| ());
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
    let script = vec![Step::Request, write(HEAD), write(chunk(token("a"))), Step::Hold];
    let mut server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    bench.issue(0, 0, LONG);
    server.until("request").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let record = cancelled(&mut bench).await;
    assert_eq!((record.status, record.chunks), (Some(200), 1));
    assert!(record.ended > record.last_token.unwrap());
}

#[tokio::test]
async fn an_answer_that_is_complete_stays_completed() {
    let script = vec![Step::Request, write(HEAD), write(chunk(events())), Step::Hold];
    let mut server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    bench.issue(0, 0, LONG);
    server.until("request").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
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
