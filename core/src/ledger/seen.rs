//! Which credits of a phase have a record already.

use std::collections::BTreeMap;

/// A set of credit numbers: those below the first gap, and behind it ranges, the
/// first of each to its last.
///
/// Numbers are dense and come nearly in order, so there are only as many ranges
/// as there are gaps: bounded by what is in flight plus what was lost. What comes
/// in order touches no map.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// All numbers below this are in the set, and it itself is not.
    whole: u64,
    ranges: BTreeMap<u32, u32>,
}

impl Seen {
    /// Adds `number`: whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        if u64::from(number) < self.whole {
            return false;
        }
        if u64::from(number) == self.whole {
            // What stands right behind it is below the gap now.
            let next = number.checked_add(1).filter(|_| !self.ranges.is_empty());
            let last = next.and_then(|next| self.ranges.remove(&next)).unwrap_or(number);
            self.whole = u64::from(last) + 1;
            return true;
        }
        let before = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| last >= number) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(number) => first,
            Some(_) | None => number,
        };
        let next = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(first, next.unwrap_or(number));
        true
    }

    /// How many of the numbers below `end` are in the set.
    pub(super) fn below(&self, end: u64) -> u64 {
        let within = |first: u32, last: u32| (u64::from(last) + 1).min(end) - u64::from(first);
        let behind: u64 = self
            .ranges
            .iter()
            .take_while(|(first, _)| u64::from(**first) < end)
            .map(|(first, last)| within(*first, *last))
            .sum();
        self.whole.min(end) + behind
    }

    /// Whether all of the numbers below `end` are in the set.
    pub(super) fn covers(&self, end: u64) -> bool {
        self.whole >= end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_as_a_set(
            numbers in prop::collection::vec(prop_oneof![0_u32..40, u32::MAX - 3..], 0..80),
            end in 0_u64..50,
        ) {
            let mut seen = Seen::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(seen.insert(number), set.insert(number));
            }
            let below = set.iter().filter(|n| u64::from(**n) < end).count() as u64;
            prop_assert_eq!(seen.below(end), below);
            prop_assert_eq!(seen.covers(end), below == end);
            let gaps = set.iter().filter(|n| !set.contains(&n.wrapping_add(1))).count();
            prop_assert!(seen.ranges.len() <= gaps + 1);
        }
    }

    #[test]
    fn numbers_in_any_order_end_as_one_range() {
        let mut seen = Seen::default();
        for number in (0..1000).step_by(2).chain((0..1000).skip(1).step_by(2)) {
            seen.insert(number);
        }
        assert!(seen.ranges.is_empty());
        assert!(seen.covers(1000) && !seen.covers(1001));
    }
}
