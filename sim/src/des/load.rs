//! A model of the load engine and the server behind it: credits go out, and
//! come back after a while, or don't.

use core::time::Duration;

use phasegate_core::id::CreditId;
use phasegate_core::plan::Limits;
use phasegate_core::record::{Credit, ErrorClass, Outcome, RequestRecord};
use phasegate_core::time::{Tick, nanos};

use super::config::Pace;
use super::dice::Dice;
use crate::faults::Faults;

/// A request at the engine.
#[derive(Debug, Clone, Copy)]
struct Flight {
    credit: Credit,
    started: Tick,
    over: bool,
    /// It does not listen to a cancellation.
    lost: bool,
}

/// What becomes of a request's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordFate {
    /// It reaches the ledger after so many nanoseconds.
    After(u64),
    /// The same, twice.
    Twice(u64, u64),
    /// It never does.
    Lost,
}

/// The engine with its server.
#[derive(Debug, Default)]
pub(crate) struct Load {
    flights: Vec<Flight>,
    /// The records of those that are over.
    records: Vec<RequestRecord>,
    /// When the server's counters showed a completed request.
    published: Vec<Tick>,
}

const MS: u64 = 1_000_000;

impl Load {
    pub(crate) fn clear(&mut self) {
        self.flights.clear();
        self.records.clear();
        self.published.clear();
    }

    /// Takes a credit: its place, and when and how it comes back, if it does.
    pub(crate) fn issue(
        &mut self,
        now: Tick,
        credit: Credit,
        limits: &Limits,
        faults: Option<&Faults>,
        pace: &Pace,
        dice: &mut Dice,
    ) -> (u32, Option<(Tick, Outcome)>) {
        let place = self.flights.len() as u32;
        let mut takes = dice.between(pace.request.0, pace.request.1);
        let mut outcome = Outcome::Completed;
        let mut lost = false;
        if let Some(faults) = faults {
            if dice.chance(faults.stall) {
                takes = takes.saturating_add(dice.below(faults.longest_stall));
            }
            if dice.chance(faults.errors) {
                outcome = Outcome::Failed(dice.pick(&[
                    ErrorClass::Connect,
                    ErrorClass::Status,
                    ErrorClass::StreamCut,
                    ErrorClass::Malformed,
                ]));
            }
            lost = dice.chance(faults.lost_credits);
        }
        self.flights.push(Flight { credit, started: now, over: false, lost });
        if lost {
            // It may still turn up when it was given up long ago.
            let late = dice.between(0, nanos(limits.drain) * 2);
            let at = credit.deadline + Duration::from_nanos(late);
            return (place, dice.chance(300).then_some((at, outcome)));
        }
        // The model writes a request in no time.
        let cancelled = credit.cancel_after.map(nanos).filter(|after| *after < takes);
        if let Some(after) = cancelled {
            (takes, outcome) = (after, Outcome::Cancelled);
        }
        let back = now + Duration::from_nanos(takes);
        if back >= credit.deadline {
            return (place, Some((credit.deadline, Outcome::Failed(ErrorClass::Timeout))));
        }
        (place, Some((back, outcome)))
    }

    /// The requests of this phase that hear a cancellation.
    pub(crate) fn cancel(&self, phase: u16) -> impl Iterator<Item = u32> {
        let of_phase = move |f: &Flight| f.credit.id.phase == phase && !f.over && !f.lost;
        (0..).zip(&self.flights).filter(move |(_, f)| of_phase(f)).map(|(place, _)| place)
    }

    /// The request is over, unless it was before: the place of its record.
    pub(crate) fn ends(&mut self, now: Tick, place: u32, outcome: Outcome) -> Option<u32> {
        let flight = self.flights.get_mut(place as usize).filter(|flight| !flight.over)?;
        flight.over = true;
        self.records.push(record(flight, now, outcome));
        Some((self.records.len() - 1) as u32)
    }

    /// The record at this place.
    pub(crate) fn record(&self, place: u32) -> &RequestRecord {
        &self.records[place as usize]
    }

    /// The server's counters show a completed request from `at` on.
    pub(crate) fn publish(&mut self, at: Tick) {
        self.published.push(at);
    }

    /// What the server's counters say at `at`.
    pub(crate) fn counter(&self, at: Tick) -> u64 {
        self.published.iter().filter(|shown| **shown <= at).count() as u64
    }
}

fn record(flight: &Flight, now: Tick, outcome: Outcome) -> RequestRecord {
    let CreditId { phase, number } = flight.credit.id;
    let completed = outcome == Outcome::Completed;
    let tokens = |n: u32| completed.then_some(n);
    RequestRecord {
        credit: CreditId { phase, number },
        outcome,
        status: None,
        planned: flight.credit.planned,
        started: flight.started,
        sent: Some(flight.started),
        first_byte: completed.then_some(now),
        first_token: completed.then_some(now),
        first_output_token: completed.then_some(now),
        second_token: None,
        last_token: completed.then_some(now),
        ended: now,
        chunks: u32::from(completed),
        prompt_tokens: tokens(8),
        output_tokens: tokens(number % 5 + 1),
        reasoning_tokens: None,
        gaps_ns: Vec::new(),
    }
}

/// What becomes of a record on its way to the ledger.
pub(crate) fn record_fate(faults: Option<&Faults>, dice: &mut Dice) -> RecordFate {
    let soon = dice.between(1_000, 50_000);
    if !faults.is_some_and(|faults| dice.chance(faults.lost_records)) {
        return RecordFate::After(soon);
    }
    match dice.below(4) {
        0 => RecordFate::Lost,
        1 | 2 => RecordFate::After(dice.skewed(50 * MS, 15_000 * MS)),
        _ => RecordFate::Twice(soon, dice.skewed(MS, 30_000 * MS)),
    }
}
