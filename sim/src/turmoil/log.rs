//! The steps of a run: as text, and to whoever checks them.
//!
//! All hosts of a simulation run on the thread that steps it, so the log of the
//! run is that thread's, and nobody has to hand it around.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use phasegate_core::PhaseId;
use phasegate_core::controller::{ControllerEffect, ControllerEvent};
use phasegate_core::message::BaselineKind;
use phasegate_core::time::Tick;

use super::rules::Rules;
use crate::invariants::Watch;
use crate::trace::{Call, Step};

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// What is kept of a run's steps.
pub struct Log {
    /// One line a step, where it is wanted.
    pub text: Option<String>,
    /// How many steps there were.
    pub steps: u64,
    /// What the steps broke.
    pub violations: Vec<String>,
    /// When the controller first opened each boundary.
    pub opened: BTreeMap<(PhaseId, BaselineKind), Tick>,
    rules: Rules,
    /// The invariants, for as long as every service lives its first life.
    watch: Option<Watch>,
}

/// Violations beyond so many are of no interest.
const MOST: usize = 20;

impl Log {
    /// Begins the log of a run on this thread.
    pub fn begin(rules: Rules, watch: Watch, text: bool) {
        let log = Self {
            text: text.then(String::new),
            steps: 0,
            violations: Vec::new(),
            opened: BTreeMap::new(),
            rules,
            watch: Some(watch),
        };
        LOG.set(Some(log));
    }

    /// Ends this thread's log and hands it over.
    #[must_use]
    pub fn end() -> Option<Self> {
        let mut log = LOG.take()?;
        let violations = log.rules.finish();
        log.violations.extend(violations);
        if let Some(watch) = log.watch.take() {
            log.violations.extend(watch.finish().iter().map(ToString::to_string));
        }
        Some(log)
    }

    /// A service is lost: the invariants hold of a run's first lives only.
    pub(super) fn cut_off() {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log
                && let Some(watch) = log.watch.take()
            {
                log.violations.extend(watch.cut_off().iter().map(ToString::to_string));
            }
        });
    }

    /// When a boundary was first opened by the controller, if it was.
    #[must_use]
    pub fn boundary(phase: PhaseId, kind: BaselineKind) -> Option<Tick> {
        LOG.with_borrow(|log| log.as_ref()?.opened.get(&(phase, kind)).copied())
    }

    /// Whether the controller has ended the run.
    pub(super) fn run_ended() -> bool {
        LOG.with_borrow(|log| log.as_ref().is_some_and(|log| log.rules.run_ended()))
    }

    /// Writes what is no step of a machine: a fault.
    pub(super) fn remark(at: std::time::Duration, what: &str) {
        LOG.with_borrow_mut(|log| {
            if let Some(text) = log.as_mut().and_then(|log| log.text.as_mut()) {
                let _ = writeln!(text, "{:>13.6} network       {what}", at.as_secs_f64());
            }
        });
    }

    /// A service starts (again).
    pub(super) fn life(what: Life) {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log {
                log.rules.life(what);
            }
        });
    }

    pub(super) fn step(step: &Step<'_>) {
        LOG.with_borrow_mut(|log| {
            if let Some(log) = log {
                log.take(step);
            }
        });
    }

    fn take(&mut self, step: &Step<'_>) {
        self.steps += 1;
        if let Call::Controller { effects, .. } = &step.call {
            for effect in *effects {
                if let ControllerEffect::Report(ControllerEvent::BoundaryOpened {
                    phase,
                    kind,
                    ..
                }) = effect
                {
                    self.opened.entry((*phase, *kind)).or_insert(step.at);
                }
            }
        }
        if let Err(violations) = self.rules.observe(step)
            && self.violations.len() < MOST
        {
            self.violations.extend(violations);
        }
        if let Some(watch) = &mut self.watch {
            watch.observe(step);
        }
        if let Some(text) = &mut self.text {
            line(text, step);
        }
    }
}

/// A service that can start more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Controller,
    Bench,
    Collector(usize),
}

fn line(text: &mut String, step: &Step<'_>) {
    let at = step.at.as_secs_f64();
    let _ = match &step.call {
        Call::Controller { input, effects, .. } => {
            writeln!(text, "{at:>13.6} controller    {input:?} => {effects:?}")
        }
        Call::Conductor { input, effects, .. } => {
            writeln!(text, "{at:>13.6} conductor     {input:?} => {effects:?}")
        }
        Call::Ledger { input, effects, .. } => {
            writeln!(text, "{at:>13.6} ledger        {input:?} => {effects:?}")
        }
        Call::Collector { index, input, effects, .. } => {
            writeln!(text, "{at:>13.6} collector-{index:<3} {input:?} => {effects:?}")
        }
    };
}
