//! The plan of a run as text: what `--dry-run` prints. No secret is in it.

use std::fmt::Write as _;

use phasegate_core::account::sweep::SweepBy;
use phasegate_core::plan::{Arrival, ArrivalProcess, PhaseKind, PhasePlan, Stage};
use phasegate_core::search::SearchPlan;
use phasegate_runtime::config::{
    EndpointConfig, EndpointType, ExportLevel, GpuConfig, InputConfig, InputFormat, RunConfig,
};

use super::tables::{kind_word, stop_words};
use crate::args::parse::show_duration;
use crate::resolve::Resolved;

/// The plan of `resolved`. `demo` says that the endpoint is the simulated
/// server.
#[must_use]
pub fn render(resolved: &Resolved, demo: bool) -> String {
    let config = &resolved.config;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, config, demo);
    let probes: Vec<usize> = config.plan.probes().collect();
    for (index, phase) in config.plan.phases().iter().enumerate() {
        match config.plan.search().filter(|_| probes.contains(&index)) {
            Some(search) if probes.first() == Some(&index) => {
                let _ = search_lines(&mut out, index, phase, search, probes.len());
            }
            Some(_) => {}
            None => {
                let _ = phase_lines(&mut out, index, phase);
            }
        }
    }
    let _ = gates_and_telemetry(&mut out, config, demo);
    let _ = tail(&mut out, resolved);
    out
}

fn head(out: &mut String, config: &RunConfig, demo: bool) -> std::fmt::Result {
    writeln!(out, "endpoint   {}", endpoint_words(&config.endpoint, demo))?;
    let model = config.endpoint.model.as_deref();
    writeln!(out, "model      {}", model.unwrap_or("the first that the endpoint lists"))?;
    let headers: Vec<&str> = config.endpoint.headers.iter().map(|(n, _)| n.as_str()).collect();
    let mut sent = Vec::new();
    if config.endpoint.api_key.is_some() {
        sent.push("an API key".to_owned());
    }
    if !headers.is_empty() {
        sent.push(format!("headers {}", headers.join(", ")));
    }
    if !sent.is_empty() {
        writeln!(out, "           sends {} (values not shown)", sent.join(" and "))?;
    }
    if !config.endpoint.extra_inputs.is_empty() {
        let extra = serde_json::to_string(&config.endpoint.extra_inputs).unwrap_or_default();
        writeln!(out, "           adds {extra} to every request")?;
    }
    writeln!(out, "input      {}", input_words(&config.input, config.endpoint.kind))?;
    for note in &config.input.notes {
        writeln!(out, "           {note}")?;
    }
    writeln!(out, "seed       {}", config.plan.seed())?;
    writeln!(out, "phases")
}

fn endpoint_words(endpoint: &EndpointConfig, demo: bool) -> String {
    let streaming = if endpoint.streaming { "streaming" } else { "not streaming" };
    let urls: Vec<&str> = endpoint.urls().collect();
    let url = if demo { "a simulated server on loopback".to_owned() } else { urls.join(", ") };
    let turns = if urls.len() > 1 { ", in turn" } else { "" };
    format!("{url} ({}, {streaming}{turns})", endpoint.kind.word())
}

fn input_words(input: &InputConfig, kind: EndpointType) -> String {
    let spread = |stddev: f64| {
        if stddev > 0.0 { format!(" (standard deviation {stddev})") } else { String::new() }
    };
    let mut words = match &input.file {
        Some(file) => {
            let format = match file.format {
                InputFormat::Jsonl => "jsonl",
                InputFormat::Openai => "openai",
                InputFormat::Sharegpt => "sharegpt",
                InputFormat::Conversation => "conversation",
                InputFormat::Mooncake => "mooncake",
            };
            let mut words = match &input.dataset {
                None => format!("prompts from {} ({format})", file.path.display()),
                Some(data) => {
                    let what = match data.turns() {
                        Some(turns) => format!("conversations of {turns} turns"),
                        None => "prompts".to_owned(),
                    };
                    format!("{} {what} from {} ({format})", data.len(), file.path.display())
                }
            };
            for (why, count) in input.dataset.iter().flat_map(|data| data.skipped()) {
                let _ = write!(words, ", {count} left out ({why})");
            }
            words
        }
        None => {
            let mut words =
                format!("synthetic prompts of {} tokens{}", input.isl, spread(input.isl_stddev));
            if input.prefix_count > 0 {
                let (count, length) = (input.prefix_count, input.prefix_length);
                let _ = write!(words, " behind one of {count} prefixes of {length}");
            }
            words
        }
    };
    match input.osl {
        Some(osl) => {
            let _ = write!(words, ", output of {osl} tokens{}", spread(input.osl_stddev));
            if input.ignore_eos {
                words.push_str(", exactly");
            }
        }
        None if !kind.produces_tokens() => {}
        None => words.push_str(", output length left to the prompts or the server"),
    }
    words
}

fn phase_lines(out: &mut String, index: usize, phase: &PhasePlan) -> std::fmt::Result {
    write!(out, "  {}. {} ({}): ", index + 1, phase.name, kind_word(phase.kind))?;
    if let (PhaseKind::Idle, Some(length)) = (phase.kind, phase.stop.duration()) {
        return writeln!(out, "sends nothing for {}", show_duration(length));
    }
    writeln!(out, "{}", arrival_words(&phase.arrival, !phase.stages.is_empty()))?;
    if !phase.stages.is_empty() {
        writeln!(out, "     in stages: {}", stage_words(&phase.stages))?;
    }
    write!(out, "     stops sending {}", stop_words(phase.stop))?;
    match phase.grace {
        Some(grace) => write!(out, ", then grace of {}", show_duration(grace))?,
        None => write!(out, ", then waits for what is in flight")?,
    }
    if !phase.ramp.is_zero() {
        write!(out, ", ramps up over {}", show_duration(phase.ramp))?;
    }
    if phase.seamless {
        write!(out, "; seamless: starts when the phase before stops sending")?;
    }
    if let Some(cancellation) = phase.cancellation {
        let (share, delay) = (cancellation.share * 100.0, show_duration(cancellation.delay));
        write!(out, "; {share} % of the requests are cancelled {delay} after they were sent")?;
    }
    if let Some(most) = phase.max_error_rate {
        write!(out, "; ends the run once more than {} % failed", most * 100.0)?;
    }
    writeln!(out)
}

