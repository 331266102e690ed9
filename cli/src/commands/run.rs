//! `phasegate run`: resolves what was asked for, then either prints the plan or
//! hands it to the session.

use phasegate_runtime::secret::Secret;

use crate::args::RunArgs;
use crate::args::env::Environment;
use crate::args::parse::Levels;
use crate::demo::Demo;
use crate::exit::{Exit, Usage, complain};
use crate::output::{plan, print};
use crate::resolve::{Resolved, resolve};
use crate::session;

/// What `--demo` measures.
#[derive(Debug, Clone)]
pub struct DemoServer {
    /// Base URL of the simulated server.
    pub url: String,
    /// Its Prometheus endpoint.
    pub metrics: String,
    /// Its GPU exporter.
    pub gpus: String,
}

impl DemoServer {
    /// The one that listens at `base`.
    #[must_use]
    pub fn at(base: &str) -> Self {
        let at = |path: &str| format!("{base}{path}");
        Self { url: at(""), metrics: at("/metrics"), gpus: at("/gpu/metrics") }
    }

    /// One that has not been started: for a dry run.
    #[must_use]
    pub fn planned() -> Self {
        Self::at("http://127.0.0.1:0")
    }
}

/// Runs.
#[must_use]
pub fn run(args: RunArgs) -> Exit {
    let prepared = prepare(args.clone(), args.endpoint.demo.then(DemoServer::planned).as_ref());
    let resolved = match prepared {
        Ok(resolved) => resolved,
        Err(usage) => {
            complain(usage);
            return Exit::Usage;
        }
    };
    if args.output.dry_run {
        return print(&plan::render(&resolved, args.endpoint.demo));
    }
    if !args.endpoint.demo {
        return session::execute(resolved);
    }
    let demo = match Demo::start(resolved.config.plan.seed()) {
        Ok(demo) => demo,
        Err(problem) => {
            complain(problem);
            return Exit::ConditionFailed;
        }
    };
    match prepare(args, Some(&demo.server)) {
        Ok(resolved) => session::execute(resolved),
        Err(usage) => {
            complain(usage);
            Exit::Usage
        }
    }
}

/// Resolves `args` against the process's environment; with `--demo`, `server`
/// is what is measured, and the demo's own load where none is given.
///
/// # Errors
/// Wrong usage or configuration.
pub fn prepare(mut args: RunArgs, server: Option<&DemoServer>) -> Result<Resolved, Usage> {
    if let Some(server) = server {
        demo(&mut args, server);
    }
    resolve(&args, &Environment::of_process())
}

/// Fills in what a demo leaves open: a short warm-up, then a few seconds of
/// closed-loop load.
fn demo(args: &mut RunArgs, server: &DemoServer) {
    args.endpoint.url = vec![Secret::new(&server.url)];
    let (telemetry, load) = (&mut args.telemetry, &mut args.load);
    if telemetry.server_metrics.is_empty() && !telemetry.no_server_metrics {
        telemetry.server_metrics = vec![server.metrics.clone()];
    }
    if telemetry.gpu_telemetry.is_empty() {
        telemetry.gpu_telemetry = vec![format!("dcgm:{}", server.gpus)];
    }
    if load.warmup_request_count.is_none() && load.warmup_duration.is_none() {
        load.warmup_request_count = Some(8);
    }
    if load.concurrency.is_none() && load.request_rate.is_none() {
        load.concurrency = Some(Levels::Steps(vec![8]));
    }
    let searching = !args.judge.slo.is_empty();
    if load.request_count.is_none() && load.duration.is_none() && !searching {
        load.request_count = Some(100);
    }
}
