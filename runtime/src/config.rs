//! A resolved run: flags over environment over file over defaults, checked.
//! Everything in it is serialised into `run.json`, secrets out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use phasegate_core::plan::RunPlan;
use serde::Serialize;

use crate::secret::Secret;

/// Everything that a run needs.
#[derive(Debug, Clone, Serialize)]
pub struct RunConfig {
    /// Phases, gates, limits, seed.
    pub plan: RunPlan,
    /// What is measured.
    pub endpoint: EndpointConfig,
    /// What is sent.
    pub input: InputConfig,
    /// What is read beside it.
    pub telemetry: TelemetryConfig,
    /// What is written.
    pub artifacts: ArtifactConfig,
    /// Goodput limits: metric name → limit in milliseconds. A request is good
    /// if it completed within all of them.
    pub goodput: BTreeMap<String, f64>,
    /// How long to wait for the endpoint to become ready; zero does not ask.
    #[serde(with = "phasegate_core::time::seconds")]
    pub ready_timeout: Duration,
    /// Exit 1 if a profiling phase has a higher share of errors (0 to 1).
    pub max_error_rate: Option<f64>,
    /// Exit 1 unless every profiling phase is `clean`.
    pub strict: bool,
    /// Measure the client's own floor before the run.
    pub calibrate: bool,
}

/// What kind of API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointType {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
}

/// The server under test.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointConfig {
    /// The base URL, `http` or `https`, as given but without user and password
    /// (those become an `Authorization` header). A path that does not end in
    /// the API's own (`/v1/…`) is a prefix.
    pub url: String,
    /// The model; asked of `/v1/models` where `None`.
    pub model: Option<String>,
    /// The API.
    #[serde(rename = "type")]
    pub kind: EndpointType,
    /// Server-sent events (never for embeddings).
    pub streaming: bool,
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<Secret>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// Merged into every request body.
    pub extra_inputs: serde_json::Map<String, serde_json::Value>,
}

impl EndpointConfig {
    /// Every header that goes with a request, the key's among them.
    #[must_use]
    pub fn all_headers(&self) -> Vec<(String, Secret)> {
        let bearer = self.api_key.as_ref().map(|key| {
            ("authorization".to_owned(), Secret::new(format!("Bearer {}", key.expose())))
        });
        bearer.into_iter().chain(self.headers.iter().cloned()).collect()
    }
}

/// What is sent.
#[derive(Debug, Clone, Serialize)]
pub struct InputConfig {
    /// Mean prompt length, in tokens.
    pub isl: u32,
    /// Its standard deviation.
    pub isl_stddev: f64,
    /// Mean of `max_tokens`; `None` leaves the length to the server.
    pub osl: Option<u32>,
    /// Its standard deviation.
    pub osl_stddev: f64,
    /// Asks the server to generate exactly `osl` tokens.
    pub ignore_eos: bool,
    /// Prompts from a file instead of synthetic ones.
    pub file: Option<InputFile>,
}

/// A file of prompts.
#[derive(Debug, Clone, Serialize)]
pub struct InputFile {
    /// Where.
    pub path: PathBuf,
    /// Its format.
    pub format: InputFormat,
}

/// The format of a file of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputFormat {
    /// One JSON object a line with `prompt` or `messages`, and optionally
    /// `max_tokens` (or `output_length`).
    Jsonl,
    /// One request body a line, passed through with the model filled in.
    Openai,
}

/// What is read beside the load.
#[derive(Debug, Clone, Serialize)]
pub struct TelemetryConfig {
    /// Prometheus endpoints, resolved; empty means none.
    pub server_metrics: Vec<String>,
    /// Nobody named them: they were derived from the endpoint, and one that has
    /// nothing of the kind is no loss.
    pub server_metrics_derived: bool,
    /// Time between two periodic readings of them.
    #[serde(with = "phasegate_core::time::seconds")]
    pub server_metrics_interval: Duration,
    /// Where GPU telemetry comes from.
    pub gpu: GpuConfig,
    /// Time between two periodic readings of it.
    #[serde(with = "phasegate_core::time::seconds")]
    pub gpu_interval: Duration,
    /// The NVML library; the system's where `None`.
    pub nvml_lib: Option<PathBuf>,
}

/// Where GPU telemetry comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuConfig {
    /// NVML if it loads, otherwise nothing, silently noted.
    Auto,
    /// NVML; a failure to load is a disabled collector, and said.
    Nvml,
    /// DCGM-style exporters at these URLs.
    Dcgm(Vec<String>),
    /// None.
    None,
}

/// What is written.
#[derive(Debug, Clone, Serialize)]
pub struct ArtifactConfig {
    /// The artifact directory.
    pub dir: PathBuf,
    /// How much of each request.
    pub export_level: ExportLevel,
}

/// How much of each request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportLevel {
    /// No line a request.
    Summary,
    /// One line a request.
    Records,
    /// With the time of each streamed event.
    Events,
}
