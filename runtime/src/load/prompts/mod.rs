//! What is sent: prompts, as a pure function of the seed and the credit (and,
//! within a session, of what the server answered before).
//!
//! - [`synthetic`]: made-up prompts; `text`: their words, shared and unique;
//!   `draws`: random lengths; `words`: the list.
//! - [`tokenizer`]: counts tokens here, where a tokenizer is given.

mod draws;
pub mod synthetic;
mod text;
pub mod tokenizer;
mod words;

use std::sync::Arc;

use phasegate_core::record::Credit;

use super::dataset::{Body, Dataset, DatasetError, FilePrompts};
use crate::config::{EndpointType, InputConfig};

pub(crate) use draws::{Draws, Length};
pub use synthetic::Synthetic;
pub(crate) use text::{Shared, Text};
pub use tokenizer::{Tokenizer, TokenizerError};

/// What one request asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The question.
    pub content: Content,
    /// The most tokens to generate; `None` leaves it to the server.
    pub max_tokens: Option<u32>,
    /// Asks the server to generate exactly `max_tokens`.
    pub ignore_eos: bool,
}

impl Prompt {
    /// Bytes of its content, roughly: to size the body's buffer.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            Content::Text(text) => text.len(),
            Content::Messages(json) => json.len(),
            Content::Body(body) => body.size(),
        }
    }
}

/// The question itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text: one user message, a prompt, or an embedding's input.
    Text(String),
    /// A chat's `messages`, as JSON.
    Messages(Arc<str>),
    /// A whole request body, passed through.
    Body(Arc<Body>),
}

/// Where prompts come from. The same credit always gets the same prompt, but
/// for the answers that a session has had before.
pub trait Prompts: Send + Sync + 'static {
    /// The prompt of a credit. Called in the request's task, before its time
    /// starts to count.
    fn prompt(&self, credit: &Credit) -> Prompt;

    /// Whether the text of the answer is wanted, to be sent back with the next
    /// turn.
    fn wants_answer(&self, credit: &Credit) -> bool {
        let _ = credit;
        false
    }

    /// The answer's text, if [`Prompts::wants_answer`]; `None` if there is no
    /// whole answer. Called before the credit is handed back.
    fn answered(&self, credit: &Credit, answer: Option<String>) {
        let _ = (credit, answer);
    }
}

/// Why there are no prompts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptsError {
    /// The file of prompts.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// The prompts that `input` asks for: from its file, or synthetic ones.
///
/// # Errors
/// [`PromptsError`] if a file cannot be read, or is not what it should be.
pub fn prompts(
    input: &InputConfig,
    kind: EndpointType,
    seed: u64,
) -> Result<Arc<dyn Prompts>, PromptsError> {
    let tokenizer = input.tokenizer.as_deref().map(Tokenizer::load).transpose()?;
    let text = Text::new(seed, input.repeat_prompts, tokenizer.as_ref())?;
    let Some(file) = &input.file else {
        return Ok(Arc::new(Synthetic::new(input, seed, text)));
    };
    let data = match &input.dataset {
        Some(data) => Arc::clone(data),
        None => Arc::new(Dataset::load(file, kind, input)?),
    };
    Ok(Arc::new(FilePrompts::new(data, input, seed, text)))
}
