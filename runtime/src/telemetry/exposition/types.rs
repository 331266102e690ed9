//! Which family a sample's name belongs to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use phasegate_core::reading::FamilyType;

use super::line::{Declared, Sample};

/// The families that the answer declares, and those that its samples imply.
///
/// Names are looked up as written, and where that gives nothing with `:` and `_`
/// equal: Python's client under OpenMetrics writes `vllm_x` on one line and
/// `vllm:x` on the other.
#[derive(Debug, Default)]
pub(super) struct Types<'a> {
    exact: BTreeMap<Cow<'a, str>, Declared>,
    folded: BTreeMap<String, (String, Declared)>,
}

/// What a sample is to its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The value of a counter, gauge or untyped series.
    Plain,
    /// A bucket of a histogram.
    Bucket,
    /// The sum of a histogram or summary.
    Sum,
    /// The count of a histogram or summary.
    Count,
    /// A quantile of a summary.
    Quantile,
    /// When the series was created.
    Created,
}

/// A sample's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) family: String,
    pub(super) kind: FamilyType,
    pub(super) part: Part,
}

impl<'a> Types<'a> {
    /// Takes note of a TYPE line. Of two for one family the last counts.
    pub(super) fn declare(&mut self, name: Cow<'a, str>, kind: Declared) {
        self.folded.insert(fold(&name), (name.clone().into_owned(), kind));
        self.exact.insert(name, kind);
    }

    /// Takes note of a family that has no TYPE line but a sample that only one
    /// type has: `_bucket` with `le`, or a `quantile`.
    pub(super) fn infer(&mut self, sample: &Sample<'a>) {
        let has = |label: &str| sample.labels.iter().any(|(name, _)| name == label);
        let implied = match sample.name.strip_suffix("_bucket") {
            // No family is called "".
            Some(base) if has("le") && !base.is_empty() => Some((base, Declared::Histogram)),
            None if has("quantile") => Some((sample.name.as_ref(), Declared::Summary)),
            _ => None,
        };
        if let Some((base, kind)) = implied
            && self.get(&sample.name).is_none()
            && self.get(base).is_none()
        {
            self.declare(Cow::Owned(base.to_owned()), kind);
        }
    }

    /// The place of samples called `name`.
    pub(super) fn place(&self, name: &str) -> Place {
        let suffixes = [("_bucket", Part::Bucket), ("_sum", Part::Sum), ("_count", Part::Count)];
        for (suffix, part) in suffixes {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            match self.get(base) {
                Some((family, Declared::Histogram)) => {
                    return Place { family, kind: FamilyType::Histogram, part };
                }
                Some((family, Declared::Summary)) if part != Part::Bucket => {
                    return Place { family, kind: FamilyType::Summary, part };
                }
                Some((_, Declared::Summary | Declared::Counter | Declared::Gauge)) => {}
                Some((_, Declared::Untyped)) | None => {}
            }
        }
        if let Some(base) = name.strip_suffix("_created")
            && let Some(kind) = self.created(base)
        {
            return Place { family: base.to_owned(), kind, part: Part::Created };
        }
        if let Some(place) = self.counter(name) {
            return place;
        }
        let (family, kind) = self.get(name).unwrap_or((name.to_owned(), Declared::Untyped));
        let (kind, part) = match kind {
            Declared::Counter => (FamilyType::Counter, Part::Plain),
            Declared::Gauge => (FamilyType::Gauge, Part::Plain),
            Declared::Histogram => (FamilyType::Histogram, Part::Plain),
            Declared::Summary => (FamilyType::Summary, Part::Quantile),
            Declared::Untyped => (FamilyType::Untyped, Part::Plain),
        };
        Place { family, kind, part }
    }

    /// The place of a counter's sample that ends in `_total`. Prometheus text
    /// declares `x_total`, OpenMetrics declares `x`.
    fn counter(&self, name: &str) -> Option<Place> {
        let base = name.strip_suffix("_total").filter(|base| !base.is_empty())?;
        let whole = self.get(name);
        let family = match (&whole, self.get(base)) {
            // Both are families of their own: not to be thrown together.
            (Some((whole, Declared::Counter)), Some(_)) => whole.clone(),
            (Some((whole, Declared::Counter)), None) => {
                whole.strip_suffix("_total").unwrap_or(whole).to_owned()
            }
            (None, Some((family, Declared::Counter))) => family,
            (Some(_), Some(_) | None) | (None, Some(_) | None) => return None,
        };
        Some(Place { family, kind: FamilyType::Counter, part: Part::Plain })
    }

    /// The type of the family that `<base>_created` belongs to, if there is one
    /// that has such samples.
    fn created(&self, base: &str) -> Option<FamilyType> {
        let total = format!("{base}_total");
        let kind = self.get(base).or_else(|| self.get(&total))?.1;
        match kind {
            Declared::Counter => Some(FamilyType::Counter),
            Declared::Histogram => Some(FamilyType::Histogram),
            Declared::Summary => Some(FamilyType::Summary),
            Declared::Gauge | Declared::Untyped => None,
        }
    }

    /// The declared family called `name`: its name and type. Where the two
    /// spellings differ, the one with more colons is the server's own.
    fn get(&self, name: &str) -> Option<(String, Declared)> {
        if let Some(kind) = self.exact.get(name) {
            return Some((name.to_owned(), *kind));
        }
        let (declared, kind) = self.folded.get(&fold(name))?;
        let colons = |text: &str| text.bytes().filter(|b| *b == b':').count();
        let family = if colons(declared) > colons(name) { declared.as_str() } else { name };
        Some((family.to_owned(), *kind))
    }
}

fn fold(name: &str) -> String {
    name.replace(':', "_")
}
