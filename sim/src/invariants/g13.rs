//! G13: a verdict is never better than the evidence. This is the evidence: what
//! a boundary says of its collectors is what they said. [`super::result`] holds
//! the verdicts against it.

use phasegate_core::controller::{ControllerEffect, ControllerEvent, ControllerInput};
use phasegate_core::id::ServiceId;
use phasegate_core::message::{
    BaselineAck, BoundaryOutcome, CollectorStatus, GateGranted, Message, ReadingMark, ReleasedBy,
};
use phasegate_core::reading::BoundaryMark;

use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G13";

/// A boundary closes with exactly the collectors that it was opened with. Each
/// that is said to have answered did, for this boundary, with this reading,
/// before it was closed; each that is said to be evicted was. It is closed as
/// acknowledged by all only if nobody is missing. Every grant of it says the
/// same: what comes later changes nothing.
#[derive(Default)]
pub struct Evidence {
    open: Vec<Open>,
    closed: Vec<BoundaryOutcome>,
    evicted: Vec<ServiceId>,
}

struct Open {
    mark: BoundaryMark,
    collectors: Vec<ServiceId>,
    acks: Vec<(ServiceId, BaselineAck)>,
}

impl Evidence {
    /// Before anything was asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn input(&mut self, input: &ControllerInput) {
        if let ControllerInput::Message(envelope) = input
            && let Message::BaselineAck(ack) = &envelope.body
        {
            let mark = BoundaryMark { phase: ack.phase, kind: ack.kind };
            if let Some(open) = self.open.iter_mut().find(|open| open.mark == mark) {
                open.acks.push((envelope.from.clone(), *ack.clone()));
            }
        }
    }

    fn event(&mut self, event: &ControllerEvent) -> Result<(), String> {
        match event {
            ControllerEvent::BoundaryOpened { phase, kind, collectors } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                let collectors = collectors.clone();
                self.open.push(Open { mark, collectors, acks: Vec::new() });
            }
            ControllerEvent::BoundaryClosed(outcome) => {
                let mark = BoundaryMark { phase: outcome.phase, kind: outcome.kind };
                let Some(place) = self.open.iter().position(|open| open.mark == mark) else {
                    return Err(format!("the {} boundary was closed, and not open", mark.kind));
                };
                let open = self.open.swap_remove(place);
                self.agrees(&open, outcome)?;
                self.closed.push(outcome.clone());
            }
            ControllerEvent::Evicted(eviction) => self.evicted.push(eviction.service.clone()),
            ControllerEvent::Ready { .. }
            | ControllerEvent::BarrierOpen { .. }
            | ControllerEvent::Waiting { .. }
            | ControllerEvent::LateAck { .. }
            | ControllerEvent::UnknownPhase { .. }
            | ControllerEvent::Join(_)
            | ControllerEvent::Phase(..)
            | ControllerEvent::CreditsComplete
            | ControllerEvent::Shutdown { .. } => {}
        }
        Ok(())
    }

    fn agrees(&self, open: &Open, outcome: &BoundaryOutcome) -> Result<(), String> {
        let kind = outcome.kind;
        let asked = outcome.collectors.iter().map(|c| &c.service);
        if !asked.eq(&open.collectors) {
            return Err(format!("the {kind} boundary closed with other collectors than it asked"));
        }
        let (mut missing, mut answered) = (0, 0);
        for collector in &outcome.collectors {
            let service = &collector.service;
            let said = |reading: Option<&ReadingMark>| {
                let acks = open.acks.iter().filter(|(from, _)| from == service);
                acks.into_iter().any(|(_, ack)| ack.outcome.as_ref().ok() == reading)
            };
            let proven = match &collector.status {
                CollectorStatus::Captured { reading } => {
                    answered += 1;
                    said(Some(reading))
                }
                CollectorStatus::Failed { .. } => {
                    answered += 1;
                    said(None)
                }
                CollectorStatus::Evicted { .. } => {
                    answered += 1;
                    self.evicted.contains(service)
                }
                CollectorStatus::Missing => {
                    missing += 1;
                    true
                }
                CollectorStatus::Pending | CollectorStatus::Late { .. } => false,
            };
            if !proven {
                return Err(format!(
                    "the {kind} boundary has {service} as {:?}, which it never said",
                    collector.status
                ));
            }
        }
        let by = outcome.released_by;
        let right = match by {
            ReleasedBy::AllAcked => missing == 0 && answered > 0,
            ReleasedBy::NoCollectors => missing + answered == 0,
            ReleasedBy::Timeout => missing > 0,
            ReleasedBy::Cancelled => true,
            ReleasedBy::Disabled => false,
        };
        if right {
            return Ok(());
        }
        Err(format!(
            "the {kind} boundary is released by {by:?} with {answered} answered and {missing} \
             missing"
        ))
    }

    /// Grants of this call, after its events.
    fn granted(&self, granted: &GateGranted) -> Result<(), String> {
        let Ok(told) = &granted.outcome else { return Ok(()) };
        let mark = (granted.phase, granted.kind);
        let closed = self.closed.iter().find(|o| (o.phase, o.kind) == mark);
        if closed == Some(told) {
            return Ok(());
        }
        Err(format!("a grant of the {} gate tells of another boundary", granted.kind))
    }
}

