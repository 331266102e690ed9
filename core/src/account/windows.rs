//! Time, cut at the boundaries.
//!
//! A window lies between two neighbouring boundaries and has the set of phases
//! that were active in it: {A}, {A, B}, {B} around a seamless start, and the
//! empty set between two phases that are not seamless. Each delta belongs to
//! one window, so nothing is counted twice, and the deltas of all windows sum
//! to last − first.

use std::collections::{BTreeMap, BTreeSet};

use super::attribution::Attributed;
use super::boundary::Boundaries;
use super::result::{Window, WindowMetric};
use super::source::Key;
use crate::message::BaselineKind;
use crate::plan::RunPlan;
use crate::planted::{Bug, is_planted};
use crate::time::Tick;

/// A moment at which a phase becomes active or ceases to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut<T> {
    /// When.
    pub at: Tick,
    /// The phase's index in the plan.
    pub phase: usize,
    /// Whether it becomes active or ceases to be.
    pub kind: BaselineKind,
    /// What was read then; `None` does not cut: the windows on both sides are
    /// one, in which every phase of either was active.
    pub read: Option<T>,
}

/// A window before it is written: indices instead of names, and what was read
/// at its two ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Between<T> {
    /// Its start.
    pub from: Tick,
    /// Its end.
    pub to: Tick,
    /// The phases active in it, by index.
    pub phases: Vec<usize>,
    /// What was read at its start.
    pub first: T,
    /// What was read at its end.
    pub last: T,
}

/// Cuts time. Cuts of one moment come in the order of the phases, a start
/// before its end. Phases that are active before the first reading or after the
/// last one are in no window there: nothing was measured.
#[must_use]
pub fn cut<T: Clone>(mut cuts: Vec<Cut<T>>) -> Vec<Between<T>> {
    cuts.sort_by_key(|c| (c.at, c.phase, c.kind));
    let mut windows = Vec::new();
    let mut active = BTreeSet::new();
    // Active at any time in the open window.
    let mut seen = BTreeSet::new();
    let mut open: Option<(Tick, T)> = None;
    for Cut { at, phase, kind, read } in cuts {
        let cuts = read.is_some();
        if let Some(read) = read
            && let Some((from, first)) = open.replace((at, read.clone()))
        {
            let phases = seen.iter().copied().collect();
            let again = is_planted(Bug::CountedInTwoWindows).then(|| (from, first.clone()));
            windows.push(Between { from, to: at, phases, first, last: read });
            open = again.or(open);
        }
        match kind {
            BaselineKind::Start => active.insert(phase),
            BaselineKind::End => active.remove(&phase),
        };
        if cuts {
            seen.clone_from(&active);
        } else {
            seen.extend(&active);
        }
    }
    windows
}

/// The windows of a run, as `run.json` has them: without those of no length.
/// A boundary's moment is [`Boundary::moment`](super::boundary::Boundary::moment);
/// a started phase whose boundary is not known is cut at its own start or end.
///
/// An endpoint's deltas are between its own readings. Each is listed in the
/// window that its later reading closes, once; where the endpoint was not read
/// at the boundary that opened the window the delta says since when it counts.
#[must_use]
pub fn windows(plan: &RunPlan, boundaries: &Boundaries, attributed: &Attributed) -> Vec<Window> {
    let cuts = boundaries.iter().filter_map(|((phase, kind), boundary)| {
        let span = boundaries.spans().get(phase).copied().flatten()?;
        let own = match kind {
            BaselineKind::Start => span.start,
            BaselineKind::End => span.end,
        };
        let at = boundary.moment().unwrap_or(own);
        Some(Cut { at, phase, kind, read: Some((phase, kind)) })
    });
    let all = cut(cuts.collect());
    // The place in the result of the window that a boundary closes; of one
    // without length, that of the window before it.
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    let mut windows = Vec::new();
    for window in all {
        if window.from < window.to {
            let named = |p: &usize| Some(plan.phases().get(*p)?.name.clone());
            let phases = window.phases.iter().filter_map(named).collect();
            let (from_ns, to_ns) = (window.from, window.to);
            let server_metrics = Vec::new();
            windows.push((window.first, Window { from_ns, to_ns, phases, server_metrics }));
        }
        places.insert(window.last, windows.len().saturating_sub(1));
    }
    for series in attributed.window_deltas() {
        for window in series.windows {
            let place = places.get(&window.last).copied().unwrap_or_default();
            let Some((opened_by, into)) = windows.get_mut(place) else { continue };
            let (delta, reason) = match window.delta {
                Ok(moved) if moved.is_still() && !window.reset => continue,
                Ok(moved) => (Some(moved), None),
                Err(why) => (None, Some(why)),
            };
            into.server_metrics.push(WindowMetric {
                endpoint: series.endpoint.clone(),
                name: series.name.clone(),
                kind: series.kind,
                labels: series.labels.clone(),
                delta,
                reason,
                reset: window.reset,
                from_ns: (window.first != *opened_by).then_some(window.from),
            });
        }
    }
    windows.into_iter().map(|(_, window)| window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(tick: u64, phase: usize, kind: BaselineKind, read: Option<i64>) -> Cut<i64> {
        Cut { at: Tick(tick), phase, kind, read }
    }

    fn phases(cuts: Vec<Cut<i64>>) -> Vec<Vec<usize>> {
        cut(cuts).into_iter().map(|w| w.phases).collect()
    }

    use BaselineKind::{End, Start};

    #[test]
    fn a_seamless_start_cuts_time_into_a_then_both_then_b() {
        let cuts = vec![
            at(0, 0, Start, Some(0)),
            at(10, 1, Start, Some(0)),
            at(12, 0, End, Some(0)),
            at(20, 1, End, Some(0)),
        ];
        assert_eq!(phases(cuts), [vec![0], vec![0, 1], vec![1]]);
    }

    #[test]
    fn between_two_phases_that_are_not_seamless_nobody_is_active() {
        let cuts = vec![
            at(0, 0, Start, Some(0)),
            at(10, 0, End, Some(0)),
            at(11, 1, Start, Some(0)),
            at(20, 1, End, Some(0)),
        ];
        assert_eq!(phases(cuts), [vec![0], vec![], vec![1]]);
    }

    #[test]
    fn a_boundary_that_was_not_read_does_not_cut() {
        let cuts = vec![
            at(0, 0, Start, Some(0)),
            at(10, 1, Start, None),
            at(12, 0, End, None),
            at(20, 1, End, Some(0)),
        ];
        assert_eq!(phases(cuts), [vec![0, 1]]);
    }

    proptest! {
        #[test]
        fn the_windows_deltas_sum_to_last_less_first(
            steps in proptest::collection::vec((0_u64..5, 0_usize..4, any::<bool>(), any::<bool>(), 0_i64..1000), 2..16),
        ) {
            let (mut now, mut value, mut cuts) = (0, 0, vec![]);
            for (wait, phase, start, read, more) in steps {
                (now, value) = (now + wait + 1, value + more);
                let kind = if start { Start } else { End };
                cuts.push(at(now, phase, kind, read.then_some(value)));
            }
            let read: Vec<i64> = cuts.iter().filter_map(|c| c.read).collect();
            let sum: i64 = cut(cuts).iter().map(|w| w.last - w.first).sum();
            let whole = read.last().zip(read.first()).map_or(0, |(last, first)| last - first);
            prop_assert_eq!(sum, whole);
        }
    }
}
