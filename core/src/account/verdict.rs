//! How far a phase's telemetry can be trusted, in words.
//!
//! A verdict is never better than the evidence: whatever is lost, late or not
//! known to be there makes it worse, and every finding names the collector, the
//! metric and the numbers.

use std::collections::BTreeSet;

use super::assemble::Evidence;
use super::attribution::Attributed;
use super::boundary::{Boundaries, Boundary, KINDS, at, name, sentence};
use super::result::{Verdict, Window};
use crate::conductor::gate::GRANT_SLACK;
use crate::controller::report::Eviction;
use crate::id::ServiceId;
use crate::message::{BaselineKind, CollectorStatus, ReleasedBy};
use crate::planted::{Bug, is_planted};
use crate::time::Tick;

/// One thing that was found out about a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it makes of the phase at best; [`Verdict::Clean`] changes nothing.
    pub verdict: Verdict,
    /// It, as a sentence.
    pub note: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(verdict: Verdict, note: impl Into<String>) -> Self {
        Self { verdict, note: note.into() }
    }
}

/// The worst of the findings, and their notes, worst first; those that weigh
/// the same stay in their order.
#[must_use]
pub fn sum_up(mut findings: Vec<Finding>) -> (Verdict, Vec<String>) {
    findings.sort_by_key(|f| core::cmp::Reverse(f.verdict));
    let verdict = findings.first().map_or(Verdict::Clean, |f| f.verdict);
    (verdict, findings.into_iter().map(|f| f.note).collect())
}

/// What the boundaries of a run say about its phases.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The run.
    pub evidence: &'a Evidence<'a>,
    /// Its boundaries.
    pub boundaries: &'a Boundaries,
    /// Its windows.
    pub windows: &'a [Window],
    /// Its readings.
    pub attributed: &'a Attributed,
}

