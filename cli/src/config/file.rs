//! The configuration file as it was written: every key optional, nothing
//! decided yet. `resolve` lays flags and environment over it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use phasegate_core::plan::{PhaseKind, Stage};
use phasegate_core::search::Objective;
use phasegate_runtime::secret::Secret;
use serde_json::{Map, Value as Json};

use super::node::{Entry, Node, Value};
use super::reader::{Section, Source};
use crate::args::parse::{self, OutputLength};
use crate::args::run::{ArrivalArg, EndpointTypeArg, ExportLevelArg, InputFormatArg};
use crate::args::slo;
use crate::exit::Usage;

/// A file's content.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are the keys, which docs/configuration.md explains
pub struct FileConfig {
    /// Where it came from; `None` where there is no file.
    pub source: Option<Source>,
    pub endpoint: EndpointSection,
    pub input: InputSection,
    pub phases: Option<Vec<PhaseSection>>,
    pub telemetry: TelemetrySection,
    pub gate: GateSection,
    pub goodput: Option<BTreeMap<String, f64>>,
    pub slo: SloSection,
    pub artifacts: ArtifactSection,
    pub limits: LimitSection,
    pub seed: Option<u64>,
}

/// `endpoint`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct EndpointSection {
    pub url: Option<Vec<Secret>>,
    pub model: Option<String>,
    pub kind: Option<EndpointTypeArg>,
    pub streaming: Option<bool>,
    pub headers: Vec<(String, Secret)>,
    pub api_key_env: Option<String>,
}

/// `input`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct InputSection {
    pub isl: Option<u32>,
    pub isl_stddev: Option<f64>,
    pub osl: Option<OutputLength>,
    pub osl_stddev: Option<f64>,
    pub ignore_eos: Option<bool>,
    pub file: Option<PathBuf>,
    pub format: Option<InputFormatArg>,
    pub prefix_count: Option<u32>,
    pub prefix_length: Option<u32>,
    pub repeat_prompts: Option<bool>,
    pub think_time: Option<Duration>,
    pub schedule_speed: Option<f64>,
    pub schedule_start: Option<f64>,
    pub schedule_end: Option<f64>,
    pub tokenizer: Option<PathBuf>,
    pub extra_inputs: Map<String, Json>,
}

/// An item of `phases`.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct PhaseSection {
    pub name: String,
    pub kind: PhaseKind,
    pub concurrency: Option<u32>,
    pub request_rate: Option<f64>,
    pub arrival: Option<ArrivalArg>,
    pub burstiness: Option<f64>,
    pub requests: Option<u64>,
    pub duration: Option<Duration>,
    pub grace_period: Option<Duration>,
    pub ramp: Option<Duration>,
    pub sessions: Option<u64>,
    pub fixed_schedule: bool,
    pub stages: Vec<Stage>,
    pub cancellation_rate: Option<f64>,
    pub cancellation_delay: Option<Duration>,
    pub seamless: bool,
}

/// `telemetry`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct TelemetrySection {
    pub server_metrics: Option<Vec<String>>,
    pub gpu: Option<Vec<String>>,
    pub server_metrics_interval: Option<Duration>,
    pub gpu_interval: Option<Duration>,
    pub idle_baseline: Option<Duration>,
}

/// `gate`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct GateSection {
    pub enabled: Option<bool>,
    pub timeout: Option<Duration>,
    pub settle_timeout: Option<Duration>,
}

/// `slo`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SloSection {
    /// The section is there.
    pub given: bool,
    pub objectives: Option<Vec<Objective>>,
    pub request_rate: Option<(f64, f64)>,
    pub concurrency: Option<(u32, u32)>,
    pub max_concurrency: Option<u32>,
    pub arrival: Option<ArrivalArg>,
    pub burstiness: Option<f64>,
    pub requests: Option<u64>,
    pub grace_period: Option<Duration>,
    pub tolerance: Option<f64>,
    pub probes: Option<u32>,
}

/// `artifacts`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ArtifactSection {
    pub dir: Option<PathBuf>,
    pub export_level: Option<ExportLevelArg>,
}

