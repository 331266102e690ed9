//! All arithmetic of the result.
//!
//! - [`result`]: `run.json`, as types.

pub mod result;
