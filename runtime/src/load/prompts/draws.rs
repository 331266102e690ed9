//! Random draws of a credit, and random lengths.

use phasegate_core::CreditId;
use phasegate_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

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

    #[test]
    fn lengths_have_the_wanted_mean_and_spread() {
        let of_credits = Draws::new(1);
        let draws = |length: Length| -> Vec<f64> {
            (0..4_000)
                .map(|number| length.draw(&mut of_credits.of(CreditId { phase: 0, number })))
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
}
