//! Which requests meet the goodput limits.

use std::collections::BTreeMap;

use super::metrics::{Applies, Profile, Rule, Value, metric};
use crate::record::RequestRecord;

/// Whether a goodput limit can be set on the metric called `name`: one that has
/// a single duration for each request.
#[must_use]
pub fn can_limit(name: &str) -> bool {
    metric(name).is_some_and(|metric| metric.unit == "ms" && rule_of(metric.rule).is_some())
}

type PerRequest = fn(&RequestRecord) -> Value;

fn rule_of(rule: Rule) -> Option<PerRequest> {
    match rule {
        Rule::Completed(rule) | Rule::Every(rule) => Some(rule),
        Rule::Gaps | Rule::Phase(_) => None,
    }
}

/// The limits, in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    limits: Vec<(PerRequest, f64)>,
    /// Limits that this run cannot judge, with why.
    pub(super) impossible: Vec<String>,
}

/// How a completed request stands to the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It meets them all.
    Good,
    /// It breaks at least one.
    Bad,
    /// It breaks none that can be judged, and one cannot.
    Unknown,
}

impl Limits {
    pub(super) fn new(limits: &BTreeMap<String, f64>, profile: Profile) -> Self {
        let mut all = Self { limits: Vec::new(), impossible: Vec::new() };
        for (name, limit) in limits {
            match metric(name).map(|m| (m.applies, rule_of(m.rule))) {
                Some((applies, Some(rule))) if can_limit(name) && profile.has(applies) => {
                    all.limits.push((rule, *limit));
                }
                Some((Applies::Streaming, Some(_))) => all.impossible.push(format!(
                    "goodput: the limit on {name} cannot be judged, the endpoint does not stream"
                )),
                Some(_) | None => all.impossible.push(format!(
                    "goodput: {name} is not a latency of one request, so it cannot be limited"
                )),
            }
        }
        all
    }

    /// Judges one completed request. A moment that never came breaks its
    /// limit; a gap that the request does not have (one token has none between
    /// tokens) breaks none.
    pub(super) fn judge(&self, record: &RequestRecord) -> Judgement {
        let mut judgement =
            if self.impossible.is_empty() { Judgement::Good } else { Judgement::Unknown };
        for (rule, limit) in &self.limits {
            match rule(record) {
                Value::Is(value) if value <= *limit => {}
                Value::Is(_) | Value::Never => return Judgement::Bad,
                Value::NotApplicable => {}
                Value::Unknown => judgement = Judgement::Unknown,
            }
        }
        judgement
    }
}
