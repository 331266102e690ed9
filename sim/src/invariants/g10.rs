//! G10: the run ends only when every domain is joined or evicted, and says
//! which.

use phasegate_core::controller::report::ControllerReport;
use phasegate_core::controller::{ControllerEffect, ControllerEvent, ControllerInput};
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::message::{
    Capability, CollectorStatus, DomainSummary, Message, Register, ReleasedBy, ShutdownReason,
};

use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G10";

/// When the controller ends the run because all is joined, nobody owes a
/// result: each producer that registered has handed in the one that is
/// reported, or is reported as evicted and was said to be. A run that ends
/// because the conductor is lost may leave results owed, and names them. From
/// the moment that a service is said to be evicted neither a domain nor a
/// boundary waits for it.
#[derive(Default)]
pub struct Joined {
    /// Who registered as a producer of what.
    producers: Vec<(ServiceId, Domain)>,
    results: Vec<(ServiceId, Domain, DomainSummary)>,
    evicted: Vec<ServiceId>,
    shutdown: Option<ShutdownReason>,
}

impl Joined {
    /// Before anybody registered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn registers(&mut self, from: &ServiceId, register: &Register) {
        for capability in &register.capabilities {
            let Capability::ResultProducer(domain) = capability else { continue };
            if !self.producers.iter().any(|(s, d)| s == from && d == domain) {
                self.producers.push((from.clone(), domain.clone()));
            }
        }
    }

    fn input(&mut self, input: &ControllerInput) {
        let ControllerInput::Message(envelope) = input else { return };
        match &envelope.body {
            Message::Register(register) => self.registers(&envelope.from, register),
            Message::Heartbeat(beat) => self.registers(&envelope.from, &beat.register),
            Message::DomainResult(result) => {
                let handed = (envelope.from.clone(), result.domain.clone(), result.summary.clone());
                if !self.results.contains(&handed) {
                    self.results.push(handed);
                }
            }
            Message::Status(_)
            | Message::Begin
            | Message::GateCommand(_)
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::PhaseStarted(_)
            | Message::SendingComplete(_)
            | Message::PhaseComplete(_)
            | Message::CreditsComplete(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    fn ended(&self, report: &ControllerReport) -> Result<(), String> {
        for (domain, how) in &report.domains {
            let owed = how
                .pending
                .first()
                .filter(|_| self.shutdown != Some(ShutdownReason::ConductorLost));
            if let Some(service) = owed {
                return Err(format!("the run ended while {service} owed its {domain} result"));
            }
            for (service, summary) in &how.results {
                let same = |(s, d, r): &&(ServiceId, Domain, DomainSummary)| {
                    s == service && d == domain && r == summary
                };
                if !self.results.iter().any(|handed| same(&handed)) {
                    return Err(format!("the {domain} result of {service} was never handed in"));
                }
            }
            let unsaid = how.evicted.keys().find(|service| !self.evicted.contains(service));
            if let Some(service) = unsaid {
                return Err(format!("{service} is out of {domain}, and nobody said so"));
            }
        }
        for (service, domain) in &self.producers {
            let named = report.domains.get(domain).is_some_and(|how| {
                how.results.contains_key(service)
                    || how.evicted.contains_key(service)
                    || how.pending.contains(service)
            });
            if !named && !self.evicted.contains(service) {
                return Err(format!("the run ended without a word on the {domain} of {service}"));
            }
        }
        Ok(())
    }
}

/// Whether anything waits for a service that was evicted in this call.
fn waits_for(report: &ControllerReport, service: &ServiceId) -> Result<(), String> {
    for (domain, how) in &report.domains {
        if how.pending.contains(service) {
            return Err(format!("{service} was evicted, and its {domain} result is waited for"));
        }
    }
    // One that is open reads as cancelled.
    let open = report.boundaries.iter().filter(|b| b.released_by == ReleasedBy::Cancelled);
    for boundary in open {
        let mut own = boundary.collectors.iter().filter(|c| c.service == *service);
        if own.any(|c| c.status == CollectorStatus::Missing) {
            let kind = boundary.kind;
            return Err(format!("{service} was evicted, and the {kind} boundary waits for it"));
        }
    }
    Ok(())
}

impl Invariant for Joined {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::CONTROLLER
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Controller { input, effects, machine } = step.call else { return Ok(()) };
        if let Some(input) = input.filter(|_| self.shutdown.is_none()) {
            self.input(input);
        }
        for effect in effects {
            match effect {
                ControllerEffect::Report(ControllerEvent::Evicted(eviction)) => {
                    let waits = waits_for(&machine.report(), &eviction.service);
                    waits.map_err(|what| Violation::new(NAME, step.at, what))?;
                    self.evicted.push(eviction.service.clone());
                }
                ControllerEffect::Report(ControllerEvent::Shutdown { reason }) => {
                    self.shutdown = Some(*reason);
                }
                ControllerEffect::Finished => {
                    let ended = self.ended(&machine.report());
                    ended.map_err(|what| Violation::new(NAME, step.at, what))?;
                }
                ControllerEffect::Send(_) | ControllerEffect::Report(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::BaselineKind::Start;
    use phasegate_core::message::CollectorOutcome;
    use phasegate_core::time::Tick;

    fn registered(name: &str) -> ControllerInput {
        let capabilities = vec![Capability::ResultProducer(Domain::telemetry())];
        said(name, Message::Register(Register { capabilities, incarnation: 0 }))
    }

    fn ends(reason: ShutdownReason) -> [ControllerEffect; 2] {
        [ControllerEffect::Report(ControllerEvent::Shutdown { reason }), ControllerEffect::Finished]
    }

    #[test]
    fn a_run_that_ends_while_a_result_is_owed_is_a_violation() {
        let plan = plan(&[false]);
        // A fresh controller expects the ledger's result.
        for (reason, good) in
            [(ShutdownReason::AllJoined, false), (ShutdownReason::ConductorLost, true)]
        {
            let seen = controller(&mut Joined::new(), &plan, 1, None, &ends(reason));
            assert_eq!(seen.is_ok(), good, "{seen:?}");
        }
    }

    #[test]
    fn a_producer_that_is_forgotten_is_a_violation() {
        let plan = plan(&[false]);
        let mut g10 = Joined::new();
        assert_eq!(controller(&mut g10, &plan, 1, Some(registered("gpu")), &[]), Ok(()));
        let broken = controller(&mut g10, &plan, 2, None, &ends(ShutdownReason::ConductorLost));
        assert!(broken.unwrap_err().what.ends_with("on the telemetry of gpu"));
    }

    #[test]
    fn a_result_that_nobody_handed_in_is_a_violation() {
        let summary = DomainSummary::Readings { readings: 1, failed: 0 };
        let mut report = ControllerReport::default();
        let how = report.domains.entry(Domain::telemetry()).or_default();
        how.results.insert(ServiceId::new("gpu"), summary.clone());
        let mut g10 = Joined::new();
        assert!(g10.ended(&report).is_err());
        let result = phasegate_core::message::DomainResult { domain: Domain::telemetry(), summary };
        g10.input(&said("gpu", Message::DomainResult(result)));
        assert_eq!(g10.ended(&report), Ok(()));
    }

    #[test]
    fn an_eviction_that_nobody_was_told_of_is_a_violation() {
        let mut report = ControllerReport::default();
        let how = report.domains.entry(Domain::telemetry()).or_default();
        how.evicted.insert(ServiceId::new("gpu"), "silent".to_owned());
        assert!(Joined::new().ended(&report).is_err());
        let plan = plan(&[false]);
        let mut g10 = Joined::new();
        let eviction = phasegate_core::controller::report::Eviction {
            service: ServiceId::new("gpu"),
            reason: "silent".to_owned(),
            excused: false,
            at: Tick::ZERO,
        };
        let told = [ControllerEffect::Report(ControllerEvent::Evicted(eviction))];
        assert_eq!(controller(&mut g10, &plan, 1, None, &told), Ok(()));
        assert_eq!(g10.ended(&report), Ok(()));
    }

    #[test]
    fn whoever_is_waited_for_after_its_eviction_is_a_violation() {
        let plan = plan(&[false]);
        let gpu = ServiceId::new("gpu");
        let mut report = ControllerReport::default();
        assert_eq!(waits_for(&report, &gpu), Ok(()));
        report.domains.entry(Domain::telemetry()).or_default().pending.push(gpu.clone());
        assert!(waits_for(&report, &gpu).is_err());
        for (by, good) in [(ReleasedBy::Cancelled, false), (ReleasedBy::Timeout, true)] {
            let mut outcome = boundary(&plan, 0, Start, by);
            let (service, status) = (gpu.clone(), CollectorStatus::Missing);
            outcome.collectors.push(CollectorOutcome { service, status, attempts: 1 });
            let boundaries = vec![outcome];
            let report = ControllerReport { boundaries, ..ControllerReport::default() };
            assert_eq!(waits_for(&report, &gpu).is_ok(), good);
        }
    }
}
