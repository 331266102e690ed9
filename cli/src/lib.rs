//! The `phasegate` binary, as a library so that its tests can reach it.
//!
//! - [`args`]: the command line and the environment.
//! - [`config`]: the configuration file.
//! - [`resolve`]: flags over environment over file over defaults, checked.
//! - [`commands`]: one file a command.
//! - [`output`]: tables, progress, the plan of a dry run.
//! - [`exit`]: exit codes.

pub mod args;
pub mod config;
pub mod exit;
