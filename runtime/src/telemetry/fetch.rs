//! HTTP GET behind a small trait, and reqwest behind that. The trait is there
//! for networks that reqwest cannot run over.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use phasegate_core::Tick;
use phasegate_core::message::{CollectError, CollectErrorKind};
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect, retry};

use super::trust::Platform;
use super::urls;
use crate::clock::Clock;
use crate::secret::Secret;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many redirects are followed, all on the host that was asked.
const MAX_REDIRECTS: usize = 3;

/// What is asked for.
#[derive(Clone)]
pub struct Request {
    url: Url,
    accept: &'static str,
    headers: Vec<(String, Secret)>,
    shown: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}", self.shown)
    }
}

impl Request {
    /// Asks for `url`, in the formats of the `Accept` header `accept`.
    #[must_use]
    pub fn new(url: Url, accept: &'static str) -> Self {
        Self { shown: urls::shown(&url), url, accept, headers: Vec::new() }
    }

    /// Adds headers.
    #[must_use]
    pub fn with_headers(mut self, headers: &[(String, Secret)]) -> Self {
        self.headers.extend_from_slice(headers);
        self
    }

    /// The URL, with its credentials: for the wire and nothing else.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The formats that are wanted.
    #[must_use]
    pub fn accept(&self) -> &'static str {
        self.accept
    }

    /// Further headers.
    #[must_use]
    pub fn headers(&self) -> &[(String, Secret)] {
        &self.headers
    }

    /// The URL as it may be shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Something that sends GET requests. User and password of a URL are sent as
/// basic authentication. No call is repeated behind the caller's back, and none
/// has a time limit: dropping the future or the answer abandons it.
pub trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// Sends `request`; ready when the first byte of the answer is in.
    fn get<'a>(
        &'a self,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Box<dyn Answer>, CollectError>>;
}

/// An answer whose head is in and whose body is on its way.
pub trait Answer: Send {
    /// The HTTP status.
    fn status(&self) -> u16;

    /// The length that the server announced, where it did.
    fn length(&self) -> Option<u64>;

    /// The next piece of the body, decompressed; `None` at its end.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, CollectError>>;
}

/// An answer as it was read.
#[derive(Debug)]
pub struct Fetched {
    /// When its first byte was in.
    pub first_byte: Option<Tick>,
    /// When it was complete, or known to be none.
    pub end: Tick,
    /// The body, or why there is none.
    pub body: Result<Vec<u8>, CollectError>,
}

/// Fetches a body of at most `limit` bytes (decompressed). Beyond that the rest
/// is not downloaded.
pub async fn fetch(fetch: &dyn Fetch, request: &Request, limit: usize, clock: &Clock) -> Fetched {
    let mut first_byte = None;
    let answer = fetch.get(request).await;
    let body = match answer {
        Err(error) => Err(error),
        Ok(answer) => {
            first_byte = Some(clock.now());
            match check_status(answer.status(), request) {
                Err(error) => Err(error),
                Ok(()) => read_body(answer, request, limit).await,
            }
        }
    };
    Fetched { first_byte, end: clock.now(), body }
}

/// Refuses an error status.
fn check_status(status: u16, request: &Request) -> Result<(), CollectError> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let remedy = match status {
        300..=399 => "; give the URL that it redirects to",
        401 | 403 => "; --api-key and --header are sent to the endpoint's own host only",
        404 => "; is the path right?",
        _ => "",
    };
    let message = format!("{} answered {}{remedy}", request.shown(), status_text(status));
    let kind = match status {
        404 | 405 | 410 | 501 => CollectErrorKind::Absent,
        _ => CollectErrorKind::Status,
    };
    Err(CollectError::new(kind, message))
}

/// The status with its name.
pub(super) fn status_text(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
}

