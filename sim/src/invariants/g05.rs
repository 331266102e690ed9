//! G5: one reading per collector and boundary; it began after the request
//! arrived.

use std::collections::BTreeMap;

use phasegate_core::collector::{CollectorEffect, CollectorInput, Purpose, ReadId};
use phasegate_core::message::{BaselineAck, Message};
use phasegate_core::reading::BoundaryMark;
use phasegate_core::time::Tick;

use super::{Invariant, Violation, Watches};
use crate::trace::{Call, Step};

const NAME: &str = "G5";

/// In one life of a collector, a boundary has at most one baseline. It is a
/// reading that was begun for this boundary after its request had arrived, and
/// it is the one that the acknowledgement tells of. Every acknowledgement of a
/// boundary says the same.
pub struct OneReading {
    collectors: Vec<Books>,
}

/// One life of one collector.
#[derive(Default)]
struct Books {
    boundaries: BTreeMap<BoundaryMark, Boundary>,
}

struct Boundary {
    asked: Tick,
    /// Begun for this boundary, with its interval once it is there.
    reads: Vec<(ReadId, Option<(Tick, Tick)>)>,
    baseline: Option<ReadId>,
    ack: Option<BaselineAck>,
}

impl OneReading {
    /// For a run with so many collectors.
    #[must_use]
    pub fn new(collectors: usize) -> Self {
        let mut books = Vec::new();
        books.resize_with(collectors, Books::default);
        Self { collectors: books }
    }
}

impl Books {
    fn input(&mut self, at: Tick, input: &CollectorInput) {
        match input {
            CollectorInput::Message(envelope) => {
                if let Message::BaselineRequest(request) = &envelope.body {
                    let mark = BoundaryMark { phase: request.phase, kind: request.kind };
                    self.boundaries.entry(mark).or_insert_with(|| Boundary {
                        asked: at,
                        reads: Vec::new(),
                        baseline: None,
                        ack: None,
                    });
                }
            }
            CollectorInput::ReadDone { read, outcome: Ok(stamp) } => {
                let all = self.boundaries.values_mut().flat_map(|b| &mut b.reads);
                for (_, done) in all.filter(|(id, _)| id == read) {
                    *done = Some((stamp.start, stamp.end));
                }
            }
            CollectorInput::Start
            | CollectorInput::ReadDone { outcome: Err(_), .. }
            | CollectorInput::Disable { .. }
            | CollectorInput::Stop => {}
        }
    }

    fn effect(&mut self, effect: &CollectorEffect) -> Result<(), String> {
        match effect {
            CollectorEffect::Read { read, purpose: Purpose::Boundary { phase, kind }, .. } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                let Some(boundary) = self.boundaries.get_mut(&mark) else {
                    return Err(format!("a reading for the {kind} boundary before its request"));
                };
                if boundary.ack.is_some() {
                    return Err(format!(
                        "another reading for the {kind} boundary that was answered"
                    ));
                }
                boundary.reads.push((*read, None));
            }
            CollectorEffect::Baseline { read, phase, kind } => {
                let mark = BoundaryMark { phase: *phase, kind: *kind };
                let Some(boundary) = self.boundaries.get_mut(&mark) else {
                    return Err(format!("a baseline of the {kind} boundary before its request"));
                };
                if boundary.baseline.is_some() {
                    return Err(format!("a second baseline of the {kind} boundary"));
                }
                let Some((_, stamp)) = boundary.reads.iter().find(|(id, _)| id == read) else {
                    return Err(format!(
                        "the {kind} baseline is reading {}, which was not begun for it",
                        read.0
                    ));
                };
                let Some((start, _)) = stamp else {
                    return Err(format!(
                        "the {kind} baseline is reading {}, which has not succeeded",
                        read.0
                    ));
                };
                if *start < boundary.asked {
                    return Err(format!(
                        "the {kind} baseline began at {}, before its request arrived at {}",
                        start, boundary.asked
                    ));
                }
                boundary.baseline = Some(*read);
            }
            CollectorEffect::Send(envelope) => {
                if let Message::BaselineAck(ack) = &envelope.body {
                    self.ack(ack)?;
                }
            }
            CollectorEffect::Read { purpose: Purpose::Periodic, .. }
            | CollectorEffect::Abort(_)
            | CollectorEffect::Finished => {}
        }
        Ok(())
    }

    fn ack(&mut self, ack: &BaselineAck) -> Result<(), String> {
        let kind = ack.kind;
        let mark = BoundaryMark { phase: ack.phase, kind };
        let Some(boundary) = self.boundaries.get_mut(&mark) else {
            return Err(format!("an acknowledgement of the {kind} boundary before its request"));
        };
        if let Some(before) = &boundary.ack {
            let same = before == ack;
            return if same {
                Ok(())
            } else {
                Err(format!("a second answer to the {kind} boundary"))
            };
        }
        if let Ok(reading) = &ack.outcome {
            let baseline = boundary.baseline.and_then(|read| {
                let found = boundary.reads.iter().find(|(id, _)| *id == read);
                found.and_then(|(_, interval)| *interval)
            });
            if baseline != Some((reading.start, reading.end)) {
                return Err(format!(
                    "the {kind} boundary's acknowledged reading is not its baseline"
                ));
            }
        }
        boundary.ack = Some(ack.clone());
        Ok(())
    }
}

