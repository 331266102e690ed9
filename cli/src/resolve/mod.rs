//! Flags over environment over file over defaults, checked, as one
//! [`RunConfig`]. [`phases`] makes the phases, [`url`] takes URLs apart,
//! [`artifacts`] names the directory.

pub mod artifacts;
pub mod phases;
pub mod url;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use phasegate_core::plan::{GatePlan, Limits, RunPlan};
use phasegate_runtime::config::{
    ArtifactConfig, EndpointConfig, EndpointType, ExportLevel, GpuConfig, InputConfig, InputFile,
    InputFormat, RunConfig, TelemetryConfig,
};
use phasegate_runtime::secret::Secret;

use crate::args::RunArgs;
use crate::args::env::{self, Environment, Variable};
use crate::args::gate::pair;
use crate::args::parse;
use crate::args::run::UiArg;
use crate::config::FileConfig;
use crate::exit::Usage;
use url::ServerUrl;

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
/// The shortest time between two periodic readings.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
/// The settle timeout where none is given, unless the gate timeout is shorter.
const DEFAULT_SETTLE: Duration = Duration::from_secs(3);

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
    /// The NVML library to load instead of the system's.
    pub nvml_lib: Option<PathBuf>,
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
    if args.input.tokenizer.is_some() {
        return Err(Usage::new(
            "--tokenizer: this build has no tokenizers; remove it, token counts then come from \
             the server's usage",
        ));
    }
    let (endpoint, url) = endpoint(args, env, file)?;
    let input = input(args, file, endpoint.kind)?;
    let plan = plan(args, env, file)?;
    let telemetry = telemetry(args, env, file, &url)?;
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
        max_error_rate: args.judge.max_error_rate.or(file.limits.max_error_rate),
        strict: args.judge.strict || file.limits.strict.unwrap_or_default(),
    };
    let nvml_lib = args.telemetry.nvml_lib.clone();
    Ok(Resolved { config, default_dir: given.is_none(), ui: args.output.ui, nvml_lib })
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

fn endpoint(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
) -> Result<(EndpointConfig, ServerUrl), Usage> {
    let (from, section) = (&args.endpoint, &file.endpoint);
    let given = from.url.as_ref().or(section.url.as_ref()).ok_or_else(|| {
        Usage::new("no endpoint: give --url URL, or endpoint.url in a --config file, or try --demo")
    })?;
    let url_wrong = |e: String| wrong(from.url.is_some(), "url", file, "endpoint.url", &e);
    let url = ServerUrl::parse(given.expose()).map_err(url_wrong)?;
    let kind = from.endpoint_type.or(section.kind).map_or(EndpointType::Chat, Into::into);
    let by_flag = pair(from.streaming, from.no_streaming);
    let streaming = by_flag.or(section.streaming);
    if kind == EndpointType::Embeddings && streaming == Some(true) {
        let problem = "embeddings are never streamed; remove it";
        return Err(wrong(by_flag.is_some(), "streaming", file, "endpoint.streaming", problem));
    }
    let mut headers = section.headers.clone();
    for text in &from.header {
        let (name, value) =
            parse::header(text.expose()).map_err(|e| Usage::new(format!("--header: {e}")))?;
        // A flag replaces the file's header of that name.
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        headers.push((name, Secret::new(value)));
    }
    let api_key = authorise(&mut headers, &url, api_key(from.api_key.as_ref(), env, file)?)?;
    let mut extra_inputs = file.input.extra_inputs.clone();
    for text in &args.input.extra_inputs {
        let map = parse::extra_inputs(text)
            .map_err(|e| Usage::new(format!("--extra-inputs: {e}")))?;
        extra_inputs.extend(map);
    }
    let config = EndpointConfig {
        url: url.plain(),
        model: from.model.clone().or_else(|| section.model.clone()),
        kind,
        streaming: kind != EndpointType::Embeddings && streaming.unwrap_or(true),
        api_key,
        headers,
        extra_inputs,
    };
    Ok((config, url))
}

