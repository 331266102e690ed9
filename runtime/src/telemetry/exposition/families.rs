//! Samples into families and series.

use std::borrow::Cow;
use std::collections::BTreeMap;

use phasegate_core::reading::{Family, FamilyType, Histogram, Series, Value};

use super::line::{Labels, Sample};
use super::types::{Part, Place, Types};

/// Collects samples.
pub(super) struct Builder<'a, 't> {
    types: &'t Types<'a>,
    /// By name and type: one name declared twice with different types is two
    /// families.
    families: BTreeMap<(String, u8), Group<'a>>,
    /// The place of the sample before: neighbours mostly share their name.
    last: Option<(Cow<'a, str>, Place)>,
}

struct Group<'a> {
    kind: FamilyType,
    series: BTreeMap<Labels<'a>, Partial>,
}

/// A series whose samples are being collected.
#[derive(Default)]
struct Partial {
    value: f64,
    /// Bound, its text, cumulative count; as they came.
    buckets: Vec<(f64, String, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
    created: Option<f64>,
    /// It has a sample beside `_created`: that alone makes no series.
    there: bool,
}

impl<'a, 't> Builder<'a, 't> {
    pub(super) fn new(types: &'t Types<'a>) -> Self {
        Self { types, families: BTreeMap::new(), last: None }
    }

    pub(super) fn add(&mut self, sample: Sample<'a>) -> Result<(), &'static str> {
        let Sample { name, mut labels, value } = sample;
        let place = match self.last.take() {
            Some((last, place)) if last == name => place,
            Some(_) | None => self.types.place(&name),
        };
        let result = self.put(&place, &mut labels, value);
        self.last = Some((name, place));
        result
    }

    fn put(
        &mut self,
        place: &Place,
        labels: &mut Labels<'a>,
        value: f64,
    ) -> Result<(), &'static str> {
        let bound = match place.part {
            Part::Bucket => Some(bound(labels)?),
            Part::Quantile => {
                remove(labels, "quantile").ok_or("a summary's sample without a quantile")?;
                None
            }
            Part::Plain if place.kind == FamilyType::Histogram => {
                return Err("a histogram's sample without _bucket, _sum or _count");
            }
            Part::Plain | Part::Sum | Part::Count | Part::Created => None,
        };
        let key = (place.family.clone(), order(place.kind));
        let group = self
            .families
            .entry(key)
            .or_insert_with(|| Group { kind: place.kind, series: BTreeMap::new() });
        let series = group.series.entry(std::mem::take(labels)).or_default();
        series.there |= place.part != Part::Created;
        match (place.part, bound) {
            (Part::Bucket, Some((bound, text))) => series.buckets.push((bound, text, value)),
            (Part::Plain, _) => series.value = value,
            (Part::Sum, _) => series.sum = Some(value),
            (Part::Count, _) => series.count = Some(value),
            (Part::Created, _) => series.created = Some(value).filter(|at| at.is_finite()),
            (Part::Quantile | Part::Bucket, _) => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Family> {
        let families = self.families.into_iter();
        families
            .map(|((name, _), group)| {
                let series = group.series.into_iter();
                let there = series.filter(|(_, partial)| partial.there);
                let series = there.map(|(labels, partial)| Series {
                    labels: labels
                        .into_iter()
                        .map(|(name, value)| (name.into_owned(), value.into_owned()))
                        .collect(),
                    created: partial.created,
                    value: partial.finish(group.kind),
                });
                Family { name, kind: group.kind, series: series.collect() }
            })
            .filter(|family| !family.series.is_empty())
            .collect()
    }
}

impl Partial {
    fn finish(mut self, kind: FamilyType) -> Value {
        match kind {
            FamilyType::Counter | FamilyType::Gauge | FamilyType::Untyped => {
                Value::Value(self.value)
            }
            FamilyType::Histogram => {
                // Stable, so that the last of duplicates is the one kept.
                self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.buckets.reverse();
                self.buckets.dedup_by(|a, b| a.0 == b.0);
                let buckets =
                    self.buckets.into_iter().rev().map(|(_, text, n)| (text, n)).collect();
                Value::Histogram(Histogram { buckets, sum: self.sum, count: self.count })
            }
            FamilyType::Summary => Value::Summary { sum: self.sum, count: self.count },
        }
    }
}

/// Takes `le` out of the labels: its value, and its text with the infinite bound
/// always `+Inf`.
fn bound(labels: &mut Labels<'_>) -> Result<(f64, String), &'static str> {
    let text = remove(labels, "le").ok_or("a bucket without le")?;
    let bound = text.trim().parse::<f64>().map_err(|_| "a bucket whose le is not a number")?;
    if bound.is_nan() {
        return Err("a bucket whose le is not a number");
    }
    let infinite = bound == f64::INFINITY;
    // + 0.0: a bound of -0 is 0.
    Ok((bound + 0.0, if infinite { "+Inf".to_owned() } else { text.into_owned() }))
}

fn remove<'a>(labels: &mut Labels<'a>, name: &str) -> Option<Cow<'a, str>> {
    let at = labels.iter().position(|(label, _)| label == name)?;
    Some(labels.remove(at).1)
}

fn order(kind: FamilyType) -> u8 {
    match kind {
        FamilyType::Counter => 0,
        FamilyType::Gauge => 1,
        FamilyType::Histogram => 2,
        FamilyType::Summary => 3,
        FamilyType::Untyped => 4,
    }
}
