//! Moments on the run's own monotonic clock.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: nanoseconds since the run started, on one monotonic clock.
///
/// Ours rather than `std::time::Instant`, so that it can be written into a
/// journal and replayed. Arithmetic saturates: a deadline "never" away stays
/// representable and nothing in core can overflow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// The start of the run.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// `ms` milliseconds after the start of the run.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the start of the run.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start of the run.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The time from `earlier` until this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds, saturating at `u64::MAX` (584 years).
#[must_use]
#[inline]
pub const fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Tick {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Tick {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Durations in JSON as seconds, exact to the nanosecond up to ten days; in
/// binary as nanoseconds. For `#[serde(with = "…")]`.
pub mod seconds {
    use core::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a duration.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_f64(super::nanos(*duration) as f64 / 1e9)
        } else {
            s.serialize_u64(super::nanos(*duration))
        }
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// If the number is negative, not finite or beyond what can be told.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        if d.is_human_readable() {
            let seconds = f64::deserialize(d)?;
            // Rounds to the nearest nanosecond: the one that was written.
            Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
        } else {
            u64::deserialize(d).map(Duration::from_nanos)
        }
    }

    /// The same for a duration that may be absent.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        struct Seconds(#[serde(with = "super")] Duration);

        /// Writes a duration, or that there is none.
        ///
        /// # Errors
        /// The serialiser's.
        pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
            d.map(Seconds).serialize(s)
        }

        /// Reads a duration, or that there is none.
        ///
        /// # Errors
        /// As for one duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Seconds>::deserialize(d)?.map(|seconds| seconds.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Tick::NEVER + Duration::from_secs(1), Tick::NEVER);
        assert_eq!(Tick::ZERO - Duration::from_secs(1), Tick::ZERO);
        assert_eq!(Tick(3).since(Tick(5)), Duration::ZERO);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn seconds_are_exact_to_the_nanosecond(nanos in 0_u64..864_000_000_000_000) {
            #[derive(serde::Serialize, serde::Deserialize)]
            struct Both {
                #[serde(with = "seconds")]
                one: Duration,
                #[serde(with = "seconds::option")]
                other: Option<Duration>,
            }
            let one = Duration::from_nanos(nanos);
            let text = serde_json::to_string(&Both { one, other: Some(one) }).unwrap();
            let back: Both = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!((back.one, back.other), (one, Some(one)));
        }
    }

    #[test]
    fn displays_as_seconds_with_nanoseconds() {
        assert_eq!(Tick(1_000_000_005).to_string(), "1.000000005s");
    }
}
