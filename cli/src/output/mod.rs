//! What people see: [`tables`] at the end, on standard output; [`progress`]
//! meanwhile, on standard error; the [`plan`] of a dry run. No colours, no
//! control characters outside the progress bar.

pub mod plan;
pub mod progress;
pub mod tables;
