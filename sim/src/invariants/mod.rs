//! What must hold after every step of a run.

use core::fmt;

use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use crate::trace::Step;

/// A property that a run must have, watched step by step.
pub trait Invariant {
    /// Its short name.
    fn name(&self) -> &'static str;

    /// Sees one step.
    ///
    /// # Errors
    /// What the step violates.
    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation>;

    /// The run is over.
    ///
    /// # Errors
    /// What was left undone.
    fn finish(&mut self) -> Result<(), Violation>;
}

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// When.
    pub at: Tick,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violated at {}: {}", self.invariant, self.at, self.what)
    }
}

/// Every invariant, for one run.
#[must_use]
pub fn all(_plan: &RunPlan, _collectors: usize) -> Vec<Box<dyn Invariant>> {
    Vec::new()
}
