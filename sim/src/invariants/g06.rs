//! G6: Σ of window deltas = last − first, for every counter that was not reset.
//!
//! Windows are made of readings, not of steps, so this is checked over the
//! artifacts at the end of a run: each series' deltas from `account`, against
//! the values in the two readings that opened its first window and closed its
//! last. `account` has a property test of its own for the cutting of time.

use std::collections::BTreeMap;

use phasegate_core::account::attribution::{Attributed, SeriesWindow, SeriesWindows};
use phasegate_core::account::gauge::middle;
use phasegate_core::account::result::Delta;
use phasegate_core::reading::{Reading, ReadingBody, Value};
use phasegate_core::time::Tick;

use super::Violation;

const NAME: &str = "G6";

/// A source and the middle of one of its boundary readings.
type Key = (String, Tick);

/// The boundary readings of a run.
#[derive(Debug, Default)]
pub struct Baselines(BTreeMap<Key, Reading>);

impl Baselines {
    /// Keeps a reading, if a boundary asked for it and it succeeded.
    pub fn feed(&mut self, reading: Reading) {
        if reading.boundary.is_some() && matches!(reading.body, ReadingBody::Families(_)) {
            let at = middle(reading.start, reading.end);
            self.0.insert((reading.source.clone(), at), reading);
        }
    }

    /// What `series` stood at; `None` where the reading is not known or does not
    /// have it.
    fn value(&self, series: &SeriesWindows, at: Tick) -> Option<f64> {
        let reading = self.0.get(&(series.endpoint.clone(), at))?;
        let ReadingBody::Families(families) = &reading.body else { return None };
        let family = families.iter().find(|f| f.name == series.name && f.kind == series.kind)?;
        let found = family.series.iter().find(|s| s.labels == series.labels)?;
        match &found.value {
            Value::Value(value) => Some(*value),
            Value::Histogram(histogram) => histogram.count,
            Value::Summary { count, .. } => *count,
        }
    }
}

/// What a counter or a number of observations did; `None` where that is not
/// known.
fn amount(window: &SeriesWindow) -> Option<f64> {
    match window.delta.as_ref().ok()? {
        Delta::Counter { total, .. } => Some(*total),
        Delta::Histogram { count, .. } => Some(*count),
        Delta::Summary { count, .. } => *count,
    }
}

/// Checks every series that was read at both ends, was never reset, and is
/// known in every window: how many those were, and what is wrong.
#[must_use]
pub fn check(attributed: &Attributed, baselines: &Baselines) -> (usize, Vec<Violation>) {
    let (mut checked, mut broken) = (0, Vec::new());
    for series in attributed.window_deltas() {
        let (Some(first), Some(last)) = (series.windows.first(), series.windows.last()) else {
            continue;
        };
        let whole = series.windows.windows(2).all(|w| w[0].to == w[1].from);
        if !whole || series.windows.iter().any(|w| w.reset) {
            continue;
        }
        let amounts = series.windows.iter().map(amount);
        let (Some(sum), Some(from), Some(to)) = (
            amounts.sum::<Option<f64>>(),
            baselines.value(&series, first.from),
            baselines.value(&series, last.to),
        ) else {
            continue;
        };
        checked += 1;
        let slack = 1e-9 * (1.0 + from.abs().max(to.abs()));
        if (sum - (to - from)).abs() > slack {
            let SeriesWindows { endpoint, name, labels, .. } = &series;
            let what = format!(
                "the windows of {name} {labels:?} of {endpoint} sum to {sum}, and it went from \
                 {from} to {to}"
            );
            broken.push(Violation::new(NAME, last.to, what));
        }
    }
    (checked, broken)
}
