//! What each phase and window of the result must say, from the readings that
//! were taken: a delta is the value at one boundary less that at another, where
//! both are known, and is not known otherwise; a verdict is not better than the
//! boundaries.

use std::collections::BTreeMap;

use phasegate_core::account::assemble::assemble;
use phasegate_core::account::attribution::SeriesWindows;
use phasegate_core::account::result::{ClientResult, Delta, PhaseResult, Verdict as Grade};
use phasegate_core::account::{Attribution, Evidence, RunFacts};
use phasegate_core::message::{BaselineKind, ReleasedBy};
use phasegate_core::plan::PhasePlan;
use phasegate_core::reading::{BoundaryMark, Family, FamilyType, ReadingBody, Series, Value};

use super::Verdict;
use super::gates::Gates;
use super::readings::{Kept, Readings};
use crate::invariants::g06::check_windows;

const COUNTER: &str = "requests";

/// Assembles the result as a real run does, and compares it with what was read.
pub(super) fn judge(
    evidence: &Evidence<'_>,
    places: &[Option<usize>],
    readings: &Readings,
    gates: &Gates,
) -> Verdict {
    let ids = &evidence.controller.boundaries;
    let mut fed = Vec::new();
    for (life, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        // Its id, as somebody has recorded it; without a boundary it has no say.
        let named = ids.iter().flat_map(|b| &b.collectors).map(|c| &c.service);
        let Some(service) = named.into_iter().find(|id| {
            crate::des::config::who(id) == Some(crate::des::config::Who::Collector(*place))
        }) else {
            continue;
        };
        for kept in readings.of(life) {
            let Some(value) = kept.value else { continue };
            fed.push(kept.reading(service, *place, ReadingBody::Families(vec![family(value)])));
        }
    }
    let mut attribution = Attribution::new(evidence);
    fed.iter().for_each(|reading| attribution.feed(reading));
    let attributed = attribution.finish();
    let result = assemble(evidence, &attributed, facts());
    if let Some(broken) = check_windows(&result, &attributed).first() {
        return Err(broken.to_string());
    }
    let windows = attributed.window_deltas();
    for (plan, phase) in evidence.plan.phases().iter().zip(&result.phases) {
        graded(plan, phase, places, gates)?;
    }
    for (life, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let kept = readings.of(life);
        for (plan, phase) in evidence.plan.phases().iter().zip(&result.phases) {
            delta(plan, phase, *place, kept, evidence, gates)?;
        }
        if let Some(series) = windows.iter().find(|series| series.endpoint == source(*place)) {
            sum(series, kept, evidence, *place, gates)?;
        }
    }
    Ok(())
}

pub(super) fn source(place: usize) -> String {
    // Asked for with every reading.
    match place {
        0 => "source 0".to_owned(),
        1 => "source 1".to_owned(),
        2 => "source 2".to_owned(),
        3 => "source 3".to_owned(),
        _ => format!("source {place}"),
    }
}

fn family(value: u64) -> Family {
    let value = Value::Value(value as f64);
    let series = vec![Series { labels: BTreeMap::new(), created: None, value }];
    Family { name: COUNTER.to_owned(), kind: FamilyType::Counter, series }
}

pub(super) fn facts() -> RunFacts {
    RunFacts {
        notes: Vec::new(),
        run_id: String::new(),
        tool_version: String::new(),
        started_at: String::new(),
        finished_at: String::new(),
        config: serde_json::Value::Null,
        client: ClientResult::default(),
        interrupted: false,
        reasons: Vec::new(),
    }
}

/// A verdict is not better than what its two boundaries are known to lack.
pub(super) fn graded(
    plan: &PhasePlan,
    phase: &PhaseResult,
    places: &[Option<usize>],
    gates: &Gates,
) -> Verdict {
    let mut least = Grade::Clean;
    for kind in [BaselineKind::Start, BaselineKind::End] {
        for place in 0..places.len() {
            let at_least = match gates.at(place, plan.id, kind) {
                None => Grade::Clean,
                Some(None) => Grade::Incomplete,
                Some(Some(mark)) if mark.settled == Some(false) => Grade::Unsettled,
                Some(Some(_)) => Grade::Clean,
            };
            least = least.max(at_least);
        }
    }
    let said = phase.verdict;
    if phase.start_ns.is_some() && said < least {
        return Err(format!("phase {} is called {said:?}, and is {least:?}", plan.name));
    }
    Ok(())
}

