//! One run as the terminal sees it: signals in, progress out, the result at the
//! end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phasegate_core::plan::{RunPlan, Stop};
use phasegate_runtime::config::RunConfig;
use phasegate_runtime::session::live::{Live, Stage};
use phasegate_runtime::session::{self, Done, SessionError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::run::UiArg;
use crate::check;
use crate::exit::{Exit, complain};
use crate::judge::judge;
use crate::output::progress::{Progress, ProgressSnapshot};
use crate::output::{print, tables};
use crate::resolve::Resolved;
use crate::resolve::artifacts::default_dir as default_dir_of;

/// The time between two looks at the run.
const LOOK: Duration = Duration::from_millis(100);

/// Runs what was resolved, shows how it goes, and prints what was measured.
#[must_use]
pub fn execute(resolved: Resolved) -> Exit {
    let Resolved { config, default_dir, ui } = resolved;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format!("no threads could be started: {error}"));
            return Exit::ConditionFailed;
        }
    };
    let (strict, max_error_rate) = (config.strict, config.max_error_rate);
    match runtime.block_on(watched(config, ui)) {
        Ok(done) => conclude(&done, &settle(&done, default_dir), strict, max_error_rate),
        Err(error) => {
            complain(&error);
            match error {
                SessionError::Config(_) | SessionError::Artifacts { .. } => Exit::Usage,
                SessionError::Unwritten { .. } | SessionError::Died(..) => Exit::ConditionFailed,
            }
        }
    }
}

async fn watched(config: RunConfig, ui: Option<UiArg>) -> Result<Done, SessionError> {
    let (interrupt, wanted) = watch::channel(false);
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(int), Ok(term)) => drop(tokio::spawn(listen(int, term, interrupt))),
        (Err(error), _) | (_, Err(error)) => {
            complain(format!("Ctrl-C will lose what was measured: no signals here: {error}"));
        }
    }
    let live = Live::default();
    let mut view = View::new(config.plan.clone(), Progress::new(ui), live.clone());
    let run = session::execute(config, live, wanted, check::audit);
    tokio::pin!(run);
    let mut looks = tokio::time::interval(LOOK);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut run => break done,
            _ = looks.tick() => view.look(),
        }
    };
    view.look();
    view.progress.finish();
    done
}

/// The first SIGINT or SIGTERM asks the run to end; the second ends the process.
async fn listen(mut int: Signal, mut term: Signal, interrupt: watch::Sender<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        if interrupt.send_replace(true) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    }
}

/// Turns what the run says of itself into what the user sees.
struct View {
    plan: RunPlan,
    progress: Progress,
    live: Live,
    said: Option<Stage>,
}

impl View {
    fn new(plan: RunPlan, progress: Progress, live: Live) -> Self {
        Self { plan, progress, live, said: None }
    }

    fn look(&mut self) {
        for note in self.live.take_notes() {
            self.progress.say(&note);
        }
        let stage = self.live.stage();
        if let Stage::WaitingForEndpoint { last } = &stage
            && self.said.as_ref() != Some(&stage)
        {
            self.progress.say(&match last {
                None => "waiting for the endpoint".to_owned(),
                Some(last) => format!("waiting for the endpoint: {last}"),
            });
            self.said = Some(stage.clone());
        }
        let current = match &stage {
            Stage::Gate { phase, .. } | Stage::Sending { phase } | Stage::Draining { phase } => {
                Some(*phase)
            }
            Stage::Preparing
            | Stage::WaitingForEndpoint { .. }
            | Stage::WaitingForServices
            | Stage::Finishing => None,
        };
        for (index, phase) in self.plan.phases().iter().enumerate() {
            let view = self.live.phase(index);
            if view.start.is_none() && current != Some(index) {
                continue;
            }
            let waiting = match &stage {
                Stage::Gate { phase, kind, waiting } if *phase == index => {
                    Some((*kind, waiting.clone()))
                }
                _ => None,
            };
            let until = view.end.unwrap_or_else(|| self.live.now());
            self.progress.update(&ProgressSnapshot {
                index,
                name: phase.name.clone(),
                kind: phase.kind,
                sent: view.counts.sent,
                in_flight: view.counts.in_flight(),
                completed: view.counts.completed,
                errors: view.counts.errors,
                elapsed: view.start.map_or(Duration::ZERO, |start| until.since(start)),
                stop: view.requests.map_or(phase.stop, Stop::Requests),
                waiting,
                done: view.end.is_some() && current != Some(index),
            });
        }
    }
}

/// Prints the result and says how the process ends.
fn conclude(done: &Done, dir: &Path, strict: bool, max_error_rate: Option<f64>) -> Exit {
    let printed = print(&tables::render(&done.result, Some(dir)));
    if printed != Exit::Done {
        return printed;
    }
    if let Some(reason) = &done.never_ready {
        let url = done.result.config["endpoint"]["url"].as_str().unwrap_or_default();
        complain(format!("the endpoint {url} never became ready: {reason}"));
        return Exit::NotReady;
    }
    let (exit, failed) = judge(&done.result, strict, max_error_rate);
    if exit == Exit::ConditionFailed {
        for condition in failed {
            complain(condition);
        }
    }
    exit
}

/// Where the artifacts are to stay: a directory named after a model that was
/// not known when it was made is renamed.
fn settle(done: &Done, default_dir: bool) -> PathBuf {
    let model = done.result.config["endpoint"]["model"].as_str();
    let started = humantime::parse_rfc3339(&done.result.started_at);
    if let (true, Some(model), Ok(started)) = (default_dir, model, started) {
        let named = default_dir_of(Some(model), started);
        if named == done.dir || std::fs::rename(&done.dir, &named).is_ok() {
            return named;
        }
    }
    done.dir.clone()
}
