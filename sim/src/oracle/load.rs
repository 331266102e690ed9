//! Credits: out, back, written off.

use core::time::Duration;

use phasegate_core::conductor::report::ConductorReport;
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorEvent, ConductorInput};
use phasegate_core::message::{BaselineKind, GateCommand, Message, PhaseCounts};
use phasegate_core::plan::{Inputs, RunPlan};
use phasegate_core::reading::BoundaryMark;
use phasegate_core::record::{Credit, CreditEnd, CreditReturn};
use phasegate_core::time::Tick;

use super::Verdict;
use super::inputs::Items;

/// One phase's credits.
#[derive(Debug)]
struct Phase {
    id: phasegate_core::PhaseId,
    counts: PhaseCounts,
    written_off: u64,
    /// Those that are out, with the moment from which each counts as lost.
    out: Vec<(u32, Tick)>,
    items: Items,
    budget: Budget,
}

/// How much of a phase may fail.
#[derive(Debug)]
struct Budget {
    most: Option<f64>,
    /// How many requests it has at most, once that is known.
    requests: Option<u64>,
    /// Nothing of it can fail any more, or it is being ended for another reason.
    over: bool,
    /// That it was exceeded was said.
    said: bool,
}

impl Budget {
    /// Whether it is exceeded whatever the rest does.
    fn certain(&self, counts: &PhaseCounts) -> bool {
        let (Some(most), Some(requests)) = (self.most, self.requests) else { return false };
        counts.errors > 0 && counts.errors as f64 > most * (requests - counts.cancelled) as f64
    }

    /// Whether it had to be said that it is, and was not.
    fn is_missed(&self, counts: &PhaseCounts) -> bool {
        !self.over && !self.said && self.certain(counts)
    }

    /// Whether it may be said that it is.
    fn may_be_said(&self, counts: &PhaseCounts) -> bool {
        let ended = (counts.errors + counts.completed) as f64;
        let share = counts.errors as f64 / ended;
        !self.over && !self.said && self.most.is_some_and(|most| share > most)
    }
}

/// The conductor's side of a run.
#[derive(Debug)]
pub(super) struct Load {
    phases: Vec<Phase>,
    inputs: Inputs,
    /// Items of the input that were taken.
    taken: u64,
    drain: Duration,
    /// Gates that were asked for.
    asked: Vec<BoundaryMark>,
}

impl Load {
    pub(super) fn new(plan: &RunPlan) -> Self {
        let phases = plan.phases().iter().map(|phase| Phase {
            id: phase.id,
            counts: PhaseCounts::default(),
            written_off: 0,
            out: Vec::new(),
            items: Items::new(phase),
            budget: Budget {
                most: phase.max_error_rate,
                requests: phase.stop.requests(),
                over: false,
                said: false,
            },
        });
        Self {
            phases: phases.collect(),
            inputs: plan.inputs().clone(),
            taken: 0,
            drain: plan.limits().drain,
            asked: Vec::new(),
        }
    }

    fn in_flight(&self) -> u64 {
        self.phases.iter().map(|phase| phase.out.len() as u64).sum()
    }

    pub(super) fn see(
        &mut self,
        at: Tick,
        input: Option<&ConductorInput>,
        effects: &[ConductorEffect],
        machine: &Conductor,
    ) -> Verdict {
        if let Some(ConductorInput::Returned(back)) = input {
            self.back(at, back);
        }
        for effect in effects {
            match effect {
                ConductorEffect::Issue(credit) => self.issued(credit)?,
                ConductorEffect::Event(ConductorEvent::SendingComplete { phase, counts }) => {
                    if let Some(phase) = self.phases.get_mut(usize::from(*phase)) {
                        phase.budget.requests = Some(counts.sent);
                    }
                }
                ConductorEffect::Event(ConductorEvent::PhaseComplete { phase, .. }) => {
                    if let Some(phase) = self.phases.get_mut(usize::from(*phase)) {
                        if phase.budget.is_missed(&phase.counts) {
                            return Err("a phase ended beyond its error budget".to_owned());
                        }
                        phase.budget.over = true;
                    }
                }
                ConductorEffect::Event(ConductorEvent::BudgetExceeded { phase, .. }) => {
                    self.exceeded(*phase)?;
                }
                // It is being ended for that already.
                ConductorEffect::Event(ConductorEvent::GateRefused {
                    phase,
                    kind: BaselineKind::Start,
                    ..
                }) => {
                    if let Some(phase) = self.phases.get_mut(usize::from(*phase)) {
                        phase.budget.over = true;
                    }
                }
                ConductorEffect::Event(ConductorEvent::WrittenOff { phase, credits }) => {
                    self.lost(at, *phase, *credits)?;
                }
                ConductorEffect::Send(envelope) => {
                    if let Message::GateCommand(command) = &envelope.body {
                        self.asks(command)?;
                    }
                }
                ConductorEffect::Event(ConductorEvent::PhaseStarted { phase }) => {
                    if let Some(phase) = self.phases.get_mut(usize::from(*phase)) {
                        phase.items.started(at);
                    }
                }
                ConductorEffect::CancelCredits { .. }
                | ConductorEffect::Event(_)
                | ConductorEffect::Finished => {}
            }
        }
        for (index, phase) in (0..).zip(&self.phases) {
            if phase.budget.is_missed(&phase.counts) {
                return Err(format!("phase {index} goes on beyond its error budget"));
            }
            let said = machine.counts(index);
            if said != phase.counts {
                let known = phase.counts;
                return Err(format!("phase {index} counts {said:?}, and had {known:?}"));
            }
        }
        Ok(())
    }

