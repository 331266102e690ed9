//! The result join coordinator: who owes which result domain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::DomainReport;
use crate::id::{Domain, ServiceId};
use crate::machine::{Step, Transitions};
use crate::message::DomainSummary;
use crate::small::SmallMap;

/// How a producer stands in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProducerState {
    /// It has nothing to hand in.
    Absent,
    /// It owes its result.
    Owing,
    /// Its result is in.
    Joined,
    /// It was taken out before its result was in.
    Evicted,
}

/// What may happen to a producer in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerEvent {
    /// It registers as a producer, or the plan names it as one.
    Require,
    /// Its result arrives.
    Result,
    /// It is taken out.
    Evict,
}

impl Transitions for ProducerState {
    type Event = ProducerEvent;
    const STATES: &'static [Self] = &[Self::Absent, Self::Owing, Self::Joined, Self::Evicted];
    const EVENTS: &'static [ProducerEvent] =
        &[ProducerEvent::Require, ProducerEvent::Result, ProducerEvent::Evict];

    fn step(self, event: ProducerEvent) -> Step<Self> {
        use ProducerEvent as E;
        match (self, event) {
            (Self::Absent | Self::Evicted, E::Require) => Step::To(Self::Owing),
            (Self::Owing | Self::Joined, E::Require) => Step::NoOp,
            // Nobody said that it produces this: it says so with its next heartbeat.
            (Self::Absent, E::Result) => Step::Invalid,
            (Self::Owing | Self::Evicted, E::Result) => Step::To(Self::Joined),
            (Self::Joined, E::Result) => Step::NoOp,
            (Self::Owing, E::Evict) => Step::To(Self::Evicted),
            (Self::Absent | Self::Joined | Self::Evicted, E::Evict) => Step::NoOp,
        }
    }
}

/// How a domain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// These still owe their results.
    Pending(Vec<ServiceId>),
    /// Every result is in.
    Joined,
    /// Nothing is waited for; these were taken out before they handed in
    /// theirs.
    Evicted(Vec<ServiceId>),
}

/// A domain stands differently from when it was last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinChange {
    /// The domain.
    pub domain: Domain,
    /// How it stands now.
    pub standing: Standing,
}

#[derive(Debug, Clone)]
enum Producer {
    Owing,
    Joined(DomainSummary),
    Evicted(String),
}

impl Producer {
    fn state(entry: Option<&Self>) -> ProducerState {
        match entry {
            None => ProducerState::Absent,
            Some(Self::Owing) => ProducerState::Owing,
            Some(Self::Joined(_)) => ProducerState::Joined,
            Some(Self::Evicted(_)) => ProducerState::Evicted,
        }
    }
}

/// The producers of one domain.
#[derive(Debug, Clone, Default)]
struct Producers {
    entries: SmallMap<ServiceId, Producer>,
    /// How the domain stood when that was last said.
    said: Option<Standing>,
    /// Somebody stands differently since then.
    changed: bool,
}

/// The result join coordinator. It has no time of its own: the controller says
/// when somebody has owed for too long.
#[derive(Debug, Clone, Default)]
pub struct ResultJoin {
    domains: SmallMap<Domain, Producers>,
    /// Something has changed since [`ResultJoin::changes`] was last asked: it is
    /// asked after every input, and nearly always for nothing.
    changed: bool,
}

