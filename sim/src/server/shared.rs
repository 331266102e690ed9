//! What all connections share: the engine behind a lock, and the clock.
//!
//! The engine is pure; here it meets time. Whoever looks at it first lets
//! everything happen that is due, and [`drive`] does so when nobody looks but a
//! queued request must start.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::time::nanos;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::config::ServerConfig;
use super::engine::{Engine, JobId, Progress, QueueFull, Work};
use super::hazard::{Exporter, Hazard, RequestFaults, request_faults};
use super::truth::{Finish, Truth};

/// The state of one server.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    epoch: Instant,
    /// Wall-clock time at the start, since the Unix epoch.
    pub(crate) started_at: Duration,
    state: Mutex<State>,
    queue: Notify,
    requests: AtomicU64,
    scrapes: [AtomicU64; 2],
    /// True once the port is closed and connections must end.
    pub(crate) closing: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    waiters: BTreeMap<JobId, Arc<Notify>>,
}

impl Shared {
    pub(crate) fn new(config: ServerConfig, started_at: Duration) -> Self {
        let reset_after = config.hazards.iter().find_map(|hazard| match hazard {
            Hazard::ResetCounters(after) => Some(after.get()),
            Hazard::Exporter { .. }
            | Hazard::Api { .. }
            | Hazard::NotReady { .. }
            | Hazard::RefuseAfter(_) => None,
        });
        let engine = Engine::new(&config, reset_after);
        Self {
            config,
            epoch: Instant::now(),
            started_at,
            state: Mutex::new(State { engine, waiters: BTreeMap::new() }),
            queue: Notify::new(),
            requests: AtomicU64::new(0),
            scrapes: [AtomicU64::new(0), AtomicU64::new(0)],
            closing: watch::Sender::new(false),
        }
    }

    /// Advances the engine to now, looks at it or changes it, and wakes the
    /// requests that started meanwhile.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock is read under the lock, so that it never runs backwards.
        let now = Tick(nanos(self.epoch.elapsed()));
        state.engine.advance(now);
        let result = look(&mut state.engine);
        for id in state.engine.take_started() {
            if let Some(waiter) = state.waiters.remove(&id) {
                waiter.notify_one();
            }
        }
        result
    }

    /// The truth as it was when somebody last looked at the engine; for those
    /// who have no clock that goes with the server's.
    pub(crate) fn last_truth(&self) -> Truth {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).engine.truth()
    }

    /// Submits a request to the engine.
    pub(crate) fn submit(self: &Arc<Self>, work: Work) -> Result<Ticket, QueueFull> {
        let wake = Arc::new(Notify::new());
        let id = self.with(|engine| engine.submit(work))?;
        let ticket = Ticket { shared: Arc::clone(self), id, wake, how: Finish::Abort };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.engine.progress(id) == Progress::Waiting {
            state.waiters.insert(id, Arc::clone(&ticket.wake));
        }
        drop(state);
        self.queue.notify_one();
        Ok(ticket)
    }

    /// Counts an API request: which one it is (from 1) and what befalls it.
    pub(crate) fn next_request(&self) -> (u64, RequestFaults) {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        for hazard in &self.config.hazards {
            if let Hazard::RefuseAfter(after) = hazard
                && nth >= after.get()
            {
                self.closing.send_replace(true);
            }
        }
        (nth, request_faults(&self.config.hazards, nth))
    }

    /// Counts a scrape: which one it is (from 1).
    pub(crate) fn next_scrape(&self, of: Exporter) -> u64 {
        self.scrapes[of as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How often `/metrics` and `/gpu/metrics` were scraped.
    pub(crate) fn scrapes(&self) -> u64 {
        self.scrapes.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Whether the server pretends to be still loading.
    pub(crate) fn ready(&self) -> bool {
        let up = self.epoch.elapsed();
        !self.config.hazards.iter().any(|hazard| match hazard {
            Hazard::NotReady { lasting } => lasting.is_none_or(|lasting| up < lasting),
            Hazard::Exporter { .. }
            | Hazard::Api { .. }
            | Hazard::RefuseAfter(_)
            | Hazard::ResetCounters(_) => false,
        })
    }

    async fn sleep_until(&self, at: Tick) {
        tokio::time::sleep_until(self.epoch + Duration::from_nanos(at.0)).await;
    }
}

/// Starts queued requests on time, for ever.
pub(crate) async fn drive(shared: &Shared) -> Infallible {
    loop {
        match shared.with(|engine| engine.next_start()) {
            Some(due) => {
                tokio::select! {
                    biased;
                    () = shared.queue.notified() => {}
                    () = shared.sleep_until(due) => {}
                }
            }
            None => shared.queue.notified().await,
        }
    }
}

/// A request in the engine. Dropping it takes the request out: a client that
/// goes away drops its response, and so its ticket, and so its request.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    id: JobId,
    wake: Arc<Notify>,
    how: Finish,
}

impl Ticket {
    /// The request's number, from 0.
    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    /// Waits until so many tokens are computed, or no more will be.
    pub(crate) async fn until(&self, tokens: u32) -> Progress {
        loop {
            let progress = self.shared.with(|engine| engine.progress(self.id));
            match progress {
                Progress::Waiting => self.wake.notified().await,
                Progress::Running { produced, next } if produced < tokens => {
                    self.shared.sleep_until(next).await;
                }
                Progress::Running { .. }
                | Progress::Halted { .. }
                | Progress::Finished { .. }
                | Progress::Gone => return progress,
            }
        }
    }

    /// Takes the request out as failed by the server.
    pub(crate) fn fail(mut self) {
        self.how = Finish::Error;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.release(self.id, self.how));
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiters.remove(&self.id);
        drop(state);
        self.shared.queue.notify_one();
    }
}
