use std::net::SocketAddr;

use phasegate_runtime::secret::Secret;
use phasegate_runtime::telemetry::fetch::HttpFetch;
use phasegate_runtime::telemetry::models::{Probe, probe};
use tokio::sync::mpsc;

use crate::server::{answering, http};

async fn ask(address: SocketAddr) -> Probe {
    let fetch = HttpFetch::new().unwrap();
    probe(&fetch, &format!("http://{address}/v1/"), &[]).await.unwrap()
}

/// Answers `/v1/models` and `/health` with these statuses.
async fn statuses(models: &'static str, health: &'static str) -> SocketAddr {
    answering(move |head| {
        let status = if head.starts_with("GET /v1/models ") { models } else { health };
        http(status, "", br#"{"object":"list","data":[{"id":"m","object":"model"},{"id":"n"}]}"#)
    })
    .await
}

#[tokio::test]
async fn a_list_of_models_is_readiness() {
    let models = vec!["m".to_owned(), "n".to_owned()];
    let ready = Probe::Ready { models };
    assert_eq!(ask(statuses("200 OK", "503 Service Unavailable").await).await, ready);
    let odd = answering(|_| http("200 OK", "", b"hello")).await;
    assert_eq!(ask(odd).await, Probe::Ready { models: vec![] });
}

#[tokio::test]
async fn health_stands_in_for_a_missing_list() {
    let ready = Probe::Ready { models: vec![] };
    assert_eq!(ask(statuses("404 Not Found", "200 OK").await).await, ready);
}

#[tokio::test]
async fn a_refused_key_is_denied_at_once_and_not_waited_for() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        match ask(statuses(status, "200 OK").await).await {
            Probe::Denied(why) => assert!(why.contains("--api-key"), "{why}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_loading_or_away_is_not_ready() {
    match ask(statuses("503 Service Unavailable", "503 Service Unavailable").await).await {
        Probe::NotReady(why) => assert!(
            why.ends_with(
                "/v1/models answered 503 Service Unavailable, /health 503 Service Unavailable"
            ),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    match ask(dead).await {
        Probe::NotReady(why) => assert!(why.starts_with("cannot connect to "), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn headers_are_sent_with_both_questions_and_never_shown() {
    let (seen, mut heads) = mpsc::unbounded_channel();
    let address = answering(move |head| {
        seen.send(head.to_owned()).unwrap();
        http("503 Service Unavailable", "", b"")
    })
    .await;
    let fetch = HttpFetch::new().unwrap();
    let key = [("Authorization".to_owned(), Secret::new("Bearer SECRET"))];
    let base = format!("http://{address}/prefix");
    let answer = probe(&fetch, &base, &key).await.unwrap();
    assert!(!format!("{answer:?}").contains("SECRET"));
    for path in ["GET /prefix/v1/models ", "GET /prefix/health "] {
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with(path), "{head}");
        assert!(head.contains("Bearer SECRET"), "{head}");
    }
    let bad = [("X-Key".to_owned(), Secret::new("SECRET\n"))];
    let answer = probe(&fetch, &base, &bad).await.unwrap();
    assert!(!format!("{answer:?}").contains("SECRET"));
    assert!(matches!(answer, Probe::NotReady(_)), "{answer:?}");
}
