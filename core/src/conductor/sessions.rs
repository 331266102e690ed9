//! The sessions of a phase: who is at which turn, and who thinks until when.
//!
//! A session holds its slot from its first turn to the end of its last, the
//! think times between them included. Turn k + 1 is planned for the moment at
//! which the answer to turn k was back, plus the think time. A turn that fails,
//! is cancelled or gets lost ends its session.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan;
use crate::record::{CreditEnd, Item};
use crate::time::Tick;

/// What became of the sessions of a phase. Begun, but neither completed nor
/// failed: cut off by the end of the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Their first turn was sent.
    pub begun: u64,
    /// Every turn was answered.
    pub completed: u64,
    /// A turn was not, which ended them.
    pub failed: u64,
}

impl SessionCounts {
    /// Begun and not over.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.begun.saturating_sub(self.completed).saturating_sub(self.failed)
    }
}

/// A session that is not over.
#[derive(Debug, Clone, Copy)]
struct Open {
    index: u32,
    /// The turn that is in flight, or else the one that is thought about.
    turn: u16,
}

/// The sessions of one phase.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    plan: plan::Sessions,
    most: u64,
    open: BTreeMap<u32, Open>,
    /// When a session's next turn is due. Each of them is open.
    thinking: BTreeSet<(Tick, u32)>,
    /// Whose turn a credit is that is in flight. Each of them is open.
    asked: BTreeMap<u32, u32>,
    pub(super) counts: SessionCounts,
}

impl Sessions {
    pub(super) fn new(plan: plan::Sessions, most: Option<u32>) -> Self {
        Self {
            plan,
            most: most.map_or(u64::MAX, u64::from),
            open: BTreeMap::new(),
            thinking: BTreeSet::new(),
            asked: BTreeMap::new(),
            counts: SessionCounts::default(),
        }
    }

    /// How many slots are held.
    pub(super) fn held(&self) -> u64 {
        self.open.len() as u64
    }

    /// Whether another one may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.counts.begun < self.most
    }

    /// When the next turn of an open session is due.
    pub(super) fn next_due(&self) -> Option<Tick> {
        self.thinking.first().map(|(at, _)| *at)
    }

    /// A new one begins with the item at `index`: what its first turn sends.
    pub(super) fn begin(&mut self, credit: u32, index: u32) -> Item {
        let session = u32::try_from(self.counts.begun).unwrap_or(u32::MAX);
        self.counts.begun += 1;
        self.open.insert(session, Open { index, turn: 0 });
        self.asks(credit, session, index, 0)
    }

    /// The turn that is due first: what it sends. `None` if none is thought
    /// about.
    pub(super) fn go_on(&mut self, credit: u32) -> Option<Item> {
        let (_, session) = self.thinking.pop_first()?;
        let Open { index, turn } = *self.open.get(&session)?;
        Some(self.asks(credit, session, index, turn))
    }

    fn asks(&mut self, credit: u32, session: u32, index: u32, turn: u16) -> Item {
        self.asked.insert(credit, session);
        let next = turn.checked_add(1);
        let last = next.and_then(|next| self.plan.think(index, next)).is_none();
        Item { index, session, turn, last }
    }

    /// A credit is back at `now`, or lost.
    pub(super) fn back(&mut self, now: Tick, credit: u32, end: Option<CreditEnd>) {
        let Some(session) = self.asked.remove(&credit) else { return };
        let Some(open) = self.open.get_mut(&session) else { return };
        match end {
            Some(CreditEnd::Completed) => {
                let next = open.turn.checked_add(1);
                let think = next.and_then(|next| Some((next, self.plan.think(open.index, next)?)));
                if let Some((next, think)) = think {
                    open.turn = next;
                    self.thinking.insert((now + think, session));
                    return;
                }
                self.counts.completed += 1;
            }
            Some(CreditEnd::Failed | CreditEnd::Cancelled) | None => self.counts.failed += 1,
        }
        self.open.remove(&session);
    }

    /// The phase sends no more: nobody thinks about a turn any longer.
    pub(super) fn sending_ended(&mut self) {
        for (_, session) in core::mem::take(&mut self.thinking) {
            self.open.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(most: Option<u32>) -> Sessions {
        Sessions::new(plan::Sessions::new(vec![vec![10, 0], vec![]]).unwrap(), most)
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn a_turn_is_due_its_think_time_after_the_answer_before_it() {
        let mut all = sessions(Some(1));
        assert_eq!(all.begin(0, 0), Item { index: 0, session: 0, turn: 0, last: false });
        assert!(!all.may_begin());
        assert_eq!((all.held(), all.next_due()), (1, None));
        all.back(Tick(5), 0, Some(CreditEnd::Completed));
        assert_eq!((all.held(), all.next_due()), (1, Some(Tick(10 * MS + 5))));
        assert_eq!(all.go_on(1), Some(Item { index: 0, session: 0, turn: 1, last: false }));
        all.back(Tick(20 * MS), 1, Some(CreditEnd::Completed));
        assert_eq!(all.next_due(), Some(Tick(20 * MS)));
        assert_eq!(all.go_on(2), Some(Item { index: 0, session: 0, turn: 2, last: true }));
        all.back(Tick(30 * MS), 2, Some(CreditEnd::Completed));
        assert_eq!((all.held(), all.counts.completed, all.counts.open()), (0, 1, 0));
    }

    #[test]
    fn a_turn_that_is_not_answered_ends_its_session() {
        let mut all = sessions(None);
        for (credit, end) in
            [(0, Some(CreditEnd::Failed)), (1, Some(CreditEnd::Cancelled)), (2, None)]
        {
            all.begin(credit, 0);
            all.back(Tick(0), credit, end);
            assert_eq!((all.held(), all.next_due()), (0, None));
        }
        assert_eq!(all.counts, SessionCounts { begun: 3, completed: 0, failed: 3 });
    }

    #[test]
    fn sessions_that_think_when_sending_ends_are_cut_off() {
        let mut all = sessions(None);
        all.begin(0, 0);
        all.begin(1, 1);
        all.back(Tick(0), 0, Some(CreditEnd::Completed));
        all.sending_ended();
        all.back(Tick(0), 1, Some(CreditEnd::Completed));
        assert_eq!((all.held(), all.counts.completed, all.counts.open()), (0, 1, 1));
    }
}
