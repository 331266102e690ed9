use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{Family, ReadingBody};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::secret::Secret;
use phasegate_runtime::telemetry::dcgm::DcgmSource;
use phasegate_runtime::telemetry::fetch::HttpFetch;
use phasegate_runtime::telemetry::prometheus::PrometheusSource;
use phasegate_runtime::telemetry::{Source, Taken};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Barrier, mpsc};

use crate::server::{answering, gzip, gzip_bomb, head, http, serve, until_closed};

const BODY: &[u8] = b"# TYPE a_total counter\na_total{b=\"c\"} 5\n";

fn source(url: &str) -> PrometheusSource {
    let fetch = Arc::new(HttpFetch::new().unwrap());
    PrometheusSource::new(url, fetch, Clock::start()).unwrap()
}

fn at(address: SocketAddr) -> PrometheusSource {
    source(&format!("http://{address}/metrics"))
}

fn families(taken: Taken) -> Vec<Family> {
    match taken.body {
        Ok(ReadingBody::Families(families)) => families,
        other => panic!("{other:?}"),
    }
}

async fn error(source: &dyn Source) -> CollectError {
    source.read().await.body.unwrap_err()
}

/// Gives a reading up, as a collector does whose time has run out.
async fn give_up(reading: impl Future<Output = Taken>) {
    let taken = tokio::time::timeout(Duration::from_millis(100), reading).await;
    assert!(taken.is_err(), "{taken:?}");
}

#[tokio::test]
async fn a_reading_has_its_families_and_its_times() {
    let (seen, mut heads) = mpsc::unbounded_channel();
    let address = answering(move |head| {
        seen.send(head.to_owned()).unwrap();
        http("200 OK", "Content-Type: text/plain; version=0.0.4\r\n", BODY)
    })
    .await;
    let source = source(&address.to_string());
    assert_eq!(source.name(), format!("http://{address}/metrics"));
    let taken = source.read().await;
    let first_byte = taken.first_byte.unwrap();
    assert!(taken.start <= first_byte && first_byte <= taken.end);
    assert_eq!(families(taken)[0].name, "a");
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("get /metrics http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\naccept: text/plain;version=0.0.4,*/*;q=0.1\r\n"), "{head}");
    assert!(head.contains("\r\naccept-encoding: gzip\r\n"), "{head}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_let_go_when_the_reading_is_dropped() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let address = serve(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            until_closed(&mut stream).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    give_up(at(address).read()).await;
    closes.recv().await.unwrap();
}

#[tokio::test]
async fn a_slow_trickle_is_let_go_when_the_reading_is_dropped() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let address = serve(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
            while stream.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            closed.send(()).unwrap();
        }
    })
    .await;
    give_up(at(address).read()).await;
    closes.recv().await.unwrap();
}

#[tokio::test]
async fn garbage_is_malformed() {
    let not_http = answering(|_| b"\x00\x01\x02 hello\r\n\r\n".to_vec()).await;
    let refused = error(&at(not_http)).await;
    assert_eq!(refused.kind, CollectErrorKind::Malformed, "{refused}");

    let html = answering(|_| http("200 OK", "", b"\n<html>\n<p>5</p>\n")).await;
    let refused = error(&at(html)).await;
    assert_eq!(refused.kind, CollectErrorKind::Malformed);
    let expected = format!(
        "no line of http://{html}/metrics is a metric; first line 2 (no metric name): <html>; \
         give the URL of its Prometheus metrics"
    );
    assert_eq!(refused.message, expected);

    let empty = answering(|_| http("200 OK", "", b"")).await;
    let refused = error(&at(empty)).await;
    assert_eq!(refused.kind, CollectErrorKind::Malformed);
    assert!(refused.message.ends_with("holds no metric"), "{refused}");
}

#[tokio::test]
async fn an_exposition_with_bad_lines_is_used_without_them() {
    let address = answering(|_| http("200 OK", "", b"a 1\nb one\nc 3\n")).await;
    let names: Vec<_> =
        families(at(address).read().await).into_iter().map(|family| family.name).collect();
    assert_eq!(names, ["a", "c"]);
}

#[tokio::test]
async fn a_server_that_has_counted_nothing_yet_is_read() {
    let address = answering(|_| http("200 OK", "", b"# TYPE a counter\n")).await;
    assert_eq!(families(at(address).read().await), []);
}

