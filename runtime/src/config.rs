//! A resolved run: flags over environment over file over defaults, checked.
//! Everything in it is serialised into `run.json`, secrets out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::plan::RunPlan;
use serde::Serialize;
use serde_json::Value;

use crate::load::dataset::Dataset;
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

impl RunConfig {
    /// Whether any answer is streamed: by the run's word, or by that of a body
    /// that is passed through.
    #[must_use]
    pub fn any_streams(&self) -> bool {
        let by_run = self.endpoint.streaming;
        let by_extra = self.endpoint.extra_inputs.get("stream").and_then(Value::as_bool);
        let by_bodies = || self.input.dataset.as_ref().map(|data| data.any_streams(by_run));
        let streams = by_extra.or_else(by_bodies).unwrap_or(by_run);
        streams && self.endpoint.kind.produces_tokens()
    }
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
    /// OpenAI's `/v1/responses`
    Responses,
    /// Anthropic's `/v1/messages`
    Messages,
    /// `/v1/rerank`, as Jina, Cohere and vLLM have it
    Rerank,
}

impl EndpointType {
    /// All of them. One whose path ends as another's does stands before it.
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::Rerank,
    ];

    /// Whether an answer has output tokens; then it can be streamed.
    #[must_use]
    pub fn produces_tokens(self) -> bool {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => true,
            Self::Embeddings | Self::Rerank => false,
        }
    }

    /// Whether a stream has its token counts only if `stream_options` ask for
    /// them.
    #[must_use]
    pub fn usage_is_asked_for(self) -> bool {
        match self {
            Self::Chat | Self::Completions => true,
            Self::Embeddings | Self::Responses | Self::Messages | Self::Rerank => false,
        }
    }

    /// What follows the version in the API's path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::Rerank => "/rerank",
        }
    }

    /// The published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Rerank => "rerank",
        }
    }
}

/// The version of Anthropic's API that is spoken (its header
/// `anthropic-version` is required).
pub const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The server under test.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointConfig {
    /// The base URL, `http` or `https`, as given but without user and password
    /// (those become an `Authorization` header). A path that does not end in
    /// the API's own (`/v1/…`) is a prefix.
    pub url: String,
    /// Further base URLs: requests go to all of them in turn, by their numbers.
    /// None has credentials of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_urls: Vec<String>,
    /// The model; asked of `/v1/models` where `None`.
    pub model: Option<String>,
    /// The API.
    #[serde(rename = "type")]
    pub kind: EndpointType,
    /// Server-sent events (never where there are no output tokens).
    pub streaming: bool,
    /// Sent as `Authorization: Bearer …`, to Anthropic's API as `x-api-key`.
    pub api_key: Option<Secret>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// Merged into every request body.
    pub extra_inputs: serde_json::Map<String, serde_json::Value>,
}

impl EndpointConfig {
    /// Every URL that requests go to, in turn.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        [self.url.as_str()].into_iter().chain(self.more_urls.iter().map(String::as_str))
    }

    /// The headers that the API itself asks for: the key's, and the version of
    /// Anthropic's.
    pub(crate) fn own_headers(&self) -> Vec<(&'static str, Secret)> {
        let key = self.api_key.as_ref();
        match self.kind {
            EndpointType::Messages => {
                let version = Some(("anthropic-version", Secret::new(ANTHROPIC_VERSION)));
                key.map(|key| ("x-api-key", key.clone())).into_iter().chain(version).collect()
            }
            EndpointType::Chat
            | EndpointType::Completions
            | EndpointType::Embeddings
            | EndpointType::Responses
            | EndpointType::Rerank => {
                let bearer = |key: &Secret| Secret::new(format!("Bearer {}", key.expose()));
                key.map(|key| ("authorization", bearer(key))).into_iter().collect()
            }
        }
    }

    /// Every header that goes with a request, the key's among them. One that was
    /// given stands for the API's own of that name.
    #[must_use]
    pub fn all_headers(&self) -> Vec<(String, Secret)> {
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let own = self.own_headers().into_iter().filter(|(name, _)| !given(name));
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.chain(self.headers.iter().cloned()).collect()
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
    /// So many prefixes are shared by synthetic prompts; 0 for none. Each prompt
    /// begins with one of them, drawn at random.
    pub prefix_count: u32,
    /// Their length, in tokens, in addition to `isl`.
    pub prefix_length: u32,
    /// Every phase sends the same prompts. Otherwise no prompt, and no prefix,
    /// is sent by two phases, which a server's prefix cache would answer.
    pub repeat_prompts: bool,
    /// How long a user thinks between an answer and the next turn, where the
    /// file does not say.
    #[serde(with = "phasegate_core::time::seconds")]
    pub think_time: Duration,
    /// The times of the file's lines are those of the phases with a fixed
    /// schedule.
    pub schedule: Option<ScheduleConfig>,
    /// Sizes prompts exactly; `None` takes a word for a token.
    pub tokenizer: Option<PathBuf>,
    /// Prompts from a file instead of synthetic ones.
    pub file: Option<InputFile>,
    /// What a reader of the result should know of the input: how a file's
    /// request bodies differ from what the run asks for. They win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What is in the file, if it was read; otherwise it is read when it is
    /// needed.
    #[serde(skip)]
    pub dataset: Option<Arc<Dataset>>,
}

impl InputConfig {
    /// Synthetic prompts of `isl` tokens, for answers of `osl`.
    #[must_use]
    pub fn synthetic(isl: u32, osl: Option<u32>) -> Self {
        Self {
            isl,
            isl_stddev: 0.0,
            osl,
            osl_stddev: 0.0,
            ignore_eos: false,
            prefix_count: 0,
            prefix_length: 0,
            repeat_prompts: false,
            think_time: Duration::ZERO,
            schedule: None,
            tokenizer: None,
            file: None,
            notes: Vec::new(),
            dataset: None,
        }
    }
}

/// How the times of a file become a schedule. A line is sent at (its time −
/// zero) / speed after the phase's start; zero is `start_ms`, or else the first
/// line's time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScheduleConfig {
    /// So many times faster than the file says; above 0.
    pub speed: f64,
    /// Lines before this time are left out, in milliseconds.
    pub start_ms: Option<f64>,
    /// Lines after this time are left out, in milliseconds.
    pub end_ms: Option<f64>,
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
    /// One request body a line, passed through; model and streaming are filled
    /// in where it lacks them.
    Openai,
    /// A JSON list of `{"conversations": [...]}`: the first message of each is
    /// the prompt.
    Sharegpt,
    /// One conversation a line, turn by turn.
    Conversation,
    /// One line of a Mooncake trace: times, lengths and shared blocks.
    Mooncake,
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
