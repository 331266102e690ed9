//! Simulations of what phasegate measures and of phasegate itself.
//!
//! Who lives here:
//! - [`server`]: the simulated inference server, over real TCP; what
//!   `phasegate mock` and `phasegate run --demo` serve.
//! - [`des`]: tier 1, the whole orchestration as discrete events over the pure
//!   core. [`faults`]: what goes wrong in it. [`oracle`]: what must come of it.
//!   [`marks`]: what it came across.
//! - `accuracy` (with the feature `turmoil`): how far a run's numbers are from what
//!   really happened.
//! - `turmoil` (tier 2, with the feature of that name): the real nodes on a
//!   simulated network.
//! - [`invariants`]: what must always hold, checked step by step and at the end
//!   of every real run.
//! - [`trace`]: what a run looks like from outside, one step at a time.
//! - [`mod@fuzz`]: what the fuzzers of core do with their bytes.

#[cfg(feature = "turmoil")]
pub mod accuracy;
pub mod des;
pub mod faults;
pub mod fuzz;
pub mod invariants;
pub mod marks;
pub mod oracle;
pub mod server;
pub mod trace;
#[cfg(feature = "turmoil")]
pub mod turmoil;
