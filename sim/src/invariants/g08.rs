//! G8: every record is in exactly one phase; none is lost, none counted twice.

use phasegate_core::conductor::ConductorEffect;
use phasegate_core::id::{CreditId, PhaseId};
use phasegate_core::ledger::machine::Refusal;
use phasegate_core::ledger::{LedgerEffect, LedgerEvent, LedgerInput};
use phasegate_core::message::{DomainSummary, Message, ProfileFinish};
use phasegate_core::plan::RunPlan;

use super::marks::{Bits, Phases};
use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G8";

/// The first record of a credit that was issued is taken, until the books are
/// closed; a second one is refused. When they are closed they hold exactly the
/// records that were taken, say exactly which are missing, and are called
/// complete only if every credit that was issued has one.
pub struct Records {
    ids: Phases,
    phases: Vec<Phase>,
    /// What the closed books hold, as they were announced.
    closed: Option<(u64, u64, ProfileFinish)>,
}

#[derive(Default, Clone)]
struct Phase {
    issued: u64,
    taken: Bits,
    records: u64,
    /// The final number, as the ledger was told.
    sent: Option<u64>,
}

impl Records {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        Self {
            ids: Phases::new(plan),
            phases: vec![Phase::default(); plan.phases().len()],
            closed: None,
        }
    }

    /// A record came, and was refused or taken.
    fn record(&mut self, credit: CreditId, refused: Option<Refusal>) -> Result<(), String> {
        let closed = self.closed.is_some();
        let Some(phase) = self.phases.get_mut(usize::from(credit.phase)) else {
            return match refused {
                Some(_) => Ok(()),
                None => Err(format!("the record of credit {credit} was taken: no such phase")),
            };
        };
        match refused {
            None if closed => {
                Err(format!("the record of credit {credit} was taken into closed books"))
            }
            None if !phase.taken.insert(credit.number) => {
                Err(format!("the record of credit {credit} was counted twice"))
            }
            None => {
                phase.records += 1;
                Ok(())
            }
            Some(Refusal::AfterFinalisation) if closed => Ok(()),
            // Whether it was there is known by putting it in.
            Some(Refusal::Duplicate) if !phase.taken.insert(credit.number) => Ok(()),
            Some(Refusal::BeyondSent) if u64::from(credit.number) >= phase.issued => Ok(()),
            Some(why) => Err(format!("the record of credit {credit} was lost: {why}")),
        }
    }

    fn finalised(
        &mut self,
        finish: ProfileFinish,
        records: u64,
        missing: &[(PhaseId, u64)],
    ) -> Result<(), String> {
        let taken: u64 = self.phases.iter().map(|p| p.records).sum();
        let issued: u64 = self.phases.iter().map(|p| p.issued).sum();
        let told: u64 = missing.iter().map(|(_, n)| n).sum();
        self.closed = Some((records, told, finish));
        if records != taken {
            return Err(format!("the books hold {records} records, {taken} were taken"));
        }
        if finish == ProfileFinish::Complete && (told > 0 || records < issued) {
            return Err(format!(
                "the books are called complete with {records} records of {issued} credits and \
                 {told} missing"
            ));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let Some(sent) = phase.sent else { continue };
            let told = missing.iter().find(|(id, _)| self.ids.index(*id) == Some(index));
            let (told, lacks) = (told.map_or(0, |(_, n)| *n), sent - phase.taken.below(sent));
            if told != lacks {
                return Err(format!(
                    "{told} records of phase {index} are called missing; {lacks} of {sent} are"
                ));
            }
        }
        Ok(())
    }

    fn told(&mut self, message: &Message) {
        if self.closed.is_some() {
            return;
        }
        if let Message::CreditsComplete(complete) = message {
            for (id, counts) in &complete.phases {
                let Some(index) = self.ids.index(*id) else { continue };
                let phase = &mut self.phases[index];
                if phase.sent.is_none() {
                    phase.sent = Some(counts.sent);
                }
            }
        }
    }

    fn ledger(
        &mut self,
        input: Option<&LedgerInput>,
        effects: &[LedgerEffect],
    ) -> Result<(), String> {
        match input {
            Some(LedgerInput::Record(record)) => {
                let refused = effects.iter().find_map(|effect| match effect {
                    LedgerEffect::Event(LedgerEvent::Refused { credit, reason })
                        if *credit == record.credit =>
                    {
                        Some(*reason)
                    }
                    LedgerEffect::Event(_) | LedgerEffect::Send(_) | LedgerEffect::Finished => None,
                });
                self.record(record.credit, refused)?;
            }
            Some(LedgerInput::Message(envelope)) => self.told(&envelope.body),
            Some(LedgerInput::Start) | None => {}
        }
        for effect in effects {
            match effect {
                LedgerEffect::Event(LedgerEvent::Finalised { finish, records, missing }) => {
                    self.finalised(*finish, *records, missing)?;
                }
                LedgerEffect::Send(envelope) => {
                    if let Message::DomainResult(result) = &envelope.body
                        && let DomainSummary::Records { records, missing, finish } = result.summary
                        && self.closed != Some((records, missing, finish))
                    {
                        return Err(format!(
                            "{records} records with {missing} missing are handed in; the closed \
                             books are {:?}",
                            self.closed
                        ));
                    }
                }
                LedgerEffect::Event(LedgerEvent::Refused { .. }) | LedgerEffect::Finished => {}
            }
        }
        Ok(())
    }
}

