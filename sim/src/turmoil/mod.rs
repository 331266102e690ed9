//! Tier 2: the real nodes on a simulated network.
//!
//! Every machine is driven by the production driver (`runtime::node::drive`) and
//! its effects are carried out by the production executors; the load engine, the
//! scraper, the parser and the bus codec are the production ones too, and so is
//! the simulated inference server. What differs is below them: TCP and time are
//! turmoil's. Each service has a host of its own, so that the network between any
//! two of them can fail, and a host can crash and come back.
//!
//! A run is a function of its [`Scenario`], which is a function of its name or of
//! one seed; the same scenario gives the same steps, byte for byte.
//!
//! Who lives here:
//! - [`scenario`]: what is run and what goes wrong; [`named`]: the situations
//!   that have a name; [`swarm`]: one from a seed.
//! - [`world`]: builds the hosts, steps the network, makes the faults happen.
//! - `hosts`: what runs on each host; `observed`: shows each call of a machine.
//! - `sensors`: GPUs that are read without a network, as NVML reads them.
//! - `link`: the bus over TCP; `dial`: load and scrapes over TCP.
//! - [`log`]: the steps of a run, as text and to the invariants.
//! - [`rules`]: what must hold of every step; [`verdict`]: of a run and its result.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulated network needs `--cfg tokio_unstable`: without it a panic in a task is \
     swallowed. The repository sets it in .cargo/config.toml; a RUSTFLAGS variable replaces \
     that, so add `--cfg tokio_unstable` to it."
);

mod dial;
pub(crate) mod hosts;
mod link;
pub mod log;
pub mod named;
mod observed;
pub mod rules;
pub mod scenario;
mod sensors;
pub mod swarm;
pub mod verdict;
pub mod world;

pub use scenario::{Action, Fault, Place, Scenario, Source, When};
pub use world::{Outcome, run};
