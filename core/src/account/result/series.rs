//! What a server's series did, in a phase and in a window, as `run.json` has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reading::FamilyType;
use crate::time::Tick;

/// What one series of a server did in a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ServerMetric {
    pub endpoint: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FamilyType,
    pub labels: BTreeMap<String, String>,
    /// Of a counter, histogram or summary; `null` where it could not be read at
    /// both boundaries. Absent for a gauge.
    #[serde(default, skip_serializing_if = "Maybe::is_absent")]
    pub delta: Maybe<Delta>,
    /// Of a gauge. Absent for others.
    #[serde(default, skip_serializing_if = "Maybe::is_absent")]
    pub stats: Maybe<GaugeStats>,
    /// Of `delta`, what lies in windows in which no other phase was active.
    /// Absent, as `shared` is, where the phase shared no window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Moved>,
    /// Of `delta`, what lies in windows in which another phase was active too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Moved>,
    /// Why `delta` or `stats` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It began to count anew inside the phase: `delta` is a lower bound.
    pub reset: bool,
}

/// What a counter, histogram or summary did in part of a phase or in a window:
/// a [`Delta`] without what is computed from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Moved {
    Counter {
        #[serde(serialize_with = "whole")]
        total: f64,
    },
    Histogram {
        #[serde(serialize_with = "whole")]
        count: f64,
        #[serde(serialize_with = "maybe_whole")]
        sum: Option<f64>,
        #[serde(with = "ordered_map")]
        buckets: Vec<(String, f64)>,
    },
    Summary {
        #[serde(serialize_with = "maybe_whole")]
        count: Option<f64>,
        #[serde(serialize_with = "maybe_whole")]
        sum: Option<f64>,
    },
}

impl From<Delta> for Moved {
    fn from(delta: Delta) -> Self {
        match delta {
            Delta::Counter { total, .. } => Self::Counter { total },
            Delta::Histogram { count, sum, buckets, .. } => Self::Histogram { count, sum, buckets },
            Delta::Summary { count, sum, .. } => Self::Summary { count, sum },
        }
    }
}

impl Moved {
    /// How much a counter counted, or how many observations there were; `None`
    /// where the server gives no number of them.
    #[must_use]
    pub fn amount(&self) -> Option<f64> {
        match self {
            Self::Counter { total } => Some(*total),
            Self::Histogram { count, .. } => Some(*count),
            Self::Summary { count, .. } => *count,
        }
    }

    /// Whether nothing was counted and nothing observed.
    #[must_use]
    pub fn is_still(&self) -> bool {
        match self {
            Self::Counter { total } => *total == 0.0,
            Self::Histogram { count, sum, buckets } => {
                *count == 0.0
                    && sum.is_none_or(|sum| sum == 0.0)
                    && buckets.iter().all(|(_, n)| *n == 0.0)
            }
            Self::Summary { count, sum } => {
                count.is_none_or(|n| n == 0.0) && sum.is_none_or(|sum| sum == 0.0)
            }
        }
    }
}

/// A field that may be absent, `null` or there.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Maybe<T> {
    /// The field does not apply and is not written.
    #[default]
    Absent,
    /// Not known: written as `null`.
    Unknown,
    /// Known.
    Known(T),
}

impl<T> Maybe<T> {
    /// Whether the field does not apply.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }
}

impl Maybe<f64> {
    pub(super) fn serialize_whole<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        maybe_whole(&self.known().copied(), s)
    }
}

impl<T: Serialize> Serialize for Maybe<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.known().serialize(s)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(d)? {
            Some(value) => Self::Known(value),
            None => Self::Unknown,
        })
    }
}

/// What a counter, histogram or summary did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Delta {
    Counter {
        #[serde(serialize_with = "whole")]
        total: f64,
        /// Over the time between the two readings.
        rate_per_s: Option<f64>,
        /// The true rate is within so much of `rate_per_s`, by when in their
        /// intervals the two readings may have been taken.
        #[serde(default)]
        rate_error_per_s: Option<f64>,
    },
    Histogram {
        #[serde(serialize_with = "whole")]
        count: f64,
        #[serde(serialize_with = "maybe_whole")]
        sum: Option<f64>,
        /// `sum` / `count`, exact; `null` where nothing was observed.
        #[serde(default)]
        mean: Option<f64>,
        /// Upper bound as written by the server → observations not above it,
        /// in ascending order of the bound.
        #[serde(with = "ordered_map")]
        buckets: Vec<(String, f64)>,
        /// `p50`, `p90`, `p95`, `p99`.
        quantiles: BTreeMap<String, Quantile>,
    },
    Summary {
        #[serde(serialize_with = "maybe_whole")]
        count: Option<f64>,
        #[serde(serialize_with = "maybe_whole")]
        sum: Option<f64>,
        /// `sum` / `count`, exact; `null` where nothing was observed.
        #[serde(default)]
        mean: Option<f64>,
    },
}

/// A number as JSON: counts without a fraction, so that they read as counts.
#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Whole(i64),
    Real(f64),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        // Up to 2^53 every whole number is exact.
        if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
            Self::Whole(value as i64)
        } else {
            Self::Real(value)
        }
    }
}

fn whole<S: serde::Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
    Number::from(*value).serialize(s)
}

pub(super) fn maybe_whole<S: serde::Serializer>(
    value: &Option<f64>,
    s: S,
) -> Result<S::Ok, S::Error> {
    value.map(Number::from).serialize(s)
}

/// A quantile of a histogram: the bounds of the bucket it lies in (`null` is
/// unbounded) and the linear interpolation, an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Quantile {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub estimate: Option<f64>,
}

/// What a gauge did, time-weighted over the phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct GaugeStats {
    pub avg: f64,
    #[serde(serialize_with = "whole")]
    pub min: f64,
    #[serde(serialize_with = "whole")]
    pub max: f64,
    #[serde(serialize_with = "whole")]
    pub last: f64,
}

/// What one counted series did in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WindowMetric {
    pub endpoint: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FamilyType,
    pub labels: BTreeMap<String, String>,
    /// `null` where it is not known.
    pub delta: Option<Moved>,
    /// Why `delta` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub reset: bool,
    /// Where the endpoint was not read at the boundary that opened the window:
    /// the middle of its reading before, from which on `delta` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ns: Option<Tick>,
}

mod ordered_map {
    use core::fmt;

    use super::Number;
    use serde::de::{MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &[(String, f64)], s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(map.iter().map(|(k, v)| (k, Number::from(*v))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(String, f64)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of bucket bounds to counts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        d.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_still_where_no_part_of_it_moved() {
        let buckets = |n| vec![("0.1".to_owned(), 0.0), ("+Inf".to_owned(), n)];
        let histogram = |count, sum, n| Moved::Histogram { count, sum, buckets: buckets(n) };
        let summary = |count, sum| Moved::Summary { count, sum };
        for (moved, still) in [
            (Moved::Counter { total: 0.0 }, true),
            (Moved::Counter { total: 1.0 }, false),
            (histogram(0.0, Some(0.0), 0.0), true),
            (histogram(0.0, None, 0.0), true),
            (histogram(1.0, Some(0.0), 0.0), false),
            (histogram(0.0, Some(1.0), 0.0), false),
            (histogram(0.0, Some(0.0), 1.0), false),
            (summary(Some(0.0), Some(0.0)), true),
            (summary(None, None), true),
            (summary(Some(1.0), Some(0.0)), false),
            (summary(Some(0.0), Some(1.0)), false),
        ] {
            assert_eq!(moved.is_still(), still, "{moved:?}");
        }
    }
}
