//! Token counts made here against the server's usage.

use serde::{Deserialize, Serialize};

/// A phase's sample of requests whose tokens were counted here too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCheck {
    /// Requests in the sample, the first of the phase that completed and fitted.
    pub sampled: u64,
    /// Requests of the phase that completed.
    pub completed: u64,
    /// The prompts' text against the usage's prompt tokens.
    pub prompt: TokenSide,
    /// The answers' text against the usage's output tokens less reasoning.
    pub output: TokenSide,
}

/// One side of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenSide {
    /// Requests that had both counts.
    pub compared: u64,
    /// Of these, those whose difference is not `overhead`.
    pub differ: u64,
    /// The sum of the counts made here; `null` where none was compared.
    pub client: Option<u64>,
    /// The sum of the server's for the same requests.
    pub server: Option<u64>,
    /// What the server counts beyond the text in most requests: what a chat
    /// template puts around a prompt, the token that ends an answer.
    pub overhead: Option<i64>,
}