/// `limits`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct LimitSection {
    pub ready_timeout: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub service_start: Option<Duration>,
    pub credits_complete_fallback_timeout: Option<Duration>,
    pub drain: Option<Duration>,
    pub cancel_grace: Option<Duration>,
    pub heartbeat: Option<Duration>,
    pub heartbeat_misses: Option<u32>,
    pub max_error_rate: Option<f64>,
    pub strict: Option<bool>,
}

impl FileConfig {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read, is not YAML, or has a key or value that is
    /// not known.
    pub fn load(path: &Path) -> Result<Self, Usage> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Usage::new(format!("{name}: cannot be read ({e}); give --config a readable YAML file"))
        })?;
        Self::parse(name, &text)
    }

    /// Reads `text`, which is called `name`.
    ///
    /// # Errors
    /// As [`FileConfig::load`].
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self, Usage> {
        let source = Source::new(name, text)?;
        let mut config = read(&source)?;
        config.source = Some(source);
        Ok(config)
    }

    /// Every key there is, e.g. `phases[].name`.
    #[must_use]
    pub fn keys() -> BTreeSet<String> {
        let Ok(source) = Source::new("keys", "{}") else { return BTreeSet::new() };
        // An empty phase lacks its name, but has been asked for every key.
        let empty = Section::open(&source, None, "phases[0]".to_owned());
        let (_, _) = (read(&source), empty.and_then(read_phase));
        let empty = Section::open(&source, None, "phases[0].stages[0]".to_owned());
        let _ = empty.and_then(read_stage);
        source.asked()
    }
}

fn read(source: &Source) -> Result<FileConfig, Usage> {
    let mut top = source.section()?;
    let config = FileConfig {
        source: None,
        endpoint: read_endpoint(top.section("endpoint")?)?,
        input: read_input(top.section("input")?)?,
        phases: read_phases(source, &mut top)?,
        telemetry: read_telemetry(top.section("telemetry")?)?,
        gate: read_gate(top.section("gate")?)?,
        goodput: read_goodput(&mut top)?,
        slo: read_slo(top.section("slo")?)?,
        artifacts: read_artifacts(top.section("artifacts")?)?,
        limits: read_limits(top.section("limits")?)?,
        seed: top.parsed("seed", parse::seed)?,
    };
    top.close()?;
    Ok(config)
}

fn read_endpoint(mut s: Section<'_>) -> Result<EndpointSection, Usage> {
    let section = EndpointSection {
        url: s.texts("url")?.map(|urls| urls.into_iter().map(Secret::new).collect()),
        model: s.text("model")?,
        kind: s.parsed("type", word)?,
        streaming: s.switch("streaming")?,
        headers: read_headers(&mut s)?,
        api_key_env: s.text("api_key_env")?,
    };
    s.close()?;
    Ok(section)
}

fn read_headers(s: &mut Section<'_>) -> Result<Vec<(String, Secret)>, Usage> {
    let mut headers = Vec::new();
    for entry in s.entries("headers")?.unwrap_or_default() {
        let value = match &entry.node.value {
            Value::Text(value) | Value::Number(value) => value,
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                return Err(s.wrong_entry("headers", entry, "is not text; put it in quotes"));
            }
        };
        parse::header_parts(&entry.key, value).map_err(|e| s.wrong_entry("headers", entry, &e))?;
        headers.push((entry.key.clone(), Secret::new(value.as_str())));
    }
    Ok(headers)
}

fn read_input(mut s: Section<'_>) -> Result<InputSection, Usage> {
    let extra = s.entries("extra_inputs")?.unwrap_or_default();
    let section = InputSection {
        isl: s.parsed("isl", parse::small_count)?,
        isl_stddev: s.parsed("isl_stddev", parse::not_negative)?,
        osl: s.parsed("osl", parse::output_length)?,
        osl_stddev: s.parsed("osl_stddev", parse::not_negative)?,
        ignore_eos: s.switch("ignore_eos")?,
        file: s.text("file")?.map(PathBuf::from),
        format: s.parsed("format", word)?,
        prefix_count: s.parsed("prefix_count", parse::whole)?,
        prefix_length: s.parsed("prefix_length", parse::small_count)?,
        repeat_prompts: s.switch("repeat_prompts")?,
        think_time: s.parsed("think_time", parse::duration)?,
        schedule_speed: s.parsed("schedule_speed", parse::positive)?,
        schedule_start: s.parsed("schedule_start", parse::not_negative)?,
        schedule_end: s.parsed("schedule_end", parse::not_negative)?,
        tokenizer: s.text("tokenizer")?.map(PathBuf::from),
        extra_inputs: json_map(extra),
    };
    s.close()?;
    Ok(section)
}

