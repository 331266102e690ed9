//! The scripted server, and an engine to put in front of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phasegate_core::CreditId;
use phasegate_core::record::{Credit, Item};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::config::{EndpointConfig, EndpointType, InputConfig};
use phasegate_runtime::load::prompts::prompts;
use phasegate_runtime::load::{Completions, Engine, EngineConfig, Finished};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the server does next on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads one whole request.
    Request,
    /// Writes bytes in one call.
    Write(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Does nothing more, and keeps the connection open.
    Hold,
}

/// Writes text.
pub(crate) fn write(text: impl AsRef<[u8]>) -> Step {
    Step::Write(text.as_ref().to_vec())
}

/// A short wait, so that what comes after is likely to be another read.
pub(crate) fn pause() -> Step {
    Step::Pause(Duration::from_millis(20))
}

/// Serves one script a connection, in the order of acceptance; the last script
/// serves all further ones. A script that ends closes its connection.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) log: Arc<Mutex<Log>>,
    /// Gets a word at each accepted connection and each request read.
    pub(crate) events: mpsc::UnboundedReceiver<&'static str>,
}

/// What the server saw.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) connections: usize,
    pub(crate) requests: Vec<String>,
}

impl Server {
    pub(crate) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Log::default()));
        let (tell, events) = mpsc::unbounded_channel();
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            let mut index = 0;
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                shared.lock().unwrap().connections += 1;
                let _ = tell.send("accepted");
                let script = scripts[index.min(scripts.len() - 1)].clone();
                index += 1;
                tokio::spawn(play(socket, script, Arc::clone(&shared), tell.clone()));
            }
        });
        Self { url, log, events }
    }

    /// Waits until the server says `word`.
    pub(crate) async fn until(&mut self, word: &str) {
        while self.events.recv().await.expect("the server lives") != word {}
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().requests.clone()
    }
}

/// Plays a script on a connection.
pub(crate) async fn play(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    script: Vec<Step>,
    log: Arc<Mutex<Log>>,
    tell: mpsc::UnboundedSender<&'static str>,
) {
    for step in script {
        match step {
            Step::Request => match read_request(&mut socket).await {
                Some(request) => {
                    log.lock().unwrap().requests.push(request);
                    let _ = tell.send("request");
                }
                None => return,
            },
            Step::Write(bytes) => {
                if socket.write_all(&bytes).await.is_err() || socket.flush().await.is_err() {
                    return;
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Hold => std::future::pending().await,
        }
    }
    let _ = socket.shutdown().await;
}

async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let n = socket.read_buf(&mut bytes).await.ok()?;
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?;
            if bytes.len() >= end + 4 + length.parse::<usize>().ok()? {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        if n == 0 {
            return None;
        }
    }
}

/// The head of a streamed answer, chunked.
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                               transfer-encoding: chunked\r\n\r\n";

/// One HTTP chunk.
pub(crate) fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// The end of a chunked answer.
pub(crate) const END: &str = "0\r\n\r\n";

/// The event that carries this text.
pub(crate) fn token(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// Role, two tokens, reason, usage, `[DONE]`.
pub(crate) fn events() -> String {
    format!(
        "data: {{\"choices\":[{{\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}}}}]}}\n\n{}{}\
         data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":2}}}}\n\n\
         data: [DONE]\n\n",
        token("a"),
        token("b")
    )
}

/// A whole streamed answer.
pub(crate) fn stream() -> Vec<u8> {
    [HEAD.as_bytes(), &chunk(events()), END.as_bytes()].concat()
}

/// An answer with a body of known length.
pub(crate) fn plain(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A chat endpoint at `url`, streaming.
pub(crate) fn chat(url: &str) -> EndpointConfig {
    EndpointConfig {
        url: url.to_owned(),
        more_urls: Vec::new(),
        model: None,
        kind: EndpointType::Chat,
        streaming: true,
        api_key: None,
        headers: Vec::new(),
        extra_inputs: serde_json::Map::new(),
    }
}

struct Sink(mpsc::UnboundedSender<Finished>);

impl Completions for Sink {
    fn complete(&self, finished: Finished) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let _ = self.0.send(finished);
        Box::pin(async {})
    }
}

/// An engine and what it completes.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    done: mpsc::UnboundedReceiver<Finished>,
}

/// Far enough away never to matter in a test that works.
pub(crate) const LONG: Duration = Duration::from_secs(60);

impl Bench {
    pub(crate) fn new(endpoint: &EndpointConfig) -> Self {
        Self::with(endpoint, 10, |_| ())
    }

    /// With prompts of `isl` words and a changed configuration.
    pub(crate) fn with(
        endpoint: &EndpointConfig,
        isl: u32,
        change: impl FnOnce(&mut EngineConfig<'_>),
    ) -> Self {
        let input = InputConfig::synthetic(isl, Some(2));
        let prompts = prompts(&input, endpoint.kind, 0).unwrap();
        let clock = Clock::start();
        let mut config = EngineConfig::new(endpoint, "m", prompts, clock);
        config.events = true;
        change(&mut config);
        let (tell, done) = mpsc::unbounded_channel();
        let engine = Engine::new(config, Arc::new(Sink(tell))).unwrap();
        Self { engine, clock, done }
    }

    pub(crate) fn issue(&self, phase: u16, number: u32, timeout: Duration) {
        self.issue_to_cancel(phase, number, timeout, None);
    }

    /// Issues one that is to be cancelled so long after it was sent.
    pub(crate) fn issue_to_cancel(
        &self,
        phase: u16,
        number: u32,
        timeout: Duration,
        cancel_after: Option<Duration>,
    ) {
        let now = self.clock.now();
        let id = CreditId { phase, number };
        self.engine.issue(Credit {
            id,
            planned: now,
            deadline: now + timeout,
            item: Item::single(0, number),
            cancel_after,
        });
    }

    pub(crate) async fn done(&mut self) -> Finished {
        tokio::time::timeout(LONG, self.done.recv()).await.expect("it ends").expect("once")
    }

    /// Issues one and waits for it.
    pub(crate) async fn one(&mut self, timeout: Duration) -> Finished {
        self.issue(0, 0, timeout);
        self.done().await
    }

    /// Waits until nothing is in flight, and checks that nothing came twice.
    pub(crate) async fn idle(&mut self) {
        while self.engine.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(self.done.try_recv().is_err(), "a credit was completed twice");
    }
}

/// Serves `script` and sends one request to it.
pub(crate) async fn answer_to(script: Vec<Step>, timeout: Duration) -> Finished {
    let server = Server::start(vec![script]).await;
    let mut bench = Bench::new(&chat(&server.url));
    let finished = bench.one(timeout).await;
    bench.idle().await;
    finished
}