impl Invariant for Records {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONDUCTOR.and(Watches::LEDGER)
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        match step.call {
            Call::Conductor { effects, .. } => {
                for effect in effects {
                    if let ConductorEffect::Issue(credit) = effect
                        && let Some(phase) = self.phases.get_mut(usize::from(credit.id.phase))
                    {
                        phase.issued += 1;
                    }
                }
                Ok(())
            }
            Call::Ledger { input, effects, .. } => {
                self.ledger(input, effects).map_err(|what| Violation::new(NAME, step.at, what))
            }
            Call::Controller { .. } | Call::Collector { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;

    fn refused(number: u32, reason: Refusal) -> LedgerEffect {
        let credit = CreditId { phase: 0, number };
        LedgerEffect::Event(LedgerEvent::Refused { credit, reason })
    }

    fn closed(records: u64, finish: ProfileFinish) -> LedgerEffect {
        LedgerEffect::Event(LedgerEvent::Finalised { finish, records, missing: vec![] })
    }

    /// Two credits issued, the record of the first taken.
    fn one_of_two(plan: &RunPlan) -> Records {
        let mut g8 = Records::new(plan);
        assert_eq!(conductor(&mut g8, plan, 0, None, &[issue(0, 0), issue(0, 1)]), Ok(()));
        assert_eq!(ledger(&mut g8, plan, 1, Some(record(0, 0)), &[]), Ok(()));
        g8
    }

    #[test]
    fn a_record_that_is_counted_twice_is_a_violation() {
        let plan = plan(&[false]);
        let mut g8 = one_of_two(&plan);
        let twice = [refused(0, Refusal::Duplicate)];
        assert_eq!(ledger(&mut g8, &plan, 2, Some(record(0, 0)), &twice), Ok(()));
        let broken = ledger(&mut g8, &plan, 3, Some(record(0, 0)), &[]).unwrap_err();
        assert_eq!(broken.what, "the record of credit 0/0 was counted twice");
    }

    #[test]
    fn a_record_that_is_refused_without_reason_is_a_violation() {
        let plan = plan(&[false]);
        for why in [Refusal::Duplicate, Refusal::AfterFinalisation, Refusal::BeyondSent] {
            let mut g8 = one_of_two(&plan);
            let broken = ledger(&mut g8, &plan, 2, Some(record(0, 1)), &[refused(1, why)]);
            assert!(broken.unwrap_err().what.contains("was lost"), "{why}");
        }
    }

    #[test]
    fn books_that_are_called_complete_with_a_record_missing_are_a_violation() {
        let plan = plan(&[false]);
        let complete = [closed(1, ProfileFinish::Complete)];
        assert!(ledger(&mut one_of_two(&plan), &plan, 2, None, &complete).is_err());
        let fallback = [closed(1, ProfileFinish::Fallback)];
        assert_eq!(ledger(&mut one_of_two(&plan), &plan, 2, None, &fallback), Ok(()));
        let more = [closed(2, ProfileFinish::Fallback)];
        assert!(ledger(&mut one_of_two(&plan), &plan, 2, None, &more).is_err());
    }

    #[test]
    fn a_record_taken_after_the_books_are_closed_is_a_violation() {
        let plan = plan(&[false]);
        let mut g8 = one_of_two(&plan);
        let all = [closed(2, ProfileFinish::Complete)];
        assert_eq!(ledger(&mut g8, &plan, 2, Some(record(0, 1)), &all), Ok(()));
        let late = [refused(1, Refusal::AfterFinalisation)];
        assert_eq!(ledger(&mut g8, &plan, 3, Some(record(0, 1)), &late), Ok(()));
        assert!(ledger(&mut g8, &plan, 3, Some(record(0, 1)), &[]).is_err());
    }
}