/// A collector that registers begins a new life.
fn registers(effect: &CollectorEffect) -> bool {
    match effect {
        CollectorEffect::Send(envelope) => matches!(envelope.body, Message::Register(_)),
        CollectorEffect::Read { .. }
        | CollectorEffect::Abort(_)
        | CollectorEffect::Baseline { .. }
        | CollectorEffect::Finished => false,
    }
}

impl Invariant for OneReading {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(&self) -> Watches {
        Watches::COLLECTORS
    }

    fn observe(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let Call::Collector { index, input, effects, .. } = step.call else { return Ok(()) };
        if index >= self.collectors.len() {
            self.collectors.resize_with(index + 1, Books::default);
        }
        let books = &mut self.collectors[index];
        if effects.iter().any(registers) {
            *books = Books::default();
        }
        if let Some(input) = input {
            books.input(step.at, input);
        }
        for effect in effects {
            books.effect(effect).map_err(|what| {
                Violation::new(NAME, step.at, format!("collector {index}: {what}"))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::*;
    use phasegate_core::message::BaselineKind::Start;
    use phasegate_core::plan::RunPlan;

    const READ: ReadId = ReadId(4);

    fn read(plan: &RunPlan, read: ReadId) -> CollectorEffect {
        let purpose = Purpose::Boundary { phase: plan.phases()[0].id, kind: Start };
        CollectorEffect::Read { read, purpose, tick_within: core::time::Duration::ZERO }
    }

    fn baseline(plan: &RunPlan, read: ReadId) -> CollectorEffect {
        CollectorEffect::Baseline { read, phase: plan.phases()[0].id, kind: Start }
    }

    /// Asked at 10 ms, read from `start` to 20 ms.
    fn asked_and_read(plan: &RunPlan, start: u64) -> (OneReading, Result<(), Violation>) {
        let mut g5 = OneReading::new(1);
        let request = Some(request(plan, 0, Start));
        assert_eq!(collector(&mut g5, 10, request, &[read(plan, READ)]), Ok(()));
        let done = Some(read_done(READ, start, 20));
        let effects = [baseline(plan, READ), ack(plan, 0, Start, start, 20)];
        let seen = collector(&mut g5, 20, done, &effects);
        (g5, seen)
    }

    #[test]
    fn a_baseline_that_began_before_its_request_is_a_violation() {
        let plan = plan(&[false]);
        let broken = asked_and_read(&plan, 9).1.unwrap_err();
        assert!(broken.what.contains("before its request arrived"), "{broken}");
        assert_eq!(asked_and_read(&plan, 10).1, Ok(()));
    }

    #[test]
    fn a_periodic_reading_as_baseline_is_a_violation() {
        let plan = plan(&[false]);
        let mut g5 = OneReading::new(1);
        let periodic = CollectorEffect::Read {
            read: ReadId(3),
            purpose: Purpose::Periodic,
            tick_within: core::time::Duration::ZERO,
        };
        assert_eq!(collector(&mut g5, 5, None, &[periodic]), Ok(()));
        let request = Some(request(&plan, 0, Start));
        assert_eq!(collector(&mut g5, 10, request, &[read(&plan, READ)]), Ok(()));
        let done = Some(read_done(ReadId(3), 11, 20));
        let broken = collector(&mut g5, 20, done, &[baseline(&plan, ReadId(3))]).unwrap_err();
        assert!(broken.what.contains("was not begun for it"), "{broken}");
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer_and_no_other_reading() {
        let plan = plan(&[false]);
        let again = || Some(request(&plan, 0, Start));
        let (mut g5, _) = asked_and_read(&plan, 12);
        let same = [ack(&plan, 0, Start, 12, 20)];
        assert_eq!(collector(&mut g5, 30, again(), &same), Ok(()));
        assert!(collector(&mut g5, 31, again(), &[read(&plan, ReadId(5))]).is_err());
        let (mut g5, _) = asked_and_read(&plan, 12);
        assert!(collector(&mut g5, 30, again(), &[ack(&plan, 0, Start, 13, 20)]).is_err());
        let (mut g5, _) = asked_and_read(&plan, 12);
        assert!(collector(&mut g5, 30, None, &[baseline(&plan, READ)]).is_err(), "a second one");
    }

    #[test]
    fn nothing_is_read_or_said_for_a_boundary_that_nobody_asked_for() {
        let plan = plan(&[false]);
        for effect in [read(&plan, READ), baseline(&plan, READ), ack(&plan, 0, Start, 1, 2)] {
            assert!(collector(&mut OneReading::new(1), 3, None, &[effect]).is_err());
        }
    }
}
