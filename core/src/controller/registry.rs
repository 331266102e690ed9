//! Who is there, what each can do, and who has gone silent.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Domain, MessageId, ServiceId};
use crate::machine::{Step, Transitions};
use crate::message::{Capability, Register};
use crate::small::SmallMap;
use crate::time::Tick;

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// The plan has it; nothing was heard of it yet.
    Expected,
    /// It has registered and is not ready.
    Starting,
    /// It is ready to be asked.
    Ready,
    /// The controller took it out. It may come back: it said nothing itself.
    Evicted,
    /// It said itself that it takes no part any more. Only a new life of it,
    /// with a higher incarnation, can come back.
    Gone,
}

/// What may happen to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEvent {
    /// It registered, or a heartbeat repeated that.
    Register,
    /// It registered with a higher incarnation.
    Restart,
    /// It says that it is starting.
    SaysStarting,
    /// It says that it is ready.
    SaysReady,
    /// It says that it is disabled, stopped or failed.
    SaysGone,
    /// The controller takes it out: silent, never heard of, or owing a result
    /// for too long.
    Evict,
}

impl Transitions for ServiceState {
    type Event = ServiceEvent;
    const STATES: &'static [Self] =
        &[Self::Expected, Self::Starting, Self::Ready, Self::Evicted, Self::Gone];
    const EVENTS: &'static [ServiceEvent] = &[
        ServiceEvent::Register,
        ServiceEvent::Restart,
        ServiceEvent::SaysStarting,
        ServiceEvent::SaysReady,
        ServiceEvent::SaysGone,
        ServiceEvent::Evict,
    ];

    fn step(self, event: ServiceEvent) -> Step<Self> {
        use ServiceEvent as E;
        match (self, event) {
            (Self::Gone, E::Restart) => Step::To(Self::Starting),
            // Whatever else arrives of a life that ended was sent before that.
            (Self::Gone, E::Register | E::SaysStarting | E::SaysReady | E::SaysGone | E::Evict) => {
                Step::NoOp
            }
            (Self::Starting | Self::Ready, E::Register | E::SaysStarting) => Step::NoOp,
            (Self::Ready, E::SaysReady) | (Self::Evicted, E::Evict) => Step::NoOp,
            (Self::Starting, E::Restart) => Step::NoOp,
            (Self::Expected | Self::Evicted, E::Register | E::Restart | E::SaysStarting)
            | (Self::Ready, E::Restart) => Step::To(Self::Starting),
            (Self::Expected | Self::Starting | Self::Evicted, E::SaysReady) => {
                Step::To(Self::Ready)
            }
            (Self::Expected | Self::Starting | Self::Ready | Self::Evicted, E::SaysGone) => {
                Step::To(Self::Gone)
            }
            (Self::Expected | Self::Starting | Self::Ready, E::Evict) => Step::To(Self::Evicted),
        }
    }
}

/// What the controller knows of one service.
#[derive(Debug, Clone)]
pub struct Service {
    /// How it stands.
    pub state: ServiceState,
    /// What it can do: as it registered, before that as the plan says.
    pub capabilities: Vec<Capability>,
    /// It was asked for something: its leaving is no longer its own affair.
    pub asked: bool,
    /// The message that told it that credits are complete.
    pub told_credits: Option<MessageId>,
    /// The message that told it to shut down.
    pub told_shutdown: Option<MessageId>,
    expected: bool,
    registered: bool,
    incarnation: u64,
    heard: Tick,
}

impl Service {
    fn new(capabilities: Vec<Capability>, expected: bool) -> Self {
        Self {
            state: ServiceState::Expected,
            capabilities,
            asked: false,
            told_credits: None,
            told_shutdown: None,
            expected,
            registered: false,
            incarnation: 0,
            heard: Tick::ZERO,
        }
    }

    /// Whether it takes part: it was heard of and has not left.
    #[must_use]
    pub fn present(&self) -> bool {
        match self.state {
            ServiceState::Starting | ServiceState::Ready => true,
            ServiceState::Expected | ServiceState::Evicted | ServiceState::Gone => false,
        }
    }

    /// The domains that it produces.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.capabilities.iter().filter_map(|capability| match capability {
            Capability::ResultProducer(domain) => Some(domain),
            Capability::BaselineCollector | Capability::Unknown(_) => None,
        })
    }
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// From a life that is over: everything that came with it is ignored.
    Stale,
    /// Nothing new.
    Known,
    /// The service takes part from now on.
    Joined,
    /// A new life of a service that was there before.
    Restarted,
}

/// Every service that is expected or was heard of.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    services: SmallMap<ServiceId, Service>,
}

impl Registry {
    /// Adds a service that the plan has.
    pub fn expect(&mut self, id: ServiceId, capabilities: Vec<Capability>) {
        self.services.insert_if_new(id, || Service::new(capabilities, true));
    }

