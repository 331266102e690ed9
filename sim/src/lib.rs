//! Simulations of what phasegate measures and of phasegate itself.
//!
//! Who lives here:
//! - [`server`]: the simulated inference server, over real TCP; what
//!   `phasegate mock` and `phasegate run --demo` serve.
//! - [`trace`]: what a run looks like from outside, one step at a time.

pub mod server;
pub mod trace;
