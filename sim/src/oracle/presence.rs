//! Who takes part in a run, as the controller can know it from what reached it.

use core::time::Duration;

use phasegate_core::message::ServiceStatus;
use phasegate_core::time::Tick;

use crate::des::config::Who;

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Not heard of.
    Expected,
    /// There, and not ready.
    Starting,
    /// There, and ready.
    Ready,
    /// Taken out by the controller; it may come back.
    Evicted,
    /// It has said that it is gone.
    Gone,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    pub(super) stand: Stand,
    heard: Tick,
    /// Its life, once it has registered.
    life: Option<u64>,
    /// It was taken out at least once.
    pub(super) was_out: bool,
}

impl Service {
    pub(super) fn there(&self) -> bool {
        self.stand == Stand::Starting || self.stand == Stand::Ready
    }
}

/// What a registration meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is from a life that is over.
    Stale,
    /// The service is what it was, or is there from now on.
    Heard,
}

/// Every service: the conductor, the ledger, the collectors by place. In this
/// order the controller takes them out: it is nearly that of their ids.
#[derive(Debug)]
pub(super) struct Presence {
    services: Vec<Service>,
    silence: Option<Duration>,
}

pub(super) const CONDUCTOR: usize = 0;
pub(super) const LEDGER: usize = 1;
pub(super) const COLLECTORS: usize = 2;

/// Where `who` stands among the services.
pub(super) fn number(who: Who) -> Option<usize> {
    match who {
        Who::Controller => None,
        Who::Conductor => Some(CONDUCTOR),
        Who::Ledger => Some(LEDGER),
        Who::Collector(place) => Some(COLLECTORS + place),
    }
}

impl Presence {
    pub(super) fn new(collectors: usize, heartbeat: Duration, misses: u32) -> Self {
        let expected =
            Service { stand: Stand::Expected, heard: Tick::ZERO, life: None, was_out: false };
        let silence = heartbeat * misses;
        Self {
            services: vec![expected; COLLECTORS + collectors],
            silence: (!silence.is_zero()).then_some(silence),
        }
    }

    pub(super) fn get(&self, service: usize) -> Option<&Service> {
        self.services.get(service)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Service)> {
        self.services.iter().enumerate()
    }

    /// The places of the collectors that take part.
    pub(super) fn collectors(&self) -> impl Iterator<Item = usize> + '_ {
        let collectors = self.services.iter().skip(COLLECTORS).enumerate();
        collectors.filter(|(_, service)| service.there()).map(|(place, _)| place)
    }

    pub(super) fn heard(&mut self, service: usize, at: Tick) {
        if let Some(service) = self.services.get_mut(service) {
            service.heard = service.heard.max(at);
        }
    }

    /// A registration has arrived.
    pub(super) fn registers(&mut self, service: usize, life: u64) -> Meaning {
        let Some(service) = self.services.get_mut(service) else { return Meaning::Stale };
        let before = service.life.replace(life);
        match before {
            Some(before) if life < before => {
                service.life = Some(before);
                return Meaning::Stale;
            }
            Some(before) if life > before => service.stand = Stand::Starting,
            Some(_) | None => match service.stand {
                Stand::Expected | Stand::Evicted => service.stand = Stand::Starting,
                Stand::Starting | Stand::Ready | Stand::Gone => {}
            },
        }
        Meaning::Heard
    }

    /// A service says how it is; `true` if that takes it out.
    pub(super) fn says(&mut self, service: usize, status: &ServiceStatus) -> bool {
        let Some(stand) = self.services.get(service).map(|s| s.stand) else { return false };
        if stand == Stand::Gone {
            return false;
        }
        let next = match status {
            ServiceStatus::Unknown => return false,
            ServiceStatus::Starting if stand == Stand::Ready => return false,
            ServiceStatus::Starting => Stand::Starting,
            ServiceStatus::Ready => Stand::Ready,
            ServiceStatus::Disabled { .. }
            | ServiceStatus::Stopped
            | ServiceStatus::Failed { .. } => {
                return self.takes_out(service, Stand::Gone);
            }
        };
        self.services[service].stand = next;
        false
    }

    /// The service is out: `true` if it was not before.
    pub(super) fn takes_out(&mut self, service: usize, how: Stand) -> bool {
        let Some(service) = self.services.get_mut(service) else { return false };
        if service.stand == Stand::Gone || service.stand == how {
            return false;
        }
        service.stand = how;
        service.was_out = true;
        true
    }

    /// Whether this service has been silent for too long.
    pub(super) fn silent(&self, service: usize, at: Tick) -> bool {
        self.services
            .get(service)
            .zip(self.silence)
            .is_some_and(|(service, silence)| service.there() && service.heard + silence <= at)
    }

    /// When the next service has been silent for too long.
    pub(super) fn next_silence(&self) -> Tick {
        let Some(silence) = self.silence else { return Tick::NEVER };
        let there = self.services.iter().filter(|service| service.there());
        there.map(|service| service.heard + silence).min().unwrap_or(Tick::NEVER)
    }

    /// Whether nobody keeps the run from beginning.
    pub(super) fn resolved(&self) -> bool {
        let open = |s: &Service| s.stand == Stand::Expected || s.stand == Stand::Starting;
        !self.services.iter().any(open)
    }
}
