//! What the simulated server is like: its model, its GPUs, its faults.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::hazard::Hazard;

/// How a simulated server behaves. Every field has a default that is right for
/// a demonstration; change what matters:
///
/// ```
/// use phasegate_sim::server::ServerConfig;
/// let config = ServerConfig { gpus: 2, seed: 7, ..ServerConfig::default() };
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the operating system choose one.
    pub port: u16,
    /// The one model that is served; a request for another is answered 404.
    pub model: String,
    /// Prefill time of a request before its prompt tokens are counted: the
    /// time to first token of an empty prompt in an idle server.
    pub ttft: Duration,
    /// Prefill time of each prompt token that is not in the prefix cache.
    pub prefill_per_token: Duration,
    /// Time from one output token to the next.
    pub itl: Duration,
    /// Relative spread of prefill and decode times: each is multiplied by a
    /// factor drawn evenly from `1 - jitter` to `1 + jitter`, seeded by the
    /// prompt, so that it does not depend on the order of arrival. From 0 to
    /// less than 1.
    pub jitter: f64,
    /// Requests that are computed at the same time; the others queue.
    pub max_batch: u32,
    /// Requests that may queue; one more is answered 503.
    pub queue_limit: u32,
    /// Context length: prompt and output tokens of one request together.
    pub max_model_len: u32,
    /// Output length, lowest and highest, of a request that names no limit.
    pub output_tokens: (u32, u32),
    /// Output tokens in one streamed event.
    pub tokens_per_chunk: u32,
    /// So many of a chat's, response's or message's output tokens, the first, are
    /// reasoning; one at least is always left for the answer.
    pub reasoning_tokens: u32,
    /// Numbers in an embedding.
    pub embedding_size: u32,
    /// Reuses the computed prefix of earlier prompts, in blocks of 16 tokens.
    pub prefix_caching: bool,
    /// GPUs, all busy with the same model.
    pub gpus: u32,
    /// What the GPUs call themselves.
    pub gpu_name: String,
    /// Power of the first GPU with nothing running, in watts. Each further GPU
    /// draws one watt more than the one before it, so that they can be told
    /// apart.
    pub idle_power_w: f64,
    /// Power of the first GPU with a full batch, in watts.
    pub busy_power_w: f64,
    /// How often the published energy counter moves; zero means that it is
    /// exact at every reading. (Real ones move every 10 to 100 ms.)
    pub energy_tick: Duration,
    /// How often the GPU exporter reads its GPUs: it shows what they were at
    /// the last whole multiple of this; zero means that it is never behind.
    /// (dcgm-exporter: 30 s where nothing else is set.)
    pub gpu_refresh: Duration,
    /// The GPU exporter freezes so long after the start: it goes on to answer
    /// and shows nothing newer.
    pub gpu_frozen_after: Option<Duration>,
    /// How fast the idle part of every GPU's power rises (or falls, down to no
    /// power at all), in watts per second.
    pub idle_drift_w_per_s: f64,
    /// How long after an event `/metrics` shows it; zero is at once.
    pub publish_delay: Duration,
    /// Seed of lengths, texts, jitter and embeddings.
    pub seed: u64,
    /// Faults to inject.
    pub hazards: Vec<Hazard>,
    /// Keeps the size of the batch at every moment, so that the energy up to any
    /// moment is known afterwards ([`OnStreams::energy_j`]). It takes memory with
    /// every request.
    ///
    /// [`OnStreams::energy_j`]: super::OnStreams::energy_j
    pub keep_load: bool,
    /// How long a stopping server lets open requests finish.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            model: "phasegate-sim".to_owned(),
            ttft: Duration::from_millis(30),
            prefill_per_token: Duration::from_micros(50),
            itl: Duration::from_millis(5),
            jitter: 0.1,
            max_batch: 64,
            queue_limit: 4096,
            max_model_len: 32_768,
            output_tokens: (16, 128),
            tokens_per_chunk: 1,
            reasoning_tokens: 0,
            embedding_size: 64,
            prefix_caching: true,
            gpus: 1,
            gpu_name: "Simulated H100".to_owned(),
            idle_power_w: 70.0,
            busy_power_w: 650.0,
            energy_tick: Duration::ZERO,
            gpu_refresh: Duration::ZERO,
            gpu_frozen_after: None,
            idle_drift_w_per_s: 0.0,
            publish_delay: Duration::ZERO,
            seed: 0,
            hazards: Vec::new(),
            keep_load: false,
            drain: Duration::from_secs(1),
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The field of [`ServerConfig`].
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// The most GPUs that can be simulated.
const MAX_GPUS: u32 = 1024;
/// The longest embedding.
const MAX_EMBEDDING: u32 = 16_384;

