//! The credits of a phase that are in flight, without an allocation a credit.

use std::collections::VecDeque;

use crate::time::Tick;

/// A credit that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    number: u32,
    /// It is not in flight any more.
    back: bool,
    /// When it is given up as lost.
    lost: Tick,
}

/// The credits in flight, and when each is given up as lost.
///
/// Numbers and moments ascend in the order of issue, so that this is a queue:
/// a credit is found by bisection, and the first is lost first. One that comes
/// back out of order leaves a gap, and gaps are closed as soon as they are more
/// than what is in flight: there are never more than twice as many slots, and
/// the queue keeps its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Outstanding {
    /// Its first slot is in flight.
    slots: VecDeque<Slot>,
    gaps: usize,
}

impl Outstanding {
    /// A credit is issued. Neither its number nor the moment at which it is
    /// lost is below that of the credit before.
    pub(super) fn issued(&mut self, number: u32, lost: Tick) {
        self.slots.push_back(Slot { number, back: false, lost });
    }

    /// A credit is back: whether it was in flight.
    pub(super) fn take(&mut self, number: u32) -> bool {
        let place = self.place(number);
        let found = self.slots.get_mut(place).filter(|s| s.number == number && !s.back);
        let Some(slot) = found else { return false };
        slot.back = true;
        self.close_gaps();
        true
    }

    /// Where `number` stands, if it is there. Numbers ascend by 1 or, where gaps were
    /// closed, by more: so it is at most as far behind the first as its number is, and
    /// at least as near to the last. Where no gap was closed, both are the same place.
    fn place(&self, number: u32) -> usize {
        let (Some(first), Some(last)) = (self.slots.front(), self.slots.back()) else { return 0 };
        let end = self.slots.len() - 1;
        let behind = number.saturating_sub(first.number) as usize;
        let before = last.number.saturating_sub(number) as usize;
        let (mut low, mut high) = (end.saturating_sub(before), behind.min(end));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.slots.get(middle).is_some_and(|slot| slot.number < number) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// When the first credit in flight is given up as lost.
    pub(super) fn first_lost(&self) -> Option<Tick> {
        self.slots.front().map(|slot| slot.lost)
    }

    /// Gives up the first credit in flight, if its time is over at `now`: its
    /// number.
    pub(super) fn give_up_first(&mut self, now: Tick) -> Option<u32> {
        let slot = self.slots.front_mut().filter(|slot| slot.lost <= now)?;
        slot.back = true;
        let number = slot.number;
        self.close_gaps();
        Some(number)
    }

    /// Gives up all of them.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.gaps = 0;
    }

    /// One slot more is not in flight.
    fn close_gaps(&mut self) {
        self.gaps += 1;
        while self.slots.front().is_some_and(|slot| slot.back) {
            self.slots.pop_front();
            self.gaps = self.gaps.saturating_sub(1);
        }
        if self.gaps * 2 > self.slots.len() {
            self.slots.retain(|slot| !slot.back);
            self.gaps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Issue(u64),
        Take(u32),
        TakeOneInFlight(usize),
        GiveUp(u64),
        Clear,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            40 => (0_u64..5).prop_map(Op::Issue),
            5 => (0_u32..200).prop_map(Op::Take),
            30 => any::<usize>().prop_map(Op::TakeOneInFlight),
            5 => (0_u64..200).prop_map(Op::GiveUp),
            1 => Just(Op::Clear),
        ]
    }

    proptest! {
        #[test]
        fn the_same_as_a_map_and_never_more_than_twice_as_many_slots(
            ops in prop::collection::vec(op(), 0..300)
        ) {
            let (mut queue, mut map) = (Outstanding::default(), BTreeMap::new());
            let (mut number, mut lost) = (0, 0);
            for op in ops {
                match op {
                    Op::Issue(later) => {
                        lost += later;
                        queue.issued(number, Tick(lost));
                        map.insert(number, Tick(lost));
                        number += 1;
                    }
                    Op::Take(number) => {
                        prop_assert_eq!(queue.take(number), map.remove(&number).is_some());
                    }
                    Op::TakeOneInFlight(n) if !map.is_empty() => {
                        let number = *map.keys().nth(n % map.len()).unwrap();
                        prop_assert!(queue.take(number));
                        map.remove(&number);
                    }
                    Op::TakeOneInFlight(_) => {}
                    Op::GiveUp(now) => {
                        let first = map.first_entry().filter(|first| first.get().0 <= now);
                        let first = first.map(|first| first.remove_entry().0);
                        prop_assert_eq!(queue.give_up_first(Tick(now)), first);
                    }
                    Op::Clear => {
                        queue.clear();
                        map.clear();
                    }
                }
                prop_assert_eq!(queue.first_lost(), map.values().next().copied());
                prop_assert!(queue.slots.len() <= 2 * map.len());
                prop_assert_eq!(queue.slots.len() - queue.gaps, map.len());
            }
        }
    }
}