/// The probes of a search, which are one another's like.
fn search_lines(
    out: &mut String,
    index: usize,
    phase: &PhasePlan,
    search: &SearchPlan,
    probes: usize,
) -> std::fmt::Result {
    let (low, high) = (search.low, search.high);
    let range = match search.by {
        SweepBy::RequestRate => format!("{low} to {high} requests per second"),
        SweepBy::Concurrency => format!("{low} to {high} requests at a time"),
    };
    let (first, last) = (index + 1, index + probes);
    writeln!(out, "  {first}. to {last}. at most {probes} probes: {range}")?;
    let limits = search.objectives.iter().map(|o| format!("{o} within {}{}", o.limit, o.unit()));
    writeln!(out, "     for the highest with {}", limits.collect::<Vec<_>>().join(", "))?;
    writeln!(
        out,
        "     within {} %; {} requests each, up to {} where those do not decide",
        search.tolerance * 100.0,
        search.requests,
        search.most_requests
    )?;
    writeln!(out, "     at its highest: {}", arrival_words(&phase.arrival, false))
}

fn stage_words(stages: &[Stage]) -> String {
    let words = stages.iter().map(|stage| {
        let to = if stage.linear { "to " } else { "" };
        format!("{to}{}/s for {}", stage.rate, show_duration(stage.length))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn arrival_words(arrival: &Arrival, staged: bool) -> String {
    match arrival {
        Arrival::Concurrency { concurrency: 1 } => "one request at a time".to_owned(),
        Arrival::Concurrency { concurrency } => format!("{concurrency} requests at a time"),
        Arrival::Rate { rate, process, max_concurrency } => {
            let mut words = if rate.is_infinite() {
                "all requests at once".to_owned()
            } else {
                let process = match process {
                    ArrivalProcess::Constant => "constant".to_owned(),
                    ArrivalProcess::Poisson => "poisson".to_owned(),
                    ArrivalProcess::Gamma { shape } => format!("gamma of shape {shape}"),
                };
                let most = if staged { "up to " } else { "" };
                format!("{most}{rate} requests per second, {process} arrivals")
            };
            if let Some(most) = max_concurrency {
                let _ = write!(words, ", at most {most} in flight");
            }
            words
        }
        Arrival::Fixed { max_concurrency } => match max_concurrency {
            Some(most) => format!("the file's own schedule, at most {most} in flight"),
            None => "the file's own schedule".to_owned(),
        },
    }
}

fn gates_and_telemetry(out: &mut String, config: &RunConfig, demo: bool) -> std::fmt::Result {
    let gate = config.plan.gate();
    if gate.enabled {
        writeln!(
            out,
            "gates      before and after every phase, released after {} at the latest, of which {} \
             for settling",
            show_duration(gate.timeout),
            show_duration(gate.settle_timeout)
        )?;
    } else {
        writeln!(out, "gates      off: no boundary readings, no deltas of server metrics")?;
    }
    let telemetry = &config.telemetry;
    let metrics = if demo {
        "of the simulated server".to_owned()
    } else if telemetry.server_metrics.is_empty() {
        "none".to_owned()
    } else {
        telemetry.server_metrics.join(", ")
    };
    let every = show_duration(telemetry.server_metrics_interval);
    writeln!(out, "telemetry  server metrics: {metrics} (every {every})")?;
    let gpu = match &telemetry.gpu {
        GpuConfig::Auto | GpuConfig::Dcgm(_) if demo => "simulated".to_owned(),
        GpuConfig::Auto => "nvml if it loads".to_owned(),
        GpuConfig::Nvml => "nvml".to_owned(),
        GpuConfig::Dcgm(urls) => format!("exporters {}", urls.join(", ")),
        GpuConfig::None => "none".to_owned(),
    };
    writeln!(out, "           GPUs: {gpu} (every {})", show_duration(telemetry.gpu_interval))
}

fn tail(out: &mut String, resolved: &Resolved) -> std::fmt::Result {
    let config = &resolved.config;
    if !config.goodput.is_empty() {
        let limits: Vec<String> =
            config.goodput.iter().map(|(m, ms)| format!("{m} within {ms} ms")).collect();
        writeln!(out, "goodput    {}", limits.join(", "))?;
    }
    let mut conditions = Vec::new();
    if let Some(rate) = config.max_error_rate {
        conditions.push(format!("error rate of at most {rate}"));
    }
    if config.strict {
        conditions.push("every profiling phase clean".to_owned());
    }
    if !conditions.is_empty() {
        writeln!(out, "conditions {}", conditions.join(", "))?;
    }
    let level = match config.artifacts.export_level {
        ExportLevel::Summary => "summary",
        ExportLevel::Records => "records",
        ExportLevel::Events => "events",
    };
    let dir = if resolved.default_dir {
        let model = config.endpoint.model.as_deref();
        crate::resolve::artifacts::pattern(model)
    } else {
        config.artifacts.dir.display().to_string()
    };
    writeln!(out, "artifacts  {dir} ({level})")?;
    writeln!(out, "dry run: nothing was sent")
}
