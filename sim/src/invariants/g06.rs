//! G6: Σ of window deltas = last − first, for every counter that was not reset.
//!
//! Windows are made of readings, not of steps, so this is checked over the
//! artifacts at the end of a run: each series' deltas from `account`, against
//! the values in the two readings that opened its first window and closed its
//! last. `account` has a property test of its own for the cutting of time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use phasegate_core::account::attribution::{Attributed, SeriesWindow, SeriesWindows};
use phasegate_core::account::gauge::middle;
use phasegate_core::account::result::{Moved, RunResult};
use phasegate_core::reading::{Family, Reading, ReadingBody, Value};
use phasegate_core::time::Tick;

use super::Violation;

const NAME: &str = "G6";

/// A source and the middle of one of its boundary readings.
type Key = (String, Tick);

/// What the boundary readings of a run showed.
#[derive(Debug, Default)]
pub struct Baselines(BTreeMap<Key, Vec<Family>>);

impl Baselines {
    /// Keeps a reading, if a boundary asked for it and it succeeded.
    pub fn feed(&mut self, reading: Reading) {
        let Reading { boundary: Some(_), body: ReadingBody::Families(families), .. } = reading
        else {
            return;
        };
        match self.0.entry((reading.source, middle(reading.start, reading.end))) {
            Entry::Vacant(place) => {
                place.insert(families);
            }
            // Of two that were taken at once nobody can say which a window is of.
            Entry::Occupied(mut place) => {
                if *place.get() != families {
                    place.insert(Vec::new());
                }
            }
        }
    }

