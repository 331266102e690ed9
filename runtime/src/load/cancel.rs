//! Requests that are cancelled by plan, so long after they were sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use phasegate_core::Tick;

use super::stamped::Stamps;
use crate::clock::Clock;

/// Between two looks at a request that is not sent yet, at least.
const LEAST_LOOK: Duration = Duration::from_millis(1);

/// A request that is to be cancelled after a while.
pub(crate) struct PlannedCancel {
    delay: Duration,
    clock: Clock,
    /// Of the connection that it goes out with, once there is one.
    stamps: Mutex<Option<Arc<Stamps>>>,
}

impl PlannedCancel {
    pub(crate) fn new(delay: Duration, clock: Clock) -> Self {
        Self { delay, clock, stamps: Mutex::default() }
    }

    /// The request goes out on the connection with these stamps; a later call
    /// replaces an earlier one.
    pub(crate) fn goes_out_with(&self, stamps: &Arc<Stamps>) {
        *self.stamps.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(stamps));
    }

    fn sent(&self) -> Option<Tick> {
        let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.as_ref().and_then(|stamps| stamps.sent())
    }

    /// Completes the delay after the request's last byte was handed to the
    /// socket; never for one that is not sent.
    pub(crate) async fn due(&self) {
        loop {
            let now = self.clock.now();
            let left = match self.sent() {
                Some(sent) => (sent + self.delay).since(now),
                // What is sent from now on is due no earlier than this.
                None => self.delay.max(LEAST_LOOK),
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}
