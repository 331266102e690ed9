//! Waits until the endpoint answers, or gives up.
