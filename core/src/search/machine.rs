//! Where to probe next. Pure: probes' outcomes in, the next probe or the end out.

use serde::{Deserialize, Serialize};

use super::judge::Outcome;
use super::plan::SearchPlan;
use crate::account::sweep::SweepBy;

/// A probe that shows nothing, because the client stood still for a moment or the
/// ledger was not heard, is repeated at most so many times.
pub const MOST_REPEATS: u32 = 2;

/// A load to try.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Requests per second, or slots.
    #[serde(with = "crate::journal::exact")]
    pub value: f64,
    /// How many requests.
    pub requests: u64,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// What held and what failed are within the tolerance of each other.
    Found,
    /// Not even the lowest value held.
    LowestFailed,
    /// Even the highest held.
    HighestHeld,
    /// No more probes were allowed.
    ProbesSpent,
}

/// What a search does next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// This.
    Probe(Probe),
    /// Nothing.
    End(End),
}

/// A search for the highest value that holds.
///
/// The lowest value of the range first, then twice as much each time until one
/// does not hold (so that a server is not overloaded by more than a factor of
/// two), then the geometric mean of what held and what did not, until the two are
/// within the tolerance. A probe that is not decided is repeated with twice the
/// requests up to their most, and one that shows nothing as it was, up to
/// [`MOST_REPEATS`] times; then either counts as not held.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    plan: SearchPlan,
    left: usize,
    /// Repetitions of the probe at hand that showed nothing.
    repeats: u32,
    held: Option<f64>,
    not_held: Option<f64>,
    next: Next,
}

impl Search {
    /// A search that may take so many probes.
    #[must_use]
    pub fn new(plan: &SearchPlan, probes: usize) -> Self {
        let first = Probe { value: plan.low, requests: plan.requests };
        let next = if probes == 0 { Next::End(End::ProbesSpent) } else { Next::Probe(first) };
        Self { plan: plan.clone(), left: probes, repeats: 0, held: None, not_held: None, next }
    }

    /// What to do.
    #[must_use]
    pub fn next(&self) -> Next {
        self.next
    }

    /// The highest value that held.
    #[must_use]
    pub fn held(&self) -> Option<f64> {
        self.held
    }

    /// The lowest that did not.
    #[must_use]
    pub fn not_held(&self) -> Option<f64> {
        self.not_held
    }

    /// The probe that [`Search::next`] asked for came to this.
    pub fn judged(&mut self, outcome: Outcome) {
        let Next::Probe(probe) = self.next else { return };
        self.left = self.left.saturating_sub(1);
        let most = self.plan.most_requests;
        let requests = match outcome {
            Outcome::Undecided if probe.requests < most => {
                Some(probe.requests.saturating_mul(2).min(most))
            }
            Outcome::NotShown if self.repeats < MOST_REPEATS => {
                self.repeats += 1;
                Some(probe.requests)
            }
            Outcome::Held | Outcome::Failed | Outcome::Undecided | Outcome::NotShown => None,
        };
        if let Some(requests) = requests.filter(|_| self.left > 0) {
            self.next = Next::Probe(Probe { value: probe.value, requests });
            return;
        }
        self.repeats = 0;
        match outcome {
            Outcome::Held => self.held = Some(probe.value),
            Outcome::Failed | Outcome::Undecided | Outcome::NotShown => {
                self.not_held = Some(probe.value);
            }
        }
        self.next = match self.value() {
            Err(end) => Next::End(end),
            Ok(_) if self.left == 0 => Next::End(End::ProbesSpent),
            Ok(value) => Next::Probe(Probe { value, requests: self.plan.requests }),
        };
    }

    /// The value to try next.
    fn value(&self) -> Result<f64, End> {
        let whole = self.plan.by == SweepBy::Concurrency;
        match (self.held, self.not_held) {
            (None, None) => Ok(self.plan.low),
            // The lowest is probed first, and nothing below it.
            (None, Some(_)) => Err(End::LowestFailed),
            (Some(held), None) if held >= self.plan.high => Err(End::HighestHeld),
            (Some(held), None) => Ok((held * 2.0).min(self.plan.high)),
            (Some(held), Some(not_held)) => {
                if not_held <= held * (1.0 + self.plan.tolerance)
                    || (whole && not_held - held <= 1.0)
                {
                    return Err(End::Found);
                }
                let middle = (held * not_held).sqrt();
                Ok(if whole {
                    // Of whole numbers 2 apart or more it rounds to one between them.
                    middle.round()
                } else {
                    four_digits(middle, held, not_held)
                })
            }
        }
    }
}

/// `value` with four digits, for people; as it is where that would leave the
/// range between the two.
fn four_digits(value: f64, above: f64, below: f64) -> f64 {
    let rounded = format!("{value:.3e}").parse::<f64>().ok();
    rounded.filter(|rounded| *rounded > above && *rounded < below).unwrap_or(value)
}
