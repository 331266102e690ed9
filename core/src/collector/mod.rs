//! Readings on a timer and on request.
