//! Which credits are in flight, counted from what the conductor was given and
//! what it asked for.

use phasegate_core::conductor::{ConductorEffect, ConductorEvent, ConductorInput};
use phasegate_core::message::PhaseCounts;
use phasegate_core::plan::RunPlan;
use phasegate_core::record::CreditEnd;

use super::marks::Bits;

/// One phase's credits.
#[derive(Debug, Default, Clone)]
pub(super) struct Flight {
    outstanding: Bits,
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) errors: u64,
    pub(super) cancelled: u64,
    pub(super) in_flight: u64,
}

impl Flight {
    /// Whether core's counts say the same.
    pub(super) fn agrees(&self, counts: PhaseCounts) -> bool {
        let PhaseCounts { sent, completed, errors, cancelled } = counts;
        let same = (sent, completed, errors, cancelled)
            == (self.sent, self.completed, self.errors, self.cancelled);
        same && sent == completed + errors + cancelled + self.in_flight
    }
}

/// Every phase's credits.
pub(super) struct Flights {
    phases: Vec<Flight>,
}

impl Flights {
    pub(super) fn new(plan: &RunPlan) -> Self {
        Self { phases: vec![Flight::default(); plan.phases().len()] }
    }

    pub(super) fn get(&self, phase: u16) -> Option<&Flight> {
        self.phases.get(usize::from(phase))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.phases.iter()
    }

    /// Takes a credit back; which phase that changed.
    pub(super) fn input(&mut self, input: Option<&ConductorInput>) -> Option<u16> {
        let Some(ConductorInput::Returned(credit)) = input else { return None };
        let flight = self.phases.get_mut(usize::from(credit.id.phase))?;
        if !flight.outstanding.remove(credit.id.number) {
            return None;
        }
        flight.in_flight -= 1;
        match credit.end {
            CreditEnd::Completed => flight.completed += 1,
            CreditEnd::Failed => flight.errors += 1,
            CreditEnd::Cancelled => flight.cancelled += 1,
        }
        Some(credit.id.phase)
    }

    /// Issues and writes off; which phase that changed.
    ///
    /// # Errors
    /// Why this cannot be.
    pub(super) fn effect(&mut self, effect: &ConductorEffect) -> Result<Option<u16>, String> {
        match effect {
            ConductorEffect::Issue(credit) => {
                let id = credit.id;
                let Some(flight) = self.phases.get_mut(usize::from(id.phase)) else {
                    return Err(format!("credit {id} is of no phase of the plan"));
                };
                if u64::from(id.number) != flight.sent {
                    return Err(format!("credit {id} was issued after {} others", flight.sent));
                }
                flight.outstanding.insert(id.number);
                flight.sent += 1;
                flight.in_flight += 1;
                Ok(Some(id.phase))
            }
            ConductorEffect::Event(ConductorEvent::WrittenOff { phase, credits }) => {
                let Some(flight) = self.phases.get_mut(usize::from(*phase)) else {
                    return Err(format!("credits of phase {phase}, which is not in the plan"));
                };
                // The oldest are given up first, so that one which comes back
                // later is known not to count.
                for _ in 0..*credits {
                    if !flight.outstanding.pop() {
                        return Err(format!(
                            "{credits} credits of phase {phase} were written off, more than were \
                             in flight"
                        ));
                    }
                    flight.in_flight -= 1;
                    flight.cancelled += 1;
                }
                Ok(Some(*phase))
            }
            ConductorEffect::Send(_)
            | ConductorEffect::CancelCredits { .. }
            | ConductorEffect::Event(_)
            | ConductorEffect::Finished => Ok(None),
        }
    }
}
