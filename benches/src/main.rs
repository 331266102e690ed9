//! `phasegate-bench`: phasegate against a client that does nothing but use the
//! socket, in the same run against the same server.
//!
//! - [`control`]: that client. [`process`], [`run`]: processes and their figures.
//! - [`measures`], [`flat`], [`ttft`], [`scaling`]: what is run for each row of the
//!   table; [`figures`]: the table.

mod control;
mod figures;
mod flat;
mod measures;
mod process;
mod run;
mod scaling;
mod ttft;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use phasegate_runtime::load::null::{NullAnswer, NullServer};

use figures::Row;
use measures::Bench;

/// Measures phasegate against a client that does nothing but use the socket
#[derive(Debug, Parser)]
struct Args {
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Share of the full load: 0.1 is quick, and less exact
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only these: throughput, ttft, pacing, flat, many, start, gates, scaling
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Connections of `many`
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// The phasegate to measure, instead of building this one
    #[arg(long)]
    bin: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of the bench's own does.
#[derive(Debug, Subcommand)]
enum Role {
    /// Serve an answer of so many events, at once
    #[command(hide = true)]
    Null { events: u32 },
    /// Be the control client
    #[command(hide = true)]
    Control { addr: SocketAddr, connections: usize, requests: u64, words: usize, tokens: u32 },
}

fn main() -> ExitCode {
    match work(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "phasegate-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn work(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    match args.role {
        Some(Role::Null { events }) => {
            let answer = NullAnswer { events, gap: Duration::ZERO };
            let server = NullServer::start(([127, 0, 0, 1], 0).into(), answer)?;
            writeln!(std::io::stdout(), "null server listens on http://{}", server.addr())?;
            server.wait();
        }
        Some(Role::Control { addr, connections, requests, words, tokens }) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let load = control::Load { addr, connections, requests, words, tokens };
            writeln!(std::io::stdout(), "{}", runtime.block_on(control::run(load))?)?;
        }
        None => return table(&args),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let bin = match &args.bin {
        Some(bin) => bin.clone(),
        None => process::phasegate()?,
    };
    let bench = Bench { bin, rounds: args.rounds.max(1), scale: args.scale };
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut out = std::io::stdout();
    writeln!(out, "| measure | must | median (lowest–highest) | |\n|---|---|---|---|")?;
    let mut all_hold = true;
    let mut say = |rows: Vec<Row>| {
        rows.iter().try_for_each(|row| {
            all_hold &= row.holds();
            writeln!(out, "{row}")
        })
    };
    type Measure<'a> = (&'a str, &'a dyn Fn() -> std::io::Result<Vec<Row>>);
    let many = || bench.many(args.connections);
    let measures: [Measure<'_>; 8] = [
        ("throughput", &|| bench.throughput()),
        ("ttft", &|| bench.first_token()),
        ("pacing", &|| bench.pacing()),
        ("start", &|| bench.start()),
        ("gates", &|| bench.gates()),
        ("scaling", &|| bench.scaling()),
        ("many", &many),
        ("flat", &|| bench.flat()),
    ];
    for (name, measure) in measures {
        if wanted(name) {
            say(measure()?)?;
        }
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
