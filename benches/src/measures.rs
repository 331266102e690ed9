//! Most measures of the table: what is run for each, and what is made of it.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phasegate_runtime::load::null::{NullAnswer, NullServer};

use crate::figures::{Must, Row, Samples};
use crate::process::{Cores, Server, command};
use crate::run::{control, phasegate};

/// How to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The phasegate binary.
    pub(crate) bin: PathBuf,
    /// Runs of each kind.
    pub(crate) rounds: usize,
    /// Share of the full load, up to 1.
    pub(crate) scale: f64,
}

/// The words of a prompt.
pub(crate) const WORDS: u64 = 32;

pub(crate) type Rows = io::Result<Vec<Row>>;

impl Bench {
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(200)
    }

    pub(crate) fn mock(&self, ttft: &str, itl: &str) -> io::Result<Server> {
        let mut mock = command(&self.bin, Cores::All);
        mock.args(["mock", "--port", "0", "--exit-with-stdin", "--max-batch", "4096"]);
        mock.args(["--ttft", ttft, "--itl", itl, "--gpus", "0"]);
        Server::start(mock)
    }

    pub(crate) fn null(&self, events: u64, cores: Cores) -> io::Result<Server> {
        let mut null = command(std::env::current_exe()?, cores);
        null.args(["null", &events.to_string()]);
        Server::start(null)
    }

    /// A closed loop of both clients, taking turns.
    pub(crate) fn closed(
        &self,
        server: SocketAddr,
        cores: Cores,
        [connections, requests, tokens]: [u64; 3],
    ) -> io::Result<Closed> {
        let (c, n, osl) = (connections.to_string(), requests.to_string(), tokens.to_string());
        let isl = WORDS.to_string();
        let args = ["--concurrency", &c, "--request-count", &n, "--osl", &osl, "--isl", &isl];
        let args = [&args[..], &["--ignore-eos", "--no-server-metrics"]].concat();
        let mut all = Closed::default();
        for _ in 0..self.rounds {
            let limit = control(server, cores, [connections, requests, WORDS, tokens])?;
            let run = phasegate(&self.bin, server, cores, &args)?;
            let done = run.completed()?;
            let rate = run.metric("request_throughput", "avg")?;
            all.ratio.0.push(rate / limit.rate);
            all.rate.0.push(rate);
            all.limit.0.push(limit.rate);
            all.cpu_us.0.push(run.cpu.per(done).all());
            all.limit_cpu_us.0.push(limit.cpu.per(limit.requests).all());
        }
        Ok(all)
    }

    /// Requests and tokens a second, and CPU, against the simulated server and
    /// against one that answers at once.
    pub(crate) fn throughput(&self) -> Rows {
        let mut rows = Vec::new();
        let mock = self.mock("0", "0")?;
        for (tokens, full, must) in [(16, 40_000, 0.8), (256, 8_000, 0.7)] {
            let got = self.closed(mock.addr, Cores::All, [64, self.scaled(full), tokens])?;
            let what = format!("c=64, {tokens} tokens, mock");
            rows.extend(got.rows(&what, must, Must::Tell));
        }
        drop(mock);
        for (tokens, full, cpu) in [(16, 100_000, Must::AtMost(40.0)), (256, 20_000, Must::Tell)] {
            let null = self.null(tokens, Cores::All)?;
            let got = self.closed(null.addr, Cores::All, [64, self.scaled(full), tokens])?;
            let what = format!("c=64, {tokens} tokens, null server");
            let must = if tokens == 16 { 0.8 } else { 0.7 };
            rows.extend(got.rows(&what, must, cpu));
        }
        Ok(rows)
    }

    /// How late requests are sent, and how many.
    pub(crate) fn pacing(&self) -> Rows {
        let mut rows = Vec::new();
        let server = self.null(16, Cores::All)?;
        let seconds = ((10.0 * self.scale) as u64).max(2);
        let (mut p50, mut p99) = (Samples::default(), Samples::default());
        for _ in 0..self.rounds {
            let run = self.open(server.addr, "poisson", 2_000, seconds)?;
            p50.0.push(run.number("/client/dispatch_lag_us/p50")?);
            p99.0.push(run.number("/client/dispatch_lag_us/p99")?);
        }
        rows.push(Row::new("2,000 req/s Poisson: dispatch lag p50, us", Must::Tell, p50));
        rows.push(Row::new("2,000 req/s Poisson: dispatch lag p99, us", Must::AtMost(200.0), p99));
        for rate in [200, 2_000, 10_000] {
            let mut off = Samples::default();
            for _ in 0..self.rounds {
                let run = self.open(server.addr, "constant", rate, seconds)?;
                let (sent, span) = started(&run.artifact("records.jsonl"))?;
                let planned = (rate * seconds) as f64;
                // Too few sent and sent too slowly are both off.
                let rated = (sent - 1.0) / span.as_secs_f64() / rate as f64;
                let miss = (sent / planned - 1.0).abs().max((rated - 1.0).abs());
                off.0.push(miss * 100.0);
            }
            let what = format!("{rate} req/s: achieved rate off the planned, %");
            rows.push(Row::new(what, Must::AtMost(0.1), off));
        }
        Ok(rows)
    }

    fn open(
        &self,
        server: SocketAddr,
        arrival: &str,
        rate: u64,
        seconds: u64,
    ) -> io::Result<crate::run::Run> {
        let (rate, time, isl) = (rate.to_string(), format!("{seconds}s"), WORDS.to_string());
        let args = ["--request-rate", &rate, "--arrival", arrival, "--duration", &time];
        let args = [&args[..], &["--isl", &isl, "--osl", "16", "--no-server-metrics"]].concat();
        let run = phasegate(&self.bin, server, Cores::All, &args)?;
        run.completed()?;
        Ok(run)
    }

    /// From the start of the process to the first request on the wire.
    pub(crate) fn start(&self) -> Rows {
        let mut took = Samples::default();
        for _ in 0..self.rounds {
            let answer = NullAnswer { events: 16, gap: Duration::ZERO };
            let server = NullServer::start(([127, 0, 0, 1], 0).into(), answer)?;
            let start = Instant::now();
            let args = ["--concurrency", "1", "--request-count", "1", "--no-server-metrics"];
            phasegate(&self.bin, server.addr(), Cores::All, &args)?;
            let first = server.first_request().ok_or_else(|| io::Error::other("no request"))?;
            took.0.push((first - start).as_secs_f64() * 1e3);
        }
        let what = "process start to first request on the wire, ms";
        Ok(vec![Row::new(what, Must::AtMost(50.0), took)])
    }

    /// How long a gate goes on after its last reading has ended.
    pub(crate) fn gates(&self) -> Rows {
        let mock = self.mock("1ms", "1ms")?;
        let mut beyond = Samples::default();
        for _ in 0..self.rounds {
            let args = ["--concurrency", "8", "--request-count", "200", "--osl", "8"];
            let run = phasegate(&self.bin, mock.addr, Cores::All, &args)?;
            let boundaries = run.json.get("boundaries").and_then(|b| b.as_array());
            for boundary in boundaries.into_iter().flatten() {
                let ns = |value: &serde_json::Value, name: &str| value.get(name)?.as_f64();
                let collectors = boundary.get("collectors").and_then(|c| c.as_array());
                let ends = collectors.into_iter().flatten().filter_map(|c| ns(c, "reading_end_ns"));
                let last = ends.fold(f64::NAN, f64::max);
                if let Some(closed) = ns(boundary, "closed_ns").filter(|_| !last.is_nan()) {
                    beyond.0.push((closed - last) / 1e6);
                }
            }
        }
        let what = "gate beyond its slowest reading, ms";
        Ok(vec![Row::new(what, Must::AtMost(1.0), beyond)])
    }
}

