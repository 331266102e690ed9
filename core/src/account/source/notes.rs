//! What is said of a source in a phase's notes, and in the run's.

use std::collections::BTreeMap;

use super::SourceBook;
use crate::account::boundary::{at, sentence};
use crate::account::result::Verdict;
use crate::account::verdict::Finding;
use crate::engines::{Role, lookup};
use crate::time::Tick;

/// So many series are named in a note; the others are counted.
const NAMED: usize = 3;

/// Series of which something is to be said, as written in an exposition.
#[derive(Debug, Default)]
pub(super) struct Odd {
    /// They began to count anew: how.
    pub(super) reset: Vec<(String, String)>,
    /// Histograms whose buckets disagree: how.
    pub(super) torn: Vec<(String, String)>,
    /// They were gone at END.
    pub(super) gone: Vec<String>,
}

impl Odd {
    /// It, of the `counted` series of `endpoint`.
    pub(super) fn findings(&self, endpoint: &str, counted: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        let named = |series: &[(String, String)]| {
            let mut series: Vec<&(String, String)> = series.iter().collect();
            series.sort_by_key(|(label, _)| rank(label));
            let first = series.iter().take(NAMED).map(|(label, how)| format!("{label} {how}"));
            let first: Vec<_> = first.collect();
            format!("{}{}", first.join("; "), more(series.len() as u64, NAMED as u64))
        };
        if !self.reset.is_empty() {
            let note = format!(
                "{} of {counted} counted series of {endpoint} were set back inside the phase; \
                 their deltas are lower bounds: {}",
                self.reset.len(),
                named(&self.reset),
            );
            findings.push(Finding::new(Verdict::Contaminated, sentence(note)));
        }
        if !self.torn.is_empty() {
            let note = format!(
                "{} of the histograms of {endpoint} disagree with themselves, so that what they counted \
                 is not known: {}",
                self.torn.len(),
                named(&self.torn),
            );
            findings.push(Finding::new(Verdict::Incomplete, sentence(note)));
        }
        if !self.gone.is_empty() {
            let named: Vec<_> = self.gone.iter().take(NAMED).map(String::as_str).collect();
            let note = format!(
                "{} series of {endpoint} that were there at START were gone at END, so what they \
                 counted is not known: {}{}",
                self.gone.len(),
                named.join(", "),
                more(self.gone.len() as u64, NAMED as u64),
            );
            findings.push(Finding::new(Verdict::Incomplete, sentence(note)));
        }
        findings
    }
}

impl SourceBook {
    /// What is to be said of the run: GPU events in none of the phases that
    /// `is_reported` knows, and events that cannot be seen.
    #[must_use]
    pub fn run_notes(&self, is_reported: &dyn Fn(usize) -> bool) -> Vec<String> {
        let endpoint = &self.endpoint;
        let each = self.gpus.iter();
        let mut notes: Vec<_> =
            each.flat_map(|(uuid, gpu)| gpu.outside(uuid, endpoint, is_reported)).collect();
        let mut unseen: BTreeMap<(Tick, &str), Vec<&str>> = BTreeMap::new();
        for (uuid, gpu) in &self.gpus {
            if let Some(why) = gpu.events_unseen() {
                unseen.entry(why).or_default().push(uuid);
            }
        }
        for ((since, why), gpus) in unseen {
            let whose = match gpus.len() == self.gpus.len() {
                true => String::new(),
                false => format!(" of GPU {}", gpus.join(", ")),
            };
            let since = match since {
                Tick::ZERO => String::new(),
                since => format!(" since {}", at(since)),
            };
            let note = format!("XID events{whose} cannot be seen by {endpoint}{since}: {why}");
            notes.push(sentence(note));
        }
        notes
    }

    /// Notes on readings that failed. Whether a boundary's did decides the
    /// verdict elsewhere; these notes change none.
    pub(super) fn note_readings(&self, findings: &mut Vec<Finding>, phase: usize) {
        let Some(readings) = self.readings.get(phase) else { return };
        if let Some((malformed, times)) = &readings.malformed {
            let lines = malformed.lines;
            let note = format!(
                "{lines} {} of {} cannot be read and were left out ({times} of its readings had \
                 such lines): {}{}",
                if lines == 1 { "line" } else { "lines" },
                self.endpoint,
                malformed.first.join("; "),
                more(lines, malformed.first.len() as u64),
            );
            findings.push(Finding::new(Verdict::Clean, sentence(note)));
        }
        if readings.failed == 0 && readings.good > 0 {
            return;
        }
        let why = readings.last_error.as_ref().map(|e| format!("; the last error: {e}"));
        let why = why.unwrap_or_default();
        let note = if readings.good == 0 {
            format!("{} gave nothing at all in the phase{why}", self.endpoint)
        } else {
            let all = readings.good + readings.failed;
            format!("{} of {all} readings of {} failed{why}", readings.failed, self.endpoint)
        };
        findings.push(Finding::new(Verdict::Clean, sentence(note)));
    }
}

/// What a reader holds against the client's own numbers is named first, and what has
/// nothing to do with load last.
fn rank(label: &str) -> u8 {
    let family = label.split('{').next().unwrap_or(label);
    match lookup(family).map(|rule| rule.role) {
        Some(Role::Counts(_)) => 0,
        Some(Role::Moves | Role::Busy) => 1,
        None => 2,
    }
}

fn more(all: u64, named: u64) -> String {
    match all.saturating_sub(named) {
        0 => String::new(),
        left => format!(" and {left} more"),
    }
}
