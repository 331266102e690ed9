//! What a user interface may look at while the run goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use phasegate_core::message::{BaselineKind, PhaseCounts};
use phasegate_core::{ServiceId, Tick};

/// The state of a run, shared with whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: Mutex<Vec<Counts>>,
    stage: Mutex<Stage>,
    notes: Mutex<Vec<String>>,
    now: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    counts: PhaseCounts,
    start: Option<Tick>,
}

/// Where the run is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stage {
    /// Files and sources are being opened.
    #[default]
    Preparing,
    /// The endpoint does not answer yet.
    WaitingForEndpoint {
        /// What it said last.
        last: Option<String>,
    },
    /// Services are getting ready.
    WaitingForServices,
    /// Load waits at a gate.
    Gate {
        /// The phase's index in the plan.
        phase: usize,
        /// Its start or its end.
        kind: BaselineKind,
        /// Who has not answered.
        waiting: Vec<ServiceId>,
    },
    /// A phase is sending.
    Sending {
        /// The phase's index in the plan.
        phase: usize,
    },
    /// A phase waits for its last requests.
    Draining {
        /// The phase's index in the plan.
        phase: usize,
    },
    /// All phases are over; results are being handed in and written.
    Finishing,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Where the run is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        lock(&self.inner.stage).clone()
    }

    /// A phase's requests, and when it started.
    #[must_use]
    pub fn phase(&self, index: usize) -> (PhaseCounts, Option<Tick>) {
        let counts = lock(&self.inner.counts).get(index).copied().unwrap_or_default();
        (counts.counts, counts.start)
    }

    /// The last moment at which anything happened, on the run's clock.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick(self.inner.now.load(Ordering::Relaxed))
    }

    /// Takes out what is to be said to the user, in order.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.inner.notes))
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        *lock(&self.inner.stage) = stage;
    }

    /// Takes a collector out of what the gate waits for.
    pub(super) fn answered(&self, service: &ServiceId) {
        if let Stage::Gate { waiting, .. } = &mut *lock(&self.inner.stage) {
            waiting.retain(|other| other != service);
        }
    }

    pub(super) fn set_counts(&self, index: usize, counts: PhaseCounts, start: Option<Tick>) {
        let mut all = lock(&self.inner.counts);
        if all.len() <= index {
            all.resize(index + 1, Counts::default());
        }
        if let Some(slot) = all.get_mut(index) {
            *slot = Counts { counts, start: start.or(slot.start) };
        }
    }

    pub(super) fn tick(&self, now: Tick) {
        self.inner.now.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Says something to the user; bounded, the oldest go first.
    pub(super) fn note(&self, note: impl Into<String>) {
        const MOST: usize = 1000;
        let mut notes = lock(&self.inner.notes);
        if notes.len() < MOST {
            notes.push(note.into());
        }
    }
}
