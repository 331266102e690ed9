//! All arithmetic of the result.
//!
//! - [`result`]: `run.json`, as types.
//! - [`stats`]: statistics of a series of values, in bounded memory.

pub mod result;
pub mod stats;
