//! Whole runs through the account.
//!
//! - [`run`]: a handmade run that each test bends.
//! - [`whole`]: `run.json` as it is written.
//! - [`boundary`]: what belongs to a boundary, and who is missed at it.
//! - [`deltas`]: what series and GPUs did, and why that is not known.
//! - [`source`]: what the book of one source takes from which reading.
//! - [`trust`]: resets, several processes, what does not fit, what is malformed.
//! - [`notes`]: what is said of the run, and what GPUs report.
//! - [`slo`]: what a search came to.
//! - [`windows`]: `run.json`'s windows.
//! - [`reconcile`]: the client's ledger against the server's.
//! - [`verdicts`], [`outcomes`]: what is said of phases and of the run.

mod boundary;
mod deltas;
mod energy;
mod notes;
mod outcomes;
mod reconcile;
mod run;
mod slo;
mod source;
mod trust;
mod verdicts;
mod whole;
mod windows;
