//! phasegate-sim
