//! How a closed loop treats an endpoint at which everything fails.
//!
//! A slot that is free again asks again at once. Where requests fail as fast as
//! they are sent (nobody listens, every answer is an error) that is a busy loop
//! of tens of thousands of failures a second: it measures nothing, and it hits a
//! server that is just coming back with all it has. After [`PATIENCE`] failures
//! in a row the loop pauses, twice as long after each pause that did not help,
//! up to [`LONGEST`]; a single success ends it. An open loop keeps to its
//! schedule.

use core::time::Duration;

use crate::record::CreditEnd;
use crate::time::Tick;

/// Failures in a row before the first pause.
pub const PATIENCE: u32 = 64;

/// The first pause.
pub const FIRST: Duration = Duration::from_millis(10);

/// The longest pause: a server that is back is noticed within it.
pub const LONGEST: Duration = Duration::from_secs(1);

/// The state of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// How long the next pause is.
    pause: Duration,
    /// Nothing is sent before.
    until: Tick,
}

impl Backoff {
    /// A credit is back. Cancelled ones say nothing about the endpoint.
    pub(super) fn returned(&mut self, now: Tick, end: CreditEnd) {
        match end {
            CreditEnd::Completed => *self = Self::default(),
            CreditEnd::Failed => {
                self.failures = self.failures.saturating_add(1);
                // Those that were in flight together make one pause together.
                if self.failures >= PATIENCE && self.until <= now {
                    self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
                    self.until = now + self.pause;
                }
            }
            CreditEnd::Cancelled => {}
        }
    }

    /// When the pause ends, if there is one.
    pub(super) fn until(&self, now: Tick) -> Option<Tick> {
        (self.until > now).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(backoff: &mut Backoff, now: Tick) {
        backoff.returned(now, CreditEnd::Failed);
    }

    #[test]
    fn a_few_failures_are_no_reason_and_a_success_forgets_them() {
        let (mut backoff, now) = (Backoff::default(), Tick(5));
        for _ in 1..PATIENCE {
            fail(&mut backoff, now);
        }
        backoff.returned(now, CreditEnd::Cancelled);
        assert_eq!(backoff.until(now), None);
        backoff.returned(now, CreditEnd::Completed);
        fail(&mut backoff, now);
        assert_eq!(backoff.until(now), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_failures_within_one_do_not_count() {
        let (mut backoff, mut now) = (Backoff::default(), Tick(5));
        for _ in 1..PATIENCE {
            fail(&mut backoff, now);
        }
        let mut pauses = Vec::new();
        for _ in 0..9 {
            fail(&mut backoff, now);
            let until = backoff.until(now).unwrap();
            fail(&mut backoff, now);
            assert_eq!(backoff.until(now), Some(until));
            pauses.push(until.since(now).as_millis());
            now = until;
            assert_eq!(backoff.until(now), None);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.returned(now, CreditEnd::Completed);
        assert_eq!(backoff, Backoff::default());
    }
}
