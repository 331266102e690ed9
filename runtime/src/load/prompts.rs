//! What is sent: prompts, as a pure function of seed, phase and credit number.

use std::sync::Arc;

use phasegate_core::CreditId;
use phasegate_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use rand_distr::{Distribution, Normal};
use serde_json::{Map, Value};

use super::dataset::{Dataset, DatasetError};
use super::words::WORDS;
use crate::config::{EndpointType, InputConfig};

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
            Content::Body(fields) => fields.len() * 64,
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
    Body(Arc<Map<String, Value>>),
}

/// Where prompts come from. The same credit always gets the same prompt.
pub trait Prompts: Send + Sync + 'static {
    /// The prompt of a credit. Called in the request's task, before its time
    /// starts to count.
    fn prompt(&self, id: CreditId) -> Prompt;
}

/// The prompts that `input` asks for: from its file, or synthetic ones.
///
/// # Errors
/// [`DatasetError`] if the file cannot be read or a line of it is wrong.
pub fn prompts(
    input: &InputConfig,
    kind: EndpointType,
    seed: u64,
) -> Result<Arc<dyn Prompts>, DatasetError> {
    match &input.file {
        Some(file) => Ok(Arc::new(Dataset::load(file, kind, input, seed)?)),
        None => Ok(Arc::new(Synthetic::new(input, seed))),
    }
}

/// Made-up prompts of a wanted length in words; a word of the built-in list is
/// about one token in the usual vocabularies.
///
/// The first six words spell a number that no other credit of the run has, in
/// an order that the seed shuffles, so that prompts of six words and more are
/// distinct and no prefix cache can mix two requests up.
#[derive(Debug, Clone)]
pub struct Synthetic {
    draws: Draws,
    keys: [u64; ROUNDS],
    isl: Length,
    osl: Option<Length>,
    ignore_eos: bool,
}

const ROUNDS: usize = 4;
/// Bytes of a credit id: a word each.
const ID_WORDS: usize = 6;

impl Synthetic {
    /// Prompts as `input` describes them; its file is not looked at.
    #[must_use]
    pub fn new(input: &InputConfig, seed: u64) -> Self {
        let draws = Draws::new(seed);
        let mut rng = Seed::root(seed).child("prompts").child("order").rng();
        Self {
            draws,
            keys: std::array::from_fn(|_| rng.next_u64()),
            isl: Length::new(input.isl, input.isl_stddev),
            osl: input.osl.map(|mean| Length::new(mean, input.osl_stddev)),
            ignore_eos: input.ignore_eos,
        }
    }

    /// A permutation of the 48-bit credit ids: a balanced Feistel network
    /// (Luby and Rackoff, 1988) over two halves of 24 bits.
    fn shuffled(&self, id: CreditId) -> u64 {
        let id = (u64::from(id.phase) << 32) | u64::from(id.number);
        let (mut left, mut right) = (id >> 24, id & 0xff_ffff);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) >> 40));
        }
        (left << 24) | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Prompts for Synthetic {
    fn prompt(&self, id: CreditId) -> Prompt {
        let mut rng = self.draws.of(id);
        let words = self.isl.draw(&mut rng) as usize;
        let max_tokens = self.osl.as_ref().map(|osl| osl.draw(&mut rng));
        let mut text = String::with_capacity(words * 6);
        let mut bytes = [0_u8; 64];
        let spelled = self.shuffled(id).to_be_bytes();
        let mut written = 0;
        while written < words {
            rng.fill_bytes(&mut bytes);
            if written == 0 {
                bytes[..ID_WORDS].copy_from_slice(&spelled[2..]);
            }
            for byte in bytes.iter().take(words - written) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(WORDS[usize::from(*byte)]);
            }
            written += bytes.len();
        }
        Prompt { content: Content::Text(text), max_tokens, ignore_eos: self.ignore_eos }
    }
}

/// The random draws of each credit: one stream of one generator a credit.
#[derive(Debug, Clone)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Seed::root(seed).child("prompts").rng())
    }

    pub(crate) fn of(&self, id: CreditId) -> ChaCha8Rng {
        let mut rng = self.0.clone();
        rng.set_stream((u64::from(id.phase) << 32) | u64::from(id.number));
        rng
    }
}

