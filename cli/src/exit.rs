//! Exit codes, and the one line that goes with a failure.

use std::fmt;
use std::process::ExitCode;

/// How the binary ends. The numbers are published: scripts hold on to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Done, but a condition (`--strict`, `--max-error-rate`, a fatal check of
    /// `doctor`) failed, or no request succeeded.
    ConditionFailed,
    /// Wrong usage or configuration; nothing was sent.
    Usage,
    /// The endpoint never became ready.
    NotReady,
    /// Interrupted; what was measured is written.
    Interrupted,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::ConditionFailed => 1,
            Self::Usage => 2,
            Self::NotReady => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Wrong usage or configuration: one message that names the place, what is
/// wrong, and what would be right. Ends the process with [`Exit::Usage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(String);

impl Usage {
    /// Says `message`.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints `error: …` to standard error, on one line.
#[allow(clippy::print_stderr)]
pub fn complain(message: impl fmt::Display) {
    let message = message.to_string();
    let line: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    eprintln!("error: {}", line.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_published_ones() {
        let all =
            [Exit::Done, Exit::ConditionFailed, Exit::Usage, Exit::NotReady, Exit::Interrupted];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 130]);
    }
}
