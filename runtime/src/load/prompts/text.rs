//! Made-up text of a wanted length: some of it shared by several prompts, the
//! rest of each its own.

use phasegate_core::CreditId;
use phasegate_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::tokenizer::{Tokenizer, TokenizerError};
use super::words::WORDS;

const ROUNDS: usize = 4;
/// Bytes of a credit id: a word each.
const ID_WORDS: usize = 6;
/// The same where not every byte has a word of its own: six bits a word.
const ID_WORDS_OF_FEWER: usize = 8;
/// Where a phase's own shared text begins in its stream, in words of the
/// generator: no text of a phase is longer.
const PHASE_SHIFT: u32 = 40;

/// A text that several prompts share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shared {
    /// The prefix of this number.
    Prefix(u32),
    /// The block of a trace with this id.
    Block(u64),
}

/// Makes text, a word of the built-in list for about one token.
///
/// The first six words of what is unique (eight where a tokenizer lacks some of
/// the list) spell a number that no other credit of the run has, in an order that the seed shuffles, so that prompts of six words
/// and more are distinct and no prefix cache can mix two requests up. Text that
/// is shared is shared within one phase only. Both hold unless prompts may
/// repeat: then the phases of a run send the same.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    keys: [u64; ROUNDS],
    prefixes: ChaCha8Rng,
    blocks: ChaCha8Rng,
    repeat: bool,
    /// For each byte its word, and its tokens at the start of a text; in a text
    /// it is one token.
    words: Box<[(&'static str, u32); 256]>,
    /// Every byte has a word of its own; otherwise at least the first 64 have.
    all_words: bool,
}

impl Text {
    /// # Errors
    /// If the tokenizer has too few of the words as tokens.
    pub(crate) fn new(
        seed: u64,
        repeat: bool,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, TokenizerError> {
        let root = Seed::root(seed).child("prompts");
        let mut rng = root.child("order").rng();
        let words = match tokenizer {
            None => WORDS.map(|word| (word, 1)),
            Some(tokenizer) => tokenizer.words(&WORDS)?,
        };
        let all_words = words.iter().zip(WORDS).all(|((word, _), own)| *word == own);
        Ok(Self {
            all_words,
            keys: std::array::from_fn(|_| rng.next_u64()),
            prefixes: root.child("prefixes").rng(),
            blocks: root.child("blocks").rng(),
            repeat,
            words: Box::new(words),
        })
    }

    /// The credit whose prompt this one sends: its own, or that of the first
    /// phase.
    pub(crate) fn salt(&self, id: CreditId) -> CreditId {
        CreditId { phase: if self.repeat { 0 } else { id.phase }, number: id.number }
    }

    /// Appends `tokens` of text that no other credit has; `rng` is the credit's.
    pub(crate) fn unique(
        &self,
        out: &mut String,
        id: CreditId,
        tokens: usize,
        rng: &mut ChaCha8Rng,
    ) {
        let number = self.shuffled(self.salt(id));
        if self.all_words {
            self.write(out, tokens, rng, &number.to_be_bytes()[2..2 + ID_WORDS]);
        } else {
            let digit = |place: usize| (number >> (6 * place) & 63) as u8;
            self.write(out, tokens, rng, &std::array::from_fn::<u8, ID_WORDS_OF_FEWER, _>(digit));
        }
    }

    /// Appends the first `tokens` of a text that prompts of this phase share.
    pub(crate) fn shared(&self, out: &mut String, what: Shared, phase: u16, tokens: usize) {
        let (mut rng, stream) = match what {
            Shared::Prefix(number) => (self.prefixes.clone(), u64::from(number)),
            Shared::Block(id) => (self.blocks.clone(), id),
        };
        let phase = if self.repeat { 0 } else { phase };
        rng.set_stream(stream);
        rng.set_word_pos(u128::from(phase) << PHASE_SHIFT);
        self.write(out, tokens, &mut rng, &[]);
    }

    fn write(&self, out: &mut String, tokens: usize, rng: &mut ChaCha8Rng, first: &[u8]) {
        out.reserve(tokens * 6);
        let mut bytes = [0_u8; 64];
        let (mut written, mut left) = (0, tokens);
        while left > 0 {
            rng.fill_bytes(&mut bytes);
            if written == 0 {
                bytes[..first.len()].copy_from_slice(first);
            }
            for byte in bytes {
                let (word, at_start) = self.words[usize::from(byte)];
                let cost = if out.is_empty() { at_start as usize } else { 1 };
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(word);
                left = left.saturating_sub(cost);
                if left == 0 {
                    break;
                }
            }
            written += bytes.len();
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
