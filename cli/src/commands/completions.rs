//! `phasegate completions SHELL`.

use std::io::Write;

use crate::args::{self, CompletionsArgs};
use crate::exit::{Exit, complain};

/// Prints the completion script of a shell.
#[must_use]
pub fn run(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "phasegate", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => Exit::Done,
        // `phasegate completions bash | head` is no error.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(e) => {
            complain(format!("the script could not be written: {e}"));
            Exit::ConditionFailed
        }
    }
}
