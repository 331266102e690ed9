//! Why a run has no result.

use std::path::PathBuf;

use tokio::task::JoinError;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The configuration asks for something that cannot be had; nothing was
    /// sent.
    #[error("{0}")]
    Config(String),
    /// The artifacts cannot be written.
    #[error("{path}: {problem}")]
    Artifacts {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: std::io::Error,
    },
    /// What was measured cannot be written.
    #[error("{path}: {problem}; what was written until now is kept")]
    Unwritten {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: std::io::Error,
    },
    /// A task of ours died.
    #[error("{0} died, which is a bug in phasegate: {1}")]
    Died(&'static str, JoinError),
}