impl ServerConfig {
    /// Whether this can be served.
    ///
    /// # Errors
    /// The first field that is out of range, and its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |field, problem: String| Err(ConfigError { field, problem });
        if self.model.trim().is_empty() {
            return fail("model", "is empty; give the served model a name".to_owned());
        }
        if !(0.0..1.0).contains(&self.jitter) {
            let problem = format!("is {}, but must be at least 0 and less than 1", self.jitter);
            return fail("jitter", problem);
        }
        let counts = [
            ("max_batch", self.max_batch, u32::MAX),
            ("max_model_len", self.max_model_len, u32::MAX),
            ("tokens_per_chunk", self.tokens_per_chunk, u32::MAX),
            ("embedding_size", self.embedding_size, MAX_EMBEDDING),
        ];
        for (field, value, most) in counts {
            if value == 0 || value > most {
                return fail(field, format!("is {value}, but must be from 1 to {most}"));
            }
        }
        if self.gpus > MAX_GPUS {
            return fail("gpus", format!("is {}, but must be at most {MAX_GPUS}", self.gpus));
        }
        let (low, high) = self.output_tokens;
        if low == 0 || low > high {
            let problem = format!("is {low} to {high}, but must rise from at least 1");
            return fail("output_tokens", problem);
        }
        for (field, watts) in
            [("idle_power_w", self.idle_power_w), ("busy_power_w", self.busy_power_w)]
        {
            if !(0.0..=100_000.0).contains(&watts) {
                return fail(field, format!("is {watts}, but must be from 0 to 100000 watts"));
            }
        }
        if !(-1000.0..=1000.0).contains(&self.idle_drift_w_per_s) {
            let problem = format!(
                "is {}, but must be from -1000 to 1000 watts per second",
                self.idle_drift_w_per_s
            );
            return fail("idle_drift_w_per_s", problem);
        }
        if self.busy_power_w < self.idle_power_w {
            let problem =
                format!("is {}, less than idle_power_w {}", self.busy_power_w, self.idle_power_w);
            return fail("busy_power_w", problem);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_value_names_its_field() {
        let cases: [(&str, ServerConfig); 8] = [
            (
                "idle_drift_w_per_s",
                ServerConfig { idle_drift_w_per_s: f64::NAN, ..Default::default() },
            ),
            ("model", ServerConfig { model: " ".to_owned(), ..Default::default() }),
            ("jitter", ServerConfig { jitter: f64::NAN, ..Default::default() }),
            ("jitter", ServerConfig { jitter: 1.0, ..Default::default() }),
            ("max_batch", ServerConfig { max_batch: 0, ..Default::default() }),
            ("gpus", ServerConfig { gpus: 100_000, ..Default::default() }),
            ("output_tokens", ServerConfig { output_tokens: (9, 3), ..Default::default() }),
            ("busy_power_w", ServerConfig { busy_power_w: 1.0, ..Default::default() }),
        ];
        for (field, config) in cases {
            assert_eq!(config.check().map_err(|error| error.field), Err(field));
        }
        assert_eq!(ServerConfig::default().check(), Ok(()));
    }
}
