//! G7: sent = completed + errors + cancelled + in flight at every instant; 0 in
//! flight at the end.

use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorEvent};
use phasegate_core::message::{BaselineKind, Message, Tally};
use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use super::flights::{Flight, Flights};
use super::marks::Phases;
use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G7";

/// The conductor's counts are those of the credits that it issued, was given
/// back and wrote off, and so is every count that it tells: in the events at the
/// end of a phase, in the tally of a gate command, and at the end of all
/// credits. When it ends nothing is in flight.
pub struct Counts {
    ids: Phases,
    flights: Flights,
    /// Gate commands that were seen; a repetition tells the old tally.
    commands: Vec<[bool; 2]>,
    ended: bool,
    now: Tick,
}

impl Counts {
    /// For a run of `plan`.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        Self {
            ids: Phases::new(plan),
            flights: Flights::new(plan),
            commands: vec![[false; 2]; plan.phases().len()],
            ended: false,
            now: Tick::ZERO,
        }
    }

    fn agrees(&self, phase: u16, conductor: &Conductor) -> Result<(), String> {
        let Some(flight) = self.flights.get(phase) else { return Ok(()) };
        let counts = conductor.counts(phase);
        if flight.agrees(counts) {
            return Ok(());
        }
        let Flight { sent, completed, errors, cancelled, in_flight, .. } = flight;
        Err(format!(
            "phase {phase} counts {counts:?}; seen were {sent} sent, {completed} completed, \
             {errors} errors, {cancelled} cancelled, {in_flight} in flight"
        ))
    }

    fn message(&mut self, message: &Message) -> Result<(), String> {
        match message {
            Message::GateCommand(command) => {
                let Some(index) = self.ids.index(command.phase) else { return Ok(()) };
                let place = match command.kind {
                    BaselineKind::Start => 0,
                    BaselineKind::End => 1,
                };
                if !core::mem::replace(&mut self.commands[index][place], true) {
                    self.tally(&command.tally)?;
                }
            }
            Message::CreditsComplete(complete) => {
                for (id, counts) in &complete.phases {
                    let index = self.ids.index(*id).and_then(|i| u16::try_from(i).ok());
                    let flight = index.and_then(|i| self.flights.get(i));
                    if !flight.is_some_and(|f| f.agrees(*counts) && f.in_flight == 0) {
                        return Err(format!("credits are said to be complete with {counts:?}"));
                    }
                }
                let told: u64 = complete.phases.iter().map(|(_, counts)| counts.sent).sum();
                let sent: u64 = self.flights.iter().map(|f| f.sent).sum();
                if told != sent {
                    return Err(format!("of {sent} credits, {told} are said to be complete"));
                }
            }
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::Begin
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::DomainResult(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
        Ok(())
    }

    fn tally(&self, tally: &Tally) -> Result<(), String> {
        let mut all = [0; 5];
        for f in self.flights.iter() {
            for (sum, n) in
                all.iter_mut().zip([f.sent, f.completed, f.errors, f.cancelled, f.in_flight])
            {
                *sum += n;
            }
        }
        let told = [tally.sent, tally.completed, tally.errors, tally.cancelled, tally.in_flight];
        if told == all {
            return Ok(());
        }
        Err(format!(
            "a gate is asked for with the tally {told:?} (sent, completed, errors, cancelled, in \
             flight); seen were {all:?}"
        ))
    }

    fn effect(&mut self, effect: &ConductorEffect, conductor: &Conductor) -> Result<(), String> {
        match effect {
            ConductorEffect::Send(envelope) => self.message(&envelope.body),
            ConductorEffect::Event(ConductorEvent::PhaseComplete { phase, counts }) => {
                let flight = self.flights.get(*phase);
                match flight.is_some_and(|f| f.agrees(*counts) && f.in_flight == 0) {
                    true => Ok(()),
                    false => Err(format!("phase {phase} is said to be complete with {counts:?}")),
                }
            }
            ConductorEffect::Finished => {
                self.ended = true;
                let mut phases = 0..u16::try_from(self.commands.len()).unwrap_or(u16::MAX);
                phases.try_for_each(|phase| self.agrees(phase, conductor))
            }
            ConductorEffect::Issue(_)
            | ConductorEffect::CancelCredits { .. }
            | ConductorEffect::Event(_) => Ok(()),
        }
    }
}

impl Invariant for Counts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONDUCTOR
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Conductor { input, effects, machine } = step.call else { return Ok(()) };
        self.now = step.at;
        let broken = |what| Violation::new(NAME, step.at, what);
        let mut touched = self.flights.input(input);
        let mut several = false;
        for effect in effects {
            let now = self.flights.effect(effect).map_err(broken)?;
            several |= now.is_some() && touched.is_some() && now != touched;
            touched = now.or(touched);
            self.effect(effect, machine).map_err(broken)?;
        }
        // After all effects: the machine's counts are those at the end of the
        // call, and one call can come back to a phase (a late driver finds a
        // return of one and lost credits of both).
        match touched {
            Some(_) if several => {
                let mut phases = 0..u16::try_from(self.commands.len()).unwrap_or(u16::MAX);
                phases.try_for_each(|phase| self.agrees(phase, machine)).map_err(broken)
            }
            Some(phase) => self.agrees(phase, machine).map_err(broken),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Violation> {
        let in_flight: u64 = self.flights.iter().map(|f| f.in_flight).sum();
        if self.ended && in_flight > 0 {
            let what = format!("{in_flight} requests were in flight when the conductor ended");
            return Err(Violation::new(NAME, self.now, what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::{CreditsComplete, PhaseCounts};

    #[test]
    fn counts_that_are_not_those_of_the_credits_are_a_violation() {
        let plan = plan(&[false]);
        // A fresh conductor has counted nothing.
        let broken = conductor(&mut Counts::new(&plan), &plan, 1, None, &[issue(0, 0)]);
        assert!(broken.unwrap_err().what.contains("seen were 1 sent"));
    }

    #[test]
    fn a_credit_number_that_is_not_the_next_is_a_violation() {
        let plan = plan(&[false]);
        assert!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[issue(0, 1)]).is_err());
        assert!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[issue(7, 0)]).is_err());
    }

    #[test]
    fn more_written_off_than_in_flight_is_a_violation() {
        let plan = plan(&[false]);
        let lost = ConductorEffect::Event(ConductorEvent::WrittenOff { phase: 0, credits: 1 });
        assert!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[lost]).is_err());
    }

    #[test]
    fn a_tally_or_final_count_that_differs_is_a_violation() {
        let plan = plan(&[false]);
        let told = command(&plan, 0, BaselineKind::End, 3);
        assert!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[told]).is_err());
        let good = command(&plan, 0, BaselineKind::End, 0);
        assert_eq!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[good]), Ok(()));
        let counts = PhaseCounts { sent: 1, completed: 1, ..PhaseCounts::default() };
        let phases = vec![(plan.phases()[0].id, counts)];
        let all = send(Message::CreditsComplete(CreditsComplete { phases }));
        assert!(conductor(&mut Counts::new(&plan), &plan, 1, None, &[all]).is_err());
    }

    #[test]
    fn a_conductor_that_ends_with_a_request_in_flight_is_a_violation() {
        let plan = plan(&[false]);
        let mut g7 = Counts::new(&plan);
        let _ = conductor(&mut g7, &plan, 1, None, &[issue(0, 0)]);
        let _ = conductor(&mut g7, &plan, 2, None, &[ConductorEffect::Finished]);
        assert!(g7.finish().is_err());
    }
}
