//! What a counter, histogram or summary did between two readings.
//!
//! A delta is the value at the later reading less the value at the earlier one,
//! part by part (a histogram has one part a bucket, its count and its sum).
//! Nothing is repaired. A part that can only grow and fell was set back: then
//! the series is marked as reset, and what is reported is what the readings in
//! between saw being counted: up to the last reading before the fall, and from
//! 0 after it. What was counted between that last reading and the fall is lost,
//! so the number is a lower bound.
//!
//! A series that the earlier reading did not have while its source was read was
//! born in between (Prometheus exposes a labelled child from its first use on):
//! it counts from 0.

use std::sync::Arc;

use super::quantile::quantiles;
use super::result::Delta;
use crate::reading::Value;
use crate::time::Tick;

/// What the parts of a sample are.
#[derive(Debug, Clone, PartialEq)]
enum Layout {
    /// `[value]`
    Single,
    /// `[bucket…, count, sum]`, with the bounds of the buckets.
    Buckets(Arc<[String]>),
    /// `[count, sum]`
    SumAndCount,
}

impl Layout {
    /// Whether part `index` of `len` can only grow. A sum can fall without a
    /// reset, where negative values are observed.
    fn grows(&self, index: usize, len: usize) -> bool {
        match self {
            Self::Single => true,
            Self::Buckets(_) | Self::SumAndCount => index + 1 < len,
        }
    }
}

/// The value of a counted series, taken apart. A part that is not known is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    layout: Layout,
    parts: Vec<f64>,
}

impl Sample {
    /// A sample with one part: a counter's, or an energy counter's.
    #[must_use]
    pub fn single(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self { layout: Layout::Single, parts: vec![value] })
    }

    /// Takes a value apart; `None` if it has no finite count. `like` is an
    /// earlier sample of the same series, whose bucket bounds are shared.
    #[must_use]
    pub fn of(value: &Value, like: Option<&Self>) -> Option<Self> {
        let known = |x: Option<f64>| x.filter(|x| x.is_finite()).unwrap_or(f64::NAN);
        match value {
            Value::Value(value) => Self::single(*value),
            Value::Histogram(h) => {
                let last = h.buckets.last().filter(|(bound, _)| is_infinite(bound));
                let count = h.count.or(last.map(|(_, n)| *n)).filter(|n| n.is_finite())?;
                let mut parts: Vec<f64> = h.buckets.iter().map(|(_, n)| known(Some(*n))).collect();
                parts.extend([count, known(h.sum)]);
                let shared = like.and_then(|s| match &s.layout {
                    Layout::Buckets(bounds) if bounds.iter().eq(h.buckets.iter().map(|b| &b.0)) => {
                        Some(bounds.clone())
                    }
                    Layout::Buckets(_) | Layout::Single | Layout::SumAndCount => None,
                });
                let bounds =
                    shared.unwrap_or_else(|| h.buckets.iter().map(|b| b.0.clone()).collect());
                Some(Self { layout: Layout::Buckets(bounds), parts })
            }
            Value::Summary { sum, count } => {
                let parts = vec![known(*count), known(*sum)];
                let any = parts.iter().any(|x| x.is_finite());
                any.then_some(Self { layout: Layout::SumAndCount, parts })
            }
        }
    }

    /// The first part that can only grow and is below its value in `earlier`:
    /// the two values.
    fn fall_from(&self, earlier: &[f64]) -> Option<(f64, f64)> {
        let len = self.parts.len();
        let pairs = earlier.iter().zip(&self.parts).enumerate();
        let mut fallen = pairs.filter(|(i, (a, b))| b < a && self.layout.grows(*i, len));
        fallen.next().map(|(_, (a, b))| (*a, *b))
    }
}

/// Whether a bucket's bound is `+Inf`.
fn is_infinite(bound: &str) -> bool {
    bound.parse::<f64>().is_ok_and(|b| b == f64::INFINITY)
}

/// Follows one series through the readings of its source and adds up what it
/// counted, so that a reset between two boundaries is seen even where the value
/// has grown past its old one again. Its size does not grow with the number of
/// readings.
#[derive(Debug, Clone, Default)]
pub struct Track {
    last: Option<(Sample, Tick)>,
    counted: Vec<f64>,
    resets: u32,
    life: u32,
    fall: Option<(f64, f64)>,
    marked: Option<Arc<Mark>>,
}

/// A series at one boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    sample: Sample,
    counted: Vec<f64>,
    resets: u32,
    life: u32,
    fall: Option<(f64, f64)>,
}

