//! Whether the cost of a request stays what it is: in a long run, over many
//! connections.

use std::io;

use crate::figures::{Must, Row, Samples};
use crate::measures::{Bench, Rows, WORDS};
use crate::process::{Cores, Cpu, Server};
use crate::run::{control, phasegate};

/// Runs of ten thousand requests, at least: each is some 0.2 s of CPU, of which the
/// kernel shows hundredths.
const SHORT_RUNS: usize = 10;

/// Costs of one client, summed over runs.
#[derive(Debug, Default)]
struct Cost {
    cpu: Cpu,
    requests: f64,
    rss_mib: Samples,
}

impl Cost {
    fn per_request(&self) -> Cpu {
        self.cpu.per(self.requests)
    }

    fn all(&self) -> f64 {
        self.per_request().all()
    }

    fn rows(&self, what: &str) -> [Row; 2] {
        let Cpu { user, system } = self.per_request();
        let row = |part: &str, got| {
            Row::new(format!("{what}: CPU a request, {part}, us"), Must::Tell, Samples(vec![got]))
        };
        [row("user", user), row("system", system)]
    }
}

impl Bench {
    /// Memory of a long run, everything recorded, and whether its cost is flat.
    pub(crate) fn flat(&self) -> Rows {
        let server = self.null(16, Cores::All)?;
        let (few, many) = (self.scaled(10_000), self.scaled(1_000_000));
        let (mut short, mut long) = (Cost::default(), Cost::default());
        for _ in 0..self.rounds.max(SHORT_RUNS) {
            self.ours(&server, [64, few], &mut short)?;
        }
        self.ours(&server, [64, many], &mut long)?;
        let ratio = Samples(vec![long.all() / short.all()]);
        let must = if many == 1_000_000 { Must::AtMost(120.0) } else { Must::Tell };
        let mut rows = Vec::from(short.rows(&format!("{few} requests, events")));
        rows.extend(long.rows(&format!("{many} requests, events")));
        rows.extend([
            Row::new(
                format!("{few} requests, events: peak memory, MiB"),
                Must::Tell,
                short.rss_mib,
            ),
            Row::new(format!("{many} requests, events: peak memory, MiB"), must, long.rss_mib),
            Row::new("CPU a request, long over short run", Must::AtMost(1.1), ratio),
        ]);
        Ok(rows)
    }

    /// A long run over many connections against a short one over 64, of both clients:
    /// what the control client pays more is the kernel's. The server writes each answer
    /// at once, so that there is one read an answer at any number of connections.
    pub(crate) fn many(&self, connections: u64) -> Rows {
        let server = self.null(16, Cores::All)?;
        let (few, many) = (self.scaled(10_000), self.scaled(1_000_000).max(connections * 2));
        let [mut short, mut limit_short] = [Cost::default(), Cost::default()];
        let [mut long, mut limit_long] = [Cost::default(), Cost::default()];
        let rounds = self.rounds.max(SHORT_RUNS);
        for round in 0..rounds {
            // In the middle of the short runs, so that both have the same machine.
            if round == rounds / 2 {
                self.ours(&server, [connections, many], &mut long)?;
                limit(&server, [connections, many], &mut limit_long)?;
            }
            self.ours(&server, [64, few], &mut short)?;
            limit(&server, [64, few], &mut limit_short)?;
        }
        // What so many requests take over few connections.
        let mut alone = Cost::default();
        self.ours(&server, [64, many], &mut alone)?;
        let one = |value: f64| Samples(vec![value]);
        let what = format!("{many} requests over {connections} connections");
        let ratio = |name: &str, must, value| {
            Row::new(format!("{what}, against {few} over 64: {name}"), must, one(value))
        };
        let user = long.per_request().user / short.per_request().user;
        let grown = long.rss_mib.median() - alone.rss_mib.median();
        let bytes = grown * f64::from(1 << 20) / (connections as f64 - 64.0);
        let mut rows = vec![
            ratio("CPU a request", Must::AtMost(1.1), long.all() / short.all()),
            ratio("of it user", Must::Tell, user),
            ratio("of the control client", Must::Tell, limit_long.all() / limit_short.all()),
        ];
        rows.extend(short.rows(&format!("{few} over 64")));
        rows.extend(long.rows(&what));
        rows.extend(limit_short.rows(&format!("control client, {few} over 64")));
        rows.extend(limit_long.rows(&format!("control client, {what}")));
        rows.push(Row::new(format!("{what}: peak memory, MiB"), Must::Tell, long.rss_mib));
        rows.push(Row::new(
            format!("{many} requests over 64 connections: peak memory, MiB"),
            Must::Tell,
            alone.rss_mib,
        ));
        rows.push(Row::new("memory a connection, bytes", Must::Tell, one(bytes)));
        Ok(rows)
    }

    fn ours(
        &self,
        server: &Server,
        [connections, requests]: [u64; 2],
        cost: &mut Cost,
    ) -> io::Result<()> {
        let (c, n, isl) = (connections.to_string(), requests.to_string(), WORDS.to_string());
        let args = ["--concurrency", &c, "--request-count", &n, "--isl", &isl, "--osl", "16"];
        let all = ["--ignore-eos", "--no-server-metrics", "--export-level", "events"];
        let run = phasegate(&self.bin, server.addr, Cores::All, &[&args[..], &all].concat())?;
        cost.requests += run.completed()?;
        cost.cpu = cost.cpu.and(run.cpu);
        cost.rss_mib.0.push(run.number("/client/peak_rss_mib")?);
        Ok(())
    }
}

fn limit(server: &Server, [connections, requests]: [u64; 2], cost: &mut Cost) -> io::Result<()> {
    let run = control(server.addr, Cores::All, [connections, requests, WORDS, 16])?;
    cost.requests += run.requests;
    cost.cpu = cost.cpu.and(run.cpu);
    Ok(())
}
