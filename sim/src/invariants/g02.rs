//! G2: an END is asked only when nothing of the phase is in flight.

use phasegate_core::conductor::ConductorEffect;
use phasegate_core::message::{BaselineKind, Message};
use phasegate_core::plan::RunPlan;

use super::flights::Flights;
use super::marks::Phases;
use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G2";

/// The END gate of a phase is asked for only when every credit of it is back or
/// written off, and nothing of it is issued afterwards.
pub struct EndAfterDrain {
    ids: Phases,
    flights: Flights,
    asked: Vec<bool>,
}

impl EndAfterDrain {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        Self {
            ids: Phases::new(plan),
            flights: Flights::new(plan),
            asked: vec![false; plan.phases().len()],
        }
    }
}

impl Invariant for EndAfterDrain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONDUCTOR
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Conductor { input, effects, .. } = step.call else { return Ok(()) };
        self.flights.input(input);
        for effect in effects {
            // What cannot be counted is G7's to say.
            let _ = self.flights.effect(effect);
            match effect {
                ConductorEffect::Issue(credit) => {
                    if self.asked.get(usize::from(credit.id.phase)) == Some(&true) {
                        let what =
                            format!("credit {} was issued after its phase's END gate", credit.id);
                        return Err(Violation::new(NAME, step.at, what));
                    }
                }
                ConductorEffect::Send(envelope) => {
                    if let Message::GateCommand(command) = &envelope.body
                        && command.kind == BaselineKind::End
                        && let Some(index) = self.ids.index(command.phase)
                    {
                        self.asked[index] = true;
                        let flight = u16::try_from(index).ok().and_then(|i| self.flights.get(i));
                        let in_flight = flight.map_or(0, |f| f.in_flight);
                        if in_flight > 0 {
                            let what = format!(
                                "the END gate of phase {index} was asked for with {in_flight} of \
                                 its requests in flight"
                            );
                            return Err(Violation::new(NAME, step.at, what));
                        }
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
    use BaselineKind::End;
    use phasegate_core::conductor::ConductorEvent;

    #[test]
    fn an_end_asked_with_a_request_in_flight_is_a_violation() {
        let plan = plan(&[false]);
        let mut g2 = EndAfterDrain::new(&plan);
        assert_eq!(conductor(&mut g2, &plan, 0, None, &[issue(0, 0), issue(0, 1)]), Ok(()));
        assert_eq!(conductor(&mut g2, &plan, 1, Some(back(0, 1)), &[]), Ok(()));
        // A credit that comes back twice is back once.
        let again = conductor(&mut g2, &plan, 2, Some(back(0, 1)), &[command(&plan, 0, End, 0)]);
        assert_eq!(
            again.unwrap_err().what,
            "the END gate of phase 0 was asked for with 1 of its requests in flight"
        );
    }

    #[test]
    fn an_end_asked_when_all_are_back_or_written_off_is_good_and_ends_the_credits() {
        let plan = plan(&[false]);
        let mut g2 = EndAfterDrain::new(&plan);
        assert_eq!(conductor(&mut g2, &plan, 0, None, &[issue(0, 0), issue(0, 1)]), Ok(()));
        let lost = ConductorEffect::Event(ConductorEvent::WrittenOff { phase: 0, credits: 1 });
        let end = [lost, command(&plan, 0, End, 0)];
        assert_eq!(conductor(&mut g2, &plan, 1, Some(back(0, 1)), &end), Ok(()));
        assert!(conductor(&mut g2, &plan, 2, None, &[issue(0, 2)]).is_err());
    }
}
