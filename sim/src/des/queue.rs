//! What will happen, in order: by moment, then by when it was put in.

use phasegate_core::time::Tick;

/// The events that are still to come. The order among events of one moment is
/// that in which they were put in, so that a run is the same every time.
///
/// A run has a dozen of them, and what is put in is nearly always due soon: with
/// the last one first in one sorted piece of memory, an event finds its place in a
/// few steps from the end and is taken from there.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    order: Vec<(Tick, u32)>,
    /// The events, each at the place that its entry in the order says.
    events: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { order: Vec::new(), events: Vec::new(), free: Vec::new() }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`.
    #[inline]
    pub(crate) fn push(&mut self, at: Tick, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.events[slot as usize] = Some(event);
                slot
            }
            None => {
                self.events.push(Some(event));
                (self.events.len() - 1) as u32
            }
        };
        let mut place = self.order.len();
        self.order.push((at, slot));
        while let Some(before) = place.checked_sub(1)
            && self.order[before].0 <= at
        {
            self.order[place] = self.order[before];
            place = before;
        }
        self.order[place] = (at, slot);
    }

    /// When the next event happens.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<Tick> {
        self.order.last().map(|(at, _)| *at)
    }

    /// Takes the next event.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Tick, E)> {
        let (at, slot) = self.order.pop()?;
        self.free.push(slot);
        self.events[slot as usize].take().map(|event| (at, event))
    }

    /// Forgets everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.events.clear();
        self.free.clear();
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
