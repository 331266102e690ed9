//! The configuration file: [`node`] is YAML with places, [`reader`] turns it
//! into values or one error, [`mod@file`] names the keys, [`suggest`] guesses what
//! was meant.

pub mod file;
pub mod node;
pub mod reader;
pub mod suggest;

pub use file::FileConfig;
