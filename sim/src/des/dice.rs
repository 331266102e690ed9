//! The one source of chance in a simulated run.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A generator derived from a seed and a stream, so that the draws of one use
/// do not move those of another.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

/// The draws that make a run's configuration.
pub(crate) const CONFIGURATION: u64 = 1;
/// The draws of its input.
pub(crate) const INPUTS: u64 = 3;
/// The draws of its search.
pub(crate) const SEARCHES: u64 = 6;
/// The draws of the run itself.
pub(crate) const RUN: u64 = 2;
/// The draws of what makes telemetry lie.
pub(crate) const HAZARDS: u64 = 4;
/// The draws of a server that lies, in the run.
pub(crate) const SERVER: u64 = 5;

impl Dice {
    /// The dice of this seed for this use.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of the product: the bias is below 2⁻³² for what is
        // drawn here.
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True so many times in a thousand. A chance of 0 draws nothing, so that a
    /// fault that is switched off costs nothing.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number from `low` to `high` whose logarithm is even: small ones are as
    /// frequent as large ones.
    pub fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let doublings = (high.max(low) / low).ilog2();
        let from = low << self.below(u64::from(doublings) + 1);
        self.between(from, from.saturating_mul(2)).min(high.max(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::new(1, RUN);
        let draws: Vec<u64> = (0..1000).map(|_| dice.between(3, 6)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&6));
        assert!((0..1000).all(|_| (10..=1000).contains(&dice.skewed(10, 1000))));
        assert!(!dice.chance(0) && dice.chance(1000));
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let first = |stream| Dice::new(9, stream).below(u64::MAX);
        assert_ne!(first(CONFIGURATION), first(RUN));
        assert_eq!(first(RUN), first(RUN));
    }
}
