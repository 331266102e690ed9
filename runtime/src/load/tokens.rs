//! Texts kept of a sample of requests, whose tokens are counted when the run is
//! over: nothing is counted beside the load.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use phasegate_core::CreditId;
use phasegate_core::account::tokens::{Counted, Sampled};
use phasegate_core::record::RequestRecord;

use super::prompts::{Content, Prompt, Tokenizer, TokenizerError};

/// So many requests of each phase are in its sample: the first ones.
const REQUESTS: u32 = 200;

/// Their texts, over all phases, are no larger than this together; each phase has
/// its share.
const BYTES: usize = 32 << 20;

/// No answer that is longer is in the sample.
pub(super) const LONGEST: usize = 1 << 20;

/// The sample.
#[derive(Debug)]
pub struct TokenSample {
    phases: Mutex<BTreeMap<u16, OfPhase>>,
    /// The share of one phase.
    bytes: usize,
}

#[derive(Debug, Default)]
struct OfPhase {
    bytes: usize,
    texts: Vec<Texts>,
}

/// What one request said and was told, each with the server's count where there is
/// something to compare.
#[derive(Debug)]
struct Texts {
    prompt: Option<(String, u32)>,
    answer: Option<(String, u32)>,
}

impl TokenSample {
    /// An empty one for a run of so many phases.
    #[must_use]
    pub fn new(phases: usize) -> Self {
        Self { phases: Mutex::default(), bytes: BYTES / phases.max(1) }
    }

    /// Whether the texts of this request are wanted.
    pub(super) fn wants(&self, credit: CreditId) -> bool {
        credit.number < REQUESTS
    }

    /// The text of a prompt that is one text. What a list of messages or a whole
    /// body becomes is the server's business.
    pub(super) fn text(prompt: &Prompt) -> Option<String> {
        match &prompt.content {
            Content::Text(text) => Some(text.clone()),
            Content::Messages(_) | Content::Body(_) => None,
        }
    }

    /// Keeps what a completed request said and was told, if there is room;
    /// `reasoned`: reasoning went before its answer.
    pub(super) fn keep(
        &self,
        record: &RequestRecord,
        prompt: Option<String>,
        answer: Option<String>,
        reasoned: bool,
    ) {
        // Reasoning is no part of the answer's text: without its count there is
        // nothing to compare.
        let reasoning = record.reasoning_tokens.or((!reasoned).then_some(0));
        let answered = record.output_tokens.zip(reasoning).map(|(all, r)| all.saturating_sub(r));
        let texts = Texts {
            prompt: prompt.zip(record.prompt_tokens),
            answer: answer.filter(|text| !text.is_empty()).zip(answered),
        };
        let size = [&texts.prompt, &texts.answer].into_iter().flatten().map(|(t, _)| t.len());
        let size: usize = size.sum();
        let mut phases = self.lock();
        let of_phase = phases.entry(record.credit.phase).or_default();
        if of_phase.bytes + size <= self.bytes {
            of_phase.bytes += size;
            of_phase.texts.push(texts);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, OfPhase>> {
        // The map is whole after every operation on it.
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts, by the phase's index in the plan. Takes its time: it is to be called
    /// when the run is over, where it may block.
    ///
    /// # Errors
    /// If the tokenizer fails on a text.
    pub fn count(&self, tokenizer: &Tokenizer) -> Result<BTreeMap<usize, Sampled>, TokenizerError> {
        let counted = |text: &Option<(String, u32)>| {
            let both = text.as_ref().map(|(text, server)| {
                tokenizer.count(text).map(|client| Counted { client, server: *server })
            });
            both.transpose()
        };
        let mut all = BTreeMap::new();
        for (phase, of_phase) in std::mem::take(&mut *self.lock()) {
            let mut sampled = Sampled::default();
            for texts in &of_phase.texts {
                sampled.requests += 1;
                sampled.prompts.extend(counted(&texts.prompt)?);
                sampled.outputs.extend(counted(&texts.answer)?);
            }
            all.insert(usize::from(phase), sampled);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::Tick;
    use phasegate_core::record::Outcome;

    use super::*;

    fn record(phase: u16, number: u32, reasoning: Option<u32>) -> RequestRecord {
        let first = Some(Tick(3));
        RequestRecord {
            credit: CreditId { phase, number },
            outcome: Outcome::Completed,
            status: Some(200),
            planned: Tick(0),
            started: Tick(1),
            sent: None,
            first_byte: None,
            first_token: first,
            first_output_token: first,
            second_token: None,
            last_token: None,
            ended: Tick(9),
            chunks: 2,
            prompt_tokens: Some(8),
            output_tokens: Some(5),
            reasoning_tokens: reasoning,
            gaps_ns: Vec::new(),
        }
    }

    #[test]
    fn each_phase_keeps_its_first_requests_within_its_share_of_memory() {
        let sample = TokenSample::new(2);
        assert!(sample.wants(CreditId { phase: 1, number: REQUESTS - 1 }));
        assert!(!sample.wants(CreditId { phase: 1, number: REQUESTS }));
        let half = || Some("x".repeat(BYTES / 4));
        for phase in 0..2 {
            sample.keep(&record(phase, 0, None), half(), half(), false);
            sample.keep(&record(phase, 1, None), Some("y".into()), None, false);
            let phases = sample.lock();
            assert_eq!((phases[&phase].texts.len(), phases[&phase].bytes), (1, BYTES / 2));
        }
    }

    #[test]
    fn what_was_reasoned_is_no_part_of_the_answers_tokens() {
        let of = |reasoning, reasoned| {
            let sample = TokenSample::new(1);
            sample.keep(&record(0, 0, reasoning), None, Some("a".into()), reasoned);
            let texts = sample.lock().remove(&0).unwrap().texts.remove(0);
            texts.answer.map(|(_, tokens)| tokens)
        };
        assert_eq!(of(None, false), Some(5));
        assert_eq!(of(Some(2), true), Some(3));
        assert_eq!(of(None, true), None, "the server does not say how much it reasoned");
    }
}
