//! Waiting for a moment.
//!
//! tokio's timer wheel ticks once a millisecond and rounds up, which a
//! conductor that plans thousands of sends a second would pay on each of them.
//! On Linux a node may wait on a timer file descriptor instead, which is as
//! exact as the kernel's high-resolution timers; elsewhere it falls back to the
//! wheel.

use std::time::Instant;

/// Wakes a node at its deadline.
#[derive(Debug)]
pub enum Sleeper {
    /// tokio's timer wheel: up to a millisecond late.
    Wheel,
    /// A timer file descriptor.
    #[cfg(target_os = "linux")]
    Precise(precise::TimerFd),
}

impl Sleeper {
    /// As exact as this system allows. Must be called within a tokio runtime.
    #[must_use]
    pub fn precise() -> Self {
        #[cfg(target_os = "linux")]
        match precise::TimerFd::new() {
            Ok(timer) => return Self::Precise(timer),
            Err(error) => tracing::debug!(%error, "no timer file descriptor: using the wheel"),
        }
        Self::Wheel
    }

    /// Completes at `at`, or never if there is no such moment.
    pub async fn until(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return std::future::pending().await };
        match self {
            Self::Wheel => tokio::time::sleep_until(at.into()).await,
            #[cfg(target_os = "linux")]
            Self::Precise(timer) => timer.until(at).await,
        }
    }
}

#[cfg(target_os = "linux")]
mod precise {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    /// A timer that is a file, so that the runtime's poller can wait for it.
    #[derive(Debug)]
    pub struct TimerFd {
        fd: AsyncFd<OwnedFd>,
        armed: Option<Instant>,
    }

    impl TimerFd {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // Deprecated for types that may close or reuse the descriptor while it
            // is registered; an `OwnedFd` that is never taken out cannot.
            #[allow(deprecated)]
            let fd = AsyncFd::new(fd)?;
            Ok(Self { fd, armed: None })
        }

        fn arm(&mut self, at: Instant) -> io::Result<()> {
            let wait = at.saturating_duration_since(Instant::now());
            let value = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                // A value of zero would disarm the timer.
                tv_nsec: i64::from(wait.subsec_nanos()).max(i64::from(wait.as_secs() == 0)),
            };
            let once =
                Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            self.armed = Some(at);
            Ok(())
        }

        pub(super) async fn until(&mut self, at: Instant) {
            // Arming again for the same moment would only cost a system call;
            // arming for another one also clears what had expired before.
            if self.armed != Some(at)
                && let Err(error) = self.arm(at)
            {
                tracing::debug!(%error, "the timer could not be armed: using the wheel");
                return tokio::time::sleep_until(at.into()).await;
            }
            while Instant::now() < at {
                match self.fd.readable().await {
                    Ok(mut ready) => {
                        let mut expirations = [0; 8];
                        let read = ready.try_io(|fd| {
                            rustix::io::read(fd.get_ref(), &mut expirations).map_err(Into::into)
                        });
                        if matches!(read, Ok(Ok(_))) {
                            break;
                        }
                    }
                    Err(_) => return tokio::time::sleep_until(at.into()).await,
                }
            }
            self.armed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_wakes_early_and_can_be_armed_again() {
        for mut sleeper in [Sleeper::Wheel, Sleeper::precise()] {
            for micros in [0, 50, 700, 2_000] {
                let at = Instant::now() + Duration::from_micros(micros);
                sleeper.until(Some(at)).await;
                assert!(Instant::now() >= at);
            }
        }
    }

    #[tokio::test]
    async fn an_abandoned_wait_does_not_shorten_the_next() {
        let mut sleeper = Sleeper::precise();
        let soon = Instant::now() + Duration::from_micros(200);
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            () = sleeper.until(Some(soon)) => {}
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let later = Instant::now() + Duration::from_millis(5);
        sleeper.until(Some(later)).await;
        assert!(Instant::now() >= later);
    }
}
