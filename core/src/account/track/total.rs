//! What a series counted from one reading to a later one, and what that adds up to.

use super::anew::{Born, Break, Cause};
use crate::account::delta::{Layout, Sample};
use crate::planted::{Bug, is_planted};

/// What a series did from one reading to another that began after it was complete.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::account) struct Step {
    /// What it counted for certain, part by part.
    pub(in crate::account) add: Vec<f64>,
    /// How it began to count anew in between.
    pub(in crate::account) cause: Option<Cause>,
    /// What the parts are; `None` where it was not there at the end.
    layout: Option<Layout>,
}

impl Step {
    /// From one reading of a series (`None`: it was not there) to another. What began
    /// anew did so at 0, and so did what was not there.
    pub(in crate::account) fn between(
        (from, from_born): (Option<&Sample>, &Born),
        (to, to_born): (Option<&Sample>, &Born),
    ) -> Self {
        let seen = match (from, to) {
            (Some(from), Some(to)) if from.layout != to.layout => Some(Cause::OtherBuckets),
            (Some(from), Some(to)) => {
                to.fall_from(&from.parts).map(|(from, to)| Cause::Fell(from, to))
            }
            (Some(_), None) => Some(Cause::Gone),
            (None, Some(_) | None) => None,
        };
        let other_buckets = seen.filter(|cause| *cause == Cause::OtherBuckets);
        let cause = other_buckets.or_else(|| to_born.since(from_born)).or(seen);
        let cause = cause.filter(|_| !is_planted(Bug::ResetIgnored));
        let add = match (from.filter(|_| cause.is_none()), to) {
            (Some(from), Some(to)) => {
                to.parts.iter().zip(&from.parts).map(|(b, a)| b - a).collect()
            }
            (None, Some(to)) => to.parts.clone(),
            (Some(_) | None, None) => Vec::new(),
        };
        Self { add, cause, layout: to.map(|to| to.layout.clone()) }
    }

    /// How often it began to count anew, and how often of these by a start of its process.
    fn anew(&self) -> (i64, i64) {
        (i64::from(self.cause.is_some()), i64::from(self.cause == Some(Cause::Restarted)))
    }
}

/// What was added up.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::account) struct Total {
    /// Part by part, in this life; empty where it was never there.
    pub(in crate::account) counted: Vec<f64>,
    /// How often it began anew.
    pub(in crate::account) resets: i64,
    /// How often of these because its process was started again.
    restarts: i64,
    /// A life ends where its parts are others.
    pub(in crate::account) life: u32,
    /// How it last began anew.
    pub(in crate::account) broke: Option<Break>,
    pub(super) layout: Option<Layout>,
}

impl Total {
    /// And a step on; `broke` is how it began anew in it.
    pub(super) fn after(&self, step: &Step, broke: Option<Break>) -> Self {
        let (resets, restarts) = step.anew();
        let broke = broke.or(self.broke);
        let other = |new: &Layout| self.layout.as_ref().is_some_and(|old| old != new);
        let is_new = step.layout.as_ref().is_some_and(other);
        let base = if is_new { &[][..] } else { &self.counted };
        let life = self.life + u32::from(is_new);
        let layout = step.layout.clone().or_else(|| self.layout.clone());
        Self {
            counted: sum(base, &step.add, 1.0),
            resets: self.resets + resets,
            restarts: self.restarts + restarts,
            life,
            broke,
            layout,
        }
    }

    /// Less a step; `None` if other parts came up in it.
    pub(super) fn before(&self, step: &Step) -> Option<Self> {
        if step.cause == Some(Cause::OtherBuckets) {
            return None;
        }
        let (resets, restarts) = step.anew();
        Some(Self {
            counted: sum(&self.counted, &step.add, -1.0),
            resets: self.resets - resets,
            restarts: self.restarts - restarts,
            ..self.clone()
        })
    }

    /// Whether it began anew from one total to a later one; where both are of one process,
    /// that was not by a start of it.
    pub(in crate::account) fn began_anew_since(&self, from: &Self, one_process: bool) -> bool {
        let anew = |total: &Self| total.resets - if one_process { total.restarts } else { 0 };
        anew(self) != anew(from)
    }
}

/// `a + sign × b`, part by part; what is not there is 0.
fn sum(a: &[f64], b: &[f64], sign: f64) -> Vec<f64> {
    let part = |all: &[f64], i: usize| all.get(i).copied().unwrap_or_default();
    (0..a.len().max(b.len())).map(|i| part(a, i) + sign * part(b, i)).collect()
}

/// `b - a`, part by part; what is not there is 0.
pub(in crate::account) fn less(a: &[f64], b: &[f64]) -> Vec<f64> {
    sum(b, a, -1.0)
}
