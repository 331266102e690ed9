//! What must always hold, checked from outside: one file a property.
//!
//! Each looks at the steps of a run ([`crate::trace`]) and keeps its own books:
//! it shares none with core, so that a wrong count there is not believed here.
//! The simulators show them every step as it happens; [`replay`] shows them a
//! real run's journal at its end.
//!
//! - [`g01`] no credit before the START boundary is closed
//! - [`g02`] an END only when nothing is in flight
//! - [`g03`] every gate releases within its timeout
//! - [`g04`] phases that are not seamless never overlap
//! - [`g05`] one reading per collector and boundary, begun after the request
//! - [`g06`] window deltas sum to last − first (over the artifacts)
//! - [`g07`] sent = completed + errors + cancelled + in flight
//! - [`g08`] every record in exactly one phase, once
//! - [`g09`] finalised once, ended once, and always ended
//! - [`g10`] the run ends only when every domain is joined or evicted
//! - [`replay`] G11: the same journal gives the same effects
//! - [`g12`] state is bounded
//! - [`g13`] a verdict is never better than the evidence; [`result`] checks the
//!   same over `run.json`
//! - `flights`, `marks`: books that several of them keep, each its own.

use core::fmt;

use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use crate::trace::{Call, Step};

mod flights;
pub mod g01;
pub mod g02;
pub mod g03;
pub mod g04;
pub mod g05;
pub mod g06;
pub mod g07;
pub mod g08;
pub mod g09;
pub mod g10;
pub mod g12;
pub mod g13;
mod marks;
pub mod replay;
pub mod result;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// A set of kinds of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watches(u8);

impl Watches {
    /// The controller.
    pub const CONTROLLER: Self = Self(1);
    /// The conductor.
    pub const CONDUCTOR: Self = Self(2);
    /// The ledger.
    pub const LEDGER: Self = Self(4);
    /// Collectors.
    pub const COLLECTORS: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kind whose step this is.
    #[must_use]
    pub fn of(step: &Step<'_>) -> Self {
        match step.call {
            Call::Controller { .. } => Self::CONTROLLER,
            Call::Conductor { .. } => Self::CONDUCTOR,
            Call::Ledger { .. } => Self::LEDGER,
            Call::Collector { .. } => Self::COLLECTORS,
        }
    }

    /// Whether one of them is in the other set too.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A property that every run has.
pub trait Invariant {
    /// Its name in `docs/invariants.md`: `G1` to `G13`.
    fn name(&self) -> &'static str;

    /// The machines whose steps it looks at; the others say nothing to it.
    fn watches(&self) -> Watches {
        Watches::ALL
    }

    /// Looks at one step.
    ///
    /// # Errors
    /// What is wrong, if the step breaks the property. What is said of later
    /// steps is then of no use.
    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation>;

    /// The run is over. Nothing can be missing where every step was as it should
    /// be, unless the property says so.
    ///
    /// # Errors
    /// What is missing.
    fn finish(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

/// A property did not hold: phasegate has a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which property.
    pub invariant: &'static str,
    /// When: the step's moment, or that of the last step that was looked at.
    pub at: Tick,
    /// What happened and what should have.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, at, what } = self;
        write!(f, "{invariant} violated at {}s: {what}", at.as_secs_f64())
    }
}

impl std::error::Error for Violation {}

impl Violation {
    /// A violation of `invariant`.
    #[must_use]
    pub fn new(invariant: &'static str, at: Tick, what: impl Into<String>) -> Self {
        Self { invariant, at, what: what.into() }
    }
}

/// Every property that can be seen in the steps of a run of `plan` with so many
/// collectors. G6 and the result's side of G13 are seen in the artifacts
/// ([`g06::check`], [`result::check_result`]), G11 by [`replay`].
#[must_use]
pub fn all(plan: &RunPlan, collectors: usize) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(g01::StartClosed::new(plan)),
        Box::new(g02::EndAfterDrain::new(plan)),
        Box::new(g03::GateReleases::new(plan)),
        Box::new(g04::NoOverlap::new(plan)),
        Box::new(g05::OneReading::new(collectors)),
        Box::new(g07::Counts::new(plan)),
        Box::new(g08::Records::new(plan)),
        Box::new(g09::EndsOnce::new(collectors)),
        Box::new(g10::Joined::new()),
        Box::new(g12::Bounded::new(plan, collectors)),
        Box::new(g13::Evidence::new()),
    ]
}

/// Shows a run to every property and keeps the first violation of each.
pub struct Watch {
    invariants: Vec<Box<dyn Invariant>>,
    broken: Vec<Violation>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches a run of `plan` with so many collectors.
    #[must_use]
    pub fn new(plan: &RunPlan, collectors: usize) -> Self {
        Self { invariants: all(plan, collectors), broken: Vec::new() }
    }

    /// Shows one step.
    pub fn observe(&mut self, step: &Step<'_>) {
        let broken = &mut self.broken;
        self.invariants.retain_mut(|invariant| match invariant.observe(step) {
            Ok(()) => true,
            Err(violation) => {
                broken.push(violation);
                false
            }
        });
    }

    /// The run is over: what was broken, in the order in which it was seen.
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        for invariant in &mut self.invariants {
            self.broken.extend(invariant.finish().err());
        }
        self.broken
    }

    /// The run was cut off: what was broken until then.
    #[must_use]
    pub fn cut_off(self) -> Vec<Violation> {
        self.broken
    }
}
