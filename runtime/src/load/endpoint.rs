//! The request: where it goes, its head, its body.

use std::io::Write;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::{Map, Value};

use super::dataset::Body;
use super::prompts::{Content, Prompt};
use crate::config::{EndpointConfig, EndpointType};
use crate::secret::basic_authorization;

/// An endpoint that cannot be asked: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}; {remedy}")]
pub struct EndpointError {
    /// The key, e.g. `endpoint.url`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl EndpointError {
    pub(crate) fn new(
        path: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// Everything of a request that does not change from one to the next.
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) kind: EndpointType,
    /// Of requests that do not say themselves whether they are streamed.
    pub(crate) streaming: bool,
    /// What the extra inputs say of it, which wins over everything.
    extra_streaming: Option<bool>,
    shown: String,
    /// Request line and headers but for the length, each with its line end: of
    /// requests that are not streamed, and of those that are.
    heads: [Vec<u8>; 2],
    /// Fields that every body has, as JSON without braces.
    fixed: Vec<u8>,
    /// Their names: they win over the prompt's.
    fixed_names: Vec<String>,
    /// Of them, what wins over a body that is passed through.
    extra: Map<String, Value>,
    /// The others: they are filled in where such a body lacks them.
    own: OwnFields,
    /// What must not be in any error.
    secrets: Vec<String>,
}

impl Endpoint {
    /// The endpoint at `url`, one of `config`'s.
    pub(crate) fn new(
        config: &EndpointConfig,
        url: &str,
        model: &str,
    ) -> Result<Self, EndpointError> {
        let mut url = base_url(url)?;
        let path = api_path(url.path(), config.kind)?;
        url.set_path(&path);
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        let host = host(&url)?;
        let mut secrets = Vec::new();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host_header(&url)?);
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("phasegate/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let streaming = config.streaming && config.kind.produces_tokens();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT[usize::from(false)]));
        for (name, value) in config.own_headers() {
            headers.insert(name, secret_value("endpoint.api_key", value.expose())?);
        }
        if let Some(key) = &config.api_key {
            secrets.push(key.expose().to_owned());
        } else if !user.is_empty() || !password.is_empty() {
            let basic = basic_authorization(&format!("{user}:{password}"));
            headers.insert(header::AUTHORIZATION, secret_value("endpoint.url", basic.expose())?);
            secrets.extend(basic.expose().strip_prefix("Basic ").map(str::to_owned));
            secrets.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
        }
        custom_headers(config, &mut headers, &mut secrets)?;
        let shown = shown(&url);
        let origin_form = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let uri: Uri = origin_form
            .parse()
            .map_err(|e| url_error(format!("its path cannot be sent: {e}"), "check the path"))?;
        let own = OwnFields::new(config, model, streaming);
        let mut fixed = own.all();
        fixed.extend(config.extra_inputs.clone());
        let plain = head(&uri, &headers);
        if !config.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT[usize::from(true)]));
        }
        Ok(Self {
            https: url.scheme() == "https",
            host,
            port: url.port_or_known_default().unwrap_or(80),
            kind: config.kind,
            streaming,
            extra_streaming: config.extra_inputs.get("stream").and_then(Value::as_bool),
            shown,
            heads: [plain, head(&uri, &headers)],
            fixed: without_braces(&fixed),
            fixed_names: fixed.into_iter().map(|(name, _)| name).collect(),
            extra: config.extra_inputs.clone(),
            own,
            secrets,
        })
    }

    /// The URL without credentials and query.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the answer to `prompt` is to be a stream.
    pub(crate) fn streams(&self, prompt: &Prompt) -> bool {
        let own = match &prompt.content {
            Content::Body(body) => body.streams(),
            Content::Text(_) | Content::Messages(_) => None,
        };
        let said = self.extra_streaming.or(own).unwrap_or(self.streaming);
        said && self.kind.produces_tokens()
    }

    /// The request with this body, as it goes over the wire.
    pub(crate) fn request(&self, body: &[u8], streams: bool) -> Vec<u8> {
        let head = &self.heads[usize::from(streams)];
        let mut out = Vec::with_capacity(head.len() + 32 + body.len());
        out.extend_from_slice(head);
        // Writing into memory cannot fail.
        let _ = write!(out, "content-length: {}\r\n\r\n", body.len());
        out.extend_from_slice(body);
        out
    }

    /// The body that asks `prompt`: the prompt's own fields, then those that
    /// every body has. The latter win, but for a body that is passed through.
    pub(crate) fn body(&self, prompt: &Prompt) -> Bytes {
        if let Content::Body(body) = &prompt.content {
            return Bytes::from(self.passed(body));
        }
        let mut out = Vec::with_capacity(self.fixed.len() + 128 + prompt.size());
        out.push(b'{');
        match &prompt.content {
            Content::Text(text) => self.text(&mut out, text),
            Content::Messages(json) => {
                let name = if self.kind == EndpointType::Responses { "input" } else { "messages" };
                self.raw(&mut out, name, json.as_bytes());
            }
            Content::Body(_) => {}
        }
        if self.kind.produces_tokens() {
            if let Some(n) = prompt.max_tokens {
                let name = match self.kind {
                    EndpointType::Responses => "max_output_tokens",
                    EndpointType::Chat
                    | EndpointType::Completions
                    | EndpointType::Embeddings
                    | EndpointType::Messages
                    | EndpointType::Rerank => "max_tokens",
                };
                self.raw(&mut out, name, n.to_string().as_bytes());
            }
            if prompt.ignore_eos {
                self.raw(&mut out, "ignore_eos", b"true");
                if let Some(n) = prompt.max_tokens {
                    self.raw(&mut out, "min_tokens", n.to_string().as_bytes());
                }
            }
        }
        out.extend_from_slice(&self.fixed);
        out.push(b'}');
        Bytes::from(out)
    }

    /// A body that is passed through: byte for byte, where it has a model and
    /// says whether it is streamed, and where nothing is merged into it.
    fn passed(&self, body: &Body) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.size() + self.fixed.len() + 2);
        let mut comma = if self.extra.keys().any(|name| body.has(name)) {
            out.push(b'{');
            let kept = body.fields().filter(|(name, _)| !self.extra.contains_key(*name));
            let mut comma = false;
            for (name, json) in kept {
                field(&mut out, &mut comma, name, json.as_bytes());
            }
            comma
        } else {
            let (open, comma) = body.open();
            out.extend_from_slice(open.as_bytes());
            comma
        };
        for (name, value) in self.own.lacking(body).chain(&self.extra) {
            field(&mut out, &mut comma, name, value.to_string().as_bytes());
        }
        out.push(b'}');
        out
    }

    fn text(&self, out: &mut Vec<u8>, text: &str) {
        match self.kind {
            EndpointType::Chat | EndpointType::Messages => {
                if !self.is_fixed("messages") {
                    out.extend_from_slice(b"\"messages\":[{\"role\":\"user\",\"content\":");
                    json_string(out, text);
                    out.extend_from_slice(b"}],");
                }
            }
            EndpointType::Completions => self.string(out, "prompt", text),
            EndpointType::Embeddings | EndpointType::Responses => self.string(out, "input", text),
            EndpointType::Rerank => {
                let (query, documents) = query_and_documents(text);
                self.string(out, "query", query);
                let mut list = Vec::with_capacity(text.len() + 64);
                for document in documents {
                    list.push(if list.is_empty() { b'[' } else { b',' });
                    json_string(&mut list, document);
                }
                list.push(b']');
                self.raw(out, "documents", &list);
            }
        }
    }

    fn string(&self, out: &mut Vec<u8>, name: &str, text: &str) {
        if !self.is_fixed(name) {
            json_string(out, name);
            out.push(b':');
            json_string(out, text);
            out.push(b',');
        }
    }

    fn raw(&self, out: &mut Vec<u8>, name: &str, json: &[u8]) {
        if !self.is_fixed(name) {
            json_string(out, name);
            out.push(b':');
            out.extend_from_slice(json);
            out.push(b',');
        }
    }

    fn is_fixed(&self, name: &str) -> bool {
        self.fixed_names.iter().any(|fixed| fixed == name)
    }

    /// `text` with every secret of this endpoint replaced by `***`: a server
    /// may send one back in an error.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|s| !s.is_empty()) {
            text = text.replace(secret.as_str(), "***");
        }
        text
    }
}

