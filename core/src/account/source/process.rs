//! Which process a source's values are of.

use std::collections::BTreeMap;

use crate::account::boundary::at;
use crate::account::track::SAME_START_S;
use crate::reading::{Family, Value};
use crate::time::Tick;

/// The gauge of Prometheus' client libraries that says when a process started,
/// in seconds since the Unix epoch
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
pub(super) const START_TIME: &str = "process_start_time_seconds";

/// The processes behind one source, by the labels that their start times carry:
/// none, but for an endpoint that passes on what others expose.
#[derive(Debug, Clone, Default)]
pub(super) struct Processes {
    now: BTreeMap<BTreeMap<String, String>, Process>,
    /// One was seen to start again.
    restarted: bool,
    /// An older process answered after a newer one: when, in words.
    several: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    /// The start of the one that the latest reading is of.
    latest: f64,
    /// The start of the one that answered the latest reading that overlaps none before,
    /// and when that was complete.
    started: f64,
    seen: Tick,
    /// It was started again: the ends of the readings before and after.
    restarted: Option<(Tick, Tick)>,
}

impl Processes {
    /// Takes in a reading taken in `[start, end]`; the one before it was complete
    /// at `before`. Only one that is `compared` says which process came first.
    pub(super) fn observe(
        &mut self,
        families: &[Family],
        (start, end): (Tick, Tick),
        before: Tick,
        compared: bool,
    ) {
        let all = families.iter().filter(|f| f.name == START_TIME).flat_map(|f| &f.series);
        for series in all {
            let Value::Value(started) = series.value else { continue };
            if !started.is_finite() {
                continue;
            }
            let fresh = Process { latest: started, started, seen: end, restarted: None };
            let Some(process) = self.now.get_mut(&series.labels) else {
                self.now.insert(series.labels.clone(), fresh);
                continue;
            };
            process.latest = started;
            if !compared || start < process.seen {
                continue;
            }
            let by = started - process.started;
            let mut restarted = process.restarted;
            if by > SAME_START_S {
                self.restarted = true;
                let before = Some(before).filter(|before| *before <= start);
                restarted = Some((before.unwrap_or_default().max(process.seen), end));
            } else if by < -SAME_START_S {
                // Time does not go back: the older one still answers.
                let said = format!(
                    "the process that answered by {} started {:.1} s before the one that answered \
                     by {}",
                    at(end),
                    -by,
                    at(process.seen),
                );
                self.several.get_or_insert(said);
            }
            *process = Process { restarted, ..fresh };
        }
    }

    /// When the process of a series with these labels in the latest reading started,
    /// and between which readings that was seen: of those whose labels it has, the one with the
    /// most.
    pub(super) fn started(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Option<(f64, Option<(Tick, Tick)>)> {
        let has = |wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let of = self.now.iter().filter(|(wanted, _)| has(wanted));
        let (_, process) = of.max_by_key(|(wanted, _)| wanted.len())?;
        let is_known = (process.latest - process.started).abs() <= SAME_START_S;
        Some((process.latest, process.restarted.filter(|_| is_known)))
    }

    /// How several processes were seen to answer in turn; `None` if they were
    /// not.
    pub(super) fn several(&self) -> Option<&str> {
        self.several.as_deref()
    }

    /// Whether one was seen to start again, which explains that counters fall.
    pub(super) fn restarted(&self) -> bool {
        self.restarted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{FamilyType, Series};

    fn read(processes: &mut Processes, at: u64, labels: &[(&str, &str)], started: f64) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let series = vec![Series { labels, created: None, value: Value::Value(started) }];
        let kind = FamilyType::Gauge;
        let families = [Family { name: START_TIME.to_owned(), kind, series }];
        processes.observe(&families, (Tick(at), Tick(at + 5)), Tick::ZERO, true);
    }

    #[test]
    fn a_process_that_starts_later_is_one_that_was_started_again() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 1000.0);
        read(&mut processes, 10, &[], 1000.05);
        assert!(!processes.restarted(), "clocks are not that exact");
        read(&mut processes, 20, &[], 1020.0);
        assert!(processes.restarted() && processes.several().is_none());
        assert_eq!(processes.started(&BTreeMap::new()), Some((1020.0, Some((Tick(15), Tick(25))))));
        read(&mut processes, 25, &[], 1040.0);
        let touching = Some((1040.0, Some((Tick(25), Tick(30)))));
        assert_eq!(
            processes.started(&BTreeMap::new()),
            touching,
            "it began when that was complete"
        );
    }

    #[test]
    fn a_process_that_started_earlier_than_the_one_before_is_another() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 1000.0);
        read(&mut processes, 10, &[], 900.0);
        let said = processes.several().unwrap();
        assert!(said.contains("started 100.0 s before"), "{said}");
    }

    #[test]
    fn a_slow_answer_of_a_process_that_is_no_more_is_not_another() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 900.0);
        read(&mut processes, 10, &[], 1000.0);
        read(&mut processes, 8, &[], 900.0);
        assert!(processes.several().is_none());
        let started = |processes: &Processes| processes.started(&BTreeMap::new()).map(|p| p.0);
        assert_eq!(started(&processes), Some(900.0), "what it shows is its own");
        read(&mut processes, 20, &[], 1000.0);
        assert_eq!(started(&processes), Some(1000.0));
        assert!(processes.several().is_none());
    }

    #[test]
    fn a_slow_answer_of_the_same_process_does_not_forget_that_it_was_started_again() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 900.0);
        read(&mut processes, 10, &[], 1000.0);
        let restarted = Some((1000.0, Some((Tick(5), Tick(15)))));
        assert_eq!(processes.started(&BTreeMap::new()), restarted);
        read(&mut processes, 8, &[], 1000.0);
        assert_eq!(processes.started(&BTreeMap::new()), restarted);
    }

    #[test]
    fn an_older_process_that_answers_later_is_the_one_that_the_next_answer_is_held_against() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 1000.0);
        read(&mut processes, 10, &[], 900.0);
        assert!(!processes.restarted());
        read(&mut processes, 20, &[], 1000.0);
        assert!(processes.restarted());
    }

    #[test]
    fn starts_as_far_apart_as_clocks_may_be_are_one_process() {
        for starts in [[0.0, SAME_START_S], [SAME_START_S, 0.0]] {
            let mut processes = Processes::default();
            read(&mut processes, 0, &[], starts[0]);
            read(&mut processes, 10, &[], starts[1]);
            assert!(!processes.restarted() && processes.several().is_none(), "{starts:?}");
        }
        // So are two answers that overlapped: the second was begun before the end of the first.
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], -100.0);
        read(&mut processes, 10, &[], SAME_START_S);
        read(&mut processes, 8, &[], 0.0);
        let restarted = Some((Tick(5), Tick(15)));
        assert_eq!(processes.started(&BTreeMap::new()), Some((0.0, restarted)));
        read(&mut processes, 9, &[], -100.0);
        assert_eq!(processes.started(&BTreeMap::new()), Some((-100.0, None)), "the one before");
    }

    #[test]
    fn a_series_is_of_the_process_whose_labels_it_has() {
        let mut processes = Processes::default();
        read(&mut processes, 0, &[], 1.0);
        read(&mut processes, 0, &[("instance", "a")], 2.0);
        let of = |pairs: &[(&str, &str)]| {
            let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            processes.started(&labels).map(|process| process.0)
        };
        assert_eq!(of(&[("instance", "a"), ("model", "m")]), Some(2.0));
        assert_eq!(of(&[("instance", "b")]), Some(1.0));
    }
}
