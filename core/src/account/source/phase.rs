//! What one source did in one phase.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{History, Key, SourceBook};
use crate::account::boundary::{Boundaries, sentence};
use crate::account::delta::{Mark, between};
use crate::account::gauge::Span;
use crate::account::gpu::Energy;
use crate::account::result::{GpuResult, Maybe, ServerMetric, Verdict};
use crate::account::verdict::Finding;
use crate::message::BaselineKind;

/// So many series are named in a note; the others are counted.
const NAMED: usize = 3;

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

impl SourceBook {
    /// What this source did in a phase that was started.
    pub fn phase(&self, boundaries: &Boundaries, phase: usize) -> SourcePhase {
        let mut out = SourcePhase::default();
        let unread = self.unread(boundaries, phase);
        let span = boundaries.spans().get(phase).copied().flatten();
        let (mut reset, mut gone) = (Vec::new(), Vec::new());
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
                        reason: None,
                        reset: false,
                    };
                    let listed = match &series.history {
                        History::Counted { marks, .. } => {
                            counted(&mut metric, marks, phase, span, unread.as_deref())
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
                        Listed::Reset(fall) => reset.push((label(name, labels), fall)),
                        Listed::Gone => gone.push(label(name, labels)),
                    }
                    out.server_metrics.push(metric);
                }
            }
        }
        self.note_series(&mut out, &reset, &gone);
        self.add_gpus(&mut out, boundaries, phase, unread.as_deref());
        self.note_readings(&mut out, phase);
        out
    }

    fn note_series(
        &self,
        out: &mut SourcePhase,
        reset: &[(String, Option<(f64, f64)>)],
        gone: &[String],
    ) {
        if !reset.is_empty() {
            let named = reset.iter().take(NAMED).map(|(label, fall)| match fall {
                Some((from, to)) => format!("{label} fell from {from} to {to}"),
                None => format!("{label} was set back"),
            });
            let note = format!(
                "{} of {} counted series of {} were set back inside the phase; their deltas are lower \
                 bounds: {}{}",
                reset.len(),
                out.server_metrics.iter().filter(|m| !m.delta.is_absent()).count(),
                self.endpoint,
                named.collect::<Vec<_>>().join(", "),
                more(reset.len()),
            );
            out.findings.push(Finding::new(Verdict::Contaminated, sentence(note)));
        }
        if !gone.is_empty() {
            let named: Vec<_> = gone.iter().take(NAMED).map(String::as_str).collect();
            let note = format!(
                "{} series of {} that were there at START were gone at END, so what they counted \
                 is not known: {}{}",
                gone.len(),
                self.endpoint,
                named.join(", "),
                more(gone.len()),
            );
            out.findings.push(Finding::new(Verdict::Incomplete, sentence(note)));
        }
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
                None => book.energy(phase),
            };
            match &energy {
                Energy::Known(_) | Energy::Unknown(_) => {}
                Energy::Lost(why) => {
                    let note =
                        sentence(format!("GPU {uuid} of {} has no energy: {why}", self.endpoint));
                    out.findings.push(Finding::new(Verdict::Incomplete, note));
                }
                Energy::Reset(from, to) => {
                    let note = format!(
                        "The energy counter of GPU {uuid} of {} fell from {from} J to {to} J inside \
                         the phase, so its energy is not known.",
                        self.endpoint
                    );
                    out.findings.push(Finding::new(Verdict::Contaminated, note));
                }
            }
            out.gpus.push(book.result(uuid, phase, boundaries.spans(), &energy));
        }
    }

    /// Notes on readings that failed. Whether a boundary's did decides the
    /// verdict elsewhere; these notes change none.
    fn note_readings(&self, out: &mut SourcePhase, phase: usize) {
        let Some(readings) = self.readings.get(phase).filter(|r| r.failed > 0 || r.good == 0)
        else {
            return;
        };
        let why = readings.last_error.as_ref().map(|e| format!("; the last error: {e}"));
        let why = why.unwrap_or_default();
        let note = if readings.good == 0 {
            format!("{} gave nothing at all in the phase{why}", self.endpoint)
        } else {
            let all = readings.good + readings.failed;
            format!("{} of {all} readings of {} failed{why}", readings.failed, self.endpoint)
        };
        out.findings.push(Finding::new(Verdict::Clean, sentence(note)));
    }
}

/// Whether a series is listed in a phase, and what is to be said of it.
enum Listed {
    No,
    Yes,
    Reset(Option<(f64, f64)>),
    Gone,
}

/// Fills in the delta of a counted series.
fn counted(
    metric: &mut ServerMetric,
    marks: &BTreeMap<Key, Arc<Mark>>,
    phase: usize,
    span: Option<Span>,
    unread: Option<&str>,
) -> Listed {
    metric.delta = Maybe::Unknown;
    if let Some(why) = unread {
        metric.reason = Some(why.to_owned());
        return Listed::Yes;
    }
    let start = marks.get(&(phase, BaselineKind::Start));
    let Some(end) = marks.get(&(phase, BaselineKind::End)) else {
        if start.is_none() {
            return Listed::No;
        }
        metric.reason = Some("it was there at START and not at END".to_owned());
        return Listed::Gone;
    };
    let change = between(start.map(|m| &**m), end);
    match change.delta(span.map(|s| s.seconds())) {
        Ok(delta) => metric.delta = Maybe::Known(delta),
        Err(why) => metric.reason = Some(why),
    }
    metric.reset = change.reset;
    if change.reset { Listed::Reset(change.fall) } else { Listed::Yes }
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

fn more(all: usize) -> String {
    match all.saturating_sub(NAMED) {
        0 => String::new(),
        left => format!(" and {left} more"),
    }
}
