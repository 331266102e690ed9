//! Readings in, one at a time; what each phase's telemetry did out.
//!
//! The same functions serve the end of a run and a later report on its files.
//! Readings of several sources may be interleaved in any way; those of one
//! source come in the order in which they were written.

use std::collections::BTreeMap;

use super::assemble::Evidence;
use super::boundary::{Boundaries, at};
use super::result::{GpuResult, Moved, ServerMetric};
use super::source::{Key, Peak, SourceBook, SourcePhase};
use super::verdict::Finding;
use super::windows::{Cut, cut};
use crate::id::{PhaseId, ServiceId};
use crate::message::BaselineKind;
use crate::reading::{FamilyType, Reading};
use crate::time::Tick;

/// Takes readings in. Its size grows with series × boundaries, not with
/// readings.
#[derive(Debug, Clone)]
pub struct Attribution {
    boundaries: Boundaries,
    phases: BTreeMap<PhaseId, usize>,
    started: Vec<bool>,
    sources: BTreeMap<(String, ServiceId), SourceBook>,
}

impl Attribution {
    /// Knows the boundaries and the phases' times; has no readings yet.
    #[must_use]
    pub fn new(evidence: &Evidence<'_>) -> Self {
        let phases = evidence.plan.phases();
        let started =
            phases.iter().map(|p| evidence.phase(p.id).is_some_and(|r| r.start.is_some()));
        Self {
            boundaries: evidence.boundaries(),
            phases: phases.iter().enumerate().map(|(i, p)| (p.id, i)).collect(),
            started: started.collect(),
            sources: BTreeMap::new(),
        }
    }

    /// Takes in one reading.
    pub fn feed(&mut self, reading: &Reading) {
        let boundaries = &self.boundaries;
        // A mark of a phase that is not in the plan leaves a periodic reading.
        let mark = reading.boundary.and_then(|b| Some((*self.phases.get(&b.phase)?, b.kind)));
        let mark = mark.map(|key| {
            let of = boundaries.get(key.0, key.1);
            (
                key,
                of.is_some_and(|b| b.accepts(&reading.service, reading.start, reading.end).is_ok()),
            )
        });
        let phases = self.started.len();
        let key = (reading.source.clone(), reading.service.clone());
        let source = self.sources.entry(key).or_insert_with(|| {
            let (endpoint, service) = (reading.source.clone(), reading.service.clone());
            let taken = boundaries.iter().filter_map(|(_, b)| {
                let taken = b.status(&service)?.reading()?;
                b.accepts(&service, taken.start, taken.end).ok()?;
                Some((taken.start, taken.end))
            });
            let taken: Vec<_> = taken.collect();
            SourceBook::new(endpoint, service, phases, taken)
        });
        source.feed(boundaries.spans(), reading, mark);
    }

    /// No more readings.
    #[must_use]
    pub fn finish(self) -> Attributed {
        let windows: Vec<_> =
            self.sources.values().map(|source| cut(cuts(&self.boundaries, source))).collect();
        let phases = self.started.iter().enumerate().map(|(index, started)| {
            let mut phase = PhaseTelemetry::default();
            for (source, windows) in self.sources.values().zip(&windows).filter(|_| *started) {
                let SourcePhase { server_metrics, gpus, findings } =
                    source.phase(&self.boundaries, index, windows);
                phase.server_metrics.extend(server_metrics);
                phase.gpus.extend(gpus);
                phase.findings.extend(findings);
            }
            phase.gpus.sort_by(|a, b| (a.index, &a.uuid).cmp(&(b.index, &b.uuid)));
            phase
        });
        Attributed {
            phases: phases.collect(),
            boundaries: self.boundaries.clone(),
            sources: self.sources.into_values().collect(),
        }
    }
}

/// What every phase's telemetry did.
#[derive(Debug, Clone)]
pub struct Attributed {
    /// One entry a phase of the plan; empty for one that was not started.
    pub phases: Vec<PhaseTelemetry>,
    boundaries: Boundaries,
    sources: Vec<SourceBook>,
}

/// What one phase's telemetry did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseTelemetry {
    /// By endpoint, name and labels.
    pub server_metrics: Vec<ServerMetric>,
    /// By index and UUID.
    pub gpus: Vec<GpuResult>,
    /// What was found out about how far these can be trusted.
    pub findings: Vec<Finding>,
}

/// What one counted series did, window by window.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesWindows {
    /// The endpoint.
    pub endpoint: String,
    /// The family's name.
    pub name: String,
    /// Its type.
    pub kind: FamilyType,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The windows, in order.
    pub windows: Vec<SeriesWindow>,
}

