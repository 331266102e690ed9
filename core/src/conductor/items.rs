//! Which item of the input is sent next: one after the other over the whole
//! run, so that no prompt is sent twice before all were sent once.

use crate::plan::Inputs;

/// Where a run is in its input.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// `None` if items never run out.
    items: Option<u32>,
    repeat: bool,
    /// Items that the run took so far, in their order.
    taken: u64,
}

/// An item that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) index: u32,
    /// It was taken before, by this phase or another one, and nobody asked for
    /// that.
    pub(super) again: bool,
}

impl Cursor {
    pub(super) fn new(inputs: &Inputs) -> Self {
        Self { items: inputs.items, repeat: inputs.repeat, taken: 0 }
    }

    /// The next item, for a phase that took `by_phase` so far.
    pub(super) fn next(&mut self, by_phase: u64) -> Taken {
        let place = if self.repeat { by_phase } else { self.taken };
        self.taken = self.taken.saturating_add(1);
        let Some(items) = self.items else { return Taken { index: 0, again: false } };
        let index = place.checked_rem(u64::from(items)).unwrap_or_default();
        Taken { index: u32::try_from(index).unwrap_or_default(), again: place >= u64::from(items) }
    }

    /// The item at `index`: that of a fixed schedule.
    pub(super) fn at(&mut self, index: u32) -> Taken {
        let place = u64::from(index);
        let again = !self.repeat && place < self.taken;
        self.taken = self.taken.max(place.saturating_add(1));
        Taken { index, again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(repeat: bool) -> Cursor {
        Cursor::new(&Inputs { items: Some(3), repeat, ..Inputs::default() })
    }

    fn taken(index: u32, again: bool) -> Taken {
        Taken { index, again }
    }

    #[test]
    fn a_phase_goes_on_where_the_one_before_stopped_and_a_second_round_is_noticed() {
        let mut cursor = cursor(false);
        let first: Vec<Taken> = (0..2).map(|n| cursor.next(n)).collect();
        let second: Vec<Taken> = (0..2).map(|n| cursor.next(n)).collect();
        assert_eq!(first, [taken(0, false), taken(1, false)]);
        assert_eq!(second, [taken(2, false), taken(0, true)]);
    }

    #[test]
    fn where_prompts_may_repeat_every_phase_begins_with_the_first() {
        let mut cursor = cursor(true);
        let both: Vec<Taken> = [0, 1, 0, 1, 2, 3].map(|n| cursor.next(n)).to_vec();
        let index: Vec<u32> = both.iter().map(|t| t.index).collect();
        assert_eq!(index, [0, 1, 0, 1, 2, 0]);
        assert!(both.iter().take(5).all(|t| !t.again) && both[5].again);
    }

    #[test]
    fn a_fixed_schedule_sends_its_own_items() {
        let mut cursor = cursor(false);
        cursor.next(0);
        assert_eq!([cursor.at(0), cursor.at(1)], [taken(0, true), taken(1, false)]);
        assert_eq!(cursor.next(0), taken(2, false));
    }
}
