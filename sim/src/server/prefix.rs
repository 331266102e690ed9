//! A prefix cache as vLLM has it: whole blocks of tokens, found by the hash of
//! a block and of everything before it.

use std::collections::{BTreeSet, VecDeque};

/// Tokens in a block.
const BLOCK: usize = 16;
/// Blocks kept; the oldest go first.
const BLOCKS_KEPT: usize = 65_536;

/// The blocks that are cached.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrefixCache {
    known: BTreeSet<u64>,
    order: VecDeque<u64>,
}

/// FNV-1a, 64 bits: hashes must not depend on the process.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl PrefixCache {
    /// Looks a prompt up and caches it: how many of its tokens were there.
    /// The last token is always computed, as its output is what is asked for.
    pub(crate) fn query<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> u32 {
        let mut chain = 0xcbf2_9ce4_8422_2325;
        let mut tokens = 0_usize;
        let mut hits = 0_usize;
        let mut missed = false;
        for word in words {
            // The separator keeps ["ab"] and ["a", "b"] apart.
            chain = mix(mix(chain, word.as_bytes()), b" ");
            tokens += 1;
            if tokens.is_multiple_of(BLOCK) {
                missed |= self.insert(chain);
                if !missed {
                    hits = tokens;
                }
            }
        }
        if hits == tokens {
            hits = hits.saturating_sub(BLOCK);
        }
        u32::try_from(hits).unwrap_or(u32::MAX)
    }

    /// Whether the block is new.
    fn insert(&mut self, block: u64) -> bool {
        if !self.known.insert(block) {
            return false;
        }
        self.order.push_back(block);
        if self.order.len() > BLOCKS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(cache: &mut PrefixCache, prompt: &[String]) -> u32 {
        cache.query(prompt.iter().map(String::as_str))
    }

    fn words(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("w{n}")).collect()
    }

    #[test]
    fn a_hit_is_whole_blocks_of_the_same_beginning() {
        let mut cache = PrefixCache::default();
        assert_eq!(query(&mut cache, &words(0..40)), 0);
        assert_eq!(query(&mut cache, &words(0..40)), 32);
        assert_eq!(query(&mut cache, &[words(0..20), words(90..99)].concat()), 16);
        // The same words, but not at the beginning.
        assert_eq!(query(&mut cache, &[words(70..86), words(0..16), words(0..1)].concat()), 0);
    }

    #[test]
    fn the_last_token_is_never_a_hit() {
        let mut cache = PrefixCache::default();
        query(&mut cache, &words(0..32));
        assert_eq!(query(&mut cache, &words(0..32)), 16);
        assert_eq!(query(&mut cache, &[]), 0);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = PrefixCache::default();
        for n in 0..u32::try_from(BLOCKS_KEPT).unwrap() / 8 + 10 {
            query(&mut cache, &words(n * 128..(n + 1) * 128));
        }
        assert_eq!(cache.known.len(), BLOCKS_KEPT);
        assert_eq!(cache.order.len(), BLOCKS_KEPT);
    }
}
