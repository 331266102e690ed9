//! The conductor under test: a rig that checks what must always hold after
//! every call, and the rules, one test each.

mod gates;
mod inputs;
mod load;
mod policy;
mod probing;
mod property;
mod rig;
mod run;
