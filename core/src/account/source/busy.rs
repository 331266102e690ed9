//! How much a source was working on, by the gauges that are 0 when it is idle.

use crate::account::gauge::Span;
use crate::time::Tick;

/// The largest value of a gauge, summed over its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// The gauge.
    pub gauge: String,
    /// Its value.
    pub value: f64,
    /// The end of the reading that showed it.
    pub at: Tick,
}

/// What the gauges were at, phase by phase. Its size is that of the phases.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy {
    /// The most in readings that lie wholly inside a phase.
    inside: Vec<Option<Peak>>,
    /// The latest reading that lies wholly outside of every phase, by the phase
    /// that comes next.
    outside: Vec<Option<Peak>>,
}

impl Busy {
    /// Takes in what the busiest gauge was at in a reading taken in
    /// `[start, end]`.
    pub(super) fn observe(
        &mut self,
        spans: &[Option<Span>],
        (start, end): (Tick, Tick),
        peak: Option<(&str, f64)>,
    ) {
        let touches = |s: Span| s.start <= end && start <= s.end;
        let of = peak.map(|(gauge, value)| Peak { gauge: gauge.to_owned(), value, at: end });
        if spans.iter().flatten().any(|s| touches(*s)) {
            self.inside.resize(spans.len().max(self.inside.len()), None);
            for (most, span) in self.inside.iter_mut().zip(spans) {
                let within = span.is_some_and(|s| s.start <= start && end <= s.end);
                if let Some(peak) = of.as_ref().filter(|_| within)
                    && most.as_ref().is_none_or(|most| peak.value > most.value)
                {
                    *most = Some(peak.clone());
                }
            }
            return;
        }
        let next = spans.iter().enumerate().filter_map(|(i, s)| Some((i, (*s)?.start)));
        let next = next.filter(|(_, begins)| end < *begins).min_by_key(|(_, begins)| *begins);
        if let Some((next, _)) = next {
            self.outside.resize(spans.len().max(self.outside.len()), None);
            if let Some(latest) = self.outside.get_mut(next) {
                *latest = of;
            }
        }
    }

    /// The most inside a phase.
    pub(super) fn inside(&self, phase: usize) -> Option<&Peak> {
        self.inside.get(phase)?.as_ref()
    }

    /// What it was at last before a phase, with nobody's load on.
    pub(super) fn before(&self, phase: usize) -> Option<&Peak> {
        self.outside.get(phase)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: [Option<Span>; 2] = [
        Some(Span { start: Tick(100), end: Tick(200) }),
        Some(Span { start: Tick(300), end: Tick(400) }),
    ];

    fn seen(readings: &[(u64, u64, f64)]) -> Busy {
        let mut busy = Busy::default();
        for (start, end, value) in readings {
            busy.observe(&SPANS, (Tick(*start), Tick(*end)), Some(("running", *value)));
        }
        busy
    }

    #[test]
    fn the_most_inside_a_phase_is_kept_and_a_reading_across_its_edge_is_not_used() {
        let busy = seen(&[(110, 120, 3.0), (130, 140, 5.0), (150, 160, 4.0), (190, 210, 9.0)]);
        assert_eq!(busy.inside(0).map(|p| (p.value, p.at)), Some((5.0, Tick(140))));
        assert_eq!((busy.inside(1), busy.before(1)), (None, None));
    }

    #[test]
    fn of_equal_values_the_first_is_the_most_and_a_phase_has_its_edges() {
        let busy = seen(&[(100, 120, 5.0), (180, 200, 5.0), (300, 400, 1.0)]);
        assert_eq!(busy.inside(0).map(|p| (p.value, p.at)), Some((5.0, Tick(120))));
        assert_eq!(busy.inside(1).map(|p| p.value), Some(1.0));
    }

    #[test]
    fn outside_of_phases_the_latest_reading_stands() {
        let busy = seen(&[(10, 20, 7.0), (30, 40, 0.0), (210, 220, 4.0), (250, 260, 2.0)]);
        assert_eq!(busy.before(0).map(|p| p.value), Some(0.0));
        assert_eq!(busy.before(1).map(|p| p.value), Some(2.0));
    }
}
