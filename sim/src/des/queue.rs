//! What will happen, in order: by moment, then by when it was put in.

use phasegate_core::time::Tick;

/// The events that are still to come. The order among events of one moment is
/// that in which they were put in, so that a run is the same every time.
///
/// A run has a dozen of them, and what is put in is nearly always due soon: the
/// last one first in one sorted piece of memory, an event finds its place in a
/// few steps from the end and is taken from there.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: Vec<(Tick, E)>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: Vec::new() }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`.
    #[inline]
    pub(crate) fn push(&mut self, at: Tick, event: E) {
        let sooner = self.events.iter().rev().take_while(|(other, _)| *other <= at).count();
        let place = self.events.len().saturating_sub(sooner);
        self.events.insert(place, (at, event));
    }

    /// When the next event happens.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<Tick> {
        self.events.last().map(|(at, _)| *at)
    }

    /// Takes the next event.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Tick, E)> {
        self.events.pop()
    }

    /// Forgets everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_moment_then_by_when_it_was_put_in() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd')] {
            queue.push(Tick(at), event);
        }
        assert_eq!(queue.pop(), Some((Tick(3), 'b')));
        queue.push(Tick(3), 'e');
        assert_eq!(queue.next_at(), Some(Tick(3)));
        let rest: String = std::iter::from_fn(|| queue.pop().map(|(_, e)| e)).collect();
        assert_eq!(rest, "deac");
    }
}
