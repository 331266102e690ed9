//! Ids are newtypes, so that they cannot be mixed up.

use core::fmt;
use core::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::seed::Seed;

/// A phase: a UUID derived from the run's seed and the phase's index and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhaseId(pub Uuid);

impl PhaseId {
    /// The id of the phase at `index` called `name` in the run with `seed`.
    #[must_use]
    pub fn derive(seed: &Seed, index: usize, name: &str) -> Self {
        Self(seed.uuid(&format!("phase/{index}/{name}")))
    }
}

impl fmt::Display for PhaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a service on the bus: `controller`, `conductor`, `ledger`,
/// `gpu_telemetry/nvml`, `server_metrics/127.0.0.1:8000`, …
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(Arc<str>);

impl ServiceId {
    /// The id of the service called `name`.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The controller's id.
    #[must_use]
    pub fn controller() -> Self {
        static ID: LazyLock<ServiceId> = LazyLock::new(|| ServiceId::new("controller"));
        ID.clone()
    }

    /// The conductor's id.
    #[must_use]
    pub fn conductor() -> Self {
        static ID: LazyLock<ServiceId> = LazyLock::new(|| ServiceId::new("conductor"));
        ID.clone()
    }

    /// The ledger's id.
    #[must_use]
    pub fn ledger() -> Self {
        static ID: LazyLock<ServiceId> = LazyLock::new(|| ServiceId::new("ledger"));
        ID.clone()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A credit: the permission to send one request. `phase` is the phase's index
/// in the plan; `number` counts from 0 within the phase, in the order of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreditId {
    /// The index of the phase in the plan.
    pub phase: u16,
    /// The credit's number within its phase.
    pub number: u32,
}

impl fmt::Display for CreditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.phase, self.number)
    }
}

/// A logical message. A message that is sent again keeps its id; its sequence
/// number is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// A result domain: who must hand in a result before the run may end. Never
/// empty; lower-case letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

/// Why a text is not a result domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The text is empty.
    #[error("a result domain cannot be empty")]
    Empty,
    /// The text has a character that is not allowed.
    #[error("a result domain is made of a-z, 0-9 and '_', not {0:?}")]
    Character(char),
}

impl Domain {
    /// The client's own results, handed in by the ledger.
    pub const PROFILE: &'static str = "profile";
    /// GPU telemetry.
    pub const TELEMETRY: &'static str = "telemetry";
    /// The server's own counters.
    pub const SERVER_METRICS: &'static str = "server_metrics";

    /// A domain called `name`.
    ///
    /// # Errors
    /// [`DomainError`] if `name` is empty or has a character outside
    /// `[a-z0-9_]`.
    pub fn new(name: impl Into<String>) -> Result<Self, DomainError> {
        let name = name.into();
        if name.is_empty() {
            return Err(DomainError::Empty);
        }
        let bad = |c: &char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_');
        match name.chars().find(bad) {
            Some(c) => Err(DomainError::Character(c)),
            None => Ok(Self(name)),
        }
    }

    /// The domain of the client's own results.
    #[must_use]
    pub fn profile() -> Self {
        Self(Self::PROFILE.to_owned())
    }

    /// The domain of GPU telemetry.
    #[must_use]
    pub fn telemetry() -> Self {
        Self(Self::TELEMETRY.to_owned())
    }

    /// The domain of the server's counters.
    #[must_use]
    pub fn server_metrics() -> Self {
        Self(Self::SERVER_METRICS.to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(name: String) -> Result<Self, DomainError> {
        Self::new(name)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

impl FromStr for Domain {
    type Err = DomainError;
    fn from_str(name: &str) -> Result<Self, DomainError> {
        Self::new(name)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_domain_cannot_be_built() {
        assert_eq!(Domain::new(""), Err(DomainError::Empty));
        assert_eq!("a b".parse::<Domain>(), Err(DomainError::Character(' ')));
        assert!(serde_json::from_str::<Domain>("\"\"").is_err());
        assert_eq!("profile".parse(), Ok(Domain::profile()));
    }

    #[test]
    fn phase_ids_come_from_the_seed() {
        let a = PhaseId::derive(&Seed::root(0), 0, "warmup");
        assert_eq!(a, PhaseId::derive(&Seed::root(0), 0, "warmup"));
        assert_ne!(a, PhaseId::derive(&Seed::root(1), 0, "warmup"));
        assert_ne!(a, PhaseId::derive(&Seed::root(0), 1, "warmup"));
    }
}