impl Judge<'_> {
    /// Everything found out about the phase at `index`, which was started.
    #[must_use]
    pub fn findings(&self, index: usize) -> Vec<Finding> {
        if !self.anything_registered() {
            return vec![Finding::new(Verdict::Clean, "No telemetry was collected.")];
        }
        let telemetry = self.attributed.phases.get(index);
        let mut findings = telemetry.map(|t| t.findings.clone()).unwrap_or_default();
        if !self.evidence.plan.gate().enabled {
            let note = "Gates are disabled, so nothing was read at the boundaries.";
            findings.push(Finding::new(Verdict::Incomplete, note));
        } else {
            for kind in KINDS {
                if let Some(boundary) = self.boundaries.get(index, kind) {
                    self.gate(boundary, &mut findings);
                    self.unheld(index, boundary, &mut findings);
                    self.collectors(index, boundary, &mut findings);
                }
            }
        }
        self.overlaps(index, &mut findings);
        findings
    }

    /// Whether any collector took part in this run, or should have. One that
    /// said itself that it takes no part did not.
    #[must_use]
    pub fn anything_registered(&self) -> bool {
        let controller = self.evidence.controller;
        let mut outcomes = controller.boundaries.iter().flat_map(|b| &b.collectors);
        let mut produced = controller.domains.values().flat_map(|d| d.results.keys());
        self.attributed.has_sources()
            || outcomes.next().is_some()
            || produced.any(is_collector)
            || controller.evictions.iter().any(|e| !e.excused && is_collector(&e.service))
            || controller.not_ready.iter().any(is_collector)
    }

    /// The gate itself: was it answered, and was anything in flight?
    fn gate(&self, boundary: &Boundary, findings: &mut Vec<Finding>) {
        let name = name(boundary.kind);
        if let Some(wait) = boundary.wait.filter(|w| w.by == ReleasedBy::Timeout) {
            // The gate client gives up later than the controller's own timeout: one
            // that went on before that was told so by a grant.
            let waited = wait.released.since(wait.asked);
            let granted = waited < self.evidence.plan.gate().timeout + GRANT_SLACK;
            let waited = waited.as_secs_f64();
            let note = if granted {
                format!("The {name} gate was released by its timeout after {waited:.3} s.")
            } else {
                format!(
                    "No grant of the {name} gate came in {waited:.3} s; the phase went on \
                     without it."
                )
            };
            findings.push(Finding::new(Verdict::Incomplete, note));
        } else if boundary.outcome.is_none() {
            let why = match boundary.wait.map(|w| w.by) {
                Some(ReleasedBy::Cancelled) => "the run was cancelled at it",
                Some(
                    ReleasedBy::AllAcked
                    | ReleasedBy::NoCollectors
                    | ReleasedBy::Disabled
                    | ReleasedBy::Timeout,
                ) => "the controller has no record of it",
                None => "it was never reached",
            };
            let note = format!("Nothing was read at the {name} boundary: {why}.");
            findings.push(Finding::new(Verdict::Incomplete, note));
        }
        let in_flight = boundary.in_flight();
        if in_flight > 0 {
            let requests = if in_flight == 1 { "request was" } else { "requests were" };
            let note = format!("{in_flight} {requests} in flight at the {name} boundary.");
            findings.push(Finding::new(Verdict::Overlapped, note));
        }
    }

    /// A seamless phase sends while its START and the ENDs of those before it are read:
    /// a reading then holds some of what it did, also where nothing was in flight
    /// at the moment of asking. One that was over by then is in it as a whole, also
    /// where no window shows that because its own readings took longer.
    fn unheld(&self, index: usize, boundary: &Boundary, findings: &mut Vec<Finding>) {
        let seamless = match boundary.kind {
            BaselineKind::Start => index,
            BaselineKind::End => index + 1,
        };
        let outcome = boundary.outcome.as_ref().filter(|outcome| outcome.in_flight == 0);
        let (Some(outcome), Some(read)) = (outcome, boundary.moment()) else { return };
        let later = self.evidence.plan.phases().iter().skip(seamless);
        for plan in later.take_while(|phase| phase.seamless) {
            let Some(report) = self.evidence.phase(plan.id) else { continue };
            let began = report.start.is_some_and(|start| start < read);
            if report.counts.sent == 0 || !began {
                continue;
            }
            let over = report.end.is_some_and(|end| end <= outcome.requested);
            let (name, plan) = (name(boundary.kind), &plan.name);
            let note = if over {
                format!(
                    "'{plan}' was over before the {name} boundary was asked for: what it did is \
                     counted before it."
                )
            } else {
                format!(
                    "'{plan}' was sending while the {name} boundary was read: what it did until \
                     {} is counted before it.",
                    at(read),
                )
            };
            findings.push(Finding::new(Verdict::Overlapped, note));
        }
    }

    /// Every collector that was, is or should be registered, at one boundary.
    fn collectors(&self, index: usize, boundary: &Boundary, findings: &mut Vec<Finding>) {
        let Some(outcome) = &boundary.outcome else { return };
        let name = name(boundary.kind);
        for service in self.expected(index) {
            let (verdict, why) = match boundary.status(service) {
                Some(CollectorStatus::Captured { reading }) => {
                    if reading.settled == Some(false) && !is_planted(Bug::UnsettledIsClean) {
                        let what = if reading.unsettled.is_empty() {
                            "it did not say what".to_owned()
                        } else {
                            reading.unsettled.join(", ")
                        };
                        let note = format!(
                            "{service} was still moving at the {name} boundary when settling \
                             timed out, after {} readings: {what}",
                            reading.readings,
                        );
                        findings.push(Finding::new(Verdict::Unsettled, sentence(note)));
                    }
                    if self.attributed.is_read(service, (index, boundary.kind)) {
                        continue;
                    }
                    (Verdict::Incomplete, boundary.why_unread(service))
                }
                Some(
                    CollectorStatus::Pending
                    | CollectorStatus::Failed { .. }
                    | CollectorStatus::Missing
                    | CollectorStatus::Late { .. }
                    | CollectorStatus::Evicted { .. },
                ) => (Verdict::Incomplete, boundary.why_unread(service)),
                None => (Verdict::Incomplete, self.why_not_asked(service, boundary)),
            };
            let note = format!(
                "{service} has no reading at the {name} boundary ({} to {}): {why}",
                at(outcome.requested),
                at(outcome.closed),
            );
            findings.push(Finding::new(verdict, sentence(note)));
        }
    }

    /// The collectors that this phase should have readings of: those that were
    /// asked at a boundary by its end or gave readings in it, those taken out
    /// before its end, and those that were not ready when the run began. One
    /// that said itself that it takes no part is not among the latter.
    fn expected(&self, index: usize) -> BTreeSet<&ServiceId> {
        let controller = self.evidence.controller;
        let own = KINDS.into_iter().filter_map(|kind| self.boundaries.get(index, kind));
        let end = own.filter_map(|b| b.outcome.as_ref()).map(|o| o.closed).max();
        let by_its_end = |at: Tick| end.is_none_or(|end| at <= end);
        let boundaries = controller.boundaries.iter().filter(|b| by_its_end(b.requested));
        let asked = boundaries.flat_map(|b| &b.collectors).map(|c| &c.service);
        let heard = self.attributed.services(index);
        let evicted = controller.evictions.iter().filter(|e| !e.excused && by_its_end(e.at));
        let evicted = evicted.map(|e| &e.service).filter(|s| is_collector(s));
        let not_ready =
            controller.not_ready.iter().filter(|s| is_collector(s) && !controller.excused(s));
        asked.chain(heard).chain(evicted).chain(not_ready).collect()
    }

    fn why_not_asked(&self, service: &ServiceId, boundary: &Boundary) -> String {
        let controller = self.evidence.controller;
        let asked = boundary.outcome.as_ref().map(|o| o.requested);
        let before = |e: &&Eviction| e.service == *service && asked.is_none_or(|t| e.at <= t);
        match controller.evictions.iter().rfind(before) {
            Some(e) => format!("it was taken out at {} ({})", at(e.at), e.reason),
            None if controller.not_ready.contains(service) => {
                "it was not ready when the run began".to_owned()
            }
            None => "it was not registered when the boundary was asked for".to_owned(),
        }
    }

    /// The windows that the phase shares with another.
    fn overlaps(&self, index: usize, findings: &mut Vec<Finding>) {
        let Some(own) = self.evidence.plan.phases().get(index).map(|p| &p.name) else { return };
        for window in self.windows.iter().filter(|w| w.phases.contains(own)) {
            let others = window.phases.iter().filter(|p| *p != own);
            let others: Vec<_> = others.map(|p| format!("'{p}'")).collect();
            if !others.is_empty() {
                let note = format!(
                    "The window from {} to {} is shared with {}{}: deltas and energy hold what all \
                     of them did in it.",
                    at(window.from_ns),
                    at(window.to_ns),
                    others.join(" and "),
                    self.in_flight_at(window),
                );
                findings.push(Finding::new(Verdict::Overlapped, note));
            }
        }
    }

    /// How many requests were in flight at the boundary that opened a window.
    fn in_flight_at(&self, window: &Window) -> String {
        let opened = self.boundaries.iter().filter(|(_, b)| b.moment() == Some(window.from_ns));
        match opened.map(|(_, b)| b.in_flight()).max() {
            None | Some(0) => String::new(),
            Some(n) => format!(", with {n} in flight when it opened"),
        }
    }
}

/// Every service of a run is a collector but the three that run it.
fn is_collector(service: &ServiceId) -> bool {
    !["controller", "conductor", "ledger"].contains(&service.as_str())
}
