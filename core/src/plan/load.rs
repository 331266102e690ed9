//! What varies within a phase: stages of its rate, requests that the client
//! cancels, and how many may fail.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PhaseSpec, PlanError};

/// A piece of a rate that changes over time. The first piece begins at 0
/// requests per second, each other one where the one before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Requests per second: all the time, or at its end if it is `linear`; 0
    /// sends nothing.
    #[serde(with = "crate::journal::exact")]
    pub rate: f64,
    /// The rate changes linearly from that of the stage before to this one's
    /// (k6's stages); otherwise it jumps there at once.
    pub linear: bool,
    /// How long it lasts.
    #[serde(rename = "for", with = "crate::time::seconds")]
    pub length: Duration,
}

/// Requests that the client cancels: a share of them, drawn from the seed, each
/// so long after it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cancellation {
    /// The share, 0 to 1: each request is cancelled with this probability.
    #[serde(with = "crate::journal::exact")]
    pub share: f64,
    /// How long after its last byte was written. One whose answer is complete
    /// before that completes.
    #[serde(with = "crate::time::seconds")]
    pub delay: Duration,
}

/// The most stages of a phase.
pub const MAX_STAGES: usize = 10_000;

/// The highest rate of `stages`; 0 if there are none.
pub(super) fn highest(stages: &[Stage]) -> f64 {
    stages.iter().map(|stage| stage.rate).fold(0.0, f64::max)
}

/// How long `stages` last together.
pub(super) fn total(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.length).fold(Duration::ZERO, Duration::saturating_add)
}

/// Checks what this module is about.
pub(super) fn check(at: &impl Fn(&str) -> String, spec: &PhaseSpec) -> Result<(), PlanError> {
    check_stages(at, spec)?;
    let share = |key: &str, value: f64| {
        let problem = format!("{value} is not a share");
        let error = PlanError::new(at(key), problem, "give a number from 0 to 1");
        if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(error) }
    };
    spec.cancellation.map_or(Ok(()), |c| share("cancellation_rate", c.share))?;
    spec.max_error_rate.map_or(Ok(()), |most| share("max_error_rate", most))
}

fn check_stages(at: &impl Fn(&str) -> String, spec: &PhaseSpec) -> Result<(), PlanError> {
    if spec.stages.is_empty() {
        return Ok(());
    }
    let ramped = spec.ramp.is_some_and(|ramp| !ramp.is_zero());
    for (key, given) in [
        ("request_rate", spec.request_rate.is_some()),
        ("duration", spec.duration.is_some()),
        ("ramp", ramped),
    ] {
        if given {
            let problem = format!("stages and {key} are both given");
            let remedy = "remove either: stages have rates, lengths and ramps of their own";
            return Err(PlanError::new(at(key), problem, remedy));
        }
    }
    if spec.stages.len() > MAX_STAGES {
        let problem = format!("has {} stages", spec.stages.len());
        return Err(PlanError::new(at("stages"), problem, format!("give at most {MAX_STAGES}")));
    }
    for (place, stage) in spec.stages.iter().enumerate() {
        if !(stage.rate.is_finite() && stage.rate >= 0.0) {
            let problem = format!("{} is not a rate of a stage", stage.rate);
            let remedy = "give requests per second, 0 or above";
            return Err(PlanError::new(at(&format!("stages[{place}]")), problem, remedy));
        }
        if stage.length.is_zero() {
            let place = at(&format!("stages[{place}].for"));
            return Err(PlanError::new(place, "is 0", "give a time above 0"));
        }
    }
    if highest(&spec.stages) == 0.0 {
        let remedy = "give at least one stage a rate above 0";
        return Err(PlanError::new(at("stages"), "no stage sends anything", remedy));
    }
    Ok(())
}
