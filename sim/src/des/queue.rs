//! What will happen, in order: by moment, then by when it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use phasegate_core::time::Tick;

/// The events that are still to come. The order among events of one moment is
/// that in which they were put in, so that a run is the same every time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(Tick, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    next: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), next: 0 }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`.
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
        self.heap.push(Reverse((at, self.next, slot)));
        self.next += 1;
    }

    /// When the next event happens.
    pub(crate) fn next_at(&self) -> Option<Tick> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Tick, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.events[slot as usize].take().map(|event| (at, event))
    }

    /// Forgets everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
        self.events.clear();
        self.free.clear();
        self.next = 0;
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
