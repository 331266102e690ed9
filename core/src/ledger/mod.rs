//! The client's books: records in, finalised once.
//!
//! - [`machine`]: the ledger: who tells it what, when it finalises.
//! - [`state`]: its lifecycle, as a table.
//! - [`books`]: one phase's records, counted and accumulated.
//! - [`metrics`]: every client metric: name, unit, formula.
//! - [`goodput`]: which requests meet the limits.
//! - `seen`: which credits have a record already. `values`: what they measured, one
//!   series a metric.
//! - [`report`]: what the ledger knows at the end.

pub mod books;
pub mod goodput;
pub mod machine;
pub mod metrics;
pub mod report;
mod seen;
pub mod state;
mod values;

pub use books::url_of;
pub use machine::{Ledger, LedgerEffect, LedgerEvent, LedgerInput, LedgerTimer};
