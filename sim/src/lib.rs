//! Simulations of what phasegate measures and of phasegate itself.
//!
//! Who lives here:
//! - [`server`]: the simulated inference server, over real TCP; what
//!   `phasegate mock` and `phasegate run --demo` serve.
//! - [`des`]: tier 1, the whole orchestration as discrete events over the pure
//!   core. [`faults`]: what goes wrong in it. [`oracle`]: what must come of it.
//!   [`marks`]: what it came across.
//! - [`invariants`]: what must hold after every step.
//! - [`trace`]: what a run looks like from outside, one step at a time.

pub mod des;
pub mod faults;
pub mod invariants;
pub mod marks;
pub mod oracle;
pub mod server;
pub mod trace;