    fn exceeded(&mut self, index: u16) -> Verdict {
        let Some(phase) = self.phases.get_mut(usize::from(index)) else {
            return Err(format!("phase {index} is none, and exceeds its error budget"));
        };
        if !phase.budget.may_be_said(&phase.counts) {
            return Err(format!("phase {index} keeps its error budget, with {:?}", phase.counts));
        }
        phase.budget.said = true;
        Ok(())
    }

    fn issued(&mut self, credit: &Credit) -> Verdict {
        let id = credit.id;
        if self.phases.iter().any(|phase| phase.budget.said) {
            return Err(format!("credit {id} came after an error budget was exceeded"));
        }
        let Some(phase) = self.phases.get_mut(usize::from(id.phase)) else {
            return Err(format!("credit {id} is of no phase"));
        };
        if u64::from(id.number) != phase.counts.sent {
            return Err(format!("credit {id} came after {} credits", phase.counts.sent));
        }
        phase.counts.sent += 1;
        phase.out.push((id.number, credit.deadline + self.drain));
        phase.items.issued(&self.inputs, &mut self.taken, credit)
    }

    fn back(&mut self, at: Tick, back: &CreditReturn) {
        let Some(phase) = self.phases.get_mut(usize::from(back.id.phase)) else { return };
        let Some(place) = phase.out.iter().position(|(number, _)| *number == back.id.number) else {
            // It was back, or written off, before.
            return;
        };
        phase.out.remove(place);
        phase.items.over(&self.inputs, at, back.id.number, Some(back.end));
        match back.end {
            CreditEnd::Completed => phase.counts.completed += 1,
            CreditEnd::Failed => phase.counts.errors += 1,
            CreditEnd::Cancelled => phase.counts.cancelled += 1,
        }
    }

    /// Either the ones that are long past their time, or all that are out.
    fn lost(&mut self, at: Tick, index: u16, credits: u64) -> Verdict {
        let Some(phase) = self.phases.get_mut(usize::from(index)) else {
            return Err(format!("credits of phase {index} were written off, which is none"));
        };
        let overdue = phase.out.iter().filter(|(_, lost)| *lost <= at).count() as u64;
        let all = phase.out.len() as u64;
        if credits == overdue || credits == all {
            for (number, lost) in &phase.out {
                if *lost <= at {
                    phase.items.over(&self.inputs, at, *number, None);
                }
            }
        }
        if credits == overdue {
            phase.out.retain(|(_, lost)| *lost > at);
        } else if credits == all {
            phase.out.clear();
        } else {
            return Err(format!(
                "{credits} credits of phase {index} were written off, where {overdue} are overdue \
                 and {} are out",
                phase.out.len()
            ));
        }
        phase.counts.cancelled += credits;
        phase.written_off += credits;
        Ok(())
    }

    fn asks(&mut self, command: &GateCommand) -> Verdict {
        let mark = BoundaryMark { phase: command.phase, kind: command.kind };
        let phase = self.phases.iter().find(|phase| phase.id == command.phase);
        let Some(phase) = phase else { return Err("a gate of no phase was asked for".to_owned()) };
        if command.kind == BaselineKind::End && !phase.out.is_empty() {
            let out = phase.out.len();
            return Err(format!("an END was asked for with {out} requests of its phase in flight"));
        }
        // A repetition says what the first one said.
        if !self.asked.contains(&mark) {
            self.asked.push(mark);
            let (said, known) = (command.tally.in_flight, self.in_flight());
            if said != known {
                return Err(format!("a gate's tally says {said} in flight, {known} are"));
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self, report: &ConductorReport) -> Verdict {
        for (index, (phase, said)) in self.phases.iter().zip(&report.phases).enumerate() {
            if !phase.out.is_empty() {
                return Err(format!("phase {index} ended with {} requests out", phase.out.len()));
            }
            if (said.counts, said.written_off) != (phase.counts, phase.written_off) {
                return Err(format!("the report of phase {index} has other counts"));
            }
            phase.items.finish(&self.inputs, said)?;
        }
        Ok(())
    }
}
