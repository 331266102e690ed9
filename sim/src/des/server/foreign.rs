//! Somebody else's requests: they come at random moments, and their tokens are
//! unlike the client's in number, so that no sum of the one is one of the other.

use core::time::Duration;

use phasegate_core::time::Tick;

use super::log::{Counted, Process, Whose};
use crate::des::dice::Dice;

const MS: u64 = 1_000_000;

/// Whoever sends them.
#[derive(Debug)]
pub(super) struct Foreign {
    gap: u64,
    /// When the next one comes.
    comes: Tick,
    /// Those that are being worked on: where, since when, until when.
    running: Vec<(Process, Tick, Tick)>,
}

/// What happens next.
#[derive(Debug)]
pub(super) enum Event {
    /// A request comes, and leaves at a moment that is known.
    Comes { at: Tick, leaves: Tick },
    /// One is over.
    Leaves { at: Tick, counted: Counted },
}

impl Foreign {
    /// One request every `gap` nanoseconds in the mean.
    pub(super) fn new(gap: u64, dice: &mut Dice) -> Self {
        let comes = Tick(dice.between(0, gap * 2));
        Self { gap, comes, running: Vec::new() }
    }

    /// The next thing to happen by `now`, if any.
    pub(super) fn next(&mut self, now: Tick, dice: &mut Dice) -> Option<Event> {
        let first = self.running.iter().enumerate().min_by_key(|(_, (_, _, to))| *to);
        if let Some((place, (_, _, to))) = first
            && *to <= self.comes.min(now)
        {
            let (process, from, at) = self.running.swap_remove(place);
            let (prompt, output) = (dice.between(100, 400), dice.between(50, 200));
            let counted = Counted::of(process, Whose::Foreign, at.since(from), prompt, output);
            return Some(Event::Leaves { at, counted });
        }
        if self.comes > now {
            return None;
        }
        let at = self.comes;
        self.comes = at + Duration::from_nanos(dice.between(1, self.gap * 2));
        let leaves = at + Duration::from_nanos(dice.skewed(5 * MS, 2_000 * MS));
        Some(Event::Comes { at, leaves })
    }

    /// The one that has come goes to this process.
    pub(super) fn goes_to(&mut self, process: Process, from: Tick, to: Tick) {
        self.running.push((process, from, to));
    }
}
