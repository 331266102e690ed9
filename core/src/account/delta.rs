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
//! A histogram whose buckets disagree (a cumulative one below its lower
//! neighbour, `+Inf` other than the count) has no delta: which of them is wrong
//! is not known.
//!
//! A series that the earlier reading did not have while its source was read was
//! born in between (Prometheus exposes a labelled child from its first use on):
//! it counts from 0.

use std::sync::Arc;

use super::boundary::name;
use super::elapsed::Elapsed;
use super::quantile::quantiles;
use super::result::{Delta, Moved};
use super::track::{Break, Cause, Mark, Step, less};
use crate::message::BaselineKind;
use crate::reading::Value;

/// What the parts of a sample are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layout {
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
    pub(super) layout: Layout,
    pub(super) parts: Vec<f64>,
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

    /// Its parts, in the order of its layout. One that is not known is NaN.
    #[must_use]
    pub fn parts(&self) -> &[f64] {
        &self.parts
    }

    /// How its buckets disagree among themselves; `None` if they do not.
    #[must_use]
    pub fn disagreement(&self) -> Option<String> {
        match &self.layout {
            Layout::Buckets(bounds) => disagreement(bounds, &self.parts),
            Layout::Single | Layout::SumAndCount => None,
        }
    }

    /// The first part that can only grow and is below its value in `earlier`:
    /// the two values.
    pub(super) fn fall_from(&self, earlier: &[f64]) -> Option<(f64, f64)> {
        let len = self.parts.len();
        let pairs = earlier.iter().zip(&self.parts).enumerate();
        let mut fallen = pairs.filter(|(i, (a, b))| b < a && self.layout.grows(*i, len));
        fallen.next().map(|(_, (a, b))| (*a, *b))
    }
}

/// How the cumulative buckets among `parts` (`[bucket…, count, sum]`) disagree
/// with each other or with the count.
fn disagreement(bounds: &[String], parts: &[f64]) -> Option<String> {
    let buckets: Vec<_> = bounds.iter().zip(parts).collect();
    let falls = buckets.windows(2).find_map(|pair| {
        let [(low, a), (high, b)] = pair else { return None };
        (b < a).then(|| format!("its bucket {high} holds {b} and its bucket {low} holds {a}"))
    });
    falls.or_else(|| {
        let (_, infinite) = buckets.last().filter(|(bound, _)| is_infinite(bound))?;
        let count = parts.get(bounds.len())?;
        // Not where one of them is not known.
        ((*infinite - count).abs() > 0.0)
            .then(|| format!("its bucket +Inf holds {infinite} and its count is {count}"))
    })
}

/// Whether a bucket's bound is `+Inf`.
fn is_infinite(bound: &str) -> bool {
    bound.parse::<f64>().is_ok_and(|b| b == f64::INFINITY)
}

/// What a series did between two marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    layout: Layout,
    /// The parts' deltas, or why there are none.
    parts: Result<Vec<f64>, String>,
    /// It began to count anew in between: the deltas are lower bounds.
    pub reset: bool,
    /// How it began anew, and when, where that was seen.
    pub broke: Option<Break>,
    /// Its buckets disagree, so that there is no delta.
    pub torn: bool,
}

/// What a series did from `start` (`None`: it was not there, while its source
/// was read) to `end`, at which it was as in `sample`. `in_order` says whether the
/// first reading was complete before the second began.
pub(super) fn between(
    start: Option<&Mark>,
    (end, sample): (&Mark, &Sample),
    in_order: bool,
) -> Change {
    let change = |parts: Vec<f64>, reset: bool, broke: Option<Break>| {
        let (layout, broke) = (sample.layout.clone(), broke.filter(|_| reset));
        Change { layout, parts: Ok(parts), reset, broke, torn: false }.checked()
    };
    let refused = |why: String, cause: Option<Cause>, torn: bool| {
        let broke = cause.map(|cause| Break { cause, times: None });
        let layout = sample.layout.clone();
        Change { layout, parts: Err(why), reset: cause.is_some(), broke, torn }
    };
    let was = start.and_then(Mark::sample);
    let both = [(was, "START"), (Some(sample), "END")];
    let how = |(sample, at): &(Option<&Sample>, &'static str)| {
        Some((sample.as_ref()?.disagreement()?, *at))
    };
    if let Some((how, at)) = both.iter().find_map(how) {
        let why = format!("the buckets of its {at} reading disagree: {how}");
        return refused(why, None, true);
    }
    let (link, reach) = end.reach();
    let Some(start) = start else {
        // With no break since its birth the value itself is what it counted.
        let reset = reach.resets > 0;
        let counted = if reset && link.is_some() { &reach.counted } else { &sample.parts };
        return change(counted.clone(), reset, reach.broke);
    };
    if was.is_some_and(|was| was.layout != sample.layout) {
        let why = "its buckets are not the same at START and at END".to_owned();
        return refused(why, Some(Cause::OtherBuckets), false);
    }
    let step = Step::between((was, start.born()), (Some(sample), end.born()));
    let one_process = start.born().process.and(end.born().process).is_some();
    match start.from() {
        Some((first, from)) if link.is_some_and(|link| first <= link) => {
            if from.life != reach.life {
                change(reach.counted.clone(), true, reach.broke)
            } else if from.resets != reach.resets {
                change(less(&from.counted, &reach.counted), true, reach.broke)
            } else {
                change(step.add, false, None)
            }
        }
        Some(_) | None if !in_order && step.cause.is_some() => {
            let why = "its readings at the two ends overlapped, and which was first is not known";
            refused(why.to_owned(), None, false)
        }
        Some((_, from))
            if link.is_none()
                && step.cause.is_none()
                && reach.began_anew_since(from, one_process) =>
        {
            change(step.add, true, reach.broke)
        }
        Some(_) | None => {
            let broke = step.cause.map(|cause| Break { cause, times: None });
            change(step.add, broke.is_some(), broke)
        }
    }
}

