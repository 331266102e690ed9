//! One exposition, seen through the table.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprint;
use super::table::lookup;
use super::{Engine, Over, Part, Role, Unit};
use crate::reading::{Family, Series, Value};

/// What one part of a family has counted, over all its series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// The engine that counts.
    pub engine: Engine,
    /// The family, as exposed, without `_total`, `_count`, `_sum`.
    pub family: Cow<'static, str>,
    /// Which part of it.
    pub part: Part,
    /// What it counts.
    pub unit: Unit,
    /// How many; finite.
    pub value: f64,
}

impl Count {
    /// Whether both are the same part of the same family.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.part, &self.family) == (other.part, &other.family)
    }

    /// The metric's name: the family's, with `_count` or `_sum` where it is that
    /// part of a histogram.
    #[must_use]
    pub fn name(&self) -> String {
        match self.part {
            Part::Value => self.family.to_string(),
            Part::Count => format!("{}_count", self.family),
            Part::Sum => format!("{}_sum", self.family),
        }
    }
}

/// What settling has to know of an exposition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// What the client counts too, in the order of the families.
    pub counts: Vec<Count>,
    /// The gauges that are 0 when idle, summed over their series; as exposed.
    pub busy: Vec<(String, f64)>,
    /// The fingerprint of the families that load moves and the table does not
    /// know; 0 where there are none.
    pub others: u64,
    /// The fingerprint of those that it knows, exact or not; 0 where there are
    /// none.
    pub known: u64,
}

/// Sees `families` through the table. A part that is missing or not a finite
/// number is left out.
#[must_use]
pub fn observe(families: &[Family]) -> Observed {
    let (mut known, mut others) = (Vec::with_capacity(families.len()), Vec::new());
    for family in families {
        match lookup(&family.name) {
            Some(rule) => known.push((family, rule)),
            None => others.push(family),
        }
    }
    let mut seen = Observed {
        others: fingerprint(others),
        known: fingerprint(known.iter().map(|(family, _)| *family)),
        ..Observed::default()
    };
    for (family, rule) in known {
        match rule.role {
            Role::Moves => {}
            Role::Busy => {
                if let Some(value) = total(family, Part::Value, Over::Sum) {
                    seen.busy.push((family.name.clone(), value));
                }
            }
            Role::Counts(parts) => {
                for (part, unit) in parts {
                    if let Some(value) = total(family, *part, rule.over) {
                        seen.counts.push(Count {
                            engine: rule.engine,
                            family: Cow::Owned(family.name.clone()),
                            part: *part,
                            unit: *unit,
                            value,
                        });
                    }
                }
            }
        }
    }
    seen
}

/// One part of a family, over all its series; `None` where a series lacks it or
/// the number is not finite.
#[must_use]
pub fn total(family: &Family, part: Part, over: Over) -> Option<f64> {
    match over {
        Over::Sum => {
            let mut sum = None;
            for series in &family.series {
                *sum.get_or_insert(0.0) += value(series, part)?;
            }
            return sum.filter(|sum: &f64| sum.is_finite());
        }
        Over::LargestModel => {}
    }
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for series in &family.series {
        let model = series.labels.get("model").map_or("", String::as_str);
        *sums.entry(model).or_default() += value(series, part)?;
    }
    // What a request passes on its way to the model: with streaming, the last
    // step may run once a token.
    if sums.keys().any(|model| !is_step(model)) {
        sums.retain(|model, _| !is_step(model));
    }
    let largest = sums.into_values().reduce(f64::max)?;
    largest.is_finite().then_some(largest)
}

/// Whether a model is a step of TensorRT-LLM's ensemble that is no model.
fn is_step(model: &str) -> bool {
    model == "preprocessing" || model == "postprocessing"
}

fn value(series: &Series, part: Part) -> Option<f64> {
    match (&series.value, part) {
        (Value::Value(value), Part::Value) => Some(*value),
        (Value::Histogram(histogram), Part::Count) => histogram.count,
        (Value::Histogram(histogram), Part::Sum) => histogram.sum,
        (Value::Summary { count, .. }, Part::Count) => *count,
        (Value::Summary { sum, .. }, Part::Sum) => *sum,
        (Value::Value(_), Part::Count | Part::Sum)
        | (Value::Histogram(_) | Value::Summary { .. }, Part::Value) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_the_same_part_of_the_same_family_whatever_it_counts_to() {
        let count = |family: &str, part, value| Count {
            engine: Engine::Vllm,
            family: family.to_owned().into(),
            part,
            unit: Unit::Requests,
            value,
        };
        let one = count("a", Part::Count, 1.0);
        assert!(one.is_same(&count("a", Part::Count, 2.0)));
        assert!(!one.is_same(&count("a", Part::Sum, 1.0)));
        assert!(!one.is_same(&count("b", Part::Count, 1.0)));
    }

    #[test]
    fn the_steps_around_a_model_are_no_models() {
        let steps = ["preprocessing", "postprocessing", "llama", ""].map(is_step);
        assert_eq!(steps, [true, true, false, false]);
    }
}
