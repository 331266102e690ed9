//! Time to first token where the truth is known.

use crate::figures::{Must, Row, Samples};
use crate::measures::{Bench, Rows, WORDS};
use crate::process::Cores;
use crate::run::{control, phasegate};

/// Connections, each with one request at a time.
const CONNECTIONS: u64 = 200;

/// Requests of a run: ten of each connection, 3.6 s. A percentile of one run swings by
/// more than what is looked for; the median over pairs of runs does not.
const REQUESTS: u64 = 2_000;

/// Pairs of runs at full scale: 13 of 8.5 s are under two minutes.
const PAIRS: u64 = 13;

impl Bench {
    /// The 99th percentile beside the control client's, where a server of 200 ms / 10 ms
    /// is asked by 200 at a time.
    pub(crate) fn first_token(&self) -> Rows {
        let mock = self.mock("200ms", "10ms")?;
        let (c, n) = (CONNECTIONS.to_string(), REQUESTS.to_string());
        let isl = WORDS.to_string();
        // One request on each connection before it measures, as the control client has
        // its connections before it begins.
        let load = ["--concurrency", &c, "--request-count", &n, "--warmup-request-count", &c];
        let what = ["--isl", &isl, "--osl", "16", "--ignore-eos", "--no-server-metrics"];
        let args = [&load[..], &what].concat();
        let mut all = [Samples::default(), Samples::default(), Samples::default()];
        let pairs = ((PAIRS as f64 * self.scale).round() as u64).max(self.rounds as u64);
        for pair in 0..pairs {
            let limit = || -> std::io::Result<f64> {
                let load = [CONNECTIONS, REQUESTS, WORDS, 16];
                Ok(control(mock.addr, Cores::All, load)?.ttft_p99_ms)
            };
            let ours = || -> std::io::Result<f64> {
                let run = phasegate(&self.bin, mock.addr, Cores::All, &args)?;
                run.completed()?;
                run.metric("time_to_first_token", "p99")
            };
            // Neither is always the one that finds the server as the other left it.
            let (ours, limit) = if pair % 2 == 0 {
                let limit = limit()?;
                (ours()?, limit)
            } else {
                let ours = ours()?;
                (ours, limit()?)
            };
            for (samples, value) in all.iter_mut().zip([ours - limit, ours, limit]) {
                samples.0.push(value);
            }
        }
        let [beyond, ours, limit] = all;
        let row = |name: &str, must, got| {
            Row::new(format!("c=200, truth 200 ms / 10 ms: TTFT p99{name}, ms"), must, got)
        };
        Ok(vec![
            row(" beyond the control client's", Must::AtMost(0.2), beyond),
            row("", Must::Tell, ours),
            row(" of the control client", Must::Tell, limit),
        ])
    }
}
