//! The client's books: records in, finalised once.
//!
//! - [`report`]: what the ledger knows at the end.

pub mod report;
