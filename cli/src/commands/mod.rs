//! The commands, one file each: [`run`], [`mock`], [`sim`], [`replay`],
//! [`mod@report`], [`doctor`], [`completions`].

pub mod completions;
pub mod doctor;
pub mod mock;
pub mod replay;
pub mod report;
pub mod run;
pub mod sim;
