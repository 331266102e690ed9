//! What a GPU reported by itself: XID errors and double-bit ECC errors.
//!
//! An event is known to have happened between two looks. It is a phase's where
//! that time and the phase's overlap: what a phase's START reading shows was before
//! the phase, and what its END reading shows happened in it or a moment later.

use std::collections::BTreeMap;

use crate::account::boundary::{at, sentence};
use crate::account::gauge::Span;
use crate::account::result::Verdict;
use crate::account::verdict::Finding;
use crate::reading::{GpuEvent, GpuEventKind};
use crate::time::Tick;

/// So many kinds of a phase are told apart; the others are counted together, as
/// errors whose number is not known.
const KINDS: usize = 16;

/// The events of one GPU. Bounded by phases × kinds, not by events.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    /// By the phase's index; `None` holds those in no phase.
    tallies: BTreeMap<Option<usize>, BTreeMap<Kind, Tally>>,
    /// From when on nothing is seen, and why.
    unseen: Option<(Tick, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Xid(Option<u64>),
    DoubleBitEcc,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    count: u64,
    from: Tick,
    to: Tick,
    /// Every one of them lies wholly inside.
    inside: bool,
}

impl Events {
    pub(super) fn observe(&mut self, spans: &[Option<Span>], event: &GpuEvent) {
        let (kind, count) = match &event.what {
            GpuEventKind::Xid { number, count } => (Kind::Xid(*number), *count),
            GpuEventKind::DoubleBitEcc { count } => (Kind::DoubleBitEcc, *count),
            GpuEventKind::Unseen { reason } => {
                self.unseen.get_or_insert_with(|| (event.from, reason.clone()));
                return;
            }
        };
        let (from, to) = (event.from, event.to);
        let mut anywhere = false;
        for (index, span) in spans.iter().enumerate() {
            if let Some(span) = span.filter(|span| from < span.end && span.start < to) {
                anywhere = true;
                let inside = span.contains(from) && span.contains(to);
                self.add(Some(index), kind, Tally { count, from, to, inside });
            }
        }
        if !anywhere {
            self.add(None, kind, Tally { count, from, to, inside: true });
        }
    }

    fn add(&mut self, phase: Option<usize>, kind: Kind, more: Tally) {
        let tallies = self.tallies.entry(phase).or_default();
        let told = tallies.contains_key(&kind) || tallies.len() < KINDS;
        let kind = if told { kind } else { Kind::Xid(None) };
        let tally = tallies.entry(kind).or_insert(Tally { count: 0, ..more });
        tally.count = tally.count.saturating_add(more.count);
        tally.from = tally.from.min(more.from);
        tally.to = tally.to.max(more.to);
        tally.inside &= more.inside;
    }

    /// What is to be said of the phase at `phase`, which took `span`; `gpu` names
    /// the GPU.
    pub(super) fn findings(&self, gpu: &str, phase: usize, span: Option<Span>) -> Vec<Finding> {
        let all = self.tallies.get(&Some(phase)).into_iter().flatten();
        let mut notes: Vec<_> = all
            .map(|(kind, tally)| {
                let place = if tally.inside { "inside the phase" } else { IN_OR_AT };
                said(gpu, *kind, tally, place)
            })
            .collect();
        // What was never seen is said of the run, once.
        if let Some((from, why)) =
            self.lost().filter(|(from, _)| span.is_none_or(|s| *from < s.end))
        {
            notes.push(sentence(format!(
                "XID events of {gpu} cannot be seen since {}: {why}",
                at(from)
            )));
        }
        notes.into_iter().map(|note| Finding::new(Verdict::Clean, note)).collect()
    }

    /// What was in none of the phases that `is_reported` knows.
    pub(super) fn outside(&self, gpu: &str, is_reported: &dyn Fn(usize) -> bool) -> Vec<String> {
        let all = self.tallies.iter().filter(|(phase, _)| !phase.is_some_and(is_reported));
        all.flat_map(|(_, tallies)| tallies)
            .map(|(kind, tally)| said(gpu, *kind, tally, "outside of every phase"))
            .collect()
    }

    /// Since when nothing is seen, and why.
    pub(super) fn unseen(&self) -> Option<(Tick, &str)> {
        self.unseen.as_ref().map(|(from, why)| (*from, why.as_str()))
    }

    /// The same, where something was seen before.
    fn lost(&self) -> Option<(Tick, &str)> {
        self.unseen().filter(|(from, _)| *from > Tick::ZERO)
    }
}

const IN_OR_AT: &str = "inside the phase or at its edge";

