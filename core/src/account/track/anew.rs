//! How a series begins to count anew.

use core::fmt;

use crate::account::boundary::at;
use crate::time::Tick;

/// Start times that differ by no more, in seconds, are those of one process: some
/// clients compute theirs anew for each answer.
pub(in crate::account) const SAME_START_S: f64 = 0.1;

/// Which life of a series a value is of, as far as the server says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Born {
    /// When its process started, in seconds since the Unix epoch.
    pub process: Option<f64>,
    /// When the series was created, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// The ends of the two readings between which its process was another for
    /// the first time, if it was started again.
    pub restarted: Option<(Tick, Tick)>,
}

impl Born {
    /// How a life that begins with `self` is another one than an earlier one.
    pub(super) fn since(&self, earlier: &Self) -> Option<Cause> {
        let differ = |new: Option<f64>, old: Option<f64>| {
            new.zip(old).is_some_and(|(new, old)| (new - old).abs() > SAME_START_S)
        };
        if differ(self.process, earlier.process) {
            return Some(Cause::Restarted);
        }
        differ(self.created, earlier.created).then_some(Cause::Recreated)
    }

    /// What is not said is as it was.
    pub(super) fn or(self, earlier: &Self) -> Self {
        Self {
            process: self.process.or(earlier.process),
            created: self.created.or(earlier.created),
            restarted: self.restarted,
        }
    }
}

/// How a series began to count anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// It fell: from, to.
    Fell(f64, f64),
    /// Its process was started again.
    Restarted,
    /// It was created again in the same process.
    Recreated,
    /// It was not there any more.
    Gone,
    /// It had other buckets.
    OtherBuckets,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fell(from, to) => write!(f, "fell from {from} to {to}"),
            Self::Restarted => f.write_str("began anew in a process that was started again"),
            Self::Recreated => f.write_str("was created again"),
            Self::Gone => f.write_str("was gone for a while"),
            Self::OtherBuckets => f.write_str("got other buckets"),
        }
    }
}

/// A series began to count anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Break {
    /// How.
    pub cause: Cause,
    /// The end of the reading that was the last before it, and that of the first after
    /// it, where these are known.
    pub times: Option<(Tick, Tick)>,
}

impl Break {
    /// The two values, where it fell.
    #[must_use]
    pub fn fall(&self) -> Option<(f64, f64)> {
        match self.cause {
            Cause::Fell(from, to) => Some((from, to)),
            Cause::Restarted | Cause::Recreated | Cause::Gone | Cause::OtherBuckets => None,
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            Some((after, before)) => {
                write!(f, "{} between {} and {}", self.cause, at(after), at(before))
            }
            None => self.cause.fmt(f),
        }
    }
}
