//! What people see: [`tables`] at the end, on standard output; [`progress`]
//! meanwhile, on standard error; the [`plan`] of a dry run. No colours, no
//! control characters outside the progress bar.

use crate::exit::{Exit, complain};

pub mod plan;
pub mod progress;
pub(crate) mod slo;
mod sweep;
pub mod tables;

/// Prints results. A reader that went away is no error.
#[must_use]
pub fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(format!("the output could not be written: {e}"));
            Exit::ConditionFailed
        }
        Ok(()) | Err(_) => Exit::Done,
    }
}
