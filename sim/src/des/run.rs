//! One seed, run to its end and judged.

use phasegate_core::time::Tick;

use super::config::{Config, Request};
use super::watch::{Record, Watch};
use super::world::{Scratch, World};
use crate::invariants::Violation;
use crate::marks::Marks;

/// What is to be kept of a run beside its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The journal.
    pub journal: bool,
    /// The trace.
    pub trace: bool,
    /// Nobody watches: no invariants, no oracle, no shape, no journal, no trace.
    /// For measuring what they cost.
    pub bare: bool,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How many calls the machines had.
    pub steps: u64,
    /// When it was over, on its own clock.
    pub ended: Tick,
    /// What it came across.
    pub marks: Marks,
    /// What was wrong with it.
    pub violation: Option<Violation>,
    /// Its journal, if that was to be kept.
    pub journal: Option<Vec<u8>>,
    /// Its trace, if that was to be kept.
    pub trace: Option<String>,
}

/// Runs seeds one after the other, keeping its memory.
#[derive(Debug, Default)]
pub struct Runner {
    scratch: Scratch,
}

impl Runner {
    /// Runs what is asked for.
    pub fn request(&mut self, request: &Request, keep: Keep) -> Outcome {
        match Config::draw(request) {
            Ok(config) => self.run(&config, keep),
            Err(error) => {
                let what = format!("the drawn plan is none: {error}");
                let violation = Violation { invariant: "plan", at: Tick::ZERO, what };
                Outcome {
                    steps: 0,
                    ended: Tick::ZERO,
                    marks: Marks::default(),
                    violation: Some(violation),
                    journal: None,
                    trace: None,
                }
            }
        }
    }

    /// Runs a configuration.
    pub fn run(&mut self, config: &Config, keep: Keep) -> Outcome {
        let mut watch = Watch::new(config, keep.bare);
        let mut violation = None;
        if keep.journal && !keep.bare {
            match Record::new(config) {
                Ok(record) => watch.journal = Some(record),
                Err(error) => violation = Some(journal(Tick::ZERO, &error)),
            }
        }
        watch.trace = (keep.trace && !keep.bare).then(super::status::heading);
        let mut world = World::new(config, std::mem::take(&mut self.scratch), watch);
        if violation.is_none() {
            violation = world.run().and_then(|()| world.judge()).err();
        }
        let World { mut scratch, watch, steps, now, nodes, .. } = world;
        scratch.nodes = nodes;
        self.scratch = scratch;
        let bytes = match watch.journal.map(Record::finish).transpose() {
            Ok(bytes) => bytes,
            Err(error) => {
                violation = violation.or(Some(journal(now, &error)));
                None
            }
        };
        Outcome {
            steps,
            ended: now,
            marks: watch.observer.marks,
            violation,
            journal: bytes,
            trace: watch.trace,
        }
    }
}

fn journal(at: Tick, error: &phasegate_core::journal::JournalError) -> Violation {
    Violation { invariant: "journal", at, what: error.to_string() }
}
