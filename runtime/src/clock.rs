//! The run's monotonic clock.

use std::time::{Duration, Instant};

use phasegate_core::Tick;

/// Turns the operating system's monotonic clock into the run's [`Tick`]s. Cheap
/// to copy; every copy tells the same time.
///
/// The moments are tokio's, so that a clock on a simulated host tells simulated
/// time. Without tokio's `test-util`, which the shipped binary does not have,
/// its clock is the system's and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: now() }
    }

    /// A clock that started `ago`: that of a service which joins a run (or joins
    /// it again) on a host of its own. `None` where the host has no moment that
    /// long ago.
    #[must_use]
    pub fn started(ago: Duration) -> Option<Self> {
        now().checked_sub(ago).map(|origin| Self { origin })
    }

    /// The time since the clock started.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.tick(now())
    }

    /// The tick of a moment; [`Tick::ZERO`] if it was before the start.
    #[must_use]
    pub fn tick(&self, at: Instant) -> Tick {
        Tick::ZERO + at.saturating_duration_since(self.origin)
    }

    /// The moment of a tick.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> Option<Instant> {
        self.origin.checked_add(tick.since(Tick::ZERO))
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