#[tokio::test]
async fn an_error_status_is_named() {
    let cases = [
        ("500 Internal Server Error", CollectErrorKind::Status, ""),
        ("404 Not Found", CollectErrorKind::Absent, "is the path right?"),
        ("401 x", CollectErrorKind::Status, "--api-key"),
    ];
    for (status, kind, remedy) in cases {
        let address = answering(move |_| http(status, "", BODY)).await;
        let refused = error(&at(address)).await;
        assert_eq!(refused.kind, kind);
        assert!(
            refused.message.contains(&format!("/metrics answered {}", &status[..3])),
            "{refused}"
        );
        assert!(refused.message.contains(remedy), "{refused}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_without_downloading_it() {
    const LIMIT: usize = 1 << 20;
    let (sent, mut sents) = mpsc::unbounded_channel();
    let endless = serve(move |mut stream, _| {
        let sent = sent.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut bytes = 0usize;
            // It ends when the client closes the connection, and not before.
            while stream.write_all(&[b'#'; 65536]).await.is_ok() {
                bytes += 65536;
            }
            sent.send(bytes).unwrap();
        }
    })
    .await;
    let refused = error(&at(endless).with_limit(LIMIT)).await;
    assert_eq!(refused.kind, CollectErrorKind::TooLarge);
    assert!(refused.message.ends_with("more than the limit of 1048576 bytes"), "{refused}");
    let bytes = sents.recv().await.unwrap();
    assert!(bytes < 100 << 20, "{bytes} bytes were sent");

    // Announced: refused although not one byte of it is ever sent.
    let announced =
        answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n".to_vec()).await;
    let refused = error(&at(announced)).await;
    assert_eq!(refused.kind, CollectErrorKind::TooLarge);
}

#[tokio::test]
async fn gzip_bodies_are_read_and_the_limit_is_of_what_they_become() {
    let address = answering(|_| http("200 OK", "Content-Encoding: gzip\r\n", &gzip(BODY))).await;
    assert_eq!(families(at(address).read().await)[0].name, "a");

    let bomb =
        answering(|_| http("200 OK", "Content-Encoding: gzip\r\n", &gzip_bomb(100_000))).await;
    let refused = error(&at(bomb).with_limit(1 << 20)).await;
    assert_eq!(refused.kind, CollectErrorKind::TooLarge, "{refused}");

    let broken = answering(|_| http("200 OK", "Content-Encoding: gzip\r\n", BODY)).await;
    let refused = error(&at(broken)).await;
    assert_eq!(refused.kind, CollectErrorKind::Malformed, "{refused}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let address = serve(|mut stream, _| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n").await.unwrap();
    })
    .await;
    let refused = error(&at(address)).await;
    assert_eq!(refused.kind, CollectErrorKind::Other);
    assert!(refused.message.contains("broke off"), "{refused}");
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let taken = at(address).read().await;
    assert_eq!(taken.first_byte, None);
    let refused = taken.body.unwrap_err();
    assert_eq!(refused.kind, CollectErrorKind::Unreachable);
    assert!(refused.message.starts_with(&format!("cannot connect to http://{address}/metrics: ")));
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let (seen, mut heads) = mpsc::unbounded_channel();
    let address = answering(move |head| {
        seen.send(head.to_owned()).unwrap();
        http("503 Service Unavailable", "", b"")
    })
    .await;
    let source = source(&format!("http://user:SECRET@{address}/metrics?token=SECRET"))
        .with_headers(&[("X-Key".to_owned(), Secret::new("SECRET"))]);
    assert_eq!(source.name(), format!("http://{address}/metrics?token=***"));
    let refused = error(&source).await;
    assert!(!format!("{refused:?} {source:?}").contains("SECRET"));
    let head = heads.recv().await.unwrap().to_lowercase();
    // "user:SECRET" in base64.
    assert!(head.contains("authorization: basic dxnlcjptrunsrvq="), "{head}");
    assert!(head.contains("get /metrics?token=secret "), "{head}");
    assert!(head.contains("x-key: secret"), "{head}");
    // No connection, no HTTP, no name: every other kind of failure.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let garbage = answering(|_| b"SSH-2.0\r\n".to_vec()).await;
    for host in [dead.to_string(), garbage.to_string(), "name.invalid".to_owned()] {
        let source = self::source(&format!("http://user:SECRET@{host}/?token=SECRET"));
        let refused = error(&source).await;
        assert!(!format!("{refused:?}").contains("SECRET"), "{refused}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let address = serve(move |mut stream, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while head(&mut stream).await.is_some() {
                stream.write_all(&http("200 OK", "", BODY)).await.unwrap();
            }
        }
    })
    .await;
    let source = at(address);
    for _ in 0..5 {
        families(source.read().await);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_is_never_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    // Answers the first request of each connection and hangs up on the second.
    let address = serve(move |mut stream, _| {
        let counted = counted.clone();
        async move {
            head(&mut stream).await;
            counted.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&http("200 OK", "", BODY)).await.unwrap();
            head(&mut stream).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let source = at(address);
    families(source.read().await);
    let refused = error(&source).await;
    assert_eq!(refused.kind, CollectErrorKind::Other, "{refused}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    families(source.read().await);
}

#[tokio::test]
async fn two_readings_run_at_the_same_time() {
    let both = Arc::new(Barrier::new(2));
    // Answers nobody before both have asked.
    let address = serve(move |mut stream, _| {
        let both = both.clone();
        async move {
            head(&mut stream).await;
            both.wait().await;
            stream.write_all(&http("200 OK", "", BODY)).await.unwrap();
        }
    })
    .await;
    let source = at(address);
    let (a, b) = tokio::join!(source.read(), source.read());
    assert_eq!(families(a), families(b));
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_only() {
    let address = answering(|head| {
        if head.starts_with("GET /old ") {
            http("302 Found", "Location: /new\r\n", b"")
        } else if head.starts_with("GET /new ") {
            http("200 OK", "", BODY)
        } else {
            http("302 Found", "Location: /loop\r\n", b"")
        }
    })
    .await;
    families(source(&format!("http://{address}/old")).read().await);
    let refused = error(&source(&format!("http://{address}/loop"))).await;
    assert_eq!(refused.kind, CollectErrorKind::Status, "{refused}");

    // `localhost` is another host than 127.0.0.1, and the key is not for it.
    let port = address.port();
    let away = format!("Location: http://localhost:{port}/new\r\n");
    let elsewhere = answering(move |_| http("302 Found", &away, b"")).await;
    let refused = error(&at(elsewhere)).await;
    assert_eq!(refused.kind, CollectErrorKind::Status, "{refused}");
    assert!(refused.message.contains("answered 302 Found; give the URL"), "{refused}");
}

#[tokio::test]
async fn a_large_exposition_is_read_whole() {
    let mut body = String::from("# TYPE a gauge\n");
    for number in 0..10_000 {
        body.push_str(&format!("a{{number=\"{number}\"}} {number}\n"));
    }
    let address = answering(move |_| http("200 OK", "", body.as_bytes())).await;
    assert_eq!(families(at(address).read().await)[0].series.len(), 10_000);
}

#[tokio::test]
async fn https_to_a_server_that_speaks_http_is_unreachable() {
    let address = serve(|mut stream, _| async move {
        let _ = stream.write_all(&http("400 Bad Request", "", b"")).await;
        until_closed(&mut stream).await;
    })
    .await;
    let refused = error(&source(&format!("https://{address}/metrics"))).await;
    assert_eq!(refused.kind, CollectErrorKind::Unreachable, "{refused}");
}

#[tokio::test]
async fn an_exporter_gives_gpus_or_says_what_it_lacks() {
    let body = b"DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\"} 71.5\n";
    let address = answering(|_| http("200 OK", "", body)).await;
    let fetch = Arc::new(HttpFetch::new().unwrap());
    let dcgm = |address| DcgmSource::new(&format!("{address}"), fetch.clone(), Clock::start());
    let source = dcgm(address).unwrap();
    assert_eq!(source.name(), format!("http://{address}/metrics"));
    match source.read().await.body {
        Ok(ReadingBody::Gpus(gpus)) => assert_eq!(gpus[0].power_mw, Some(71_500)),
        other => panic!("{other:?}"),
    }
    let none = answering(|_| http("200 OK", "", BODY)).await;
    let refused = error(&dcgm(none).unwrap()).await;
    assert_eq!(refused.kind, CollectErrorKind::Malformed);
    assert!(refused.message.contains("names no GPU: no DCGM_FI_DEV_*"), "{refused}");
}
