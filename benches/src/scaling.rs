//! What a second core gives.

use crate::figures::{Must, Row, Samples};
use crate::measures::{Bench, Rows, WORDS};
use crate::process::Cores;
use crate::run::phasegate;

impl Bench {
    /// One core against two, the server on a third; where there is none, what can be
    /// known without.
    pub(crate) fn scaling(&self) -> Rows {
        if std::thread::available_parallelism()?.get() < 3 {
            return self.scaling_on_two();
        }
        let server = self.null(16, Cores::Only(2))?;
        let load = [64, self.scaled(100_000), 16];
        let one = self.closed(server.addr, Cores::Only(0), load)?;
        let two = self.closed(server.addr, Cores::Pair(0, 1), load)?;
        let ratio = two.rate.median() / one.rate.median();
        Ok(vec![Row::new("scaling, 1 to 2 cores", Must::AtLeast(1.8), Samples(vec![ratio]))])
    }

    /// Client and server together on one core, then together on two: of both, the client
    /// is some three quarters, and the server has a single thread. What both do in a
    /// second sees everything that keeps the client from the second core, waiting for
    /// locks too, but wants a machine without other work. Twice the CPU a request on
    /// one core over that on two is true on any machine, and sees only what costs CPU:
    /// contention, traffic between caches, waking each other.
    fn scaling_on_two(&self) -> Rows {
        let (n, isl) = (self.scaled(100_000).to_string(), WORDS.to_string());
        let args = ["--concurrency", "64", "--request-count", &n, "--isl", &isl, "--osl", "16"];
        let args = [&args[..], &["--ignore-eos", "--no-server-metrics"]].concat();
        let places = [Cores::Only(0), Cores::Pair(0, 1)];
        let [one, two] = places.map(|cores| self.null(16, cores));
        let servers = [(one?, places[0]), (two?, places[1])];
        let mut all: [Samples; 4] = Default::default();
        for _ in 0..self.rounds {
            let [mut rate, mut cpu] = [[0.0; 2]; 2];
            for (at, (server, cores)) in servers.iter().enumerate() {
                let run = phasegate(&self.bin, server.addr, *cores, &args)?;
                rate[at] = run.metric("request_throughput", "avg")?;
                cpu[at] = run.cpu.per(run.completed()?).all();
            }
            let values = [rate[1] / rate[0], 2.0 * cpu[0] / cpu[1], cpu[0], cpu[1]];
            for (samples, value) in all.iter_mut().zip(values) {
                samples.0.push(value);
            }
        }
        let [rate, bound, one, two] = all;
        let what = "scaling from 1 to 2 cores, the server on the same";
        let row = |name: &str, must, got| Row::new(format!("{what}: {name}"), must, got);
        Ok(vec![
            row("requests/s of both", Must::AtLeast(1.8), rate),
            row("bound by CPU a request", Must::Tell, bound),
            row("CPU a request on one core, us", Must::Tell, one),
            row("CPU a request on two, us", Must::Tell, two),
        ])
    }
}
