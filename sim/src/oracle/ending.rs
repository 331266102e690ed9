//! Who owes a result, who has handed it in, and whether the run may end.

use std::collections::BTreeMap;

use phasegate_core::controller::report::DomainReport;
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::message::{DomainResult, DomainSummary};

use super::Verdict;
use super::presence::number;
use crate::des::config::who;

/// A producer's result.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owed {
    Owes,
    HandedIn(DomainSummary),
    Out,
}

/// The results of all producers, by service number; the conductor has none.
#[derive(Debug)]
pub(super) struct Results {
    owed: Vec<Owed>,
}

impl Results {
    pub(super) fn new(services: usize) -> Self {
        let mut owed = vec![Owed::Owes; services];
        // The conductor.
        if let Some(first) = owed.first_mut() {
            *first = Owed::Out;
        }
        Self { owed }
    }

    /// The service takes part, again or still.
    pub(super) fn takes_part(&mut self, service: usize) {
        if let Some(owed) = self.owed.get_mut(service).filter(|owed| **owed == Owed::Out)
            && service != super::presence::CONDUCTOR
        {
            *owed = Owed::Owes;
        }
    }

    /// The first result counts, also of one that is out.
    pub(super) fn handed_in(&mut self, service: usize, result: &DomainResult) {
        if let Some(owed) = self.owed.get_mut(service) {
            match owed {
                Owed::Owes | Owed::Out => *owed = Owed::HandedIn(result.summary.clone()),
                Owed::HandedIn(_) => {}
            }
        }
    }

    pub(super) fn out(&mut self, service: usize) {
        if let Some(owed) = self.owed.get_mut(service).filter(|owed| **owed == Owed::Owes) {
            *owed = Owed::Out;
        }
    }

    pub(super) fn owing(&self) -> Vec<usize> {
        let owes = self.owed.iter().enumerate().filter(|(_, owed)| **owed == Owed::Owes);
        owes.map(|(service, _)| service).collect()
    }

    pub(super) fn settled(&self) -> bool {
        !self.owed.contains(&Owed::Owes)
    }

    pub(super) fn has(&self, service: usize) -> bool {
        matches!(self.owed.get(service), Some(Owed::HandedIn(_)))
    }

    /// Compares the controller's account of the domains.
    pub(super) fn compare(&self, domains: &BTreeMap<Domain, DomainReport>) -> Verdict {
        let mut named = 0;
        let place = |id: &ServiceId| who(id).and_then(number);
        for (domain, report) in domains {
            for (id, summary) in &report.results {
                named += 1;
                let known = place(id).and_then(|n| self.owed.get(n));
                if known != Some(&Owed::HandedIn(summary.clone())) {
                    return Err(format!("{id} is joined to {domain}, which it did not hand in"));
                }
            }
            for id in report.evicted.keys() {
                named += 1;
                if place(id).and_then(|n| self.owed.get(n)) != Some(&Owed::Out) {
                    return Err(format!("{id} is evicted from {domain}, and was there"));
                }
            }
            for id in &report.pending {
                named += 1;
                if place(id).and_then(|n| self.owed.get(n)) != Some(&Owed::Owes) {
                    return Err(format!("{id} is said to owe {domain}, and does not"));
                }
            }
        }
        let producers = self.owed.len() - 1;
        if named == producers {
            return Ok(());
        }
        Err(format!("{named} producers are accounted for, of {producers}"))
    }
}
