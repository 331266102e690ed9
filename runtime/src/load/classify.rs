//! Errors of a request, sorted into the five classes and said in one sentence.
//!
//! The engine puts the URL (without credentials) in front of the sentence and
//! takes secrets out of it; here is only what went wrong.

use std::error::Error;
use std::fmt::Write;
use std::io;

use phasegate_core::record::ErrorClass;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: ErrorClass,
    pub(crate) what: String,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into() }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::new(ErrorClass::Malformed, what)
    }

    /// No connection could be made.
    pub(crate) fn connect(error: &io::Error) -> Self {
        let mut what = format!("cannot connect: {}", chain(error));
        if let Some(remedy) = remedy(error) {
            what.push_str("; ");
            what.push_str(remedy);
        }
        Self::new(ErrorClass::Connect, what)
    }

    /// HTTP failed on a connection that had been made.
    pub(crate) fn http(error: &HttpError, stage: Stage) -> Self {
        let doing = stage.while_doing();
        match error {
            HttpError::NotHttp(why) => {
                Self::malformed(format!("the answer is not HTTP {doing}: {why}"))
            }
            HttpError::Ended => Self::new(
                ErrorClass::StreamCut,
                format!("the connection ended {doing}: the server closed it"),
            ),
            HttpError::Io(error) => Self::new(
                ErrorClass::StreamCut,
                format!("the connection ended {doing}: {}", chain(error)),
            ),
        }
    }
}

/// What goes wrong on a connection that had been made.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The socket, or TLS on it, failed.
    Io(io::Error),
    /// The server closed it.
    Ended,
    /// What came is not HTTP/1: why.
    NotHttp(&'static str),
}

/// How far a request has come, for its error sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// Not begun.
    #[default]
    Waiting,
    /// Making a connection.
    Connecting,
    /// Writing the request.
    Sending,
    /// The request is written, the answer's head is not in.
    Answering,
    /// The answer's body is coming in.
    Receiving,
}

impl Stage {
    pub(crate) fn while_doing(self) -> &'static str {
        match self {
            Self::Waiting => "before it was sent",
            Self::Connecting => "while connecting",
            Self::Sending => "while sending the request",
            Self::Answering => "while waiting for the answer",
            Self::Receiving => "while receiving the answer",
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

/// What the user can do about an error of the client's own machine.
fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            Some("raise the limit of open files (ulimit -n) or lower the concurrency")
        }
        Some(rustix::io::Errno::ADDRNOTAVAIL) => {
            Some("the client has no free port left: lower the rate of new connections")
        }
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_a_connect_error_that_says_so() {
        let failure = Failure::connect(&io::Error::from_raw_os_error(111));
        assert_eq!(failure.class, ErrorClass::Connect);
        assert!(failure.what.contains("refused"), "{}", failure.what);
    }

    #[test]
    fn running_out_of_files_names_the_remedy() {
        let failure = Failure::connect(&io::Error::from_raw_os_error(24));
        assert!(failure.what.contains("ulimit -n"), "{}", failure.what);
    }
}
