//! Phases by id, and a set of small numbers.

use phasegate_core::id::PhaseId;
use phasegate_core::plan::RunPlan;

/// The ids of a plan's phases.
pub(super) struct Phases(Vec<PhaseId>);

impl Phases {
    pub(super) fn new(plan: &RunPlan) -> Self {
        Self(plan.phases().iter().map(|phase| phase.id).collect())
    }

    /// The phase's place in the plan.
    pub(super) fn index(&self, id: PhaseId) -> Option<usize> {
        self.0.iter().position(|phase| *phase == id)
    }
}

/// A set of numbers that count from 0, one bit each.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
    /// All words before this one are empty.
    first: usize,
}

impl Bits {
    fn place(number: u32) -> (usize, u64) {
        ((number / 64) as usize, 1 << (number % 64))
    }

    /// Adds `number`; whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.first = self.first.min(word);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Takes `number` out; whether it was there.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let (word, bit) = Self::place(number);
        let Some(word) = self.words.get_mut(word) else { return false };
        let there = *word & bit != 0;
        *word &= !bit;
        there
    }

    /// How many numbers below `end` are in it.
    pub(super) fn below(&self, end: u64) -> u64 {
        let bits = |(place, word): (usize, &u64)| {
            let first = place as u64 * 64;
            let mask = match end.saturating_sub(first) {
                n @ 0..64 => (1_u64 << n) - 1,
                64.. => u64::MAX,
            };
            u64::from((word & mask).count_ones())
        };
        self.words.iter().enumerate().map(bits).sum()
    }

    /// Takes the smallest number out; whether there was one.
    pub(super) fn pop(&mut self) -> bool {
        while let Some(word) = self.words.get_mut(self.first) {
            if *word != 0 {
                *word &= *word - 1;
                return true;
            }
            self.first += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_once_and_the_smallest_comes_out_first() {
        let mut bits = Bits::default();
        assert!(bits.insert(130) && bits.insert(3) && !bits.insert(130));
        assert_eq!([3, 4, 130, 131, 9999].map(|end| bits.below(end)), [0, 1, 1, 2, 2]);
        assert!(bits.pop() && !bits.remove(3), "3 was the smallest");
        assert!(bits.remove(130) && !bits.remove(130) && !bits.remove(9999));
        assert!(!bits.pop());
        assert!(bits.insert(0) && bits.pop(), "below what was empty");
    }
}
