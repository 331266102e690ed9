//! What the metrics of the known inference engines count.
//!
//! - [`table`]: for each engine its families: which count what a client counts
//!   too, which merely move with load, which gauges are 0 when it is idle.
//! - [`fingerprint`]: everything in an exposition that load moves, as one number,
//!   and which of its families moved.
//! - [`mod@observe`]: one exposition, seen through the table.
//!
//! Engines are recognised by the names of their metrics, several at once where
//! one exposition shows several. `:` and `_` in a name compare equal, because
//! exporters in between replace one by the other.

pub mod fingerprint;
pub mod observe;
pub mod table;

use core::fmt;

use serde::{Deserialize, Serialize};

pub use observe::{Count, Observed, observe};
pub use table::lookup;

use crate::reading::Family;

/// An inference engine that the table knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// vLLM (`vllm:`).
    Vllm,
    /// SGLang (`sglang:`).
    Sglang,
    /// Text Generation Inference (`tgi_`).
    Tgi,
    /// Triton with any backend, TensorRT-LLM among them (`nv_inference_`,
    /// `nv_trt_llm_`), and `trtllm-serve` (`trtllm_`).
    Triton,
    /// The frontend and the workers of Dynamo (`dynamo_`).
    Dynamo,
    /// llama.cpp's server (`llamacpp:`).
    LlamaCpp,
    /// LMDeploy (`lmdeploy:`).
    Lmdeploy,
}

impl Engine {
    /// Every engine, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::Triton,
        Self::Dynamo,
        Self::LlamaCpp,
        Self::Lmdeploy,
    ];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
            Self::Tgi => "TGI",
            Self::Triton => "Triton/TensorRT-LLM",
            Self::Dynamo => "Dynamo",
            Self::LlamaCpp => "llama.cpp",
            Self::Lmdeploy => "LMDeploy",
        })
    }
}

/// What is counted, in the client's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Finished requests.
    Requests,
    /// Tokens of their prompts, cached ones too.
    PromptTokens,
    /// Tokens of their answers.
    OutputTokens,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::PromptTokens => "prompt tokens",
            Self::OutputTokens => "output tokens",
        })
    }
}

/// Which number of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The value of a counter or gauge.
    Value,
    /// The number of observations of a histogram or summary.
    Count,
    /// The sum of its observations.
    Sum,
}

/// What a family is to the client's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// These parts of it count exactly what the client counts.
    Counts(&'static [(Part, Unit)]),
    /// It moves with load, but counts neither requests nor tokens as the client
    /// does. It is published together with those that do.
    Moves,
    /// A gauge that is 0 when nothing is being worked on.
    Busy,
}

/// How the series of a family make one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The sum over all of them.
    Sum,
    /// The largest sum of one value of the `model` label. An ensemble counts one
    /// request once for itself and once for each of its steps.
    LargestModel,
}

/// What the table says of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The engine that has it.
    pub engine: Engine,
    /// What it is.
    pub role: Role,
    /// Whether a request that was cancelled, cut or failed may be counted, in
    /// full or as far as it came. Where this is false the server may still have
    /// finished a request that the client has given up.
    pub unfinished: bool,
    /// How its series make one number.
    pub over: Over,
}

/// The engines whose metrics are among `families`, in the order of
/// [`Engine::ALL`].
#[must_use]
pub fn recognised(families: &[Family]) -> Vec<Engine> {
    let mut engines: Vec<Engine> =
        families.iter().filter_map(|family| table::engine_of(&family.name)).collect();
    engines.sort_unstable();
    engines.dedup();
    engines
}

#[cfg(test)]
mod tests;
