//! The run's monotonic clock.

use std::time::Instant;

use phasegate_core::Tick;

/// Turns the operating system's monotonic clock into the run's [`Tick`]s. Cheap
/// to copy; every copy tells the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since the clock started.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.tick(Instant::now())
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
