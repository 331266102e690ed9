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
    phases: Mutex<Vec<PhaseView>>,
    stage: Mutex<Stage>,
    notes: Mutex<Vec<String>>,
    now: AtomicU64,
}

/// How a phase stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct PhaseView {
    /// Its requests.
    pub counts: PhaseCounts,
    /// How many it is to send, where a search has decided that.
    pub requests: Option<u64>,
    /// When it started.
    pub start: Option<Tick>,
    /// When nothing of it was in flight any more.
    pub end: Option<Tick>,
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

    /// How a phase stands.
    #[must_use]
    pub fn phase(&self, index: usize) -> PhaseView {
        lock(&self.inner.phases).get(index).copied().unwrap_or_default()
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

    /// Names the collectors that the gate waits for.
    pub(super) fn waiting_for(&self, collectors: Vec<ServiceId>) {
        if let Stage::Gate { waiting, .. } = &mut *lock(&self.inner.stage) {
            *waiting = collectors;
        }
    }

    /// Takes a collector out of what the gate waits for.
    pub(super) fn answered(&self, service: &ServiceId) {
        if let Stage::Gate { waiting, .. } = &mut *lock(&self.inner.stage) {
            waiting.retain(|other| other != service);
        }
    }

    /// Changes how a phase stands.
    pub(super) fn change(&self, index: usize, change: impl FnOnce(&mut PhaseView)) {
        let mut phases = lock(&self.inner.phases);
        if phases.len() <= index {
            phases.resize(index + 1, PhaseView::default());
        }
        if let Some(view) = phases.get_mut(index) {
            change(view);
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