/// A key and where it came from.
struct ApiKey {
    key: Secret,
    from: String,
    /// It was merely in the environment: what was asked for goes first.
    ambient: bool,
}

/// The key of the flag, of the variable that the file names, or of
/// `OPENAI_API_KEY`.
fn api_key(
    flag: Option<&Secret>,
    env: &Environment,
    file: &FileConfig,
) -> Result<Option<ApiKey>, Usage> {
    let found = if let Some(key) = flag {
        Some(ApiKey { key: key.clone(), from: "--api-key".to_owned(), ambient: false })
    } else if let Some(name) = &file.endpoint.api_key_env {
        let Some(key) = env.get(name) else {
            let problem = format!("the variable {name} is not set; set it, or remove the key");
            return Err(wrong(false, "api-key", file, "endpoint.api_key_env", &problem));
        };
        Some(ApiKey { key: Secret::new(key), from: name.clone(), ambient: false })
    } else {
        let from = env::API_KEY.name.to_owned();
        env.get(&from).map(|key| ApiKey { key: Secret::new(key), from, ambient: true })
    };
    let sendable = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
    match found {
        Some(found) if !sendable(found.key.expose()) => {
            let problem = "is empty, or has a space or a character that no header takes";
            Err(Usage::new(format!("{}: the key {problem}; give it without", found.from)))
        }
        found => Ok(found),
    }
}

/// The key to send. The URL's credentials become a header; two claims on the
/// header `Authorization` are a contradiction.
fn authorise(
    headers: &mut Vec<(String, Secret)>,
    url: &ServerUrl,
    api_key: Option<ApiKey>,
) -> Result<Option<Secret>, Usage> {
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let api_key = api_key.filter(|k| !(k.ambient && (named || url.authorization.is_some())));
    let claims = [
        url.authorization.as_ref().map(|_| "the URL's user and password"),
        named.then_some("a header Authorization"),
        api_key.as_ref().map(|k| k.from.as_str()),
    ];
    let claims: Vec<&str> = claims.into_iter().flatten().collect();
    if claims.len() > 1 {
        return Err(Usage::new(format!(
            "{} would both be sent as the header Authorization; give only one of them",
            claims.join(" and ")
        )));
    }
    if let Some(basic) = &url.authorization {
        headers.push(("Authorization".to_owned(), basic.clone()));
    }
    Ok(api_key.map(|k| k.key))
}

fn input(args: &RunArgs, file: &FileConfig, kind: EndpointType) -> Result<InputConfig, Usage> {
    let (from, section) = (&args.input, &file.input);
    let path = from.input_file.clone().or_else(|| section.file.clone());
    let format = from.dataset_type.or(section.format);
    if path.is_none() && format.is_some() {
        let problem = "a format without a file of prompts; add file, or remove it";
        return Err(wrong(false, "dataset-type", file, "input.format", problem));
    }
    if let Some(path) = &path
        && !path.is_file()
    {
        let problem = format!("{} is not a file that can be read; give one", path.display());
        return Err(wrong(from.input_file.is_some(), "input-file", file, "input.file", &problem));
    }
    let osl = from.osl.or(section.osl);
    let osl_flag = from.osl.is_some();
    let embeddings = kind == EndpointType::Embeddings;
    if embeddings && osl.is_some_and(|o| o.0.is_some()) {
        let problem = "embeddings have no output tokens; remove it";
        return Err(wrong(osl_flag, "osl", file, "input.osl", problem));
    }
    let osl = match osl {
        Some(given) => given.0,
        // A file's prompts may say their own.
        None if embeddings || path.is_some() => None,
        None => Some(DEFAULT_OSL),
    };
    let osl_stddev = from.osl_stddev.or(section.osl_stddev).unwrap_or_default();
    let ignore_eos = from.ignore_eos || section.ignore_eos.unwrap_or_default();
    if osl.is_none() && osl_stddev > 0.0 {
        let problem = "there is no output length that it could spread; give osl, or remove it";
        let by_flag = from.osl_stddev.is_some();
        return Err(wrong(by_flag, "osl-stddev", file, "input.osl_stddev", problem));
    }
    Ok(InputConfig {
        isl: from.isl.or(section.isl).unwrap_or(DEFAULT_ISL),
        isl_stddev: from.isl_stddev.or(section.isl_stddev).unwrap_or_default(),
        osl,
        osl_stddev,
        ignore_eos,
        file: path.map(|path| InputFile {
            path,
            format: format.map_or(InputFormat::Jsonl, Into::into),
        }),
    })
}

