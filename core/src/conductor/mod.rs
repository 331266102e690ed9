//! Phases in order: lifecycle, gate client, arrivals, stop conditions, ramps.
//!
//! - [`report`]: what the conductor knows at the end.

pub mod report;