/// A length in tokens: normally distributed, rounded, truncated at 1.
#[derive(Debug, Clone)]
pub(crate) struct Length {
    mean: u32,
    spread: Option<Normal<f64>>,
}

/// Draws below 1 are drawn again, at most so often. With a mean of 1 or more
/// each try succeeds with probability ½ or more.
const TRIES: u32 = 64;

impl Length {
    pub(crate) fn new(mean: u32, stddev: f64) -> Self {
        let spread = if stddev > 0.0 { Normal::new(f64::from(mean), stddev).ok() } else { None };
        Self { mean, spread }
    }

    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> u32 {
        let Some(spread) = &self.spread else { return self.mean.max(1) };
        for _ in 0..TRIES {
            let length = spread.sample(rng).round();
            if length >= 1.0 {
                // Saturates.
                return length as u32;
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn input(isl: u32, isl_stddev: f64) -> InputConfig {
        InputConfig {
            isl,
            isl_stddev,
            osl: Some(64),
            osl_stddev: 8.0,
            ignore_eos: false,
            file: None,
        }
    }

    fn text(prompts: &Synthetic, phase: u16, number: u32) -> String {
        match prompts.prompt(CreditId { phase, number }).content {
            Content::Text(text) => text,
            Content::Messages(_) | Content::Body(_) => panic!("not text"),
        }
    }

    proptest! {
        #[test]
        fn a_prompt_has_exactly_the_wanted_number_of_words(isl in 1_u32..3_000, number: u32) {
            let prompts = Synthetic::new(&input(isl, 0.0), 3);
            prop_assert_eq!(text(&prompts, 1, number).split_whitespace().count(), isl as usize);
        }

        #[test]
        fn two_credits_never_share_their_first_six_words(a: (u16, u32), b: (u16, u32), seed: u64) {
            let prompts = Synthetic::new(&input(6, 0.0), seed);
            prop_assert_eq!(text(&prompts, a.0, a.1) == text(&prompts, b.0, b.1), a == b);
        }
    }

    #[test]
    fn neighbouring_prompts_differ_from_the_first_words_on() {
        let prompts = Synthetic::new(&input(8, 0.0), 0);
        let pairs: BTreeSet<String> = (0..1_000)
            .map(|n| text(&prompts, 0, n).split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        assert!(pairs.len() > 990, "{} of 1000 beginnings are distinct", pairs.len());
    }

    #[test]
    fn a_prompt_is_a_function_of_seed_phase_and_number() {
        let (a, b) = (Synthetic::new(&input(50, 9.0), 7), Synthetic::new(&input(50, 9.0), 7));
        let id = CreditId { phase: 2, number: 5 };
        assert_eq!(a.prompt(id), b.prompt(id));
        assert_ne!(a.prompt(id), Synthetic::new(&input(50, 9.0), 8).prompt(id));
        assert_ne!(a.prompt(id), a.prompt(CreditId { phase: 1, number: 5 }));
    }

    #[test]
    fn lengths_have_the_wanted_mean_and_spread() {
        let prompts = Synthetic::new(&input(1, 0.0), 1);
        let draws = |length: Length| -> Vec<f64> {
            (0..4_000)
                .map(|number| length.draw(&mut prompts.draws.of(CreditId { phase: 0, number })))
                .map(f64::from)
                .collect()
        };
        let lengths = draws(Length::new(500, 50.0));
        let mean = lengths.iter().sum::<f64>() / 4_000.0;
        let var = lengths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4_000.0;
        assert!((mean - 500.0).abs() < 4.0, "mean {mean}");
        assert!((var.sqrt() - 50.0).abs() < 4.0, "standard deviation {}", var.sqrt());
        assert!(draws(Length::new(2, 100.0)).iter().all(|x| *x >= 1.0));
    }

    #[test]
    fn first_prompts_are_pinned() {
        // A change here changes what every seed sends: a breaking change.
        let prompts = Synthetic::new(&input(10, 2.0), 0);
        let first: Vec<Prompt> =
            (0..3).map(|number| prompts.prompt(CreditId { phase: 0, number })).collect();
        insta::assert_debug_snapshot!(first);
    }
}