fn read_phases(source: &Source, top: &mut Section<'_>) -> Result<Option<Vec<PhaseSection>>, Usage> {
    let Some(items) = top.list("phases")? else { return Ok(None) };
    let mut phases = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        phases.push(read_phase(Section::open(source, Some(item), format!("phases[{index}]"))?)?);
    }
    Ok(Some(phases))
}

fn read_phase(mut s: Section<'_>) -> Result<PhaseSection, Usage> {
    let (name, kind) = (s.text("name")?, s.parsed("kind", phase_kind)?);
    let concurrency = s.parsed("concurrency", parse::small_count)?;
    let request_rate = s.parsed("request_rate", parse::rate)?;
    let arrival = s.parsed("arrival", word)?;
    let burstiness = s.parsed("burstiness", parse::positive)?;
    let requests = s.parsed("requests", parse::count)?;
    let duration = s.parsed("duration", parse::duration)?;
    let grace_period = s.parsed("grace_period", parse::duration)?;
    let ramp = s.parsed("ramp", parse::duration)?;
    let sessions = s.parsed("sessions", parse::count)?;
    let fixed_schedule = s.switch("fixed_schedule")?.unwrap_or_default();
    let stages = read_stages(&mut s)?;
    let cancellation_rate = s.parsed("cancellation_rate", parse::percent)?;
    let cancellation_delay = s.parsed("cancellation_delay", parse::duration)?;
    let seamless = s.switch("seamless")?.unwrap_or_default();
    // First: a key that is missing may be there under a wrong name.
    s.close()?;
    let name = name.ok_or_else(|| s.missing("name", "give the phase a name"))?;
    let kind = kind.ok_or_else(|| s.missing("kind", "give warmup or profiling"))?;
    Ok(PhaseSection {
        name,
        kind,
        concurrency,
        request_rate,
        arrival,
        burstiness,
        requests,
        duration,
        grace_period,
        ramp,
        sessions,
        fixed_schedule,
        stages,
        cancellation_rate,
        cancellation_delay,
        seamless,
    })
}

fn read_stages(s: &mut Section<'_>) -> Result<Vec<Stage>, Usage> {
    let Some(items) = s.sections("stages")? else { return Ok(Vec::new()) };
    if items.is_empty() {
        return Err(s.wrong_key("stages", "the list is empty; give stages, or remove it"));
    }
    items.into_iter().map(read_stage).collect()
}

fn read_stage(mut s: Section<'_>) -> Result<Stage, Usage> {
    let rate = s.parsed("rate", parse::stage_rate)?;
    let ramp_to = s.parsed("ramp_to", parse::stage_rate)?;
    let length = s.parsed("for", parse::duration)?;
    s.close()?;
    let (rate, linear) = match (rate, ramp_to) {
        (Some(rate), None) => (rate, false),
        (None, Some(rate)) => (rate, true),
        (Some(_), Some(_)) => {
            return Err(s.wrong_key("ramp_to", "rate and ramp_to are both given; give one of them"));
        }
        (None, None) => {
            return Err(s.missing("rate", "give rate, or ramp_to to change to it linearly"));
        }
    };
    let length = length.ok_or_else(|| s.missing("for", "give the time that the stage lasts"))?;
    Ok(Stage { rate, linear, length })
}

fn read_telemetry(mut s: Section<'_>) -> Result<TelemetrySection, Usage> {
    let section = TelemetrySection {
        server_metrics: s.texts("server_metrics")?,
        gpu: s.texts("gpu")?,
        server_metrics_interval: s.parsed("server_metrics_interval", parse::duration)?,
        gpu_interval: s.parsed("gpu_interval", parse::duration)?,
        idle_baseline: s.parsed("idle_baseline", parse::duration)?,
    };
    s.close()?;
    Ok(section)
}

