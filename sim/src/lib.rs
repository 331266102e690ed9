//! Simulations of what phasegate measures and of phasegate itself.
//!
//! Who lives here:
//! - [`mod@fuzz`]: what the fuzzers of core do with their bytes.
//! - [`server`]: the simulated inference server, over real TCP; what
//!   `phasegate mock` and `phasegate run --demo` serve.
//! - [`trace`]: what a run looks like from outside, one step at a time.

pub mod fuzz;
pub mod server;
pub mod trace;