/// What a request says it accepts: not streamed, streamed.
const ACCEPT: [&str; 2] = ["application/json", "text/event-stream"];

/// The fields that a run gives its requests, without those that the extra inputs
/// replace.
struct OwnFields {
    model: Map<String, Value>,
    streaming: Map<String, Value>,
}

impl OwnFields {
    fn new(config: &EndpointConfig, model: &str, streaming: bool) -> Self {
        let extra = &config.extra_inputs;
        let mut own = Self { model: Map::new(), streaming: Map::new() };
        own.model.insert("model".into(), Value::from(model));
        if config.kind.produces_tokens() {
            own.streaming.insert("stream".into(), Value::from(streaming));
            // The other two streams have their usage unasked.
            if streaming && config.kind.usage_is_asked_for() {
                let asks = serde_json::json!({"include_usage": true});
                own.streaming.insert("stream_options".into(), asks);
            }
        }
        own.model.retain(|name, _| !extra.contains_key(name));
        own.streaming.retain(|name, _| !extra.contains_key(name));
        own
    }

    fn all(&self) -> Map<String, Value> {
        self.model.iter().chain(&self.streaming).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// What `body` lacks of them. One that says itself whether it is streamed is
    /// taken at its word, also for the options.
    fn lacking(&self, body: &Body) -> impl Iterator<Item = (&String, &Value)> {
        let streaming = body.streams().is_none().then_some(&self.streaming);
        let all = self.model.iter().chain(streaming.into_iter().flatten());
        all.filter(|(name, _)| !body.has(name))
    }
}

/// The documents that a text to rerank is dealt into, at most.
const DOCUMENTS: usize = 8;

/// A text as a query and the documents to rank for it: nine parts of as many
/// words each, the first of them the query, which also has what is left over;
/// with fewer than nine words so many fewer documents, and at least one, which
/// of a single word is that word again.
fn query_and_documents(text: &str) -> (&str, Vec<&str>) {
    let starts: Vec<usize> =
        text.split_whitespace().map(|word| word.as_ptr().addr() - text.as_ptr().addr()).collect();
    let words = starts.len();
    let documents = DOCUMENTS.min(words.saturating_sub(1));
    if documents == 0 {
        return (text, vec![text]);
    }
    let each = words / (documents + 1);
    let first = words - each * documents;
    let at = |word: usize| starts.get(word).copied().unwrap_or(text.len());
    let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default().trim_end();
    let document = |n: usize| cut(at(first + n * each), at(first + (n + 1) * each));
    (cut(0, at(first)), (0..documents).map(document).collect())
}

fn head(uri: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let mut out = format!("POST {uri} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn url_error(problem: impl Into<String>, remedy: &str) -> EndpointError {
    EndpointError::new("endpoint.url", problem, remedy)
}

fn base_url(url: &str) -> Result<Url, EndpointError> {
    let remedy = "give a URL such as http://127.0.0.1:8000";
    let url = Url::parse(url).map_err(|e| url_error(format!("is not a URL: {e}"), remedy))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(url_error(format!("'{scheme}' is not a scheme that is spoken"), remedy)),
    }
}

fn host(url: &Url) -> Result<String, EndpointError> {
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| url_error("has no host", "give a URL with a host"))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

fn host_header(url: &Url) -> Result<HeaderValue, EndpointError> {
    let host = url.host_str().unwrap_or_default();
    let text = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::try_from(text).map_err(|_| url_error("its host cannot be sent", "check the host"))
}

/// Scheme, host, port, path: what may be shown. Credentials stand before the
/// host, and keys are sometimes put into queries.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// The path of the API below the URL's: a full path stays, one that ends in
/// `/v1` is completed, any other is a prefix.
fn api_path(path: &str, kind: EndpointType) -> Result<String, EndpointError> {
    let path = path.trim_end_matches('/');
    let other = EndpointType::ALL.into_iter().find(|kind| path.ends_with(kind.path()));
    // `/chat/completions` ends in `/completions` too: Chat is asked first.
    match other {
        Some(found) if found == kind => Ok(path.to_owned()),
        Some(found) => Err(url_error(
            format!("ends in '{}', which is not the endpoint type's path", found.path()),
            "change the endpoint type, or leave the path away",
        )),
        None if path.ends_with("/v1") => Ok(format!("{path}{}", kind.path())),
        None => Ok(format!("{path}/v1{}", kind.path())),
    }
}

fn secret_value(path: &str, value: &str) -> Result<HeaderValue, EndpointError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        let remedy = "remove line ends and control characters";
        EndpointError::new(path, "its value cannot be sent in a header", remedy)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers that belong to the connection or are computed from the body.
const RESERVED: [HeaderName; 3] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];

