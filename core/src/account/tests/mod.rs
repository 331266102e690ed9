//! Whole runs through the account.
//!
//! - [`run`]: a handmade run that each test bends.
//! - [`whole`]: `run.json` as it is written.
//! - [`deltas`]: what series and GPUs did, and why that is not known.
//! - [`verdicts`], [`outcomes`]: what is said of phases and of the run.

mod deltas;
mod outcomes;
mod run;
mod verdicts;
mod whole;
