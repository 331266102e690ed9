//! Registry, baseline coordinator, result join, shutdown.
//!
//! - [`report`]: what the controller knows at the end.

pub mod report;