fn custom_headers(
    config: &EndpointConfig,
    headers: &mut HeaderMap,
    secrets: &mut Vec<String>,
) -> Result<(), EndpointError> {
    let mut given: Vec<HeaderName> = Vec::new();
    for (name, value) in &config.headers {
        let path = format!("endpoint.headers.{name}");
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| {
            EndpointError::new(&path, "is not the name of a header", "give 'Name: value'")
        })?;
        if RESERVED.contains(&parsed) {
            let problem = "is set from the request itself";
            return Err(EndpointError::new(&path, problem, "leave it away"));
        }
        let header = secret_value(&path, value.expose())?;
        // The token without its scheme too: servers quote it so.
        secrets.push(value.expose().to_owned());
        secrets.extend(value.expose().split_whitespace().next_back().map(str::to_owned));
        // The first of a name replaces ours, the next ones stand beside it.
        if given.contains(&parsed) {
            headers.append(parsed, header);
        } else {
            headers.insert(parsed.clone(), header);
            given.push(parsed);
        }
    }
    // A short value ("1", "true") is no secret, and would blot out the text.
    secrets.retain(|secret| secret.len() >= 4);
    Ok(())
}

fn without_braces(fields: &Map<String, Value>) -> Vec<u8> {
    let (mut out, mut comma) = (Vec::new(), false);
    for (name, value) in fields {
        field(&mut out, &mut comma, name, value.to_string().as_bytes());
    }
    out
}

/// Appends a field, and the comma that parts it from the one before.
fn field(out: &mut Vec<u8>, comma: &mut bool, name: &str, json: &[u8]) {
    if std::mem::replace(comma, true) {
        out.push(b',');
    }
    json_string(out, name);
    out.push(b':');
    out.extend_from_slice(json);
}

fn json_string(out: &mut Vec<u8>, text: &str) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
