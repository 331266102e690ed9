//! What one source did in one phase.

use std::collections::BTreeMap;

use super::notes::Odd;
use super::{CountedSeries, History, Key, SourceBook};
use crate::account::boundary::{Boundaries, KINDS, sentence};
use crate::account::delta::Change;
use crate::account::elapsed::Elapsed;
use crate::account::gauge::Span;
use crate::account::gpu::Energy;
use crate::account::result::{GpuResult, Maybe, Moved, ServerMetric, Verdict};
use crate::account::verdict::Finding;
use crate::account::windows::Between;
use crate::message::BaselineKind;

/// What one source did in one phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourcePhase {
    /// Its series, by name and labels.
    pub server_metrics: Vec<ServerMetric>,
    /// Its GPUs, by their UUIDs.
    pub gpus: Vec<GpuResult>,
    /// What was found out about how far these can be trusted.
    pub findings: Vec<Finding>,
}

/// One phase of one source: what its series are measured by.
struct Scope<'a> {
    phase: usize,
    /// Why there are no deltas; `None` where there are.
    refused: Option<String>,
    elapsed: Option<Elapsed>,
    /// The windows of the source that the phase consists of, in order; empty
    /// where all of them are its own.
    windows: &'a [Between<Key>],
}

impl SourceBook {
    /// What this source did in a phase that was started; `windows` are the
    /// source's own.
    #[must_use]
    pub fn phase(
        &self,
        boundaries: &Boundaries,
        phase: usize,
        windows: &[Between<Key>],
    ) -> SourcePhase {
        let mut out = SourcePhase::default();
        let unread = self.unread(boundaries, phase);
        let several = self.several();
        let span = boundaries.spans().get(phase).copied().flatten();
        let at = |kind| self.baseline(boundaries, (phase, kind)).ok();
        let ends = at(BaselineKind::Start).zip(at(BaselineKind::End));
        let scope = Scope {
            phase,
            refused: unread.clone().or_else(|| several.clone()),
            elapsed: ends.map(|(start, end)| Elapsed::between(start, end)),
            windows: shared_by(windows, phase),
        };
        let mut odd = Odd::default();
        for (name, books) in &self.families {
            for book in books {
                for (labels, series) in &book.series {
                    let mut metric = ServerMetric {
                        endpoint: self.endpoint.clone(),
                        name: name.clone(),
                        kind: book.kind,
                        labels: labels.clone(),
                        delta: Maybe::Absent,
                        stats: Maybe::Absent,
                        own: None,
                        shared: None,
                        reason: None,
                        reset: false,
                    };
                    let listed = match &series.history {
                        History::Counted(track) => {
                            let (kind, baselines) = (book.kind, &self.baselines);
                            let of = CountedSeries { name, kind, labels, track, baselines };
                            counted(&mut metric, of, &scope)
                        }
                        History::Gauge(gauge) => {
                            let stats = gauge.stats(boundaries.spans(), phase);
                            let born_later =
                                span.is_some_and(|s| series.first_seen > s.end) && unread.is_none();
                            match stats {
                                Some(stats) => metric.stats = Maybe::Known(stats),
                                None => {
                                    metric.stats = Maybe::Unknown;
                                    metric.reason = Some(no_value(span).to_owned());
                                }
                            }
                            if born_later { Listed::No } else { Listed::Yes }
                        }
                    };
                    match listed {
                        Listed::No => continue,
                        Listed::Yes => {}
                        Listed::Reset(how) => odd.reset.push((label(name, labels), how)),
                        Listed::Torn(how) => odd.torn.push((label(name, labels) + ":", how)),
                        Listed::Gone => odd.gone.push(label(name, labels)),
                    }
                    out.server_metrics.push(metric);
                }
            }
        }
        let counted = out.server_metrics.iter().filter(|m| !m.delta.is_absent()).count();
        if let Some(several) = several.filter(|_| counted > 0) {
            let note = sentence(format!("{} cannot be counted: {several}", self.endpoint));
            out.findings.push(Finding::new(Verdict::Contaminated, note));
        }
        if let Some(why) = unread.as_ref().filter(|_| ends.is_some()) {
            let note = sentence(format!("{} has no deltas: {why}", self.endpoint));
            out.findings.push(Finding::new(Verdict::Incomplete, note));
        }
        out.findings.extend(odd.findings(&self.endpoint, counted));
        self.add_gpus(&mut out, boundaries, phase, unread.as_deref());
        self.note_readings(&mut out.findings, phase);
        out
    }

