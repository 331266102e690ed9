//! One slot per timer kind, one deadline per machine.

use core::fmt::Debug;

use crate::machine::Deadline;
use crate::time::Tick;

/// How many timer kinds a machine can have.
pub const SLOTS: usize = 9;

/// Names the timers of a machine.
pub trait TimerKey: Copy + Eq + Debug + 'static {
    /// Every timer kind, in the order in which timers that are due at the same
    /// moment fire. At most [`SLOTS`].
    const ALL: &'static [Self];
}

/// The timer key of a machine that has no timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTimer {}

impl TimerKey for NoTimer {
    const ALL: &'static [Self] = &[];
}

/// The timers of one machine: each kind is armed for one moment, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerTable<K> {
    slots: [Option<Tick>; SLOTS],
    key: core::marker::PhantomData<K>,
}

impl<K: TimerKey> Default for TimerTable<K> {
    fn default() -> Self {
        const { assert!(K::ALL.len() <= SLOTS, "a machine with more timers than slots") };
        Self { slots: [None; SLOTS], key: core::marker::PhantomData }
    }
}

impl<K: TimerKey> TimerTable<K> {
    #[inline]
    fn slot(key: K) -> Option<usize> {
        K::ALL.iter().position(|k| *k == key).filter(|i| *i < SLOTS)
    }

    /// Arms `key` for `at`, replacing what it was armed for. For
    /// [`Tick::NEVER`] it is disarmed.
    #[inline]
    pub fn set(&mut self, key: K, at: Tick) {
        self.set_or_clear(key, Some(at));
    }

    /// Arms `key` for `at`, or disarms it; for [`Tick::NEVER`] too.
    #[inline]
    pub fn set_or_clear(&mut self, key: K, at: Option<Tick>) {
        if let Some(slot) = Self::slot(key) {
            // Sums saturate there. A timer that is due at the end of all time
            // would be due again as soon as it is armed again.
            self.slots[slot] = at.filter(|at| *at != Tick::NEVER);
        }
    }

    /// Disarms `key`.
    pub fn clear(&mut self, key: K) {
        self.set_or_clear(key, None);
    }

    /// When `key` is due, if it is armed.
    #[must_use]
    pub fn get(&self, key: K) -> Option<Tick> {
        Self::slot(key).and_then(|slot| self.slots[slot])
    }

    /// Takes the earliest timer that is due at `now` and disarms it.
    pub fn pop_due(&mut self, now: Tick) -> Option<K> {
        let next = self.next_deadline().filter(|d| d.at <= now)?;
        self.clear(next.timer);
        Some(next.timer)
    }

    /// The earliest armed timer.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline<K>> {
        let mut next: Option<Deadline<K>> = None;
        for (slot, key) in K::ALL.iter().enumerate().take(SLOTS) {
            if let Some(at) = self.slots[slot]
                && next.is_none_or(|n| at < n.at)
            {
                next = Some(Deadline { at, timer: *key });
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Key {
        A,
        B,
    }
    impl TimerKey for Key {
        const ALL: &'static [Self] = &[Self::A, Self::B];
    }

    #[test]
    fn earliest_first_and_ties_in_declared_order() {
        let mut table = TimerTable::default();
        table.set(Key::B, Tick(5));
        table.set(Key::A, Tick(5));
        assert_eq!(table.pop_due(Tick(4)), None);
        assert_eq!(table.pop_due(Tick(5)), Some(Key::A));
        assert_eq!(table.pop_due(Tick(5)), Some(Key::B));
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn what_never_comes_is_not_waited_for() {
        let mut table = TimerTable::default();
        table.set(Key::A, Tick(9));
        table.set(Key::A, Tick::NEVER);
        table.set_or_clear(Key::B, Some(Tick::NEVER));
        assert_eq!(table.pop_due(Tick::NEVER), None);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn setting_again_replaces() {
        let mut table = TimerTable::default();
        table.set(Key::A, Tick(9));
        table.set(Key::A, Tick(3));
        assert_eq!(table.get(Key::A), Some(Tick(3)));
        table.clear(Key::A);
        assert_eq!(table.get(Key::A), None);
    }
}