fn plan(args: &RunArgs, env: &Environment, file: &FileConfig) -> Result<RunPlan, Usage> {
    let phases = phases::phases(&args.load, file)?;
    let (count, seed) = (phases.len(), args.load.seed.or(file.seed).unwrap_or_default());
    let gate = gate(args, env, file)?;
    let own = Limits::default();
    let limits = &file.limits;
    let fallback = args
        .gate
        .credits_complete_fallback_timeout
        .or(variable(env, env::FALLBACK_TIMEOUT, parse::duration)?)
        .or(limits.credits_complete_fallback_timeout);
    let heartbeat = limits.heartbeat.unwrap_or(own.heartbeat);
    if heartbeat < SHORTEST_INTERVAL {
        return Err(wrong(false, "", file, "limits.heartbeat", "is under 1ms; give at least that"));
    }
    let request_timeout =
        args.endpoint.request_timeout.or(limits.request_timeout).unwrap_or(own.request_timeout);
    if request_timeout.is_zero() {
        let by_flag = args.endpoint.request_timeout.is_some();
        let problem = "is 0, which no request keeps; give a time above 0";
        return Err(wrong(by_flag, "request-timeout", file, "limits.request_timeout", problem));
    }
    let limits = Limits {
        service_start: limits.service_start.unwrap_or(own.service_start),
        heartbeat,
        heartbeat_misses: limits.heartbeat_misses.unwrap_or(own.heartbeat_misses),
        credits_complete_fallback: fallback.unwrap_or(own.credits_complete_fallback),
        request_timeout,
        drain: limits.drain.unwrap_or(own.drain),
        cancel_grace: limits.cancel_grace.unwrap_or(own.cancel_grace),
    };
    RunPlan::new(seed, phases, gate, limits).map_err(|e| phases::explain(&e, file, count))
}

fn gate(args: &RunArgs, env: &Environment, file: &FileConfig) -> Result<GatePlan, Usage> {
    let (from, section) = (&args.gate, &file.gate);
    let enabled = pair(from.gate, from.no_gate)
        .or(variable(env, env::GATE_ENABLED, parse::switch)?)
        .or(section.enabled)
        .unwrap_or(true);
    let timeout_variable = variable(env, env::GATE_TIMEOUT, parse::duration)?;
    let settle_variable = variable(env, env::SETTLE_TIMEOUT, parse::duration)?;
    let timeout = from.gate_timeout.or(timeout_variable).or(section.timeout);
    let settle = from.settle_timeout.or(settle_variable).or(section.settle_timeout);
    let place = |flag: &str, by_flag: bool, variable: Variable, by_variable: bool, problem: &str| {
        if by_variable && !by_flag {
            return Usage::new(format!("{}: {problem}", variable.name));
        }
        let key = if flag == "gate-timeout" { "gate.timeout" } else { "gate.settle_timeout" };
        wrong(by_flag, flag, file, key, problem)
    };
    let timeout_or_own = timeout.unwrap_or(GatePlan::default().timeout);
    if enabled && timeout_or_own.is_zero() {
        let (by_flag, by_variable) = (from.gate_timeout.is_some(), timeout_variable.is_some());
        let problem = "is 0; give a time above 0, or switch the gates off with --no-gate";
        return Err(place("gate-timeout", by_flag, env::GATE_TIMEOUT, by_variable, problem));
    }
    if let Some(settle) = settle
        && settle > timeout_or_own
    {
        let (by_flag, by_variable) = (from.settle_timeout.is_some(), settle_variable.is_some());
        let problem = format!(
            "{} is longer than the gate timeout {}, of which settling is a part; lower it, or \
             raise that",
            parse::show_duration(settle),
            parse::show_duration(timeout_or_own)
        );
        return Err(place("settle-timeout", by_flag, env::SETTLE_TIMEOUT, by_variable, &problem));
    }
    let settle_timeout = settle.unwrap_or_else(|| DEFAULT_SETTLE.min(timeout_or_own));
    Ok(GatePlan { enabled, timeout: timeout_or_own, settle_timeout })
}

