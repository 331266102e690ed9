//! Flags over environment over file over defaults, checked, as one
//! [`RunConfig`]. `endpoint` is what is measured, `input` what is sent,
//! `schedule` when (with `phases` and `slo`), `telemetry` what is read beside it,
//! [`artifacts`] where it is written; [`url`] takes URLs apart.

pub mod artifacts;
mod endpoint;
mod input;
mod phases;
mod schedule;
mod slo;
mod telemetry;
pub mod url;

#[cfg(test)]
mod slo_tests;
#[cfg(test)]
mod sweep_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use phasegate_runtime::config::{ArtifactConfig, EndpointType, ExportLevel, RunConfig};
use phasegate_runtime::load::dataset::Asked;

use crate::args::RunArgs;
use crate::args::env::{Environment, Variable};
use crate::args::parse;
use crate::args::run::UiArg;
use crate::config::FileConfig;
use crate::exit::Usage;

/// Mean prompt length where none is given, in tokens.
pub const DEFAULT_ISL: u32 = 128;
/// Mean output length where none is given, in tokens.
pub const DEFAULT_OSL: u32 = 64;
/// How long the endpoint may take to become ready where it is not given.
pub const DEFAULT_READY: Duration = Duration::from_secs(30);
/// Time between two readings of server metrics where it is not given.
pub const DEFAULT_SERVER_METRICS_INTERVAL: Duration = Duration::from_millis(333);
/// Time between two readings of GPUs where it is not given.
pub const DEFAULT_GPU_INTERVAL: Duration = Duration::from_millis(100);

/// Everything that `run` was asked for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The run.
    pub config: RunConfig,
    /// `artifacts.dir` was not given but made of the model, if that was known,
    /// and the time: [`artifacts::default_dir`] names it again once the model
    /// is known.
    pub default_dir: bool,
    /// How progress is shown; `None` leaves it to the terminal.
    pub ui: Option<UiArg>,
}

/// Reads the file that `args` name, if they do, and resolves.
///
/// # Errors
/// The first thing that is wrong, with its place and remedy.
pub fn resolve(args: &RunArgs, env: &Environment) -> Result<Resolved, Usage> {
    let file = match &args.load.config {
        Some(path) => FileConfig::load(path)?,
        None => FileConfig::default(),
    };
    resolve_with(args, env, &file, SystemTime::now())
}

/// Resolves `args` over `env` over `file`; `now` names the artifact directory.
///
/// # Errors
/// The first thing that is wrong, with its place and remedy.
pub fn resolve_with(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
    now: SystemTime,
) -> Result<Resolved, Usage> {
    let (endpoint, urls) = endpoint::endpoint(args, env, file)?;
    let mut input = input::input(args, file, endpoint.kind)?;
    if let Some(data) = &input.dataset {
        let from = &args.endpoint;
        input.notes = data.differences(&Asked {
            model: endpoint.model.as_deref(),
            streaming: endpoint.streaming,
            streaming_given: from.streaming
                || from.no_streaming
                || file.endpoint.streaming.is_some(),
            usage_is_asked_for: endpoint.kind.usage_is_asked_for(),
            extra: &endpoint.extra_inputs,
        });
    }
    if endpoint.kind == EndpointType::Messages && input.osl.is_none() && input.file.is_none() {
        let problem = "Anthropic's API requires max_tokens; give a length";
        return Err(wrong(args.input.osl.is_some(), "osl", file, "input.osl", problem));
    }
    let plan = schedule::plan(args, env, file, &input)?;
    let searching = plan.search().is_some();
    let telemetry = telemetry::telemetry(args, env, file, &urls)?;
    let given = args.output.artifact_dir.clone().or_else(|| file.artifacts.dir.clone());
    let export_level = args.output.export_level.or(file.artifacts.export_level);
    let artifacts = ArtifactConfig {
        dir: given
            .clone()
            .unwrap_or_else(|| artifacts::default_dir(endpoint.model.as_deref(), now)),
        export_level: export_level.map_or(ExportLevel::Records, Into::into),
    };
    let goodput = if args.judge.goodput.is_empty() {
        file.goodput.clone().unwrap_or_default()
    } else {
        let text = args.judge.goodput.join(" ");
        parse::goodput(&text).map_err(|e| Usage::new(format!("--goodput: {e}")))?
    };
    let config = RunConfig {
        plan,
        endpoint,
        input,
        telemetry,
        artifacts,
        goodput,
        ready_timeout: args
            .endpoint
            .ready_timeout
            .or(file.limits.ready_timeout)
            .unwrap_or(DEFAULT_READY),
        // In a search it is an objective.
        max_error_rate: args
            .judge
            .max_error_rate
            .or(file.limits.max_error_rate)
            .filter(|_| !searching),
        strict: args.judge.strict || file.limits.strict.unwrap_or_default(),
        calibrate: args.judge.calibrate,
    };
    Ok(Resolved { config, default_dir: given.is_none(), ui: args.output.ui })
}

/// An error at a flag if that gave the value, otherwise at the file's key.
fn wrong(by_flag: bool, flag: &str, file: &FileConfig, key: &str, problem: &str) -> Usage {
    match &file.source {
        Some(source) if !by_flag => source.error(key, problem),
        Some(_) | None => Usage::new(format!("--{flag}: {problem}")),
    }
}

/// The value of a variable, through the flag's own parser.
fn variable<T>(
    env: &Environment,
    variable: Variable,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Usage> {
    let Some(text) = env.get(variable.name) else { return Ok(None) };
    parse(text).map(Some).map_err(|e| Usage::new(format!("{}: {e}", variable.name)))
}