    /// What `series` stood at; `None` where the reading is not known or does not
    /// have it.
    fn value(&self, series: &SeriesWindows, at: Tick) -> Option<f64> {
        let families = self.0.get(&(series.endpoint.clone(), at))?;
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
    window.delta.as_ref().ok()?.amount()
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

/// Checks that the windows of `run.json` hold what the readings did, each once:
/// for every series that is known in all its windows, their sum is the same. And
/// what a phase calls its own and what it calls shared are together its delta.
#[must_use]
pub fn check_windows(result: &RunResult, attributed: &Attributed) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut written: BTreeMap<_, f64> = BTreeMap::new();
    let mut last = Tick::ZERO;
    for window in &result.windows {
        last = last.max(window.to_ns);
        for metric in &window.server_metrics {
            let key =
                (&metric.endpoint, &metric.name, &metric.labels, format!("{:?}", metric.kind));
            let amount = metric.delta.as_ref().and_then(Moved::amount);
            *written.entry(key).or_default() += amount.unwrap_or_default();
        }
    }
    let series = attributed.window_deltas();
    for series in series.iter().filter(|_| !result.windows.is_empty()) {
        let Some(sum) = series.windows.iter().map(amount).sum::<Option<f64>>() else { continue };
        let key = (&series.endpoint, &series.name, &series.labels, format!("{:?}", series.kind));
        let listed = written.get(&key).copied().unwrap_or_default();
        if (sum - listed).abs() > 1e-9 * (1.0 + sum.abs()) {
            let what = format!(
                "{} {:?} of {} sums to {sum}, and to {listed} in run.json's windows",
                series.name, series.labels, series.endpoint
            );
            broken.push(Violation::new(NAME, last, what));
        }
    }
    for phase in &result.phases {
        for metric in &phase.server_metrics {
            let (Some(own), Some(shared)) = (&metric.own, &metric.shared) else { continue };
            let parts = own.amount().zip(shared.amount()).map(|(own, shared)| own + shared);
            let whole = metric.delta.known().cloned().and_then(|delta| Moved::from(delta).amount());
            if parts.zip(whole).is_none_or(|(a, b)| (a - b).abs() > 1e-9 * (1.0 + b.abs())) {
                let what = format!(
                    "{} of phase '{}' is {whole:?}, and {parts:?} of its own and shared",
                    metric.name, phase.name
                );
                broken.push(Violation::new(NAME, last, what));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::account::result::{Window, WindowMetric};
    use phasegate_core::account::{Attribution, Evidence};
    use phasegate_core::conductor::Conductor;
    use phasegate_core::controller::report::ControllerReport;
    use phasegate_core::id::ServiceId;
    use phasegate_core::message::BaselineKind::{End, Start};
    use phasegate_core::message::{BaselineKind, CollectorOutcome, CollectorStatus, ReleasedBy};
    use phasegate_core::reading::{BoundaryMark, Family, FamilyType, Series};

    const SOURCE: &str = "http://127.0.0.1:8000/metrics";

    fn reading(phase: usize, kind: BaselineKind, at: u64, value: f64) -> Reading {
        let series = Series { labels: BTreeMap::new(), created: None, value: Value::Value(value) };
        let family = Family {
            name: "vllm:request_success".to_owned(),
            kind: FamilyType::Counter,
            series: vec![series],
        };
        Reading {
            service: ServiceId::new("server_metrics/0"),
            source: SOURCE.to_owned(),
            boundary: Some(BoundaryMark { phase: plan(&[false; 2]).phases()[phase].id, kind }),
            start: ms(at),
            first_byte: None,
            end: ms(at + 2),
            malformed: None,
            gpu_events: Vec::new(),
            body: ReadingBody::Families(vec![family]),
        }
    }

    /// Two phases with these values at their four boundaries.
    fn read(values: [f64; 4]) -> (Attributed, Vec<Reading>) {
        let plan = plan(&[false; 2]);
        let marks = [(0, Start), (0, End), (1, Start), (1, End)];
        let mut controller = ControllerReport::default();
        let mut report = Conductor::new(&plan).report();
        let mut readings = Vec::new();
        for ((at, value), (phase, kind)) in (0..).zip(values).zip(marks) {
            let at = 100 + 100 * at;
            let status = CollectorStatus::Captured { reading: mark(at, at + 2) };
            let service = ServiceId::new("server_metrics/0");
            let mut outcome = boundary(&plan, phase, kind, ReleasedBy::AllAcked);
            (outcome.requested, outcome.closed) = (ms(at), ms(at + 3));
            outcome.collectors.push(CollectorOutcome { service, status, attempts: 1 });
            controller.boundaries.push(outcome);
            match kind {
                Start => report.phases[phase].start = Some(ms(at + 3)),
                End => report.phases[phase].end = Some(ms(at)),
            }
            readings.push(reading(phase, kind, at, value));
        }
        let ledger = settings(1).ledger(&plan).report();
        let evidence =
            Evidence { plan: &plan, controller: &controller, conductor: &report, ledger: &ledger };
        let mut attribution = Attribution::new(&evidence);
        for reading in &readings {
            attribution.feed(reading);
        }
        (attribution.finish(), readings)
    }

    fn check_with(attributed: &Attributed, readings: Vec<Reading>) -> (usize, Vec<Violation>) {
        let mut baselines = Baselines::default();
        for reading in readings {
            baselines.feed(reading);
        }
        check(attributed, &baselines)
    }

    #[test]
    fn two_readings_that_were_taken_at_once_are_held_against_nothing() {
        let mut baselines = Baselines::default();
        let at = middle(ms(7), ms(9));
        let series = read([1.0, 2.0, 3.0, 4.0]).0.window_deltas().remove(0);
        for (kind, value, known) in
            [(Start, 1.0, Some(1.0)), (End, 1.0, Some(1.0)), (End, 2.0, None)]
        {
            baselines.feed(reading(0, kind, 7, value));
            assert_eq!(baselines.value(&series, at), known);
        }
    }

    #[test]
    fn windows_that_sum_to_last_less_first_are_good() {
        let (attributed, readings) = read([3.0, 10.0, 12.0, 40.0]);
        assert_eq!(check_with(&attributed, readings), (1, vec![]));
    }

    #[test]
    fn windows_that_leave_something_out_or_count_it_twice_are_a_violation() {
        let (attributed, mut readings) = read([3.0, 10.0, 12.0, 40.0]);
        readings[3] = reading(1, End, 400, 41.0);
        let (checked, broken) = check_with(&attributed, readings);
        assert_eq!((checked, broken.len()), (1, 1));
        assert!(broken[0].what.ends_with("sum to 37, and it went from 3 to 41"), "{broken:?}");
    }

    #[test]
    fn run_json_lists_each_delta_in_one_window() {
        let plan = plan(&[false; 2]);
        let (attributed, _) = read([3.0, 10.0, 12.0, 40.0]);
        let window = |amounts: &[f64]| Window {
            from_ns: ms(100),
            to_ns: ms(200),
            phases: vec![plan.phases()[0].name.clone()],
            server_metrics: amounts
                .iter()
                .map(|total| WindowMetric {
                    endpoint: SOURCE.to_owned(),
                    name: "vllm:request_success".to_owned(),
                    kind: FamilyType::Counter,
                    labels: BTreeMap::new(),
                    delta: Some(Moved::Counter { total: *total }),
                    reason: None,
                    reset: false,
                    from_ns: None,
                })
                .collect(),
        };
        let with = |windows: Vec<Window>| {
            let (mut result, _) = crate::invariants::result::tests::run();
            result.windows = windows;
            check_windows(&result, &attributed)
        };
        assert_eq!(with(vec![window(&[7.0]), window(&[2.0, 28.0])]), vec![]);
        for wrong in [vec![window(&[7.0, 2.0])], vec![window(&[7.0]), window(&[7.0, 2.0, 28.0])]] {
            let broken = with(wrong);
            assert!(broken.len() == 1 && broken[0].what.contains("sums to 37"), "{broken:?}");
        }
    }

    #[test]
    fn a_counter_that_was_set_back_is_not_summed() {
        let (attributed, readings) = read([3.0, 10.0, 2.0, 40.0]);
        assert_eq!(check_with(&attributed, readings), (0, vec![]));
    }
}