/// Reads the rest of an answer.
///
/// # Errors
/// Of kind `TooLarge` beyond `limit`; whatever [`Answer::chunk`] fails with.
pub(super) async fn read_body(
    mut answer: Box<dyn Answer>,
    request: &Request,
    limit: usize,
) -> Result<Vec<u8>, CollectError> {
    let too_large = || {
        let message = format!("{} answered more than the limit of {limit} bytes", request.shown());
        CollectError::new(CollectErrorKind::TooLarge, message)
    };
    let announced = answer.length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(1 << 20));
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Fetches by reqwest. Cheap to clone: clones share their connections.
///
/// A connection that the server closed while it was idle is not used; one that
/// breaks under a request is one failure. (hyper sends again only what never
/// left: a request whose connection turned out to be closed before its first
/// byte was written.)
#[derive(Clone)]
pub struct HttpFetch {
    client: Client,
}

impl fmt::Debug for HttpFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpFetch")
    }
}

impl HttpFetch {
    /// A client with no connections yet.
    ///
    /// # Errors
    /// One sentence, if TLS cannot be set up.
    pub fn new() -> Result<Self, String> {
        let failed = |error: &dyn Error| format!("cannot set up HTTP: {}", root_cause(error));
        let tls = tls().map_err(|error| failed(&error))?;
        let same_host = redirect::Policy::custom(|attempt| {
            let from = attempt.previous().last();
            let elsewhere = from.is_some_and(|from| from.host_str() != attempt.url().host_str());
            // A header with a key must not go to a host that nobody named.
            if elsewhere || attempt.previous().len() > MAX_REDIRECTS {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .retry(retry::never())
            .redirect(same_host)
            .referer(false)
            .no_proxy()
            .gzip(true)
            .user_agent(concat!("phasegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self { client })
    }

    async fn send(&self, request: &Request) -> Result<Box<dyn Answer>, CollectError> {
        let mut builder = self.client.get(request.url().clone()).header(ACCEPT, request.accept());
        for (name, value) in request.headers() {
            let refused = |what: &str| {
                let message = format!("the header {name:?} {what}");
                CollectError::new(CollectErrorKind::Other, message)
            };
            let header: HeaderName = name.parse().map_err(|_| refused("has no valid name"))?;
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| refused("has a value that HTTP does not allow"))?;
            value.set_sensitive(true);
            builder = builder.header(header, value);
        }
        let shown = request.shown();
        let response = builder.send().await.map_err(|error| classify(error, shown))?;
        Ok(Box::new(HttpAnswer { response, shown: shown.to_owned() }))
    }
}

impl Fetch for HttpFetch {
    fn get<'a>(
        &'a self,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Box<dyn Answer>, CollectError>> {
        Box::pin(self.send(request))
    }
}

struct HttpAnswer {
    response: Response,
    shown: String,
}

impl Answer for HttpAnswer {
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, CollectError>> {
        Box::pin(async {
            self.response.chunk().await.map_err(|error| classify(error, &self.shown))
        })
    }
}

/// TLS by ring, verified as the platform does.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Platform::new(Arc::clone(&provider)));
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    // What is called dangerous is a verifier of one's own; this one hands on.
    let verified = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(verified.with_no_client_auth())
}

/// The class of a reqwest error, and one sentence that names the URL.
fn classify(error: reqwest::Error, shown: &str) -> CollectError {
    let error = error.without_url();
    let (mut parse, mut corrupt) = (false, false);
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            parse |= hyper.is_parse();
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            corrupt |= io.kind() == std::io::ErrorKind::InvalidData
                || io.kind() == std::io::ErrorKind::InvalidInput;
        }
        source = cause.source();
    }
    let why = root_cause(&error);
    let (kind, message) = if error.is_connect() {
        (CollectErrorKind::Unreachable, format!("cannot connect to {shown}: {why}"))
    } else if parse {
        (CollectErrorKind::Malformed, format!("{shown} does not speak HTTP: {why}"))
    } else if error.is_decode() && corrupt {
        (CollectErrorKind::Malformed, format!("the body of {shown} cannot be decoded: {why}"))
    } else {
        (CollectErrorKind::Other, format!("the answer of {shown} broke off: {why}"))
    };
    CollectError::new(kind, message)
}

/// What lies at the bottom of an error: the part that says what happened.
pub(super) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