impl ResultJoin {
    fn apply(
        &mut self,
        domain: &Domain,
        producer: &ServiceId,
        event: ProducerEvent,
        entry: Producer,
    ) -> bool {
        let known = self.domains.get(domain).and_then(|producers| producers.entries.get(producer));
        match Producer::state(known).step(event) {
            Step::To(_) => {
                self.domains.insert_if_new(domain.clone(), Producers::default);
                if let Some(producers) = self.domains.get_mut(domain) {
                    producers.entries.insert(producer.clone(), entry);
                    producers.changed = true;
                    self.changed = true;
                }
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    /// `producer` owes `domain` from now on, unless its result is in.
    pub fn require(&mut self, domain: &Domain, producer: &ServiceId) {
        self.apply(domain, producer, ProducerEvent::Require, Producer::Owing);
    }

    /// A result has arrived. The first one counts, also from a producer that
    /// was taken out.
    pub fn result(&mut self, domain: &Domain, producer: &ServiceId, summary: DomainSummary) {
        self.apply(domain, producer, ProducerEvent::Result, Producer::Joined(summary));
    }

    /// Nothing is waited for from `producer` any more.
    pub fn evict(&mut self, producer: &ServiceId, reason: &str) {
        let domains: Vec<Domain> = self.domains.keys().cloned().collect();
        for domain in domains {
            let entry = Producer::Evicted(reason.to_owned());
            self.apply(&domain, producer, ProducerEvent::Evict, entry);
        }
    }

    /// Whether `producer` owes a result.
    #[must_use]
    pub fn owes(&self, producer: &ServiceId) -> bool {
        let owing = |entry: Option<&Producer>| Producer::state(entry) == ProducerState::Owing;
        self.domains.values().any(|producers| owing(producers.entries.get(producer)))
    }

    /// Everybody who owes a result, in the order of the ids.
    #[must_use]
    pub fn owing(&self) -> Vec<ServiceId> {
        let mut owing: Vec<ServiceId> = self.domains.values().flat_map(pending).collect();
        owing.sort();
        owing.dedup();
        owing
    }

    /// Whether nobody owes anything.
    #[must_use]
    pub fn settled(&self) -> bool {
        let owing = |p: &Producer| Producer::state(Some(p)) == ProducerState::Owing;
        !self.domains.values().any(|producers| producers.entries.values().any(owing))
    }

    /// Whether `domain` has producers and every one has handed in its result.
    #[must_use]
    pub fn joined(&self, domain: &Domain) -> bool {
        let joined = |p: &Producer| Producer::state(Some(p)) == ProducerState::Joined;
        self.domains.get(domain).is_some_and(|producers| producers.entries.values().all(joined))
    }

    /// Whether anything has changed since [`ResultJoin::changes`] was last asked.
    #[must_use]
    #[inline]
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// What has changed since this was last asked; each change is said once.
    pub fn changes(&mut self) -> Vec<JoinChange> {
        let mut changes = Vec::new();
        if !std::mem::take(&mut self.changed) {
            return changes;
        }
        for (domain, producers) in self.domains.iter_mut() {
            if !std::mem::take(&mut producers.changed) {
                continue;
            }
            let standing = standing(producers);
            if producers.said.as_ref() != Some(&standing) {
                producers.said = Some(standing.clone());
                changes.push(JoinChange { domain: domain.clone(), standing });
            }
        }
        changes
    }

    /// How every domain was joined.
    #[must_use]
    pub fn report(&self) -> BTreeMap<Domain, DomainReport> {
        let report = |producers: &Producers| {
            let mut report = DomainReport { pending: pending(producers), ..Default::default() };
            for (id, producer) in producers.entries.iter() {
                match producer {
                    Producer::Owing => {}
                    Producer::Joined(summary) => {
                        report.results.insert(id.clone(), summary.clone());
                    }
                    Producer::Evicted(reason) => {
                        report.evicted.insert(id.clone(), reason.clone());
                    }
                }
            }
            report
        };
        self.domains.iter().map(|(domain, p)| (domain.clone(), report(p))).collect()
    }
}

fn in_state(producers: &Producers, state: ProducerState) -> Vec<ServiceId> {
    let matching = producers.entries.iter().filter(|(_, p)| Producer::state(Some(p)) == state);
    matching.map(|(id, _)| id.clone()).collect()
}

fn pending(producers: &Producers) -> Vec<ServiceId> {
    in_state(producers, ProducerState::Owing)
}

fn standing(producers: &Producers) -> Standing {
    let pending = pending(producers);
    let evicted = in_state(producers, ProducerState::Evicted);
    if !pending.is_empty() {
        Standing::Pending(pending)
    } else if evicted.is_empty() {
        Standing::Joined
    } else {
        Standing::Evicted(evicted)
    }
}
