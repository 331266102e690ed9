//! What each credit must send, and when: items in their order, turns after the
//! answers before them, a trace at its own times.

use std::collections::BTreeMap;

use phasegate_core::conductor::report::PhaseReport;
use phasegate_core::plan::{Arrival, Inputs as Plan, PhasePlan};
use phasegate_core::record::{Credit, CreditEnd};
use phasegate_core::time::Tick;

use super::Verdict;

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Its turn is out, under this number.
    Asks(u32),
    /// Its turn was answered then.
    Answered(Tick),
}

#[derive(Debug)]
struct Session {
    index: u32,
    turn: u16,
    at: At,
}

/// One phase's items.
#[derive(Debug)]
pub(super) struct Items {
    arrival: Arrival,
    most: Option<u32>,
    start: Option<Tick>,
    open: BTreeMap<u32, Session>,
    begun: u32,
    completed: u64,
    failed: u64,
    repeated: u64,
}

impl Items {
    pub(super) fn new(phase: &PhasePlan) -> Self {
        Self {
            arrival: phase.arrival,
            most: phase.most_sessions,
            start: None,
            open: BTreeMap::new(),
            begun: 0,
            completed: 0,
            failed: 0,
            repeated: 0,
        }
    }

    pub(super) fn started(&mut self, at: Tick) {
        self.start = Some(at);
    }

    fn cap(&self) -> Option<u32> {
        match self.arrival {
            Arrival::Concurrency { concurrency } => Some(concurrency),
            Arrival::Rate { max_concurrency, .. } | Arrival::Fixed { max_concurrency } => {
                max_concurrency
            }
        }
    }

    /// A credit was issued; `taken` items of the input were, before it.
    pub(super) fn issued(&mut self, plan: &Plan, taken: &mut u64, credit: &Credit) -> Verdict {
        let (id, item) = (credit.id, credit.item);
        if item.turn > 0 {
            return self.next_turn(plan, credit);
        }
        let begun = self.begun;
        self.begun += 1;
        if item.session != begun {
            return Err(format!("credit {id} begins session {}, not {begun}", item.session));
        }
        let place = match (self.arrival, &plan.schedule) {
            (Arrival::Fixed { .. }, Some(schedule)) => {
                let at = schedule.at_ns(begun as usize).zip(self.start).map(|(ns, s)| s.0 + ns);
                if at != Some(credit.planned.0) {
                    return Err(format!(
                        "credit {id} was planned for {:?}, not {at:?}",
                        credit.planned
                    ));
                }
                let again = !plan.repeat && u64::from(begun) < *taken;
                self.repeated += u64::from(again);
                *taken = (*taken).max(u64::from(begun) + 1);
                u64::from(begun)
            }
            _ => {
                let place = if plan.repeat { u64::from(begun) } else { *taken };
                *taken += 1;
                let again = plan.items.is_some_and(|n| place >= u64::from(n));
                self.repeated += u64::from(again);
                place
            }
        };
        let index = plan.items.map_or(0, |n| place % u64::from(n));
        if u64::from(item.index) != index {
            return Err(format!("credit {id} sends item {}, not {index}", item.index));
        }
        let last = plan.sessions.as_ref().is_none_or(|s| s.think(item.index, 1).is_none());
        if item.last != last {
            return Err(format!("credit {id} says that it is the last turn: {}", item.last));
        }
        if plan.sessions.is_none() {
            return Ok(());
        }
        let session = Session { index: item.index, turn: 0, at: At::Asks(id.number) };
        self.open.insert(begun, session);
        let open = self.open.len();
        if self.cap().is_some_and(|cap| open > cap as usize) {
            return Err(format!("credit {id} makes {open} sessions, more than there are slots"));
        }
        if self.most.is_some_and(|most| self.begun > most) {
            return Err(format!("credit {id} begins one session too many"));
        }
        Ok(())
    }

    fn next_turn(&mut self, plan: &Plan, credit: &Credit) -> Verdict {
        let (id, item) = (credit.id, credit.item);
        let Some(session) = self.open.get_mut(&item.session) else {
            return Err(format!(
                "credit {id} is a turn of session {}, which is over",
                item.session
            ));
        };
        let think = plan.sessions.as_ref().and_then(|s| s.think(session.index, session.turn + 1));
        let due = match (session.at, think) {
            (At::Answered(at), Some(think)) => at + think,
            (At::Asks(other), _) => {
                return Err(format!("credit {id} is a turn before credit {other} is answered"));
            }
            (At::Answered(_), None) => {
                return Err(format!("credit {id} is a turn that is not there"));
            }
        };
        if (item.index, item.turn) != (session.index, session.turn + 1) {
            return Err(format!("credit {id} sends {item:?}, after {session:?}"));
        }
        if credit.planned != due {
            return Err(format!(
                "credit {id} was planned for {:?}, and due at {due:?}",
                credit.planned
            ));
        }
        session.turn += 1;
        session.at = At::Asks(id.number);
        Ok(())
    }

    /// A credit that was out is back, or lost.
    pub(super) fn over(&mut self, plan: &Plan, at: Tick, number: u32, end: Option<CreditEnd>) {
        let Some(sessions) = &plan.sessions else { return };
        let mut found = self.open.iter_mut().filter(|(_, s)| s.at == At::Asks(number));
        let Some((key, session)) = found.next() else { return };
        let more = sessions.think(session.index, session.turn + 1).is_some();
        let key = *key;
        if end != Some(CreditEnd::Completed) {
            self.failed += 1;
        } else if more {
            session.at = At::Answered(at);
            return;
        } else {
            self.completed += 1;
        }
        self.open.remove(&key);
    }

    pub(super) fn finish(&self, plan: &Plan, said: &PhaseReport) -> Verdict {
        let known =
            plan.sessions.as_ref().map(|_| (u64::from(self.begun), self.completed, self.failed));
        let sessions = said.sessions.map(|s| (s.begun, s.completed, s.failed));
        if sessions != known || said.repeated != self.repeated {
            return Err(format!(
                "the report says {sessions:?} of sessions and {} repeated; known are {known:?} and {}",
                said.repeated, self.repeated
            ));
        }
        Ok(())
    }
}
