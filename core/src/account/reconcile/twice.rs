//! One server that is read at two endpoints.
//!
//! Its counts are then in the sum over endpoints twice. Where the client's own are
//! known exactly the two ledgers differ, and say so. Where requests did not complete
//! the sum may lie within the client's bounds all the same. But two servers never
//! spend the same time on their requests, to the last digit.

use std::collections::BTreeMap;

use super::server::Measure;
use crate::account::attribution::Attributed;
use crate::account::boundary::KINDS;
use crate::account::source::{Key, SourceBook};

/// What a source counts of the client's requests, at the two boundaries of a phase.
type Counts<'a> = BTreeMap<(&'a str, &'a BTreeMap<String, String>), Ends<'a>>;

/// A series at START and at END; `None` where it was not there.
type Ends<'a> = [Option<&'a [f64]>; 2];

/// Two endpoints that showed the same in everything that they count of requests, at
/// both boundaries of a phase in which they counted a time that is no whole number,
/// and a family with such a time.
pub(super) fn named_twice<'a>(
    attributed: &'a Attributed,
    measures: &[Measure],
    phase: usize,
) -> Option<[&'a str; 3]> {
    let keys = KINDS.map(|kind| (phase, kind));
    let sources = attributed.sources().iter();
    let sources: Vec<_> = sources.map(|source| (source, counts(source, measures, keys))).collect();
    sources.iter().enumerate().find_map(|(place, (one, counts))| {
        let mut later = sources.iter().skip(place + 1);
        let (other, _) = later.find(|(_, others)| are_same(counts, others))?;
        let family = counts.iter().find(|(_, ends)| took_time(ends)).map(|((name, _), _)| *name)?;
        Some([one.endpoint(), other.endpoint(), family])
    })
}

fn counts<'a>(source: &'a SourceBook, measures: &[Measure], keys: [Key; 2]) -> Counts<'a> {
    let is_measured = |name: &str| measures.iter().any(|measure| measure.family == name);
    let series = source.counted().filter(|series| is_measured(series.name));
    let ends = series.map(|s| ((s.name, s.labels), keys.map(|key| s.at(key))));
    ends.filter(|(_, ends)| ends.iter().any(Option::is_some)).collect()
}

/// Whether a part that is no whole number moved.
fn took_time([start, end]: &Ends<'_>) -> bool {
    let Some(end) = end else { return false };
    let before = |place: usize| start.and_then(|start| start.get(place).copied()).unwrap_or(0.0);
    end.iter().enumerate().any(|(place, now)| now.fract().abs() > 0.0 && before(place) < *now)
}

/// Whether two show the same to the last bit.
fn are_same(one: &Counts<'_>, other: &Counts<'_>) -> bool {
    let bits = |ends: &Ends<'_>| {
        ends.map(|parts| parts.map(|parts| parts.iter().map(|n| n.to_bits()).collect::<Vec<_>>()))
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|((a, x), (b, y))| a == b && bits(x) == bits(y))
}
