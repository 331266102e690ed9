//! Which roots the system has is read from the environment, so each case runs in
//! a process of its own: this test binary, asked for one `case_…`, which without
//! the environment of such a process has nothing to check.

use std::process::Command;
use std::sync::Arc;

use phasegate_core::message::CollectErrorKind;
use phasegate_runtime::clock::Clock;
use phasegate_runtime::telemetry::Source;
use phasegate_runtime::telemetry::fetch::HttpFetch;
use phasegate_runtime::telemetry::prometheus::PrometheusSource;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::server::{answering, head, http, serve};

const BODY: &[u8] = b"a 1\n";

/// A server for `localhost`, and its certificate as PEM.
async fn https() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            head(&mut stream).await;
            stream.write_all(&http("200 OK", "Connection: close\r\n", BODY)).await.unwrap();
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (format!("https://localhost:{}/metrics", address.port()), made.cert.pem())
}

async fn read(url: &str) -> Result<(), (CollectErrorKind, String)> {
    let fetch = Arc::new(HttpFetch::new().unwrap());
    let source = PrometheusSource::new(url, fetch, Clock::start()).unwrap();
    source.read().await.body.map(|_| ()).map_err(|error| (error.kind, error.message))
}

/// Runs `case` in a process whose roots are `roots` (PEM) and that is handed
/// `url`.
async fn in_a_process_with(roots: &str, case: &str, url: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), roots).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", case, "--nocapture"]);
    command.env("SSL_CERT_FILE", file.path()).env("TEST_URL", url).env_remove("SSL_CERT_DIR");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn https_is_verified_against_the_systems_roots() {
    let (url, pem) = https().await;
    in_a_process_with(&pem, "tls::case_trusted", &url).await;
    let (kind, message) = read(&url).await.unwrap_err();
    assert_eq!(kind, CollectErrorKind::Unreachable);
    assert!(message.contains("certificate"), "{message}");
}

#[tokio::test]
async fn case_trusted() {
    let Ok(url) = std::env::var("TEST_URL") else { return };
    assert_eq!(read(&url).await, Ok(()));
}

#[tokio::test]
async fn a_system_without_roots_still_speaks_http() {
    let address = answering(|_| http("200 OK", "", BODY)).await;
    in_a_process_with("", "tls::case_without_roots", &format!("http://{address}/")).await;
}

#[tokio::test]
async fn case_without_roots() {
    let Ok(url) = std::env::var("TEST_URL") else { return };
    assert_eq!(read(&url).await, Ok(()));
    let (url, _) = https().await;
    let (kind, message) = read(&url).await.unwrap_err();
    assert_eq!(kind, CollectErrorKind::Unreachable);
    assert!(message.contains("no certificate can be verified"), "{message}");
}
