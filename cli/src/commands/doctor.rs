//! `phasegate doctor`: what can be measured from here, one line a check, with a
//! remedy for what cannot.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use phasegate_core::account::result::ClientFloor;
use phasegate_runtime::clock::Clock;
use phasegate_runtime::session::calibrate;
use phasegate_runtime::telemetry::nvml::NvmlSource;
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;

use super::run::prepare;
use crate::args::{Cli, Command, DoctorArgs};
use crate::exit::{Exit, Usage, complain};
use crate::resolve::url::{self, ServerUrl};

/// How long a server may take to answer a check.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many descriptors the process needs beside its connections.
const OWN_DESCRIPTORS: u64 = 64;
/// A floor above this many microseconds shows in what is measured.
const FLOOR_US: f64 = 5_000.0;
/// The most of an answer that is read.
const ANSWER_LIMIT: u64 = 256 * 1024;

/// Loads NVML, from the given path if there is one; the error is one sentence.
pub type NvmlProbe = dyn Fn(Option<&Path>) -> Result<NvmlFound, String>;

/// What NVML shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvmlFound {
    /// How many GPUs.
    pub gpus: u32,
    /// Of which of them XID events cannot be seen, and why.
    pub xids_unseen: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing stands in the way.
    Ok,
    /// Something cannot be measured.
    Warn,
    /// A run would fail.
    Fail,
}

/// One check's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it ended.
    pub level: Level,
    /// What was checked.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it, if anything.
    pub remedy: Option<&'static str>,
}

