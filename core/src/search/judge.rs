//! Whether a probe held.

use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, Point, ProbeMeasured};
use super::plan::Objective;
use crate::account::client::LAG_P99_MS;

/// What a probe, or one objective of it, came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole interval is within the limit.
    Held,
    /// The whole interval is beyond it.
    Failed,
    /// The limit lies within the interval, or there are too few samples.
    Undecided,
    /// The evidence is missing, or the load was not what was planned.
    NotShown,
}

/// How a probe's load was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// At planned times.
    Open,
    /// At planned times, as far as a concurrency cap let it.
    Capped,
    /// As slots became free.
    Closed,
}

/// How an objective stands by its estimate.
#[must_use]
pub fn objective(objective: &Objective, estimate: &Estimate) -> Outcome {
    if estimate.value == Point::Open || estimate.samples == 0 {
        return Outcome::NotShown;
    }
    if estimate.low.within(objective.limit) == Some(false) {
        return Outcome::Failed;
    }
    let enough = estimate.samples >= objective.fewest_samples();
    if enough && estimate.high.within(objective.limit) == Some(true) {
        return Outcome::Held;
    }
    Outcome::Undecided
}

/// How a probe stands, with the reasons why it does not hold, if it does not.
///
/// In this order: without the ledger's word on every request, or where requests
/// went out late, nothing is shown; one objective that failed is enough; then one
/// that is not shown; then one that is not decided.
#[must_use]
pub fn probe(
    objectives: &[Objective],
    measured: Option<&ProbeMeasured>,
    sent: Sent,
) -> (Outcome, Vec<String>) {
    let Some(measured) = measured else {
        return (Outcome::NotShown, vec!["the ledger did not say what it measured".to_owned()]);
    };
    if measured.missing > 0 {
        let why = format!("{} of its requests have no record", measured.missing);
        return (Outcome::NotShown, vec![why]);
    }
    let late = measured.late_ms.filter(|lag| sent != Sent::Closed && *lag >= LAG_P99_MS);
    if let Some(lag) = late {
        let who = match sent {
            Sent::Capped => "the concurrency cap or the client",
            Sent::Open | Sent::Closed => "the client",
        };
        let why = format!(
            "{who} kept the load from being sent as planned: a hundredth of the requests went out \
             at least {lag:.1} ms late"
        );
        return (Outcome::NotShown, vec![why]);
    }
    let mut worst = Outcome::Held;
    let mut reasons = Vec::new();
    for (place, limit) in objectives.iter().enumerate() {
        let (outcome, why) = match measured.estimates.get(place) {
            Some(estimate) => {
                let outcome = objective(limit, estimate);
                (outcome, why(limit, estimate, outcome))
            }
            None => (Outcome::NotShown, Some(format!("{limit} was not measured"))),
        };
        reasons.extend(why);
        if severity(outcome) > severity(worst) {
            worst = outcome;
        }
    }
    (worst, reasons)
}

fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Held => 0,
        Outcome::Undecided => 1,
        Outcome::NotShown => 2,
        Outcome::Failed => 3,
    }
}

/// Why an objective does not hold; `None` if it does.
fn why(objective: &Objective, estimate: &Estimate, outcome: Outcome) -> Option<String> {
    let (limit, unit, samples) = (objective.limit, objective.unit(), estimate.samples);
    match outcome {
        Outcome::Held => None,
        Outcome::NotShown => Some(format!("{objective} was not measured")),
        Outcome::Failed => {
            let low = show(estimate.low);
            Some(format!("{objective} is above {limit}{unit}: at least {low}"))
        }
        Outcome::Undecided if samples < objective.fewest_samples() => Some(format!(
            "{objective} needs {} samples and has {samples}",
            objective.fewest_samples()
        )),
        Outcome::Undecided => {
            let (low, high) = (show(estimate.low), show(estimate.high));
            Some(format!("{objective} is between {low} and {high}, the limit {limit}{unit} too"))
        }
    }
}

/// A point, for people.
#[must_use]
pub fn show(point: Point) -> String {
    match point {
        Point::At(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Point::At(value) if value.abs() >= 1.0 => format!("{value:.1}"),
        Point::At(value) => format!("{value:.4}"),
        Point::Unanswered => "unanswered".to_owned(),
        Point::Open => "unknown".to_owned(),
    }
}