fn read_gate(mut s: Section<'_>) -> Result<GateSection, Usage> {
    let section = GateSection {
        enabled: s.switch("enabled")?,
        timeout: s.parsed("timeout", parse::duration)?,
        settle_timeout: s.parsed("settle_timeout", parse::duration)?,
    };
    s.close()?;
    Ok(section)
}

fn read_goodput(top: &mut Section<'_>) -> Result<Option<BTreeMap<String, f64>>, Usage> {
    let Some(entries) = top.entries("goodput")? else { return Ok(None) };
    let mut limits = BTreeMap::new();
    for entry in entries {
        let wrong = |e: String| top.wrong_entry("goodput", entry, &e);
        let metric = parse::goodput_metric(&entry.key).map_err(wrong)?;
        let limit = match &entry.node.value {
            Value::Number(text) | Value::Text(text) => parse::positive(text).map_err(wrong)?,
            other @ (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) => {
                return Err(wrong(format!("is {}; give milliseconds", other.shape())));
            }
        };
        if limits.insert(metric.to_owned(), limit).is_some() {
            return Err(wrong(format!("{metric} is limited twice; give it once")));
        }
    }
    Ok(Some(limits))
}

fn read_slo(mut s: Section<'_>) -> Result<SloSection, Usage> {
    let objectives = match s.texts("objectives")? {
        Some(texts) => {
            Some(slo::objectives(&texts.join(" ")).map_err(|e| s.wrong_key("objectives", &e))?)
        }
        None => None,
    };
    let section = SloSection {
        given: !s.is_empty(),
        objectives,
        request_rate: s.parsed("request_rate", parse::rate_range)?,
        concurrency: s.parsed("concurrency", parse::concurrency_range)?,
        max_concurrency: s.parsed("max_concurrency", parse::small_count)?,
        arrival: s.parsed("arrival", word)?,
        burstiness: s.parsed("burstiness", parse::positive)?,
        requests: s.parsed("requests", parse::count)?,
        grace_period: s.parsed("grace_period", parse::duration)?,
        tolerance: s.parsed("tolerance", parse::share)?,
        probes: s.parsed("probes", parse::probes)?,
    };
    s.close()?;
    Ok(section)
}

fn read_artifacts(mut s: Section<'_>) -> Result<ArtifactSection, Usage> {
    let section = ArtifactSection {
        dir: s.text("dir")?.map(PathBuf::from),
        export_level: s.parsed("export_level", word)?,
    };
    s.close()?;
    Ok(section)
}

fn read_limits(mut s: Section<'_>) -> Result<LimitSection, Usage> {
    let section = LimitSection {
        ready_timeout: s.parsed("ready_timeout", parse::duration)?,
        request_timeout: s.parsed("request_timeout", parse::duration)?,
        service_start: s.parsed("service_start", parse::duration)?,
        credits_complete_fallback_timeout: s
            .parsed("credits_complete_fallback_timeout", parse::duration)?,
        drain: s.parsed("drain", parse::duration)?,
        cancel_grace: s.parsed("cancel_grace", parse::duration)?,
        heartbeat: s.parsed("heartbeat", parse::duration)?,
        heartbeat_misses: s.parsed("heartbeat_misses", parse::small_count)?,
        max_error_rate: s.parsed("max_error_rate", parse::share)?,
        strict: s.switch("strict")?,
    };
    s.close()?;
    Ok(section)
}

fn phase_kind(text: &str) -> Result<PhaseKind, String> {
    match text {
        "warmup" => Ok(PhaseKind::Warmup),
        "profiling" => Ok(PhaseKind::Profiling),
        _ => Err(format!("'{text}' is not a kind; give warmup or profiling")),
    }
}

/// The same words as the flag takes.
fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|v| v.to_possible_value().map(|p| p.get_name().to_owned()))
            .collect();
        format!("'{text}' is not known here; give {}", known.join(", "))
    })
}

fn json_map(entries: &[Entry]) -> Map<String, Json> {
    entries.iter().map(|e| (e.key.clone(), json(&e.node))).collect()
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(on) => Json::Bool(*on),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => Json::Object(json_map(entries)),
    }
}
