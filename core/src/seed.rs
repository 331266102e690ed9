//! One seed per run; child seeds derived by name.
//!
//! Every random draw of a run comes from a [`ChaCha8Rng`] that was derived from
//! the run's seed and the name of its use, so that adding a use changes no
//! other, and the same seed sends the same prompts at the same planned times.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use uuid::Uuid;

/// The run's seed, or one derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// The namespace under which names are hashed; fixed for ever, because a change
/// would change every run's draws.
const NAMESPACE: Uuid = Uuid::from_u128(0x7068_6173_6567_6174_6500_0000_0000_0001);

impl Seed {
    /// The root seed of a run.
    #[must_use]
    pub fn root(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(bytes)
    }

    /// The seed for one named use, independent of every other name's.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.hash(name, 0).as_bytes());
        bytes[16..].copy_from_slice(self.hash(name, 1).as_bytes());
        Self(bytes)
    }

    /// A generator that starts at this seed.
    #[must_use]
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// A UUID (version 5) derived from this seed and a name.
    #[must_use]
    pub fn uuid(&self, name: &str) -> Uuid {
        self.hash(name, 2)
    }

    fn hash(&self, name: &str, salt: u8) -> Uuid {
        let mut input = Vec::with_capacity(33 + name.len());
        input.extend_from_slice(&self.0);
        input.push(salt);
        input.extend_from_slice(name.as_bytes());
        Uuid::new_v5(&NAMESPACE, &input)
    }
}

/// A uniform draw from the open interval (0, 1): 53 bits, never 0 or 1, so that
/// its logarithm is finite.
pub fn open01(rng: &mut impl rand_core::Rng) -> f64 {
    within01(rng.next_u64())
}

fn within01(draw: u64) -> f64 {
    let share = ((draw >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    // The highest draw rounds up to 1.
    share.min(1.0 - f64::EPSILON / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn children_differ_by_name_and_are_stable() {
        let seed = Seed::root(0);
        assert_ne!(seed.child("arrivals"), seed.child("prompts"));
        assert_eq!(seed.child("arrivals"), Seed::root(0).child("arrivals"));
        assert_ne!(seed.child("arrivals"), Seed::root(1).child("arrivals"));
    }

    #[test]
    fn first_draws_are_pinned() {
        // A change here changes what every seed means: a breaking change.
        let mut rng = Seed::root(7).child("arrivals").rng();
        let draws: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        insta::assert_debug_snapshot!(draws);
    }

    #[test]
    fn the_lowest_and_the_highest_draw_are_neither_0_nor_1() {
        let half_a_step = 0.5 / (1_u64 << 53) as f64;
        assert_eq!([0, 1 << 10].map(within01), [half_a_step; 2]);
        assert_eq!(within01(1 << 11), 3.0 * half_a_step);
        let highest = within01(u64::MAX);
        assert!(highest < 1.0 && highest > 1.0 - 3.0 * half_a_step, "{highest}");
    }

    #[test]
    fn open01_is_open() {
        let mut rng = Seed::root(1).rng();
        for _ in 0..10_000 {
            let x = open01(&mut rng);
            assert!(x > 0.0 && x < 1.0);
        }
    }
}
