//! Ids are newtypes, so that they cannot be mixed up.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;
use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
#[derive(Clone)]
pub struct ServiceId(Name);

/// The three that every run has cost nothing to copy and to compare.
#[derive(Clone)]
enum Name {
    Controller,
    Conductor,
    Ledger,
    /// Never the name of one of the three.
    Other(Arc<str>),
}

impl ServiceId {
    const CONTROLLER: &'static str = "controller";
    const CONDUCTOR: &'static str = "conductor";
    const LEDGER: &'static str = "ledger";

    /// The id of the service called `name`.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        match name.as_ref() {
            Self::CONTROLLER => Self(Name::Controller),
            Self::CONDUCTOR => Self(Name::Conductor),
            Self::LEDGER => Self(Name::Ledger),
            other => Self(Name::Other(Arc::from(other))),
        }
    }

    /// The controller's id.
    #[must_use]
    pub const fn controller() -> Self {
        Self(Name::Controller)
    }

    /// The conductor's id.
    #[must_use]
    pub const fn conductor() -> Self {
        Self(Name::Conductor)
    }

    /// The ledger's id.
    #[must_use]
    pub const fn ledger() -> Self {
        Self(Name::Ledger)
    }

    /// The name.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Controller => Self::CONTROLLER,
            Name::Conductor => Self::CONDUCTOR,
            Name::Ledger => Self::LEDGER,
            Name::Other(name) => name,
        }
    }
}

impl PartialEq for ServiceId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Name::Controller, Name::Controller)
            | (Name::Conductor, Name::Conductor)
            | (Name::Ledger, Name::Ledger) => true,
            // Nearly always copies of one.
            (Name::Other(one), Name::Other(two)) => Arc::ptr_eq(one, two) || one == two,
            (Name::Controller | Name::Conductor | Name::Ledger | Name::Other(_), _) => false,
        }
    }
}

impl Eq for ServiceId {}

impl PartialOrd for ServiceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Ids are in the order of their names.
impl Ord for ServiceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for ServiceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceId").field(&self.as_str()).finish()
    }
}

impl Serialize for ServiceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ServiceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
pub struct Domain(Cow<'static, str>);

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
            None => {
                let known = [Self::PROFILE, Self::TELEMETRY, Self::SERVER_METRICS];
                let known = known.into_iter().find(|known| *known == name);
                Ok(Self(known.map_or(Cow::Owned(name), Cow::Borrowed)))
            }
        }
    }

    /// The domain of the client's own results.
    #[must_use]
    pub const fn profile() -> Self {
        Self(Cow::Borrowed(Self::PROFILE))
    }

    /// The domain of GPU telemetry.
    #[must_use]
    pub const fn telemetry() -> Self {
        Self(Cow::Borrowed(Self::TELEMETRY))
    }

    /// The domain of the server's counters.
    #[must_use]
    pub const fn server_metrics() -> Self {
        Self(Cow::Borrowed(Self::SERVER_METRICS))
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
        domain.0.into_owned()
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
    fn service_ids_are_their_names_however_they_came_about() {
        for known in [ServiceId::controller(), ServiceId::conductor(), ServiceId::ledger()] {
            let text = serde_json::to_string(&known).unwrap();
            let read: ServiceId = serde_json::from_str(&text).unwrap();
            assert_eq!((&read, read.as_str()), (&known, known.as_str()));
            assert_eq!(ServiceId::new(known.as_str()), known);
            assert_eq!(format!("{known:?}"), format!("ServiceId({:?})", known.as_str()));
        }
        let names = ["a", "conductor", "controller", "gpu_telemetry/nvml", "ledger", "z"];
        for one in names {
            for two in names {
                let (a, b) = (ServiceId::new(one), ServiceId::new(two));
                assert_eq!((a == b, a.cmp(&b)), (one == two, one.cmp(two)));
            }
        }
    }

    #[test]
    fn every_id_is_said_as_it_is_written() {
        let domain = Domain::new("my_domain").unwrap();
        assert_eq!((domain.as_str(), domain.to_string().as_str()), ("my_domain", "my_domain"));
        assert_eq!(String::from(domain.clone()), "my_domain");
        assert_eq!(serde_json::to_string(&domain).unwrap(), "\"my_domain\"");
        assert_eq!(CreditId { phase: 1, number: 23 }.to_string(), "1/23");
        let phase = PhaseId::derive(&Seed::root(0), 0, "warmup");
        assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
    }

    #[test]
    fn phase_ids_come_from_the_seed() {
        let a = PhaseId::derive(&Seed::root(0), 0, "warmup");
        assert_eq!(a, PhaseId::derive(&Seed::root(0), 0, "warmup"));
        assert_ne!(a, PhaseId::derive(&Seed::root(1), 0, "warmup"));
        assert_ne!(a, PhaseId::derive(&Seed::root(0), 1, "warmup"));
    }
}
