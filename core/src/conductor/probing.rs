//! The probes of a search: which phase is the next one and with what load, what
//! the ledger found of it, and what came of that.

use core::time::Duration;

use super::event::{ConductorEffect, ConductorEvent};
use super::lifecycle::{PhaseEvent, RunState};
use super::machine::Conductor;
use crate::account::sweep::SweepBy;
use crate::id::{MessageId, PhaseId, ServiceId};
use crate::machine::Sink;
use crate::message::{MeasureProbe, Message};
use crate::plan::{Arrival, PhasePlan, RunPlan};
use crate::search::judge::{self, Outcome, Sent};
use crate::search::{Next, Probe, ProbeMeasured, ProbeReport, Search, SearchPlan, SearchReport};
use crate::seed::Seed;
use crate::time::Tick;

/// The time after which the ledger is asked again: where it did not answer, or
/// where a record was still on its way.
pub const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A search under way.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    search: Search,
    plan: SearchPlan,
    root: Seed,
    /// The places of the phases that are left for probes, the next one last.
    left: Vec<usize>,
    report: SearchReport,
    measuring: Option<Measuring>,
    at: Option<usize>,
}

/// A probe whose phase is over, and of which the ledger is asked.
#[derive(Debug, Clone)]
struct Measuring {
    question: MeasureProbe,
    message: Option<MessageId>,
    again: Tick,
    give_up: Tick,
    heard: Option<ProbeMeasured>,
}

impl Probing {
    pub(super) fn new(plan: &RunPlan) -> Option<Self> {
        let search = plan.search()?;
        let mut left: Vec<usize> = plan.probes().collect();
        left.reverse();
        Some(Self {
            search: Search::new(search, left.len()),
            plan: search.clone(),
            root: Seed::root(plan.seed()),
            left,
            report: SearchReport::default(),
            measuring: None,
            at: None,
        })
    }

    pub(super) fn report(&self) -> SearchReport {
        self.report.clone()
    }

    /// When something is to be done about the probe that is being measured.
    pub(super) fn wake(&self) -> Option<Tick> {
        self.measuring.as_ref().map(|measuring| measuring.again.min(measuring.give_up))
    }

    /// Whether the phase at `index` waits for its probe.
    fn is_next(&self, index: usize) -> bool {
        self.left.last() == Some(&index)
    }
}

/// How the load of a probe is sent.
fn sent(phase: &PhasePlan) -> Sent {
    match phase.arrival {
        Arrival::Rate { max_concurrency: None, .. } => Sent::Open,
        Arrival::Rate { max_concurrency: Some(_), .. } | Arrival::Fixed { .. } => Sent::Capped,
        Arrival::Concurrency { .. } => Sent::Closed,
    }
}

