//! Maps and sets of a few entries, in the order of their keys.
//!
//! What a run has a handful of (services, boundaries, domains) is kept in one
//! sorted piece of memory: a lookup is a few comparisons, an iteration touches
//! neighbours, and an entry costs no more than itself (a node of a
//! [`BTreeMap`](std::collections::BTreeMap) has room for eleven). Order and
//! meaning are those of a `BTreeMap`; insertion and removal move what stands
//! behind.

/// Up to so many keys are compared one after the other.
const SCAN: usize = 12;

/// There is room for so many at first: two boundaries of each of a few phases.
const ROOM: usize = 8;

/// A map in the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmallMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    /// An empty map.
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// An empty map with room for so many.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries) }
    }

    #[inline]
    fn place(&self, key: &K) -> Option<usize> {
        if self.entries.len() <= SCAN {
            self.entries.iter().position(|(k, _)| k == key)
        } else {
            self.search(key).ok()
        }
    }

    fn search(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.cmp(key))
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(self.place(key)?).map(|(_, value)| value)
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Whether `key` is there.
    #[inline]
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_some()
    }

    /// Sets the value of `key`; what it was.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.search(&key) {
            Ok(place) => {
                let (_, old) = self.entries.get_mut(place)?;
                Some(std::mem::replace(old, value))
            }
            Err(place) => {
                if self.entries.capacity() == 0 {
                    self.entries.reserve_exact(ROOM);
                }
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    /// Sets the value of `key`, unless it has one.
    pub(crate) fn insert_if_new(&mut self, key: K, value: impl FnOnce() -> V) {
        if let Err(place) = self.search(&key) {
            self.entries.insert(place, (key, value()));
        }
    }

    /// Takes `key` out; its value.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key)?;
        Some(self.entries.remove(place).1)
    }

    /// The key at a place in the order, from 0.
    #[inline]
    pub(crate) fn key_at(&self, place: usize) -> Option<&K> {
        self.entries.get(place).map(|(key, _)| key)
    }

    /// Every entry, in the order of the keys.
    #[inline]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Every entry, in the order of the keys.
    #[inline]
    pub(crate) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Every key, in order.
    #[inline]
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Every value, in the order of the keys.
    #[inline]
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Every value, in the order of the keys.
    #[inline]
    pub(crate) fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes all of them out.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SmallMap<K, V> {
    /// Of two values of one key, the later counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::with_capacity(entries.size_hint().0);
        for (key, value) in entries {
            // Nearly always in order already.
            if map.entries.last().is_none_or(|(last, _)| *last < key) {
                map.entries.push((key, value));
            } else {
                map.insert(key, value);
            }
        }
        map
    }
}

/// A set in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmallSet<K> {
    keys: SmallMap<K, ()>,
}

impl<K> Default for SmallSet<K> {
    fn default() -> Self {
        Self { keys: SmallMap::default() }
    }
}

impl<K: Ord> SmallSet<K> {
    /// An empty set.
    pub(crate) const fn new() -> Self {
        Self { keys: SmallMap::new() }
    }

    /// Whether `key` is in it.
    #[inline]
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.keys.contains_key(key)
    }

    /// Adds `key`: whether it is new.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        let before = self.keys.len();
        self.keys.insert_if_new(key, || ());
        self.keys.len() > before
    }

    /// Takes `key` out: whether it was there.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.keys.remove(key).is_some()
    }

    /// The first.
    #[inline]
    pub(crate) fn first(&self) -> Option<&K> {
        self.keys.key_at(0)
    }

    /// All of them, in order.
    #[inline]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &K> {
        self.keys.keys()
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl<K: Ord> FromIterator<K> for SmallSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self { keys: keys.into_iter().map(|key| (key, ())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_two_values_of_one_key_the_later_counts() {
        for keys in [[1, 1, 2], [1, 2, 1], [2, 1, 1]] {
            let small: SmallMap<u8, usize> =
                keys.into_iter().enumerate().map(|(n, key)| (key, n)).collect();
            let last = keys.iter().rposition(|key| *key == 1);
            assert_eq!((small.len(), small.get(&1).copied()), (2, last));
        }
    }

    proptest! {
        #[test]
        fn the_same_as_a_map(ops in prop::collection::vec((0_u8..3, 0_u8..30, any::<u8>()), 0..120)) {
            let (mut small, mut map) = (SmallMap::new(), BTreeMap::new());
            for (op, key, value) in ops {
                match op {
                    0 => prop_assert_eq!(small.insert(key, value), map.insert(key, value)),
                    1 => prop_assert_eq!(small.remove(&key), map.remove(&key)),
                    2..=u8::MAX => {
                        small.insert_if_new(key, || value);
                        map.entry(key).or_insert(value);
                    }
                }
                prop_assert_eq!(small.get(&key), map.get(&key));
                prop_assert_eq!(small.contains_key(&key), map.contains_key(&key));
                prop_assert!(small.iter().eq(map.iter()));
                prop_assert_eq!((small.len(), small.is_empty()), (map.len(), map.is_empty()));
            }
            let again: SmallMap<u8, u8> = map.into_iter().rev().collect();
            prop_assert_eq!(again, small);
        }

        #[test]
        fn a_set_says_what_is_new(keys in prop::collection::vec(0_u8..20, 0..60)) {
            let mut set = std::collections::BTreeSet::new();
            let mut small = SmallSet::new();
            for key in keys {
                prop_assert_eq!(small.insert(key), set.insert(key));
                prop_assert_eq!(small.first(), set.first());
                prop_assert!(small.iter().eq(set.iter()));
                if key % 3 == 0 {
                    prop_assert_eq!(small.remove(&key), set.remove(&key));
                }
            }
            prop_assert_eq!(small.len(), set.len());
        }
    }
}
