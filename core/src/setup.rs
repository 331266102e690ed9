//! The machines of one run, built from one description: by the session that
//! runs it, and again by a replay of its journal.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::collector::{Collector, CollectorPlan};
use crate::conductor::Conductor;
use crate::controller::{Controller, Expected};
use crate::id::{Domain, ServiceId};
use crate::journal::{Header, JournalError, Node, Replay};
use crate::ledger::Ledger;
use crate::message::Capability;
use crate::plan::RunPlan;
use crate::readiness::Readiness;

/// The places of the nodes in a journal; collectors follow in their order.
pub mod node {
    /// The controller's.
    pub const CONTROLLER: u8 = 0;
    /// The conductor's.
    pub const CONDUCTOR: u8 = 1;
    /// The ledger's.
    pub const LEDGER: u8 = 2;
    /// The readiness machine's.
    pub const READINESS: u8 = 3;
    /// The first collector's.
    pub const COLLECTORS: u8 = 4;
}

/// The most collectors of a run (a node's place is one byte).
pub const MAX_COLLECTORS: usize = 250;

/// What determines the machines of a run, beside its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The collectors, in the order of their nodes. One that is listed again
    /// under the same id is a later life of it.
    pub collectors: Vec<CollectorPlan>,
    /// Goodput limits: metric name → milliseconds.
    pub goodput: BTreeMap<String, f64>,
    /// Answers are streamed.
    pub streaming: bool,
    /// Answers have output tokens (embeddings have none).
    pub produces_tokens: bool,
    /// Where requests go in turn, credentials out; empty where there is one URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// How long to wait for the endpoint.
    #[serde(with = "crate::time::seconds")]
    pub ready_timeout: Duration,
}

impl Settings {
    /// The controller, which expects the conductor, the ledger and every
    /// collector.
    #[must_use]
    pub fn controller(&self, plan: &RunPlan) -> Controller {
        let mut expected = vec![
            Expected { service: ServiceId::conductor(), capabilities: Vec::new() },
            Expected {
                service: ServiceId::ledger(),
                capabilities: vec![Capability::ResultProducer(Domain::profile())],
            },
        ];
        expected.extend(self.collectors.iter().map(|collector| Expected {
            service: collector.id.clone(),
            capabilities: vec![
                Capability::BaselineCollector,
                Capability::ResultProducer(collector.domain.clone()),
            ],
        }));
        Controller::new(plan, expected)
    }

    /// The conductor.
    #[must_use]
    pub fn conductor(&self, plan: &RunPlan) -> Conductor {
        Conductor::new(plan)
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self, plan: &RunPlan) -> Ledger {
        Ledger::new(plan, self.goodput.clone(), self.streaming, self.produces_tokens)
            .with_urls(&self.urls)
    }

    /// The readiness machine.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.ready_timeout)
    }

    /// The collectors, later lives with their incarnations.
    pub fn collectors(&self) -> impl Iterator<Item = Collector> + '_ {
        self.collectors.iter().enumerate().map(|(place, plan)| {
            let before = self.collectors.iter().take(place);
            let lives = before.filter(|earlier| earlier.id == plan.id).count();
            Collector::reborn(plan.clone(), lives as u64)
        })
    }

    /// The header of this run's journal.
    #[must_use]
    pub fn header(&self, plan: &RunPlan) -> Header {
        let mut nodes: Vec<String> =
            ["controller", "conductor", "ledger", "readiness"].map(str::to_owned).to_vec();
        nodes.extend(self.collectors.iter().map(|collector| collector.id.to_string()));
        Header {
            seed: plan.seed(),
            plan: plan.clone(),
            nodes,
            settings: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    /// The settings that a journal's header holds.
    ///
    /// # Errors
    /// [`JournalError::HeaderDamaged`] if they are not what this version writes.
    pub fn from_header(header: &Header) -> Result<Self, JournalError> {
        serde_json::from_value(header.settings.clone())
            .map_err(|error| JournalError::HeaderDamaged(error.to_string()))
    }

    /// Fresh machines for a replay, in the order of the header's nodes.
    #[must_use]
    pub fn replayers(&self, plan: &RunPlan) -> Vec<Box<dyn Replay>> {
        let mut nodes: Vec<Box<dyn Replay>> = vec![
            Box::new(Node::new(self.controller(plan))),
            Box::new(Node::new(self.conductor(plan))),
            Box::new(Node::new(self.ledger(plan))),
            Box::new(Node::new(self.readiness())),
        ];
        for collector in self.collectors() {
            nodes.push(Box::new(Node::new(collector)));
        }
        nodes
    }
}