/// Whether a baseline counts for certain: its answer came in time, and it was
/// complete before the client, tired of waiting, let load go on.
pub(super) fn is_in_time(
    kept: &Kept,
    evidence: &Evidence<'_>,
    place: usize,
    gates: &Gates,
) -> bool {
    let Some(BoundaryMark { phase, kind }) = kept.mark else { return false };
    let seamless = evidence.plan.phases().iter().any(|p| p.id == phase && p.seamless);
    let shared = seamless && kind == BaselineKind::Start;
    let waits = evidence.phase(phase).into_iter().flat_map(|phase| &phase.gates);
    let in_vain = waits
        .filter(|wait| wait.kind == kind && wait.by == ReleasedBy::Timeout)
        .any(|wait| kept.end > wait.released);
    matches!(gates.at(place, phase, kind), Some(Some(_))) && (shared || !in_vain)
}

/// A phase's delta is what lies between its own two readings.
fn delta(
    plan: &PhasePlan,
    phase: &PhaseResult,
    place: usize,
    kept: &[Kept],
    evidence: &Evidence<'_>,
    gates: &Gates,
) -> Verdict {
    let mark = |kind| BoundaryMark { phase: plan.id, kind };
    let of = |kind| kept.iter().find(|kept| kept.mark == Some(mark(kind)));
    let (start, end) = (of(BaselineKind::Start), of(BaselineKind::End));
    let metric = phase
        .server_metrics
        .iter()
        .find(|metric| metric.endpoint == source(place) && metric.name == COUNTER);
    let said = match metric.and_then(|metric| metric.delta.known()) {
        Some(Delta::Counter { total, .. }) => Some(*total),
        Some(Delta::Histogram { .. } | Delta::Summary { .. }) | None => None,
    };
    let name = &plan.name;
    let Some((start, end)) = start.zip(end) else {
        return match said {
            Some(said) => Err(format!("phase {name} has a delta of {said} without two readings")),
            None => Ok(()),
        };
    };
    // Two readings at a time (a slow START beside an END) have no order.
    let (Some(first), Some(last), true) = (start.value, end.value, start.end <= end.start) else {
        return Ok(());
    };
    let in_time = |kept: &Kept| is_in_time(kept, evidence, place, gates);
    let due = in_time(start) && in_time(end) && phase.start_ns.is_some() && phase.end_ns.is_some();
    let right = last.saturating_sub(first) as f64;
    match said {
        Some(said) if said == right => Ok(()),
        Some(said) => Err(format!("phase {name} has a delta of {said}, and it was {right}")),
        None if due => Err(format!("phase {name} has no delta, and it was {right}")),
        None => Ok(()),
    }
}

/// The windows' deltas add up to last less first.
fn sum(
    series: &SeriesWindows,
    kept: &[Kept],
    evidence: &Evidence<'_>,
    place: usize,
    gates: &Gates,
) -> Verdict {
    let marked: Vec<&Kept> = kept.iter().filter(|kept| kept.mark.is_some()).collect();
    let in_order = marked.windows(2).all(|two| two[0].end <= two[1].start);
    let over = |mark: BoundaryMark| {
        evidence.phase(mark.phase).is_some_and(|p| p.start.is_some() && p.end.is_some())
    };
    let in_time = marked
        .iter()
        .all(|kept| kept.mark.is_some_and(over) && is_in_time(kept, evidence, place, gates));
    if !in_order || !in_time {
        return Ok(());
    }
    let value = |kept: Option<&&Kept>| kept.and_then(|kept| kept.value).unwrap_or_default();
    let right = value(marked.last()).saturating_sub(value(marked.first())) as f64;
    let mut total = 0.0;
    for window in &series.windows {
        let amount = window.delta.as_ref().ok().and_then(|moved| moved.amount());
        total += amount.unwrap_or_default();
    }
    if total == right {
        Ok(())
    } else {
        Err(format!("the windows of {} add up to {total}, and it was {right}", series.endpoint))
    }
}
