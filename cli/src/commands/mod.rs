//! The commands, one file each: [`run`], [`doctor`], [`completions`].

pub mod completions;
pub mod doctor;
pub mod run;
