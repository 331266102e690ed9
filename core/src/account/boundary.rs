//! A boundary as both sides know it: the controller's record, and the gate
//! client's wait.

use std::collections::BTreeMap;

use super::gauge::{Span, middle};
use super::result::{BoundaryCollector, BoundaryResult, BoundaryStatus};
use crate::conductor::report::{ConductorReport, GateWait, PhaseReport};
use crate::controller::report::ControllerReport;
use crate::id::{PhaseId, ServiceId};
use crate::message::{BaselineKind, BoundaryOutcome, CollectorStatus, ReleasedBy};
use crate::plan::RunPlan;
use crate::time::Tick;

/// Both ends of a phase.
pub const KINDS: [BaselineKind; 2] = [BaselineKind::Start, BaselineKind::End];

/// `START` or `END`, as they are called in sentences.
#[must_use]
pub fn name(kind: BaselineKind) -> &'static str {
    match kind {
        BaselineKind::Start => "START",
        BaselineKind::End => "END",
    }
}

/// `text` as a sentence: it ends with a full stop.
#[must_use]
pub fn sentence(text: impl Into<String>) -> String {
    let mut text = text.into();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// A moment in a sentence: seconds with milliseconds.
#[must_use]
pub fn at(tick: Tick) -> String {
    format!("{:.3} s", tick.as_secs_f64())
}

/// One boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// The phase.
    pub phase: PhaseId,
    /// The phase's start or its end.
    pub kind: BaselineKind,
    /// Load was not held: the START of a seamless phase.
    pub shared: bool,
    /// The controller's record; `None` if it was never asked.
    pub outcome: Option<BoundaryOutcome>,
    /// The gate client's wait; `None` if it did not wait.
    pub wait: Option<GateWait>,
}

impl Boundary {
    /// How the controller has this collector down; `None` if it was not asked.
    #[must_use]
    pub fn status(&self, service: &ServiceId) -> Option<&CollectorStatus> {
        let collectors = self.outcome.iter().flat_map(|o| &o.collectors);
        collectors.into_iter().find(|c| c.service == *service).map(|c| &c.status)
    }

