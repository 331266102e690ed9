//! What all connections share: the engine behind a lock, and the clock.
//!
//! The engine is pure; here it meets time. Whoever looks at it first lets
//! everything happen that is due, and [`drive`] does so when nobody looks but a
//! queued request must start. Several processes behind one address are several
//! engines.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::seed::Seed;
use phasegate_core::time::nanos;
use rand_core::Rng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::config::ServerConfig;
use super::engine::{Engine, JobId, Progress, QueueFull, Work};
#[cfg(feature = "turmoil")]
use super::gpu::GpuReading;
use super::hazard::{Exporter, Hazard, RequestFaults, apply_to, replicas, request_faults};
use super::truth::{Finish, Truth};

/// The state of one server.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    epoch: Instant,
    /// Wall-clock time at the start, since the Unix epoch.
    pub(crate) started_at: Duration,
    /// One state a process; at least one.
    processes: Vec<Mutex<State>>,
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

/// One of the processes behind the address.
pub(crate) type Process = usize;

impl Shared {
    pub(crate) fn new(mut config: ServerConfig, started_at: Duration) -> Self {
        apply_to(&mut config);
        let process = |n: u64| {
            let (mut config, seed) = (config.clone(), Seed::root(config.seed));
            if n > 0 {
                // Other GPUs, other foreign traffic.
                config.seed = seed.child(&format!("process {n}")).rng().next_u64();
            }
            let engine = Engine::new(&config);
            Mutex::new(State { engine, waiters: BTreeMap::new() })
        };
        Self {
            processes: (0..replicas(&config.hazards)).map(process).collect(),
            config,
            epoch: Instant::now(),
            started_at,
            queue: Notify::new(),
            requests: AtomicU64::new(0),
            scrapes: [AtomicU64::new(0), AtomicU64::new(0)],
            closing: watch::Sender::new(false),
        }
    }

    /// Every process.
    pub(crate) fn processes(&self) -> std::ops::Range<Process> {
        0..self.processes.len()
    }

    /// Whose turn it is, for the `nth` request or scrape (from 1).
    pub(crate) fn turn(&self, nth: u64) -> Process {
        let n = self.processes.len() as u64;
        usize::try_from(nth.wrapping_sub(1) % n.max(1)).unwrap_or(0)
    }

    /// When a process began that has counted since `at`, since the Unix epoch. The
    /// first began with the server; each further one a second before the one before
    /// it, so that they can be told apart.
    pub(crate) fn began(&self, process: Process, at: Tick) -> Duration {
        let earlier = Duration::from_secs(process as u64);
        (self.started_at + at.since(Tick::ZERO)).saturating_sub(earlier)
    }

    /// Advances an engine to now, looks at it or changes it, and wakes the
    /// requests that started meanwhile.
    pub(crate) fn with<R>(&self, process: Process, look: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.lock(process);
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

    fn lock(&self, process: Process) -> MutexGuard<'_, State> {
        // A process is named by `turn` or out of `processes`, which know all.
        self.processes[process].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What really happened until now.
    pub(crate) fn truth(&self) -> Truth {
        Truth::together(self.processes().map(|n| self.with(n, |engine| engine.truth())).collect())
    }

    /// The truth as it was when somebody last looked at the engines; for those
    /// who have no clock that goes with the server's.
    pub(crate) fn last_truth(&self) -> Truth {
        Truth::together(self.processes().map(|n| self.lock(n).engine.truth()).collect())
    }

    /// What the sensors of all GPUs show `at` so long after the start; for those
    /// who have no clock that goes with the server's.
    #[cfg(feature = "turmoil")]
    pub(crate) fn sensors(&self, at: Tick) -> Vec<GpuReading> {
        let of = |process| {
            let mut state = self.lock(process);
            state.engine.advance(at);
            state.engine.sensors()
        };
        self.processes().flat_map(of).collect()
    }

    /// Each GPU's exact energy at `at`, in joules, if the load was kept.
    pub(crate) fn energy_j(&self, at: Tick) -> Option<Vec<f64>> {
        let of = |process| self.lock(process).engine.energy_j(at);
        let each: Option<Vec<Vec<f64>>> = self.processes().map(of).collect();
        each.map(|each| each.into_iter().flatten().collect())
    }

    /// Submits a request to an engine.
    pub(crate) fn submit(
        self: &Arc<Self>,
        process: Process,
        work: Work,
    ) -> Result<Ticket, QueueFull> {
        let wake = Arc::new(Notify::new());
        let id = self.with(process, |engine| engine.submit(work))?;
        let ticket = Ticket { shared: Arc::clone(self), process, id, wake, how: Finish::Abort };
        let mut state = self.lock(process);
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
            _ => false,
        })
    }

    async fn sleep_until(&self, at: Tick) {
        tokio::time::sleep_until(self.epoch + Duration::from_nanos(at.0)).await;
    }
}

/// Starts queued requests on time, for ever.
pub(crate) async fn drive(shared: &Shared) -> Infallible {
    loop {
        let starts = shared.processes().filter_map(|n| shared.with(n, |e| e.next_start()));
        match starts.min() {
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
    process: Process,
    id: JobId,
    wake: Arc<Notify>,
    how: Finish,
}

impl Ticket {
    /// The request's number, its own among all processes'.
    pub(crate) fn number(&self) -> u64 {
        self.id * self.shared.processes.len() as u64 + self.process as u64
    }

    /// When the process is asked, since it began.
    pub(crate) fn uptime(&self) -> Duration {
        self.shared.with(self.process, |engine| engine.now()).since(Tick::ZERO)
    }

    /// Waits until so many tokens are computed, or no more will be.
    pub(crate) async fn until(&self, tokens: u32) -> Progress {
        loop {
            let progress = self.shared.with(self.process, |engine| engine.progress(self.id));
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
        self.shared.with(self.process, |engine| engine.release(self.id, self.how));
        let mut state = self.shared.lock(self.process);
        state.waiters.remove(&self.id);
        drop(state);
        self.shared.queue.notify_one();
    }
}
