//! What a run looks like from outside, one step at a time: the one form in which
//! the simulators, and a replay of a real run's journal, show it to the
//! invariants.

use phasegate_core::collector::{Collector, CollectorEffect, CollectorInput};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput};
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerInput};
use phasegate_core::time::Tick;

/// One call of one machine, after it returned.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The moment that the machine was told.
    pub at: Tick,
    /// Which machine, what it was given (`None`: its deadline), what it did.
    pub call: Call<'a>,
}

/// A call of one machine.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Call<'a> {
    Controller {
        input: Option<&'a ControllerInput>,
        effects: &'a [ControllerEffect],
        machine: &'a Controller,
    },
    Conductor {
        input: Option<&'a ConductorInput>,
        effects: &'a [ConductorEffect],
        machine: &'a Conductor,
    },
    Ledger {
        input: Option<&'a LedgerInput>,
        effects: &'a [LedgerEffect],
        machine: &'a Ledger,
    },
    Collector {
        /// Its place among the collectors, from 0.
        index: usize,
        input: Option<&'a CollectorInput>,
        effects: &'a [CollectorEffect],
        machine: &'a Collector,
    },
}
