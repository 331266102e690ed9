//! The server over real sockets: `api` for what a client sees when all is well,
//! `telemetry` for the exporters and the truth, `hazards` for the faults.

mod api;
mod hazards;
mod telemetry;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use serde_json::{Value, json};

use super::*;

/// A server that is quick, so that tests are.
fn quick() -> ServerConfig {
    ServerConfig {
        ttft: Duration::from_millis(4),
        prefill_per_token: Duration::from_micros(10),
        itl: Duration::from_millis(2),
        ..ServerConfig::default()
    }
}

async fn start(config: ServerConfig) -> ServerHandle {
    Server::bind(config).await.expect("binds a port of loopback").spawn()
}

async fn start_with(hazards: &[&str]) -> ServerHandle {
    let hazards = hazards.iter().map(|text| text.parse().expect("a hazard")).collect();
    start(ServerConfig { hazards, ..quick() }).await
}

/// A client with one connection of its own.
struct Client {
    sender: SendRequest<Full<bytes::Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

/// A response, as far as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    /// The body ended before it was complete.
    cut: bool,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of its events.
    fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text.split_terminator("\n\n");
        events.map(|event| event.strip_prefix("data: ").expect(&text).to_owned()).collect()
    }
}

impl Client {
    async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Self { sender, connection: tokio::spawn(connection) })
    }

    async fn to(server: &ServerHandle) -> Self {
        Self::connect(server.addr()).await.expect("connects to the server")
    }

    async fn send(
        &mut self,
        request: hyper::Request<Full<bytes::Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    async fn open(&mut self, path: &str, body: &Value) -> hyper::Result<Response<Incoming>> {
        let request = hyper::Request::post(path).header("host", "sim");
        let phase = body["phase"].as_str().map(str::to_owned);
        let request = match phase {
            Some(phase) => request.header(PHASE_HEADER, phase),
            None => request,
        };
        self.send(request.body(Full::from(body.to_string())).expect("a request")).await
    }

    async fn post(&mut self, path: &str, body: &Value) -> hyper::Result<Answer> {
        Ok(read(self.open(path, body).await?).await)
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        let request = hyper::Request::get(path).header("host", "sim").body(Full::default());
        Ok(read(self.send(request.expect("a request")).await?).await)
    }

    /// Sends a streamed chat request of so many output tokens.
    async fn chat(&mut self, prompt: &str, tokens: u32) -> hyper::Result<Answer> {
        self.post("/v1/chat/completions", &chat(prompt, tokens)).await
    }

    /// Goes away without a word.
    fn hang_up(self) {
        self.connection.abort();
    }
}

fn chat(prompt: &str, tokens: u32) -> Value {
    json!({
        "model": "phasegate-sim",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

async fn read(response: Response<Incoming>) -> Answer {
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    let mut cut = false;
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(frame.data_ref().expect("no trailers")),
            Err(_) => cut = true,
        }
    }
    Answer { status, body, cut }
}

/// Waits until the truth is as `expected`; a test that never sees it is stopped
/// by its runner, not by a clock here.
async fn truth_is(server: &ServerHandle, expected: impl Fn(&Tally) -> bool) -> Truth {
    loop {
        let truth = server.truth();
        if expected(&truth.total) {
            return truth;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The sum of a family's samples whose line contains `filter`.
fn sum(exposition: &str, name: &str, filter: &str) -> f64 {
    let samples = exposition.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(filter)
    });
    let values = samples.map(|line| {
        let value = line.rsplit(' ').next().expect("a value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("no number in {line}"))
    });
    values.sum()
}