fn telemetry(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
    url: &ServerUrl,
) -> Result<TelemetryConfig, Usage> {
    let (from, section) = (&args.telemetry, &file.telemetry);
    let urls = if from.no_server_metrics {
        Vec::new()
    } else if !from.server_metrics.is_empty() {
        from.server_metrics.clone()
    } else {
        section.server_metrics.clone().unwrap_or_else(|| vec![url.metrics()])
    };
    let by_flag = !from.server_metrics.is_empty();
    let mut server_metrics: Vec<String> = Vec::with_capacity(urls.len());
    for (index, text) in urls.iter().enumerate() {
        let key = format!("telemetry.server_metrics[{index}]");
        let bad = |e: &str| wrong(by_flag, "server-metrics", file, &key, e);
        let url = url::public(text).map_err(|e| bad(&e))?;
        if server_metrics.contains(&url) {
            return Err(bad("the URL is listed twice; list it once"));
        }
        server_metrics.push(url);
    }
    let by_flag = !from.gpu_telemetry.is_empty();
    let gpu = if by_flag { Some(&from.gpu_telemetry) } else { section.gpu.as_ref() };
    let gpu = gpu_source(gpu.map_or(&[], Vec::as_slice))
        .map_err(|e| wrong(by_flag, "gpu-telemetry", file, "telemetry.gpu", &e))?;
    let interval = |flag: Option<Duration>, name, key: Option<Duration>, own| {
        let value = flag.or(variable(env, name, parse::duration)?).or(key).unwrap_or(own);
        if value < SHORTEST_INTERVAL {
            let problem = "is under 1ms; give at least that";
            return Err(Usage::new(format!("--{} ({}): {problem}", name.flag, name.name)));
        }
        Ok(value)
    };
    Ok(TelemetryConfig {
        server_metrics,
        server_metrics_interval: interval(
            from.server_metrics_interval,
            env::SERVER_METRICS_INTERVAL,
            section.server_metrics_interval,
            DEFAULT_SERVER_METRICS_INTERVAL,
        )?,
        gpu,
        gpu_interval: interval(
            from.gpu_telemetry_interval,
            env::GPU_INTERVAL,
            section.gpu_interval,
            DEFAULT_GPU_INTERVAL,
        )?,
    })
}

fn gpu_source(words: &[String]) -> Result<GpuConfig, String> {
    let mut urls = Vec::new();
    for word in words {
        if let Some(text) = word.strip_prefix("dcgm:") {
            let url = url::public(text).map_err(|e| format!("dcgm: {e}"))?;
            if urls.contains(&url) {
                return Err("the URL is listed twice; list it once".to_owned());
            }
            urls.push(url);
            continue;
        }
        let source = match word.as_str() {
            "auto" => GpuConfig::Auto,
            "nvml" => GpuConfig::Nvml,
            "none" => GpuConfig::None,
            // Not repeated: it may be a URL with a password.
            _ => return Err("is not a source; give nvml, dcgm:URL, auto or none".to_owned()),
        };
        if words.len() > 1 {
            return Err(format!(
                "'{word}' cannot be joined with another source; give it alone, or only dcgm:URL"
            ));
        }
        return Ok(source);
    }
    Ok(if urls.is_empty() { GpuConfig::Auto } else { GpuConfig::Dcgm(urls) })
}
