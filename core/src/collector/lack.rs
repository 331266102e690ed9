//! What a reading lacks for its source to be settled, in words once it is said.

use core::fmt;

use crate::engines::Count;

/// The least and the most that is expected; no most where it is not known.
type Bounds = (u64, Option<u64>);

/// One thing that a reading lacks. It becomes text only where a boundary is
/// answered with it: most of what is lacking comes a reading later.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lack {
    /// A count is not within its bounds: so much more than it was.
    Count { count: Count, bounds: Bounds, more: f64 },
    /// There is no count from before the load to hold this one against.
    NoBase { count: Count, bounds: Bounds },
    /// A gauge that is 0 when the server is idle.
    Busy { gauge: String, value: f64 },
    /// A family that is not still.
    Moving(String),
    /// None has moved, but there was no reading after the load to compare with.
    ReadOnce,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { count, bounds, more } => {
                write!(f, "{}: expected {}, seen {more}", count.name(), Range(*bounds))
            }
            Self::NoBase { count, bounds } => write!(
                f,
                "{}: expected {} more, no count from before",
                count.name(),
                Range(*bounds)
            ),
            Self::Busy { gauge, value } => write!(f, "{gauge}: expected 0, seen {value}"),
            Self::Moving(family) => write!(f, "{family}: still moving"),
            Self::ReadOnce => f.write_str("read once only since the load ended"),
        }
    }
}

struct Range(Bounds);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (least, None) => write!(f, "at least {least}"),
            (least, Some(most)) if most == least => write!(f, "{least}"),
            (least, Some(most)) => write!(f, "{least} to {most}"),
        }
    }
}

/// What is to be said of families that are not still.
pub(super) fn moving(moved: &[String], of_interest: impl Fn(&str) -> bool) -> Vec<Lack> {
    let moved = moved.iter().filter(|name| of_interest(name));
    let lacks: Vec<Lack> = moved.map(|name| Lack::Moving(name.clone())).collect();
    if lacks.is_empty() { vec![Lack::ReadOnce] } else { lacks }
}