impl Track {
    /// The latest sample, to share its bucket bounds.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        self.last.as_ref().map(|(sample, _)| sample)
    }

    /// Takes in the series' value in a reading taken in `[start, end]`.
    ///
    /// Two readings that overlap have no order, so a fall between them is not a
    /// reset: the larger value stands until a later reading is compared with
    /// it.
    pub fn observe(&mut self, sample: &Sample, start: Tick, end: Tick) {
        let Some((last, last_end)) = &mut self.last else {
            return self.begin(sample, end);
        };
        if last.layout != sample.layout || last.parts.len() != sample.parts.len() {
            return self.begin(sample, end);
        }
        let fall = sample.fall_from(&last.parts);
        let sums = self.counted.iter_mut().zip(last.parts.iter_mut().zip(&sample.parts));
        if fall.is_some() && start < *last_end {
            for (counted, (old, new)) in sums {
                if *new > *old {
                    *counted += *new - *old;
                    *old = *new;
                }
            }
        } else {
            if fall.is_some() {
                self.resets = self.resets.saturating_add(1);
                self.fall = fall;
            }
            for (counted, (old, new)) in sums {
                *counted += if fall.is_some() { *new } else { *new - *old };
                *old = *new;
            }
        }
        *last_end = (*last_end).max(end);
    }

    /// Begins a life: the series was not there, or had other buckets.
    fn begin(&mut self, sample: &Sample, end: Tick) {
        self.last = Some((sample.clone(), end));
        self.counted.clone_from(&sample.parts);
        self.life = self.life.saturating_add(1);
        self.resets = 0;
        self.fall = None;
    }

    /// The series was not in a full reading of its source.
    pub fn vanish(&mut self) {
        self.last = None;
    }

    /// The series as it stands at a boundary whose reading, already observed,
    /// has `sample`. A series that did not move since its last mark shares it.
    pub fn mark(&mut self, sample: &Sample) -> Arc<Mark> {
        let mark = Mark {
            sample: sample.clone(),
            counted: self.counted.clone(),
            resets: self.resets,
            life: self.life,
            fall: self.fall,
        };
        match &self.marked {
            Some(marked) if **marked == mark => marked.clone(),
            Some(_) | None => self.marked.insert(Arc::new(mark)).clone(),
        }
    }
}

/// What a series did between two marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    layout: Layout,
    /// The parts' deltas, or why there are none.
    parts: Result<Vec<f64>, &'static str>,
    /// It was set back in between: the deltas are lower bounds.
    pub reset: bool,
    /// Where it was seen to fall: from, to.
    pub fall: Option<(f64, f64)>,
}

/// What a series did from `start` (`None`: it was not there, while its source
/// was read) to `end`.
#[must_use]
pub fn between(start: Option<&Mark>, end: &Mark) -> Change {
    let change = |parts: Vec<f64>, reset: bool, fall| Change {
        layout: end.sample.layout.clone(),
        parts: Ok(parts),
        reset,
        fall,
    };
    let Some(start) = start else {
        // With no fall since its birth the value itself is what it counted.
        let parts = if end.resets == 0 { &end.sample.parts } else { &end.counted };
        return change(parts.clone(), end.resets > 0, end.fall);
    };
    if start.sample.layout != end.sample.layout {
        return Change {
            layout: end.sample.layout.clone(),
            parts: Err("its buckets are not the same at START and at END"),
            reset: true,
            fall: None,
        };
    }
    let less = |a: &[f64], b: &[f64]| b.iter().zip(a).map(|(b, a)| b - a).collect::<Vec<_>>();
    if start.life != end.life {
        // It was gone for a while: a new life, counted from 0.
        change(end.counted.clone(), true, end.fall)
    } else if start.resets != end.resets {
        change(less(&start.counted, &end.counted), true, end.fall)
    } else if let Some(fall) = end.sample.fall_from(&start.sample.parts) {
        change(end.sample.parts.clone(), true, Some(fall))
    } else {
        change(less(&start.sample.parts, &end.sample.parts), false, None)
    }
}

impl Change {
    /// The delta as reported. `seconds` is the time that a counter's rate is
    /// over.
    ///
    /// # Errors
    /// Why there is no delta.
    pub fn delta(&self, seconds: Option<f64>) -> Result<Delta, String> {
        let parts = self.parts.as_ref().map_err(|why| (*why).to_owned())?;
        let known = |x: Option<&f64>| x.copied().filter(|x| x.is_finite());
        let tail = |back: usize| known(parts.iter().rev().nth(back));
        let uncounted = || "its count is not known at START or at END".to_owned();
        match &self.layout {
            Layout::Single => {
                let total = known(parts.first()).ok_or_else(uncounted)?;
                let rate_per_s = seconds.filter(|s| *s > 0.0).map(|s| total / s);
                Ok(Delta::Counter { total, rate_per_s })
            }
            Layout::SumAndCount => Ok(Delta::Summary { count: tail(1), sum: tail(0) }),
            Layout::Buckets(bounds) => {
                let count = tail(1).ok_or_else(uncounted)?;
                let known = bounds.iter().cloned().zip(parts.iter().copied());
                let buckets: Vec<_> = known.filter(|(_, n)| n.is_finite()).collect();
                let quantiles = quantiles(&buckets);
                Ok(Delta::Histogram { count, sum: tail(0), buckets, quantiles })
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/delta.rs"]
mod tests;