fn said(gpu: &str, kind: Kind, tally: &Tally, place: &str) -> String {
    let times = match tally.count {
        1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let what = match kind {
        Kind::Xid(Some(number)) => format!("XID error {number}"),
        Kind::Xid(None) => "an XID error whose number is not known".to_owned(),
        Kind::DoubleBitEcc => "a double-bit ECC error".to_owned(),
    };
    let (from, to) = (at(tally.from), at(tally.to));
    format!("{gpu} reported {what}{times} {place}, between {from} and {to} of the run.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: [Option<Span>; 2] = [
        Some(Span { start: Tick(1_000_000_000), end: Tick(2_000_000_000) }),
        Some(Span { start: Tick(3_000_000_000), end: Tick(4_000_000_000) }),
    ];

    fn xid(number: u64, from_ms: u64, to_ms: u64) -> GpuEvent {
        event(from_ms, to_ms, GpuEventKind::Xid { number: Some(number), count: 1 })
    }

    fn event(from_ms: u64, to_ms: u64, what: GpuEventKind) -> GpuEvent {
        let [from, to] = [from_ms, to_ms].map(|ms| Tick(ms * 1_000_000));
        GpuEvent { uuid: "GPU-1".to_owned(), from, to, what }
    }

    fn events(all: &[GpuEvent]) -> Events {
        let mut events = Events::default();
        for event in all {
            events.observe(&SPANS, event);
        }
        events
    }

    fn notes(events: &Events, phase: usize) -> Vec<String> {
        let found = events.findings("GPU 1", phase, SPANS[phase]);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Clean));
        found.into_iter().map(|finding| finding.note).collect()
    }

    #[test]
    fn an_event_is_said_of_the_phase_that_it_happened_in_with_its_time() {
        let events = events(&[
            xid(79, 3100, 3200),
            xid(31, 3300, 3400),
            xid(31, 3500, 3600),
            event(3100, 3200, GpuEventKind::DoubleBitEcc { count: 2 }),
            event(3100, 3200, GpuEventKind::Xid { number: None, count: 1 }),
        ]);
        assert_eq!(notes(&events, 0), [""; 0]);
        insta::assert_snapshot!(notes(&events, 1).join("\n"), @"
        GPU 1 reported an XID error whose number is not known inside the phase, between 3.100 s and 3.200 s of the run.
        GPU 1 reported XID error 31 (2 times) inside the phase, between 3.300 s and 3.600 s of the run.
        GPU 1 reported XID error 79 inside the phase, between 3.100 s and 3.200 s of the run.
        GPU 1 reported a double-bit ECC error (2 times) inside the phase, between 3.100 s and 3.200 s of the run.
        ");
        assert_eq!(events.outside("GPU 1", &|_| true), [""; 0]);
    }

    #[test]
    fn what_the_start_reading_shows_was_before_the_phase_and_what_the_end_reading_shows_was_in_it()
    {
        // A reading for START of the second phase is complete when it begins.
        let before = events(&[xid(13, 2100, 3000)]);
        assert_eq!((notes(&before, 0), notes(&before, 1)), (vec![], vec![]));
        insta::assert_snapshot!(before.outside("GPU 1", &|_| true).join("\n"), @"GPU 1 reported XID error 13 outside of every phase, between 2.100 s and 3.000 s of the run.");
        // The first one after it looks back to it, the one for END a moment too far.
        let first = events(&[xid(13, 2990, 3100)]);
        insta::assert_snapshot!(notes(&first, 1).join("\n"), @"GPU 1 reported XID error 13 inside the phase or at its edge, between 2.990 s and 3.100 s of the run.");
        let last = events(&[xid(13, 3900, 4010)]);
        assert_eq!((notes(&last, 0).len(), notes(&last, 1).len()), (0, 1));
        assert_eq!(last.outside("GPU 1", &|_| true), [""; 0]);
    }

    #[test]
    fn an_event_that_may_be_of_two_phases_is_said_of_both() {
        let events = events(&[xid(13, 1900, 3100)]);
        assert_eq!((notes(&events, 0).len(), notes(&events, 1).len()), (1, 1));
    }

    #[test]
    fn an_event_of_a_phase_that_is_not_among_the_results_is_said_of_the_run() {
        let events = events(&[xid(13, 1100, 1200)]);
        assert_eq!(events.outside("GPU 1", &|phase| phase != 0).len(), 1);
    }

    #[test]
    fn a_gpu_that_is_seen_no_more_is_said_of_the_phases_after() {
        let unseen = GpuEventKind::Unseen { reason: "it fell off the bus".to_owned() };
        let lost = events(&[event(2500, 2600, unseen.clone())]);
        assert_eq!(notes(&lost, 0), [""; 0]);
        insta::assert_snapshot!(notes(&lost, 1).join("\n"), @"XID events of GPU 1 cannot be seen since 2.500 s: it fell off the bus.");
        // One that was never seen is the run's matter.
        let never = events(&[event(0, 10, unseen)]);
        assert_eq!((notes(&never, 0), notes(&never, 1)), (vec![], vec![]));
        assert_eq!(never.unseen(), Some((Tick::ZERO, "it fell off the bus")));
    }

    #[test]
    fn events_that_only_touch_a_phase_are_not_its_and_one_at_its_edge_makes_all_of_its_kind_so() {
        let after = events(&[xid(13, 2000, 2100)]);
        assert_eq!((notes(&after, 0), after.outside("GPU 1", &|_| true).len()), (vec![], 1));
        let lost = GpuEventKind::Unseen { reason: "it fell off the bus".to_owned() };
        assert_eq!(notes(&events(&[event(2000, 2100, lost)]), 0), [""; 0]);
        for order in [[3100, 3900], [3900, 3100]] {
            let both = events(&order.map(|from| xid(13, from, from + 110)));
            let [note] = &notes(&both, 1)[..] else { panic!("{both:?}") };
            assert!(note.contains("(2 times) inside the phase or at its edge"), "{note}");
        }
    }

    #[test]
    fn a_flood_of_kinds_is_bounded_and_none_is_lost() {
        let flood: Vec<_> = (0..1000).map(|number| xid(number, 3100, 3200)).collect();
        let events = events(&flood);
        let tallies = &events.tallies[&Some(1)];
        assert_eq!(tallies.len(), KINDS + 1);
        assert_eq!(tallies.values().map(|tally| tally.count).sum::<u64>(), 1000);
    }
}
