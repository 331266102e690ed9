//! Somebody else who uses the same server: requests that no client of ours sent.

use phasegate_core::seed::{Seed, open01};
use phasegate_core::time::Tick;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use std::num::NonZeroU64;

use super::engine::Work;
use super::truth::Finish;

/// The stream of foreign requests: exponential gaps, seeded.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    rng: ChaCha8Rng,
    /// Mean gap, in nanoseconds.
    gap: f64,
    next: Tick,
    sent: u64,
}

impl Foreign {
    /// So many requests in a thousand seconds.
    pub(crate) fn new(seed: &Seed, rate: NonZeroU64) -> Self {
        let rng = seed.child("foreign").rng();
        let mut foreign = Self { rng, gap: 1e12 / rate.get() as f64, next: Tick::ZERO, sent: 0 };
        foreign.plan();
        foreign
    }

    fn plan(&mut self) {
        let gap = -open01(&mut self.rng).ln() * self.gap;
        self.next = Tick(self.next.0.saturating_add(gap as u64).saturating_add(1));
    }

    /// When the next request comes.
    pub(crate) fn due(&self) -> Tick {
        self.next
    }

    /// The next request; the one after it is planned.
    pub(crate) fn take(&mut self) -> Work {
        let mut between = |low: u64, high: u64| low + self.rng.next_u64() % (high - low + 1);
        let (words, tokens) = (between(4, 32), between(4, 32));
        let prompt: Vec<String> = (0..words).map(|word| format!("f{}-{word}", self.sent)).collect();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.sent += 1;
        self.plan();
        Work {
            prompt: prompt.join(" "),
            prompt_tokens: u32::try_from(words).unwrap_or(u32::MAX),
            output_tokens: tokens,
            max_tokens: Some(tokens),
            finish: Finish::Length,
            halt_after: None,
            phase: None,
            foreign: true,
        }
    }
}
