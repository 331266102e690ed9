//! How far a run's numbers are from what really happened.
//!
//! A case is a kind of trouble: late publication, slow scrapes, a stale exporter.
//! Each run of it is a [scenario](crate::turmoil::Scenario) drawn from a seed, on the
//! simulated network with the real nodes. The simulated server knows what it was asked
//! and what its GPUs took, to the request and the picojoule; every phase of the result
//! is held against that.
//!
//! Who lives here:
//! - [`cases`]: the cases, and a scenario of each from a seed.
//! - [`truth`]: what really happened in a phase.
//! - [`measure`]: a phase's numbers against the truth; [`naive`]: those of a tool that
//!   reads on a timer, from the same run.
//! - [`table`]: a case's runs in one row of Markdown.

pub mod cases;
pub mod measure;
pub mod naive;
pub mod table;
pub mod truth;

pub use cases::Case;
pub use measure::{Measured, measure};
pub use table::Row;

use crate::turmoil::{Scenario, run};

/// One run of a case.
#[derive(Debug)]
pub struct Ran {
    /// Its phases.
    pub phases: Vec<Measured>,
    /// What broke: rules of the simulation, or a run that left no result.
    pub broken: Vec<String>,
}

/// Runs a scenario and measures each of its phases.
#[must_use]
pub fn ran(scenario: &Scenario) -> Ran {
    let outcome = run(scenario, false);
    let mut broken = outcome.failures.clone();
    let phases = measure(scenario, &outcome).unwrap_or_else(|why| {
        broken.push(why);
        Vec::new()
    });
    Ran { phases, broken }
}