    /// Requests in flight when it was asked for; 0 where nobody knows of any.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let known = self.outcome.as_ref().map(|o| o.in_flight);
        known.max(self.wait.map(|w| w.in_flight)).unwrap_or(0)
    }

    /// When load went on; for a boundary that does not hold load, when it was
    /// closed. A reading that ended later may hold what came after.
    fn limit(&self) -> Option<Tick> {
        let closed = self.outcome.as_ref().map(|o| o.closed);
        let released = self.wait.filter(|_| !self.shared).map(|w| w.released);
        closed.into_iter().chain(released).min()
    }

    /// The moment at which time is cut: when its last captured reading was
    /// complete. Without one, when load could go on (a START that held load was
    /// closed) or when it was asked for (load had stopped, or did not wait).
    #[must_use]
    pub fn moment(&self) -> Option<Tick> {
        let outcome = self.outcome.as_ref();
        let readings = outcome.iter().flat_map(|o| &o.collectors).filter_map(|c| match &c.status {
            CollectorStatus::Captured { reading } => Some(reading.end),
            CollectorStatus::Pending
            | CollectorStatus::Failed { .. }
            | CollectorStatus::Missing
            | CollectorStatus::Late { .. }
            | CollectorStatus::Evicted { .. } => None,
        });
        let asked = outcome.map(|o| o.requested).or(self.wait.map(|w| w.asked));
        let holds = self.kind == BaselineKind::Start && !self.shared;
        readings.max().or(if holds { self.limit() } else { asked })
    }

    /// Whether a reading taken in `[start, end]` by `service` and marked with
    /// this boundary belongs to it: it began after the boundary was asked for,
    /// and was complete before load went on.
    ///
    /// # Errors
    /// Why it does not.
    pub fn accepts(&self, service: &ServiceId, start: Tick, end: Tick) -> Result<(), String> {
        let name = name(self.kind);
        let asked = self.outcome.as_ref().map(|o| o.requested).or(self.wait.map(|w| w.asked));
        if let Some(asked) = asked.filter(|asked| start < *asked) {
            return Err(format!(
                "its {name} reading began at {}, before the boundary was asked for at {}",
                at(start),
                at(asked),
            ));
        }
        // An acknowledgement that came in time says that the reading did.
        let captured = matches!(self.status(service), Some(CollectorStatus::Captured { .. }));
        let waited_in_vain = self.wait.is_some_and(|w| w.by == ReleasedBy::Timeout);
        match self.limit().filter(|limit| end > *limit) {
            Some(limit) if !captured || waited_in_vain => Err(format!(
                "its {name} reading was complete at {}, after the boundary was closed at {}",
                at(end),
                at(limit),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Why `service` has no reading at this boundary.
    #[must_use]
    pub fn why_unread(&self, service: &ServiceId) -> String {
        match self.status(service) {
            Some(CollectorStatus::Captured { .. }) => {
                "its reading was acknowledged and is not among the artifacts".to_owned()
            }
            Some(CollectorStatus::Failed { error }) => error.to_string(),
            Some(CollectorStatus::Pending | CollectorStatus::Missing) => {
                "it had not answered when the boundary was closed".to_owned()
            }
            Some(CollectorStatus::Late { error: Some(error), at: when, .. }) => {
                format!("it answered at {}, after the boundary was closed: {error}", at(*when))
            }
            Some(CollectorStatus::Late { error: None, at: when, .. }) => {
                format!("it answered at {}, after the boundary was closed", at(*when))
            }
            Some(CollectorStatus::Evicted { reason }) => format!("it was taken out ({reason})"),
            None if self.outcome.is_some() => "it was not asked".to_owned(),
            None => match self.wait {
                Some(wait) => unanswered(&wait),
                None => "the boundary was never reached".to_owned(),
            },
        }
    }

    /// The boundary as `run.json` has it; `None` if it never came to it.
    ///
    /// Where the gate client went on without a grant, `released_by` says so:
    /// that is what load saw.
    #[must_use]
    pub fn result(&self) -> Option<BoundaryResult> {
        let Some(outcome) = &self.outcome else {
            return self.wait.map(|wait| BoundaryResult {
                phase_id: self.phase,
                kind: self.kind,
                requested_ns: wait.asked,
                closed_ns: wait.released,
                released_by: wait.by,
                settled: None,
                in_flight: wait.in_flight,
                skew_ns: None,
                collectors: Vec::new(),
            });
        };
        let released_by = match self.wait.map(|w| w.by) {
            Some(by @ (ReleasedBy::Timeout | ReleasedBy::Cancelled)) => by,
            Some(ReleasedBy::AllAcked | ReleasedBy::NoCollectors | ReleasedBy::Disabled) | None => {
                outcome.released_by
            }
        };
        let told = outcome.collectors.iter().filter_map(|c| match &c.status {
            CollectorStatus::Captured { reading } => reading.settled,
            CollectorStatus::Pending
            | CollectorStatus::Failed { .. }
            | CollectorStatus::Missing
            | CollectorStatus::Late { .. }
            | CollectorStatus::Evicted { .. } => None,
        });
        let collectors = outcome.collectors.iter().map(|c| {
            let (status, error) = match &c.status {
                CollectorStatus::Captured { .. } => (BoundaryStatus::Captured, None),
                CollectorStatus::Failed { error } => {
                    (BoundaryStatus::Failed, Some(error.to_string()))
                }
                // A boundary that was cut short leaves collectors unanswered.
                CollectorStatus::Pending | CollectorStatus::Missing => {
                    (BoundaryStatus::Missing, None)
                }
                CollectorStatus::Late { error, .. } => {
                    (BoundaryStatus::Late, error.as_ref().map(ToString::to_string))
                }
                CollectorStatus::Evicted { reason } => {
                    (BoundaryStatus::Evicted, Some(reason.clone()))
                }
            };
            BoundaryCollector {
                service_id: c.service.clone(),
                status,
                error,
                attempts: c.attempts,
                reading_start_ns: c.status.reading().map(|r| r.start),
                reading_end_ns: c.status.reading().map(|r| r.end),
            }
        });
        Some(BoundaryResult {
            phase_id: self.phase,
            kind: self.kind,
            requested_ns: outcome.requested,
            closed_ns: outcome.closed,
            released_by,
            settled: told.reduce(|a, b| a && b),
            in_flight: self.in_flight(),
            skew_ns: skew(outcome),
            collectors: collectors.collect(),
        })
    }
}

/// How far apart the middles of the readings of one boundary lie.
fn skew(outcome: &BoundaryOutcome) -> Option<u64> {
    let captured = outcome.collectors.iter().filter_map(|c| match &c.status {
        CollectorStatus::Captured { reading } => Some(middle(reading.start, reading.end)),
        CollectorStatus::Pending
        | CollectorStatus::Failed { .. }
        | CollectorStatus::Missing
        | CollectorStatus::Late { .. }
        | CollectorStatus::Evicted { .. } => None,
    });
    let middles: Vec<Tick> = captured.collect();
    let apart = middles.iter().max()?.as_nanos().saturating_sub(middles.iter().min()?.as_nanos());
    (middles.len() > 1).then_some(apart)
}

/// Why a gate has no record of its collectors, by how its wait ended.
fn unanswered(wait: &GateWait) -> String {
    match wait.by {
        ReleasedBy::Disabled => "gates are disabled".to_owned(),
        ReleasedBy::Timeout => {
            let waited = wait.released.since(wait.asked).as_secs_f64();
            format!("no grant came in {waited:.3} s, and the controller has no record of it")
        }
        ReleasedBy::Cancelled => "the run was cancelled at this gate".to_owned(),
        ReleasedBy::AllAcked | ReleasedBy::NoCollectors => {
            "the controller has no record of it".to_owned()
        }
    }
}

/// Every boundary of the plan, and every phase's times.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundaries {
    all: BTreeMap<(usize, BaselineKind), Boundary>,
    /// One a phase; `None` where it did not start or its end is not known.
    spans: Vec<Option<Span>>,
}

impl Boundaries {
    /// Puts together what controller and conductor know.
    #[must_use]
    pub fn new(plan: &RunPlan, controller: &ControllerReport, conductor: &ConductorReport) -> Self {
        let mut all = BTreeMap::new();
        let mut spans = Vec::with_capacity(plan.phases().len());
        for (index, phase) in plan.phases().iter().enumerate() {
            let report = conductor.phases.iter().find(|p| p.phase == phase.id);
            let times = report.and_then(|r| Some((r.start?, r.end?)));
            spans.push(times.map(|(start, end)| Span { start, end: end.max(start) }));
            for kind in KINDS {
                let same = |o: &&BoundaryOutcome| o.phase == phase.id && o.kind == kind;
                let shared = phase.seamless && kind == BaselineKind::Start;
                let boundary = Boundary {
                    phase: phase.id,
                    kind,
                    shared,
                    outcome: controller.boundaries.iter().find(same).cloned(),
                    wait: report.and_then(|r| wait_of(r, kind)),
                };
                all.insert((index, kind), boundary);
            }
        }
        Self { all, spans }
    }

    /// One of a phase's boundaries; there for every phase of the plan.
    #[must_use]
    pub fn get(&self, phase: usize, kind: BaselineKind) -> Option<&Boundary> {
        self.all.get(&(phase, kind))
    }

    /// All of them, by phase.
    pub fn iter(&self) -> impl Iterator<Item = ((usize, BaselineKind), &Boundary)> {
        self.all.iter().map(|(key, boundary)| (*key, boundary))
    }

    /// The phases' times, in the order of the plan.
    #[must_use]
    pub fn spans(&self) -> &[Option<Span>] {
        &self.spans
    }

    /// As `run.json` has them: in the order in which they were asked for.
    #[must_use]
    pub fn results(&self) -> Vec<BoundaryResult> {
        let mut results: Vec<_> = self.all.values().filter_map(Boundary::result).collect();
        results.sort_by_key(|b| b.requested_ns);
        results
    }
}

fn wait_of(report: &PhaseReport, kind: BaselineKind) -> Option<GateWait> {
    report.gates.iter().find(|w| w.kind == kind).copied()
}
