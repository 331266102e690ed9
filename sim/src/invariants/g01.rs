//! G1: no credit of a phase is issued before its START boundary is closed.

use phasegate_core::conductor::{ConductorEffect, ConductorInput};
use phasegate_core::message::{BaselineKind, Message, ReleasedBy};
use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use super::marks::Phases;
use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G1";

/// A phase that is not seamless issues its first credit only after the
/// controller granted its START gate, after the gate's time and a second ran
/// out, or where gates are disabled. A seamless phase has at least asked for
/// the shared boundary before. After a refusal nothing is issued.
pub struct StartClosed {
    enabled: bool,
    /// How long the conductor waits at most.
    wait: core::time::Duration,
    ids: Phases,
    phases: Vec<Phase>,
}

#[derive(Default, Clone)]
struct Phase {
    seamless: bool,
    asked: Option<Tick>,
    granted: bool,
    refused: bool,
    sent: bool,
}

impl StartClosed {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        let phase = |seamless| Phase { seamless, ..Phase::default() };
        Self {
            enabled: plan.gate().enabled,
            wait: super::g03::longest_wait(plan),
            ids: Phases::new(plan),
            phases: plan.phases().iter().map(|p| phase(p.seamless)).collect(),
        }
    }

    fn answer(&mut self, at: Tick, input: &ConductorInput) {
        let ConductorInput::Message(envelope) = input else { return };
        let Message::GateGranted(granted) = &envelope.body else { return };
        if granted.kind != BaselineKind::Start {
            return;
        }
        let Some(index) = self.ids.index(granted.phase) else { return };
        let phase = &mut self.phases[index];
        // What was not asked for, or is not waited for any more, is no answer.
        let Some(asked) = phase.asked.filter(|_| !phase.granted) else { return };
        match &granted.outcome {
            Ok(outcome) => {
                let same = outcome.phase == granted.phase && outcome.kind == granted.kind;
                phase.granted = same && outcome.released_by != ReleasedBy::Cancelled;
            }
            Err(_) => phase.refused |= at < asked + self.wait,
        }
    }

    fn issued(&mut self, at: Tick, index: u16) -> Result<(), Violation> {
        let Some(phase) = self.phases.get_mut(usize::from(index)) else { return Ok(()) };
        let first = !core::mem::replace(&mut phase.sent, true);
        let why = if phase.refused && !phase.granted {
            "after its START gate was refused"
        } else if !self.enabled || !first || phase.granted {
            return Ok(());
        } else {
            match phase.asked {
                None => "before its START gate was asked for",
                Some(_) if phase.seamless => return Ok(()),
                Some(asked) if at >= asked + self.wait => return Ok(()),
                Some(_) => "before its START gate was granted or had timed out",
            }
        };
        Err(Violation::new(NAME, at, format!("a credit of phase {index} was issued {why}")))
    }
}

impl Invariant for StartClosed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONDUCTOR
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Conductor { input, effects, .. } = step.call else { return Ok(()) };
        if let Some(input) = input {
            self.answer(step.at, input);
        }
        for effect in effects {
            match effect {
                ConductorEffect::Issue(credit) => self.issued(step.at, credit.id.phase)?,
                ConductorEffect::Send(envelope) => {
                    if let Message::GateCommand(command) = &envelope.body
                        && command.kind == BaselineKind::Start
                        && let Some(index) = self.ids.index(command.phase)
                    {
                        self.phases[index].asked.get_or_insert(step.at);
                    }
                }
                ConductorEffect::CancelCredits { .. }
                | ConductorEffect::Event(_)
                | ConductorEffect::Finished => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use BaselineKind::Start;

    fn ask_then(at: u64, input: Option<ConductorInput>) -> Result<(), Violation> {
        let plan = plan(&[false]);
        let mut g1 = StartClosed::new(&plan);
        let ask = [command(&plan, 0, Start, 0)];
        conductor(&mut g1, &plan, 0, None, &ask)?;
        conductor(&mut g1, &plan, at, input, &[issue(0, 0)])
    }

    #[test]
    fn a_credit_before_the_grant_is_a_violation() {
        let broken = ask_then(1, None).unwrap_err();
        assert_eq!(
            broken.to_string(),
            "G1 violated at 0.001s: a credit of phase 0 was issued before its START gate was \
             granted or had timed out"
        );
        // The grant of another boundary is none.
        let end = grant(&plan(&[false]), 0, BaselineKind::End, ReleasedBy::AllAcked);
        assert!(ask_then(1, Some(end)).is_err());
        let cancelled = grant(&plan(&[false]), 0, Start, ReleasedBy::Cancelled);
        assert!(ask_then(1, Some(cancelled)).is_err());
    }

    #[test]
    fn a_credit_before_the_question_is_a_violation_also_of_a_seamless_phase() {
        for seamless in [false, true] {
            let plan = plan(&[false, seamless]);
            let mut g1 = StartClosed::new(&plan);
            assert!(conductor(&mut g1, &plan, 1, None, &[issue(1, 0)]).is_err());
        }
    }

    #[test]
    fn after_the_grant_or_the_timeout_credits_are_issued() {
        let granted = grant(&plan(&[false]), 0, Start, ReleasedBy::AllAcked);
        assert_eq!(ask_then(1, Some(granted)), Ok(()));
        assert!(ask_then(5_999, None).is_err());
        assert_eq!(ask_then(6_000, None), Ok(()));
    }

    #[test]
    fn a_seamless_phase_may_send_once_it_has_asked_but_not_after_a_refusal() {
        let plan = plan(&[false, true]);
        let mut g1 = StartClosed::new(&plan);
        let both = [command(&plan, 1, Start, 0), issue(1, 0)];
        assert_eq!(conductor(&mut g1, &plan, 1, None, &both), Ok(()));
        let refused = refuse(&plan, 1, Start);
        assert!(conductor(&mut g1, &plan, 2, Some(refused), &[issue(1, 1)]).is_err());
    }
}
