//! The search for the highest rate, or concurrency, at which a server keeps its
//! service level objectives. One probe is one phase.
//!
//! - [`plan`]: what is searched for, within which range.
//! - [`interval`]: how far a percentile, or a share, of so many samples is known.
//! - [`estimate`]: what the ledger found of one probe.
//! - [`judge`]: whether a probe held.
//! - [`machine`]: where to probe next; [`report`]: what the search came to.

pub mod estimate;
pub mod interval;
pub mod judge;
pub mod machine;
pub mod plan;
pub mod report;
#[cfg(test)]
mod tests;

pub use estimate::{Estimate, Point, ProbeMeasured};
pub use judge::{Outcome, Sent};
pub use machine::{End, Next, Probe, Search};
pub use plan::{Objective, Percentile, SearchPlan};
pub use report::{ProbeReport, SearchReport};
