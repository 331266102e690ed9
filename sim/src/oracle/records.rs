//! The ledger's counts: every record once, and how the books were closed.

use core::time::Duration;

use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::ledger::{LedgerEffect, LedgerEvent, LedgerInput};
use phasegate_core::message::{CreditsComplete, Message, PhaseProgress, ProfileFinish};
use phasegate_core::plan::RunPlan;
use phasegate_core::record::{CreditEnd, RequestRecord};
use phasegate_core::time::Tick;

use super::Verdict;

/// One phase's records.
#[derive(Debug)]
struct Phase {
    id: phasegate_core::PhaseId,
    /// How many were sent, as far as the ledger can know.
    sent: Option<u64>,
    seen: Vec<(u32, CreditEnd)>,
}

impl Phase {
    fn missing(&self) -> u64 {
        self.sent.map_or(0, |sent| {
            let seen = self.seen.iter().filter(|(number, _)| u64::from(*number) < sent).count();
            sent - seen as u64
        })
    }
}

/// The ledger's side of a run.
#[derive(Debug)]
pub(super) struct Records {
    phases: Vec<Phase>,
    fallback: Duration,
    /// When credits were known to be complete.
    complete: Option<Tick>,
    closed: bool,
}

impl Records {
    pub(super) fn new(plan: &RunPlan) -> Self {
        let phases = plan.phases().iter();
        Self {
            phases: phases.map(|p| Phase { id: p.id, sent: None, seen: Vec::new() }).collect(),
            fallback: plan.limits().credits_complete_fallback,
            complete: None,
            closed: false,
        }
    }

    pub(super) fn see(
        &mut self,
        at: Tick,
        input: Option<&LedgerInput>,
        effects: &[LedgerEffect],
    ) -> Verdict {
        let mut shutdown = false;
        match input {
            Some(LedgerInput::Record(record)) => self.record(record),
            Some(LedgerInput::Message(envelope)) => match &envelope.body {
                Message::SendingComplete(progress) | Message::PhaseComplete(progress) => {
                    self.progress(progress);
                }
                Message::CreditsComplete(complete) => self.credits(at, complete),
                Message::Shutdown { .. } => shutdown = true,
                Message::Register(_)
                | Message::Status(_)
                | Message::Heartbeat(_)
                | Message::Begin
                | Message::GateCommand(_)
                | Message::BaselineRequest(_)
                | Message::BaselineAck(_)
                | Message::GateGranted(_)
                | Message::PhaseStarted(_)
                | Message::DomainResult(_)
                | Message::MeasureProbe(_)
                | Message::ProbeMeasured(_)
                | Message::Unknown => {}
            },
            Some(LedgerInput::Start) | None => {}
        }
        let all_in = self.phases.iter().all(|phase| phase.missing() == 0);
        for effect in effects {
            if let LedgerEffect::Event(LedgerEvent::Finalised { finish, records, missing }) = effect
            {
                self.closes(at, *finish, *records, missing.iter().map(|(_, n)| n).sum(), shutdown)?;
            }
        }
        match self.complete {
            Some(since) if !self.closed && (all_in || since + self.fallback <= at) => {
                Err("the books had to be closed".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn record(&mut self, record: &RequestRecord) {
        let complete = self.complete.is_some();
        let Some(phase) = self.phases.get_mut(usize::from(record.credit.phase)) else { return };
        let number = record.credit.number;
        let beyond = complete && phase.sent.is_some_and(|sent| u64::from(number) >= sent);
        let twice = phase.seen.iter().any(|(seen, _)| *seen == number);
        if !self.closed && !beyond && !twice {
            phase.seen.push((number, record.outcome.end()));
        }
    }

    fn progress(&mut self, progress: &PhaseProgress) {
        let phase = self.phases.iter_mut().find(|phase| phase.id == progress.phase);
        if let Some(phase) = phase.filter(|_| !self.closed) {
            phase.sent.get_or_insert(progress.counts.sent);
        }
    }

    fn credits(&mut self, at: Tick, complete: &CreditsComplete) {
        if self.complete.is_some() || self.closed {
            return;
        }
        self.complete = Some(at);
        for phase in &mut self.phases {
            let counts = complete.phases.iter().find(|(id, _)| *id == phase.id);
            phase.sent = Some(counts.map_or(0, |(_, counts)| counts.sent));
        }
    }

    fn closes(
        &mut self,
        at: Tick,
        finish: ProfileFinish,
        records: u64,
        missing: u64,
        shutdown: bool,
    ) -> Verdict {
        if std::mem::replace(&mut self.closed, true) {
            return Err("the books were closed twice".to_owned());
        }
        let known: u64 = self.phases.iter().map(|phase| phase.seen.len() as u64).sum();
        let lacking: u64 = self.phases.iter().map(Phase::missing).sum();
        if (records, missing) != (known, lacking) {
            return Err(format!(
                "the books have {records} records and lack {missing}, {known} came and {lacking} \
                 did not"
            ));
        }
        let right = match finish {
            ProfileFinish::Complete => self.complete.is_some() && lacking == 0,
            ProfileFinish::Fallback => {
                self.complete.is_some_and(|since| since + self.fallback <= at)
            }
            ProfileFinish::Shutdown => shutdown,
        };
        if right { Ok(()) } else { Err(format!("the books were closed as {finish:?}")) }
    }

    pub(super) fn finish(&self, report: &LedgerReport) -> Verdict {
        for (index, (phase, said)) in self.phases.iter().zip(&report.phases).enumerate() {
            let count = |end| phase.seen.iter().filter(|(_, e)| *e == end).count() as u64;
            let known = (
                phase.seen.len() as u64,
                count(CreditEnd::Completed),
                count(CreditEnd::Failed),
                count(CreditEnd::Cancelled),
            );
            let counts = said.counts;
            let said = (counts.sent, counts.completed, counts.errors, counts.cancelled);
            if said != known {
                return Err(format!("the books of phase {index} have {said:?}, {known:?} came"));
            }
        }
        Ok(())
    }
}
