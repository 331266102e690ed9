//! What is sent of a file.

use std::sync::Arc;

use phasegate_core::record::Credit;

use super::history::Histories;
use super::trace::BLOCK;
use super::{Dataset, Part, Turn};
use crate::config::{InputConfig, InputFormat};
use crate::load::prompts::{Content, Draws, Length, Prompt, Prompts, Shared, Text};

/// The prompts of a file: the item that the credit names.
pub(crate) struct FilePrompts {
    data: Arc<Dataset>,
    draws: Draws,
    text: Text,
    osl: Option<Length>,
    ignore_eos: bool,
    pub(super) histories: Histories,
}

impl FilePrompts {
    pub(crate) fn new(data: Arc<Dataset>, input: &InputConfig, seed: u64, text: Text) -> Self {
        // A body that is passed through says itself how long it wants to be.
        let passed = input.file.as_ref().is_some_and(|f| f.format == InputFormat::Openai);
        let osl = input.osl.filter(|_| !passed);
        Self {
            data,
            draws: Draws::new(seed),
            text,
            osl: osl.map(|mean| Length::new(mean, input.osl_stddev)),
            ignore_eos: input.ignore_eos && !passed,
            histories: Histories::default(),
        }
    }

    /// The turn that a credit sends. An item that is not there cannot be asked
    /// for: the plan has the number of items from the same file.
    fn turn(&self, credit: &Credit) -> &Turn {
        let index = credit.item.index as usize % self.data.entries.len();
        let turns = &self.data.entries[index].turns;
        &turns[usize::from(credit.item.turn).min(turns.len() - 1)]
    }

    fn blocks(&self, credit: &Credit, tokens: u32, ids: &[u64]) -> String {
        let mut text = String::new();
        let mut left = tokens;
        for id in ids {
            let length = left.min(BLOCK);
            let shared = Shared::Block(*id);
            self.text.shared(&mut text, shared, credit.id.phase, length as usize);
            left -= length;
        }
        if left > 0 {
            let mut rng = self.draws.of(self.text.salt(credit.id));
            self.text.unique(&mut text, credit.id, left as usize, &mut rng);
        }
        text
    }
}

impl Prompts for FilePrompts {
    fn prompt(&self, credit: &Credit) -> Prompt {
        let turn = self.turn(credit);
        let content = match &turn.content {
            Part::Text(text) => Content::Text(text.clone()),
            Part::Messages(json) => Content::Messages(Arc::clone(json)),
            Part::Body(body) => Content::Body(Arc::clone(body)),
            Part::Adds(messages) => {
                Content::Messages(Arc::from(self.histories.say(credit, messages)))
            }
            Part::Blocks { tokens, ids } => Content::Text(self.blocks(credit, *tokens, ids)),
        };
        let drawn = || self.osl.as_ref().map(|osl| osl.draw(&mut self.draws.of(credit.id)));
        Prompt { content, max_tokens: turn.max_tokens.or_else(drawn), ignore_eos: self.ignore_eos }
    }

    fn wants_answer(&self, credit: &Credit) -> bool {
        !credit.item.last && matches!(self.turn(credit).content, Part::Adds(_))
    }

    fn answered(&self, credit: &Credit, answer: Option<String>) {
        self.histories.answered(credit, answer);
    }
}