    fn add_gpus(
        &self,
        out: &mut SourcePhase,
        boundaries: &Boundaries,
        phase: usize,
        unread: Option<&str>,
    ) {
        for (uuid, book) in &self.gpus {
            let energy = match unread {
                Some(why) => Energy::Unknown(why.to_owned()),
                None => book.energy_in(boundaries.spans(), phase),
            };
            let span = boundaries.spans().get(phase).copied().flatten();
            out.findings.extend(book.findings(uuid, &self.endpoint, (phase, span), &energy));
            out.gpus.push(book.result(uuid, phase, boundaries.spans(), &energy));
        }
    }
}

/// Whether a series is listed in a phase, and what is to be said of it.
enum Listed {
    No,
    Yes,
    /// It began to count anew: how.
    Reset(String),
    /// Its buckets disagree: how.
    Torn(String),
    Gone,
}

/// The windows that a phase consists of, where it shares any of them.
fn shared_by(windows: &[Between<Key>], phase: usize) -> &[Between<Key>] {
    let first = windows.iter().position(|w| w.first == (phase, BaselineKind::Start));
    let last = windows.iter().position(|w| w.last == (phase, BaselineKind::End));
    let own = first.zip(last).and_then(|(first, last)| windows.get(first..=last));
    own.filter(|own| own.iter().any(|w| w.phases.iter().any(|p| *p != phase))).unwrap_or(&[])
}

/// Fills in the delta of a counted series.
fn counted(metric: &mut ServerMetric, series: CountedSeries<'_>, scope: &Scope<'_>) -> Listed {
    metric.delta = Maybe::Unknown;
    if let Some(why) = &scope.refused {
        metric.reason = Some(why.clone());
        return Listed::Yes;
    }
    let [start, end] = KINDS.map(|kind| (scope.phase, kind));
    let Some(change) = series.between(start, end) else {
        if !series.is_at(start) {
            return Listed::No;
        }
        metric.reason = Some("it was there at START and not at END".to_owned());
        return Listed::Gone;
    };
    match change.delta(scope.elapsed) {
        Ok(delta) => metric.delta = Maybe::Known(delta),
        Err(why) => metric.reason = Some(why),
    }
    metric.reset = change.reset;
    if let Some((own, shared)) = apart(&change, series, scope) {
        (metric.own, metric.shared) = (Some(own), Some(shared));
    }
    match (change.why_reset(), &metric.reason) {
        (Some(how), _) => Listed::Reset(how),
        (None, Some(why)) if change.torn => Listed::Torn(why.clone()),
        (None, Some(_) | None) => Listed::Yes,
    }
}

/// What of a change lies in windows of the phase alone, and what in shared
/// ones; `None` where it shares none, or where the two are not all of it (its
/// readings have no order).
fn apart(change: &Change, series: CountedSeries<'_>, scope: &Scope<'_>) -> Option<(Moved, Moved)> {
    if scope.windows.is_empty() {
        return None;
    }
    let (mut own, mut shared) = (change.nothing(), change.nothing());
    for window in scope.windows {
        let part = match series.between(window.first, window.last) {
            Some(part) => part,
            None if series.is_at(window.first) => return None,
            None => continue,
        };
        let side = if window.phases == [scope.phase] { &mut own } else { &mut shared };
        *side = side.plus(&part)?;
    }
    if !own.plus(&shared)?.equals(change) {
        return None;
    }
    own.moved().ok().zip(shared.moved().ok())
}

fn no_value(span: Option<Span>) -> &'static str {
    match span {
        Some(_) => "no reading gave it a finite value in the phase",
        None => "the times of the phase are not known",
    }
}

/// A series as it is written in an exposition.
fn label(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{name}{{{}}}", pairs.join(","))
}
