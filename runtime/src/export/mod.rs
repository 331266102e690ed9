//! Artifacts, written as the run goes.
