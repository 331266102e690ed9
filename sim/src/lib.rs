//! Simulations of what phasegate measures and of phasegate itself.
//!
//! Who lives here:
//! - [`mod@fuzz`]: what the fuzzers of core do with their bytes.
//! - [`invariants`]: what must always hold, checked step by step and at the end
//!   of every real run.
//! - [`server`]: the simulated inference server, over real TCP; what
//!   `phasegate mock` and `phasegate run --demo` serve.
//! - `turmoil` (tier 2, with the feature of that name): the real nodes on a
//!   simulated network.
//! - [`trace`]: what a run looks like from outside, one step at a time.

pub mod fuzz;
pub mod invariants;
pub mod server;
pub mod trace;
#[cfg(feature = "turmoil")]
pub mod turmoil;