/// A probe's load, for people.
fn words(by: SweepBy, probe: Probe) -> String {
    let Probe { value, requests } = probe;
    match by {
        SweepBy::RequestRate => format!("{value} requests per second, {requests} in all"),
        SweepBy::Concurrency => format!("{value} requests at a time, {requests} in all"),
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The phase's own: it has its load.
    Begin,
    /// Not yet.
    Wait,
    /// Not any more: it is skipped.
    Skip,
}

impl Conductor {
    /// Whether the phase at `index`, whose turn it would be, begins. A phase that
    /// is no probe waits until the last one is measured, so that it is not
    /// measured beside it.
    pub(super) fn turn(&mut self, index: usize, out: &mut impl Sink<ConductorEffect>) -> Turn {
        let Some(probing) = &mut self.probing else { return Turn::Begin };
        if probing.measuring.is_some() || probing.at.is_some() {
            return Turn::Wait;
        }
        if !probing.is_next(index) {
            return Turn::Begin;
        }
        let Some(phase) = self.phases.get_mut(index) else { return Turn::Wait };
        probing.left.pop();
        let Next::Probe(probe) = probing.search.next() else { return Turn::Skip };
        let by = probing.plan.by;
        phase.bind(by, probe, &probing.root);
        probing.at = Some(index);
        let phase_id = phase.plan.id;
        probing.report.probes.push(ProbeReport {
            phase: phase_id,
            probe,
            measured: None,
            outcome: None,
            reasons: Vec::new(),
        });
        let event = ConductorEvent::Probing {
            phase: phase.index,
            load: words(by, probe),
            requests: probe.requests,
        };
        out.push(ConductorEffect::Event(event));
        Turn::Begin
    }

    /// Skips the phase at `index`, which the search does not need.
    pub(super) fn skip(&mut self, index: usize) {
        self.apply(index, PhaseEvent::NotNeeded);
        self.next += 1;
    }

    /// Whether a probe is still to be measured.
    pub(super) fn is_probing(&self) -> bool {
        let measuring = |p: &Probing| p.measuring.is_some() || p.at.is_some();
        !self.stopping && self.probing.as_ref().is_some_and(measuring)
    }

    /// Asks the ledger of a probe that is over, again where that is due, and judges
    /// what it said; whether anything follows from that.
    pub(super) fn advance_probe(
        &mut self,
        now: Tick,
        out: &mut impl Sink<ConductorEffect>,
    ) -> bool {
        if self.stopping || self.state != RunState::Running {
            // The search is cut short: nothing is decided any more.
            if let Some(probing) = &mut self.probing {
                (probing.measuring, probing.at) = (None, None);
            }
            return false;
        }
        let fallback = self.limits.credits_complete_fallback;
        let Some(probing) = &mut self.probing else { return false };
        if let Some(index) = probing.at.filter(|_| self.active.is_empty()) {
            let Some(phase) = self.phases.get(index) else { return false };
            probing.at = None;
            probing.measuring = Some(Measuring {
                question: MeasureProbe {
                    phase: phase.plan.id,
                    sent: phase.counts.sent,
                    written_off: phase.written_off,
                },
                message: None,
                again: now,
                give_up: now + fallback,
                heard: None,
            });
        }
        let Some(measuring) = &mut probing.measuring else { return false };
        let complete = measuring.heard.as_ref().is_some_and(|heard| heard.missing == 0);
        if complete || measuring.give_up <= now {
            self.judge_probe(out);
            return true;
        }
        if measuring.again <= now {
            let body = Message::MeasureProbe(measuring.question);
            let ledger = ServiceId::ledger();
            let envelope = match measuring.message {
                Some(id) => self.member.resend(id, &ledger, body),
                None => self.member.send(&ledger, body),
            };
            measuring.message = Some(envelope.message_id);
            measuring.again = now + ASK_AGAIN;
            out.push(ConductorEffect::Send(envelope));
        }
        false
    }

    fn judge_probe(&mut self, out: &mut impl Sink<ConductorEffect>) {
        let Some(probing) = &mut self.probing else { return };
        let Some(measuring) = probing.measuring.take() else { return };
        let id: PhaseId = measuring.question.phase;
        let Some(phase) = self.phases.iter().find(|phase| phase.plan.id == id) else { return };
        let objectives = &probing.plan.objectives;
        let (mut outcome, mut reasons) =
            judge::probe(objectives, measuring.heard.as_ref(), sent(&phase.plan));
        if phase.failure.is_some() {
            outcome = Outcome::NotShown;
            reasons.insert(0, "its phase failed".to_owned());
        }
        probing.search.judged(outcome);
        if let Next::End(end) = probing.search.next() {
            probing.report.end = Some(end);
        }
        if let Some(report) = probing.report.probes.last_mut() {
            report.measured = measuring.heard;
            report.outcome = Some(outcome);
            report.reasons.clone_from(&reasons);
        }
        let event = ConductorEvent::Probed { phase: phase.index, outcome, reasons };
        out.push(ConductorEffect::Event(event));
    }

    /// The ledger's answer. One on a probe that is not asked of any more changes
    /// nothing, nor does an older one that lacks more.
    pub(super) fn hear_probe(&mut self, measured: ProbeMeasured) {
        let measuring = self.probing.as_mut().and_then(|probing| probing.measuring.as_mut());
        let Some(measuring) = measuring.filter(|m| m.question.phase == measured.phase) else {
            return;
        };
        if measuring.heard.as_ref().is_none_or(|heard| measured.missing <= heard.missing) {
            measuring.heard = Some(measured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_of_a_probe_is_said_in_its_unit() {
        let probe = Probe { value: 2.5, requests: 40 };
        let rate = words(SweepBy::RequestRate, probe);
        assert_eq!(rate, "2.5 requests per second, 40 in all");
        let probe = Probe { value: 3.0, requests: 40 };
        assert_eq!(words(SweepBy::Concurrency, probe), "3 requests at a time, 40 in all");
    }
}