impl Change {
    /// Of a series whose value at a boundary is no number.
    pub(super) fn without_value(kind: BaselineKind) -> Self {
        let why = format!("its value at {} is not a number", name(kind));
        Self { layout: Layout::Single, parts: Err(why), reset: false, broke: None, torn: false }
    }

    /// Refuses what is no histogram: buckets that agree in both readings can
    /// still have grown so that they disagree.
    fn checked(self) -> Self {
        let how = match (&self.layout, &self.parts) {
            (Layout::Buckets(bounds), Ok(parts)) => disagreement(bounds, parts),
            (Layout::Single | Layout::SumAndCount, _) | (Layout::Buckets(_), Err(_)) => None,
        };
        match how {
            None => self,
            Some(how) => {
                let why = format!("its buckets grew by amounts that disagree: {how}");
                Self { parts: Err(why), torn: true, ..self }
            }
        }
    }

    /// Where it was seen to fall: from, to.
    #[must_use]
    pub fn fall(&self) -> Option<(f64, f64)> {
        self.broke.and_then(|broke| broke.fall())
    }

    /// How it came that it began anew, in words; `None` where it did not.
    #[must_use]
    pub fn why_reset(&self) -> Option<String> {
        self.reset.then(|| match &self.broke {
            Some(broke) => broke.to_string(),
            None => "began anew".to_owned(),
        })
    }

    /// The sum of two changes of one series; `None` where a part is not known.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let (a, b) = (self.parts.as_ref().ok()?, other.parts.as_ref().ok()?);
        if self.layout != other.layout || a.len() != b.len() {
            return None;
        }
        let parts = Ok(a.iter().zip(b).map(|(a, b)| a + b).collect());
        Some(Self { parts, reset: self.reset || other.reset, ..self.clone() })
    }

    /// Nothing, of the same series.
    #[must_use]
    pub fn nothing(&self) -> Self {
        let parts = self.parts.as_ref().map(|parts| vec![0.0; parts.len()]);
        let parts = parts.map_err(Clone::clone);
        Self { parts, reset: false, broke: None, ..self.clone() }
    }

    /// Whether both did the same, part by part; parts that are not known are
    /// the same.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        let (Ok(a), Ok(b)) = (&self.parts, &other.parts) else { return false };
        let same = |(a, b): (&f64, &f64)| {
            // Integers are exact; sums of seconds round.
            (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())) || (a.is_nan() && b.is_nan())
        };
        a.len() == b.len() && a.iter().zip(b).all(same)
    }

    /// What it did, without what is computed from it.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn moved(&self) -> Result<Moved, String> {
        let parts = self.parts.as_ref().map_err(Clone::clone)?;
        let known = |x: Option<&f64>| x.copied().filter(|x| x.is_finite());
        let tail = |back: usize| known(parts.iter().rev().nth(back));
        let uncounted = || "its count is not known at START or at END".to_owned();
        match &self.layout {
            Layout::Single => {
                let total = known(parts.first()).ok_or_else(uncounted)?;
                Ok(Moved::Counter { total })
            }
            Layout::SumAndCount => Ok(Moved::Summary { count: tail(1), sum: tail(0) }),
            Layout::Buckets(bounds) => {
                let count = tail(1).ok_or_else(uncounted)?;
                let known = bounds.iter().cloned().zip(parts.iter().copied());
                let buckets = known.filter(|(_, n)| n.is_finite()).collect();
                Ok(Moved::Histogram { count, sum: tail(0), buckets })
            }
        }
    }

    /// The delta as reported. `elapsed` is the time that a counter's rate is
    /// over.
    ///
    /// # Errors
    /// Why there is no delta.
    pub fn delta(&self, elapsed: Option<Elapsed>) -> Result<Delta, String> {
        let mean = |sum: Option<f64>, count: Option<f64>| {
            // Of nothing it is not finite.
            Some(sum? / count?).filter(|mean| mean.is_finite())
        };
        Ok(match self.moved()? {
            Moved::Counter { total } => Delta::Counter {
                total,
                rate_per_s: elapsed.and_then(|e| e.rate(total)),
                rate_error_per_s: elapsed.and_then(|e| e.rate_error(total)),
            },
            Moved::Summary { count, sum } => Delta::Summary { count, sum, mean: mean(sum, count) },
            Moved::Histogram { count, sum, buckets } => {
                let quantiles = quantiles(&buckets);
                Delta::Histogram { count, sum, mean: mean(sum, Some(count)), buckets, quantiles }
            }
        })
    }
}

#[cfg(test)]
#[path = "tests/delta.rs"]
mod tests;