/// How many requests were started, and the time from the first to the last.
fn started(records: &Path) -> io::Result<(f64, Duration)> {
    let (mut count, mut first, mut last) = (0.0, u64::MAX, 0);
    for line in BufReader::new(std::fs::File::open(records)?).lines() {
        let record: serde_json::Value = serde_json::from_str(&line?)?;
        let at = record.get("started_ns").and_then(serde_json::Value::as_u64);
        let at = at.ok_or_else(|| io::Error::other("a record without a start"))?;
        (count, first, last) = (count + 1.0, first.min(at), last.max(at));
    }
    Ok((count, Duration::from_nanos(last.saturating_sub(first))))
}

/// Both clients in a closed loop.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    ratio: Samples,
    pub(crate) rate: Samples,
    limit: Samples,
    pub(crate) cpu_us: Samples,
    limit_cpu_us: Samples,
}

impl Closed {
    fn rows(self, what: &str, must: f64, cpu: Must) -> Vec<Row> {
        let row = |name: &str, must, got| Row::new(format!("{what}: {name}"), must, got);
        vec![
            row("requests/s over the control client's", Must::AtLeast(must), self.ratio),
            row("requests/s", Must::Tell, self.rate),
            row("requests/s of the control client", Must::Tell, self.limit),
            row("CPU a request, us", cpu, self.cpu_us),
            row("CPU a request of the control client, us", Must::Tell, self.limit_cpu_us),
        ]
    }
}