impl Check {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, found: found.into(), remedy: None }
    }

    fn warn(what: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { level: Level::Warn, what, found: found.into(), remedy: Some(remedy) }
    }

    fn fail(what: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { level: Level::Fail, what, found: found.into(), remedy: Some(remedy) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        write!(f, "{level}  {:<16} {}", self.what, self.found)?;
        match self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Runs every check and prints its line as it ends.
#[must_use]
pub fn run(args: &DoctorArgs, nvml: Option<&NvmlProbe>) -> Exit {
    let targets = match Targets::new(args) {
        Ok(targets) => targets,
        Err(usage) => {
            complain(usage);
            return Exit::Usage;
        }
    };
    let mut worst = Level::Ok;
    let mut say = |check: Check| {
        if check.level == Level::Fail {
            worst = Level::Fail;
        }
        // A reader that went away does not change what was found.
        let _ = writeln!(std::io::stdout(), "{check}");
    };
    say(clock());
    // A run raises its limit to the hard one.
    say(descriptors(getrlimit(Resource::Nofile).maximum, args.concurrency));
    say(check_nvml(nvml, args.nvml_lib.as_deref()));
    match &targets.endpoint {
        Some(url) => say(endpoint(url)),
        None => say(Check::warn("endpoint", "not checked", "give --url to check one")),
    }
    for (text, asked) in &targets.metrics {
        say(exporter("server metrics", text, *asked));
    }
    for text in &targets.dcgm {
        say(exporter("gpu exporter", text, true));
    }
    say(floor(args.concurrency));
    match worst {
        Level::Ok | Level::Warn => Exit::Done,
        Level::Fail => Exit::ConditionFailed,
    }
}

/// What is to be reached.
struct Targets {
    endpoint: Option<ServerUrl>,
    /// With whether it was asked for by name.
    metrics: Vec<(ServerUrl, bool)>,
    dcgm: Vec<ServerUrl>,
}

impl Targets {
    fn new(args: &DoctorArgs) -> Result<Self, Usage> {
        let wrong = |flag: &'static str| move |e: String| Usage::new(format!("--{flag}: {e}"));
        let endpoint = match &args.url {
            Some(text) => Some(ServerUrl::parse(text).map_err(wrong("url"))?),
            None => None,
        };
        let public = |text: &String| url::public(text).and_then(|plain| ServerUrl::parse(&plain));
        let asked: Result<Vec<_>, _> = args.server_metrics.iter().map(public).collect();
        let mut metrics: Vec<_> =
            asked.map_err(wrong("server-metrics"))?.into_iter().map(|u| (u, true)).collect();
        if let (true, Some(url)) = (metrics.is_empty(), &endpoint) {
            let own = ServerUrl::parse(&url.metrics()).map_err(wrong("url"))?;
            metrics.push((own, false));
        }
        let dcgm = args.dcgm.iter().map(public).collect::<Result<_, _>>().map_err(wrong("dcgm"))?;
        Ok(Self { endpoint, metrics, dcgm })
    }
}

/// The smallest step that the monotonic clock was seen to make.
fn clock() -> Check {
    let mut smallest = Duration::MAX;
    for _ in 0..1000 {
        let before = Instant::now();
        let mut after = Instant::now();
        // A coarse clock stands still for a while.
        while after == before && smallest != Duration::ZERO {
            after = Instant::now();
        }
        smallest = smallest.min(after - before);
    }
    judge_clock(smallest)
}

fn judge_clock(step: Duration) -> Check {
    let found = format!("the monotonic clock steps by {step:?}");
    if step <= Duration::from_micros(100) {
        return Check::ok("clock", found);
    }
    let remedy = "latencies are no finer than that: use a host with a better clock source";
    Check::warn("clock", found, remedy)
}

/// Whether the limit of open files lets so many connections be.
fn descriptors(limit: Option<u64>, concurrency: u32) -> Check {
    const WHAT: &str = "open files";
    let need = u64::from(concurrency) + OWN_DESCRIPTORS;
    match limit {
        None => Check::ok(WHAT, "no limit"),
        Some(limit) if limit >= need => {
            Check::ok(WHAT, format!("limit {limit}, concurrency {concurrency} needs {need}"))
        }
        Some(limit) => {
            let found = format!("limit {limit}, concurrency {concurrency} needs {need}");
            Check::fail(WHAT, found, "raise the hard limit (ulimit -Hn), or lower --concurrency")
        }
    }
}

/// Loads NVML for good.
///
/// # Errors
/// One sentence, if it does not load.
pub fn load_nvml(library: Option<&Path>) -> Result<NvmlFound, String> {
    let library = library.map(Path::to_owned);
    let source = NvmlSource::open(library, Clock::start())?;
    Ok(NvmlFound {
        gpus: u32::try_from(source.gpus().len()).unwrap_or(u32::MAX),
        xids_unseen: source.xids_unseen().map(str::to_owned),
    })
}

fn check_nvml(probe: Option<&NvmlProbe>, library: Option<&Path>) -> Check {
    const WHAT: &str = "nvml";
    let Some(probe) = probe else {
        return Check::warn(WHAT, "not checked", "this build cannot load it; use an exporter");
    };
    let gpus = |count: u32| match count {
        1 => "1 GPU".to_owned(),
        count => format!("{count} GPUs"),
    };
    match probe(library) {
        Ok(NvmlFound { gpus: 0, .. }) => {
            Check::warn(WHAT, "it loads, but lists no GPU", "check nvidia-smi -L")
        }
        Ok(NvmlFound { gpus: count, xids_unseen: None }) => {
            Check::ok(WHAT, format!("{}, XID events are seen", gpus(count)))
        }
        Ok(NvmlFound { gpus: count, xids_unseen: Some(why) }) => {
            let remedy = "look for NVRM: Xid in dmesg, or read a DCGM exporter with \
                          --gpu-telemetry dcgm:URL";
            Check::warn(WHAT, format!("{}; {why}", gpus(count)), remedy)
        }
        Err(why) => {
            let remedy = "install the NVIDIA driver on this host, or read an exporter with \
                          --gpu-telemetry dcgm:URL";
            Check::warn(WHAT, why, remedy)
        }
    }
}

/// What the client adds by itself at this concurrency.
fn floor(concurrency: u32) -> Check {
    match measured_floor(concurrency) {
        Ok(floor) => judge_floor(concurrency, &floor),
        Err(why) => Check::warn("client floor", why, "free some CPU and disk, and try again"),
    }
}

/// Two short runs against a server in this process that takes no time.
fn measured_floor(concurrency: u32) -> Result<ClientFloor, String> {
    let dir = std::env::temp_dir().join(format!("phasegate-doctor-{}", std::process::id()));
    let slots = concurrency.to_string();
    let end = ["--model", "null", "--osl", "16", "--concurrency", &slots];
    let line = ["phasegate", "run", "--url", "http://127.0.0.1", "--duration", "1s"];
    let cli = Cli::try_parse_from([&line[..], &end].concat());
    let cli = cli.map_err(|error| error.to_string())?;
    let Command::Run(mut run) = cli.command else {
        return Err("its own command line is not one of run".to_owned());
    };
    run.output.artifact_dir = Some(dir.clone());
    let resolved = prepare(*run, None).map_err(|usage| usage.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (_keep, interrupt) = watch::channel(false);
    let floor = runtime.block_on(calibrate::floor(&resolved.config, &interrupt));
    // Only if it is empty: somebody else's is left alone.
    let _ = std::fs::remove_dir(dir);
    floor.map_err(|error| error.to_string())
}

fn judge_floor(concurrency: u32, floor: &ClientFloor) -> Check {
    const WHAT: &str = "client floor";
    let (Some(rate), Some(ttft), Some(gap)) = (
        floor.request_throughput,
        floor.time_to_first_token_us.p99,
        floor.inter_chunk_error_us.p99,
    ) else {
        return Check::warn(WHAT, "nothing was measured", "try again on a quieter machine");
    };
    let found = format!(
        "at concurrency {concurrency}: {rate:.0} requests/s, first token {ttft:.0} us (p99), gap \
         between events to {gap:.0} us (p99)"
    );
    if floor.errors == 0 && ttft.max(gap) <= FLOOR_US {
        return Check::ok(WHAT, found);
    }
    let remedy = "latencies near that are the client's own: give it more cores, or fewer slots";
    Check::warn(WHAT, found, remedy)
}

fn endpoint(url: &ServerUrl) -> Check {
    const WHAT: &str = "endpoint";
    let stream = match connect(url) {
        Ok(stream) => stream,
        Err(why) => {
            let found = format!("{} cannot be reached: {why}", url.plain());
            return Check::fail(WHAT, found, "start the server, or correct --url");
        }
    };
    if url.scheme == "https" {
        return Check::ok(WHAT, format!("{} accepts connections", url.plain()));
    }
    // A base URL may or may not end in the API's version.
    let base = url.path.strip_suffix("/v1").unwrap_or(&url.path);
    let models = format!("{base}/v1/models");
    match get(stream, url, &models) {
        Ok((200, _)) => Check::ok(WHAT, format!("{} answers {models}", url.plain())),
        Ok((401 | 403, _)) => Check::warn(
            WHAT,
            format!("{} wants a key for {models}", url.plain()),
            "give run an --api-key, or set OPENAI_API_KEY",
        ),
        Ok((status, _)) => Check::warn(
            WHAT,
            format!("{} answers {models} with {status}", url.plain()),
            "give run a --model, since it cannot be asked for",
        ),
        Err(why) => Check::warn(
            WHAT,
            format!("{} accepts connections but did not answer {models}: {why}", url.plain()),
            "check that it is an HTTP server and has finished loading",
        ),
    }
}

fn exporter(what: &'static str, url: &ServerUrl, asked: bool) -> Check {
    let plain = url.plain();
    // Nobody asked for the default one: a server may well have none.
    let bad = |found: String, remedy| match asked {
        true => Check::fail(what, found, remedy),
        false => Check::warn(what, found, remedy),
    };
    let stream = match connect(url) {
        Ok(stream) => stream,
        Err(why) => {
            let found = format!("{plain} cannot be reached: {why}");
            return bad(found, "start the exporter, or correct its URL");
        }
    };
    if url.scheme == "https" {
        return Check::ok(what, format!("{plain} accepts connections"));
    }
    let path = if url.path.is_empty() { "/" } else { &url.path };
    match get(stream, url, path) {
        Ok((200, body)) => {
            let sample = |l: &&str| !l.starts_with('#') && l.split_whitespace().count() >= 2;
            match body.lines().filter(sample).count() {
                0 => bad(format!("{plain} answers with no sample"), "check the URL's path"),
                samples => Check::ok(what, format!("{plain} answers with {samples} lines")),
            }
        }
        Ok((status, _)) => bad(format!("{plain} answers with {status}"), "check the URL's path"),
        Err(why) => bad(format!("{plain} did not answer: {why}"), "check that it speaks HTTP"),
    }
}

/// The first of the host's addresses that accepts a connection.
fn connect(url: &ServerUrl) -> Result<TcpStream, String> {
    let addresses = url.host_and_port().to_socket_addrs().map_err(|e| e.to_string())?;
    let mut last = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e.to_string(),
        }
    }
    Err(last)
}

/// Status and body of one plain GET. HTTP/1.0, so that the body ends with the
/// connection.
fn get(mut stream: TcpStream, url: &ServerUrl, path: &str) -> Result<(u16, String), String> {
    let exchange = |stream: &mut TcpStream| -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let host = &url.authority;
        // In one piece: a server may answer and close after the first.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        let mut piece = [0; 8192];
        while (answer.len() as u64) < ANSWER_LIMIT && Instant::now() < deadline {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(piece.get(..n).unwrap_or_default()),
                // What came is judged; a server may keep the connection open.
                Err(_) if !answer.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(answer)
    };
    let answer = exchange(&mut stream).map_err(|e| {
        if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) {
            return format!("nothing came within {PATIENCE:?}");
        }
        e.to_string()
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|h| h.get(2..5)?.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err("its answer is not HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests;