impl Invariant for Evidence {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONTROLLER
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Controller { input, effects, .. } = step.call else { return Ok(()) };
        if let Some(input) = input {
            self.input(input);
        }
        let broken = |what| Violation::new(NAME, step.at, what);
        let mut grants = false;
        for effect in effects {
            match effect {
                ControllerEffect::Report(event) => self.event(event).map_err(broken)?,
                ControllerEffect::Send(envelope) => {
                    grants |= matches!(envelope.body, Message::GateGranted(_));
                }
                ControllerEffect::Finished => {}
            }
        }
        for effect in effects.iter().filter(|_| grants) {
            if let ControllerEffect::Send(envelope) = effect
                && let Message::GateGranted(granted) = &envelope.body
            {
                self.granted(granted).map_err(broken)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::BaselineKind::{End, Start};
    use phasegate_core::message::{CollectError, CollectErrorKind, CollectorOutcome};
    use phasegate_core::plan::RunPlan;

    fn gpu() -> ServiceId {
        ServiceId::new("gpu")
    }

    fn opened(plan: &RunPlan) -> ControllerEffect {
        let phase = plan.phases()[0].id;
        let collectors = vec![gpu()];
        ControllerEffect::Report(ControllerEvent::BoundaryOpened { phase, kind: Start, collectors })
    }

    fn outcome(plan: &RunPlan, by: ReleasedBy, status: CollectorStatus) -> BoundaryOutcome {
        let collectors = vec![CollectorOutcome { service: gpu(), status, attempts: 1 }];
        BoundaryOutcome { collectors, ..boundary(plan, 0, Start, by) }
    }

    /// Opened, acknowledged by `input`, closed as `outcome`.
    fn closes(
        plan: &RunPlan,
        input: Option<ControllerInput>,
        outcome: BoundaryOutcome,
    ) -> Result<Evidence, Violation> {
        let mut g13 = Evidence::new();
        controller(&mut g13, plan, 1, None, &[opened(plan)])?;
        let closed = ControllerEffect::Report(ControllerEvent::BoundaryClosed(outcome));
        controller(&mut g13, plan, 30, input, &[closed])?;
        Ok(g13)
    }

    fn captured() -> CollectorStatus {
        CollectorStatus::Captured { reading: mark(10, 20) }
    }

    fn acked(plan: &RunPlan, kind: phasegate_core::message::BaselineKind) -> ControllerInput {
        let outcome = Ok(mark(10, 20));
        let phase = plan.phases()[0].id;
        said("gpu", Message::BaselineAck(Box::new(BaselineAck { phase, kind, outcome })))
    }

    #[test]
    fn a_reading_that_was_not_acknowledged_for_this_boundary_is_a_violation() {
        let plan = plan(&[false]);
        let all = || outcome(&plan, ReleasedBy::AllAcked, captured());
        assert!(closes(&plan, Some(acked(&plan, Start)), all()).is_ok());
        assert!(closes(&plan, Some(acked(&plan, End)), all()).is_err(), "for another boundary");
        assert!(closes(&plan, None, all()).is_err(), "never");
        let other = CollectorStatus::Captured { reading: mark(10, 21) };
        let other = outcome(&plan, ReleasedBy::AllAcked, other);
        assert!(closes(&plan, Some(acked(&plan, Start)), other).is_err(), "another reading");
    }

    #[test]
    fn a_failure_or_an_eviction_that_did_not_happen_is_a_violation() {
        let plan = plan(&[false]);
        let error = CollectError::new(CollectErrorKind::Timeout, "late");
        let failed = outcome(&plan, ReleasedBy::AllAcked, CollectorStatus::Failed { error });
        assert!(closes(&plan, Some(acked(&plan, Start)), failed).is_err());
        let reason = "silent".to_owned();
        let evicted = outcome(&plan, ReleasedBy::AllAcked, CollectorStatus::Evicted { reason });
        assert!(closes(&plan, None, evicted).is_err());
    }

    #[test]
    fn a_boundary_that_all_acknowledged_with_one_missing_is_a_violation() {
        let plan = plan(&[false]);
        let missing = |by| outcome(&plan, by, CollectorStatus::Missing);
        assert!(closes(&plan, None, missing(ReleasedBy::AllAcked)).is_err());
        assert!(closes(&plan, None, missing(ReleasedBy::NoCollectors)).is_err());
        assert!(closes(&plan, None, missing(ReleasedBy::Timeout)).is_ok());
        let nobody = boundary(&plan, 0, Start, ReleasedBy::NoCollectors);
        assert!(closes(&plan, None, nobody).is_err(), "its collector is forgotten");
    }

    #[test]
    fn a_later_grant_that_says_something_else_is_a_violation() {
        let plan = plan(&[false]);
        let missing = outcome(&plan, ReleasedBy::Timeout, CollectorStatus::Missing);
        let grant = |outcome: BoundaryOutcome| {
            let (phase, kind) = (outcome.phase, outcome.kind);
            [send_from_controller(Message::GateGranted(Box::new(GateGranted {
                phase,
                kind,
                outcome: Ok(outcome),
            })))]
        };
        let mut g13 = closes(&plan, None, missing.clone()).unwrap();
        assert_eq!(controller(&mut g13, &plan, 40, None, &grant(missing)), Ok(()));
        let late = outcome(&plan, ReleasedBy::AllAcked, captured());
        assert!(controller(&mut g13, &plan, 41, Some(acked(&plan, Start)), &grant(late)).is_err());
    }
}
