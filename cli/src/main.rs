//! phasegate
fn main() {}