    /// The service called `id`.
    #[must_use]
    pub fn get(&self, id: &ServiceId) -> Option<&Service> {
        self.services.get(id)
    }

    /// The service called `id`.
    pub fn get_mut(&mut self, id: &ServiceId) -> Option<&mut Service> {
        self.services.get_mut(id)
    }

    /// How many services there are, whatever their state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Every service, in the order of the ids.
    pub fn ids(&self) -> impl Iterator<Item = &ServiceId> {
        self.services.keys()
    }

    /// Something of this service has arrived: it is alive.
    pub fn heard(&mut self, id: &ServiceId, now: Tick) {
        if let Some(service) = self.services.get_mut(id) {
            service.heard = service.heard.max(now);
        }
    }

    /// A registration has arrived. Idempotent.
    pub fn register(&mut self, now: Tick, id: &ServiceId, register: &Register) -> Registration {
        if !self.services.contains_key(id) {
            let service = Service::new(register.capabilities.clone(), false);
            self.services.insert(id.clone(), service);
        }
        let Some(service) = self.services.get_mut(id) else {
            return Registration::Stale;
        };
        if service.registered && register.incarnation < service.incarnation {
            return Registration::Stale;
        }
        let restart = service.registered && register.incarnation > service.incarnation;
        let event = if restart { ServiceEvent::Restart } else { ServiceEvent::Register };
        service.heard = service.heard.max(now);
        service.registered = true;
        service.incarnation = register.incarnation;
        if service.capabilities != register.capabilities {
            service.capabilities.clone_from(&register.capabilities);
        }
        match (service.state.step(event), restart) {
            (Step::To(next), false) => {
                service.state = next;
                Registration::Joined
            }
            (Step::To(next), true) => {
                service.state = next;
                Registration::Restarted
            }
            (Step::NoOp, true) => Registration::Restarted,
            (Step::NoOp | Step::Invalid, false) | (Step::Invalid, true) => Registration::Known,
        }
    }

    /// Something has happened to a service; says whether its state changed. A
    /// service that is neither expected nor registered has no state: its next
    /// heartbeat makes it known.
    pub fn apply(&mut self, id: &ServiceId, event: ServiceEvent) -> bool {
        let Some(service) = self.services.get_mut(id) else {
            return false;
        };
        match service.state.step(event) {
            Step::To(next) => {
                service.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    /// The collectors that take part, in the order of their ids.
    #[must_use]
    pub fn collectors(&self) -> Vec<ServiceId> {
        let collects = |s: &Service| s.capabilities.contains(&Capability::BaselineCollector);
        let there = self.services.iter().filter(|(_, s)| s.present() && collects(s));
        there.map(|(id, _)| id.clone()).collect()
    }

    /// Whether no expected service keeps the readiness barrier closed.
    #[must_use]
    pub fn all_resolved(&self) -> bool {
        self.services.values().filter(|s| s.expected).all(|s| match s.state {
            ServiceState::Ready | ServiceState::Gone | ServiceState::Evicted => true,
            ServiceState::Expected | ServiceState::Starting => false,
        })
    }

    /// Expected services that are neither ready nor have said that they take
    /// no part.
    #[must_use]
    pub fn not_ready(&self) -> Vec<ServiceId> {
        let waiting = |s: &Service| match s.state {
            ServiceState::Expected | ServiceState::Starting | ServiceState::Evicted => s.expected,
            ServiceState::Ready | ServiceState::Gone => false,
        };
        self.services.iter().filter(|(_, s)| waiting(s)).map(|(id, _)| id.clone()).collect()
    }

    /// Expected services of which nothing was ever heard.
    #[must_use]
    pub fn unheard(&self) -> Vec<ServiceId> {
        let unheard = |s: &Service| s.state == ServiceState::Expected;
        self.services.iter().filter(|(_, s)| unheard(s)).map(|(id, _)| id.clone()).collect()
    }

    /// Services that take part and of which nothing was heard for `silence`.
    #[must_use]
    pub fn silent(&self, now: Tick, silence: Duration) -> Vec<ServiceId> {
        let silent = |s: &Service| s.present() && s.heard + silence <= now;
        self.services.iter().filter(|(_, s)| silent(s)).map(|(id, _)| id.clone()).collect()
    }

    /// The moment at which the next service counts as silent.
    #[must_use]
    pub fn next_silence(&self, silence: Duration) -> Option<Tick> {
        let present = self.services.values().filter(|s| s.present());
        present.map(|s| s.heard).min().map(|heard| heard + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_counted_whatever_their_state() {
        let mut registry = Registry::default();
        assert!(registry.is_empty());
        for name in ["a", "b", "c"] {
            registry.expect(ServiceId::new(name), Vec::new());
        }
        registry.apply(&ServiceId::new("a"), ServiceEvent::SaysGone);
        registry.apply(&ServiceId::new("b"), ServiceEvent::Evict);
        assert!(!registry.is_empty());
        assert_eq!(registry.len(), 3);
    }
}
