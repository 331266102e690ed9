//! A tolerant parser of the Prometheus text format 0.0.4 and of OpenMetrics
//! text 1.0: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! Servers bend both formats, and one odd line must not cost a boundary its
//! reading: a line that cannot be read is counted and the first few are named, the
//! rest is used. Timestamps and exemplars are ignored.
//!
//! - `line`: one line.
//! - `types`: which family a sample's name belongs to.
//! - `families`: samples into families and series.

mod families;
mod line;
mod types;

#[cfg(test)]
mod tests;

use phasegate_core::reading::{Family, Malformed};

use self::line::Line;
use self::types::Types;

/// What an exposition held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParseReport {
    /// The families that have a series, by name; series by their labels,
    /// buckets in ascending order. Of duplicate series the last one counts.
    pub families: Vec<Family>,
    /// How many families the answer declares by a TYPE line, with series or
    /// without.
    pub declared: u64,
    /// How many lines could not be read.
    pub bad_lines: u64,
    /// The first [`NAMED`] of them, in order.
    pub first_bad: Vec<BadLine>,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// Its first characters, printable.
    pub excerpt: String,
    /// Why it could not be read.
    pub reason: &'static str,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} ({}): {}", self.number, self.reason, self.excerpt)
    }
}

/// So many bad lines are named.
pub const NAMED: usize = 3;

/// The characters of a bad line that are shown.
const EXCERPT_CHARS: usize = 80;

/// Parses an exposition. Any bytes are accepted.
#[must_use]
pub fn parse(body: &[u8]) -> ParseReport {
    let mut report = ParseReport::default();
    let mut types = Types::default();
    let mut samples = Vec::new();
    for (number, raw) in (1u64..).zip(lines(body)) {
        match line::parse(raw) {
            Ok(Line::Nothing) => {}
            Ok(Line::Type { name, kind }) => {
                report.declared += 1;
                types.declare(name, kind);
            }
            Ok(Line::Sample(sample)) => samples.push((number, raw, sample)),
            Err(reason) => report.bad(number, raw, reason),
        }
    }
    for (_, _, sample) in &samples {
        types.infer(sample);
    }
    let mut families = families::Builder::new(&types);
    for (number, raw, sample) in samples {
        if let Err(reason) = families.add(sample) {
            report.bad(number, raw, reason);
        }
    }
    report.families = families.finish();
    report
}

impl ParseReport {
    fn bad(&mut self, number: u64, raw: &[u8], reason: &'static str) {
        self.bad_lines += 1;
        // Lines are refused in two passes, so the first are not always the first
        // that were found.
        let place = self.first_bad.partition_point(|bad| bad.number < number);
        if place < NAMED {
            self.first_bad.insert(place, BadLine { number, excerpt: excerpt(raw), reason });
            self.first_bad.truncate(NAMED);
        }
    }

    /// What could not be read; `None` where everything could be.
    #[must_use]
    pub fn malformed(&self) -> Option<Malformed> {
        let first = || self.first_bad.iter().map(ToString::to_string).collect();
        (self.bad_lines > 0).then(|| Malformed { lines: self.bad_lines, first: first() })
    }
}

/// The lines, without their ends (LF or CRLF).
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest.take().filter(|body| !body.is_empty())?;
        let (raw, after) = match memchr::memchr(b'\n', body) {
            Some(at) => (body.get(..at)?, body.get(at + 1..)),
            None => (body, None),
        };
        rest = after;
        Some(raw.strip_suffix(b"\r").unwrap_or(raw))
    })
}

fn excerpt(raw: &[u8]) -> String {
    // 4 bytes a character at the most, so that a long line is not copied whole.
    let head = raw.get(..EXCERPT_CHARS * 4).unwrap_or(raw);
    let text = String::from_utf8_lossy(head);
    let mut shown = String::new();
    for c in text.chars().take(EXCERPT_CHARS) {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    if text.chars().count() > EXCERPT_CHARS || head.len() < raw.len() {
        shown.push('…');
    }
    shown
}