/// What one counted series did in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesWindow {
    /// The middle of the reading that opened it.
    pub from: Tick,
    /// The middle of the reading that closed it.
    pub to: Tick,
    /// The boundary of the reading that opened it.
    pub first: Key,
    /// The boundary of the reading that closed it.
    pub last: Key,
    /// The indices of the phases active in it.
    pub phases: Vec<usize>,
    /// What it did; or why that is not known.
    pub delta: Result<Moved, String>,
    /// It was set back.
    pub reset: bool,
}

impl Attributed {
    /// Whether a good reading of `service` for this boundary came in.
    #[must_use]
    pub fn is_read(&self, service: &ServiceId, key: Key) -> bool {
        self.sources.iter().any(|s| s.service() == service && s.is_read(key))
    }

    /// The collectors that gave a reading, good or failed, in a phase.
    pub fn services(&self, phase: usize) -> impl Iterator<Item = &ServiceId> {
        self.sources.iter().filter(move |s| s.took_part(phase)).map(SourceBook::service)
    }

    /// The sources, by name and collector.
    #[must_use]
    pub fn sources(&self) -> &[SourceBook] {
        &self.sources
    }

    /// Whether a phase has a counted series.
    #[must_use]
    pub fn has_series(&self, phase: usize) -> bool {
        let phase = self.phases.get(phase);
        phase.is_some_and(|p| p.server_metrics.iter().any(|m| !m.delta.is_absent()))
    }

    /// How a server was seen to work on more than the client has in flight, as a
    /// sentence: than `inside` in a phase, or than `outside` in the last reading
    /// before it.
    #[must_use]
    pub fn busy(&self, phase: usize, inside: u64, outside: Option<u64>) -> Option<String> {
        self.sources.iter().find_map(|source| {
            let endpoint = source.endpoint();
            if let (Some(limit), Some(peak)) = (outside, source.busy_before(phase))
                && peak.value > limit as f64
            {
                let Peak { gauge, value, at: when } = peak;
                return Some(format!(
                    "{gauge} of {endpoint} was {value} at {}, before the phase began, with \
                     {limit} of the client's requests possibly unfinished: somebody else uses \
                     the server.",
                    at(*when)
                ));
            }
            let peak = source.busiest(phase).filter(|peak| peak.value > inside as f64)?;
            let Peak { gauge, value, at: when } = peak;
            Some(format!(
                "{gauge} of {endpoint} was {value} at {}, more than {inside}, the most that the \
                 client's load explains: somebody else uses the server.",
                at(*when)
            ))
        })
    }

    /// What is to be said of the run and of none of the phases that `is_reported`
    /// knows, as sentences.
    #[must_use]
    pub fn run_notes(&self, is_reported: &dyn Fn(usize) -> bool) -> Vec<String> {
        self.sources.iter().flat_map(|source| source.run_notes(is_reported)).collect()
    }

    /// Whether anything at all was read.
    #[must_use]
    pub fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Every counted series, window by window. Time is cut for each source at
    /// its own boundary readings, by their middles; where it was not read at a
    /// boundary the windows on both sides are one. So the deltas of a series
    /// that was not reset sum to its last value at a boundary less its first,
    /// exactly where they are integers below 2⁵³. A source that answers as
    /// several processes has none.
    #[must_use]
    pub fn window_deltas(&self) -> Vec<SeriesWindows> {
        let mut all = Vec::new();
        for source in self.sources.iter().filter(|source| source.several().is_none()) {
            let windows = cut(cuts(&self.boundaries, source));
            all.extend(source.counted().map(|series| {
                SeriesWindows {
                    endpoint: source.endpoint().to_owned(),
                    name: series.name.to_owned(),
                    kind: series.kind,
                    labels: series.labels.clone(),
                    windows: windows
                        .iter()
                        .filter_map(|w| {
                            let change = series.between(w.first, w.last)?;
                            Some(SeriesWindow {
                                from: w.from,
                                to: w.to,
                                first: w.first,
                                last: w.last,
                                phases: w.phases.clone(),
                                delta: change.moved(),
                                reset: change.reset,
                            })
                        })
                        .collect(),
                }
            }));
        }
        all
    }
}

/// Where a source's readings cut time.
fn cuts(boundaries: &Boundaries, source: &SourceBook) -> Vec<Cut<Key>> {
    let cuts = boundaries.iter().filter_map(|(key, boundary)| {
        let span = boundaries.spans().get(key.0).copied().flatten()?;
        let own = match key.1 {
            BaselineKind::Start => span.start,
            BaselineKind::End => span.end,
        };
        let read = source.baseline(boundaries, key).ok();
        let at = match read {
            Some((start, end)) => super::gauge::middle(start, end),
            None => boundary.moment().unwrap_or(own),
        };
        Some(Cut { at, phase: key.0, kind: key.1, read: read.map(|_| key) })
    });
    cuts.collect()
}
