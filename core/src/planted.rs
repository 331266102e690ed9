//! Bugs, planted on purpose, to show that the harness finds them.
//!
//! Only with the feature `planted`, which nothing but tests turns on; without it
//! every question is answered with a constant `false`, and the branch is gone.

#[cfg(feature = "planted")]
use core::sync::atomic::{AtomicU8, Ordering};

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A baseline request that is not answered is not sent again.
    NoRetransmission = 1,
    /// A periodic reading that is under way is taken as the baseline.
    PeriodicAsBaseline,
    /// A service that is taken out stays in the open boundaries.
    EvictionNotInBoundaries,
    /// A service that is taken out still owes its result.
    EvictionNotInJoin,
    /// An END is asked for with a request still in flight.
    EndBeforeDrain,
    /// A record is counted in its phase and in the seamless one after it.
    CountedInBoth,
    /// A collector that has ended keeps its heartbeat armed.
    TimerNotCleared,
    /// An acknowledgement of another boundary answers the one that is open.
    AckOfAnother,
    /// The ledger's books are closed again at the shutdown.
    FinalisedTwice,
    /// An answer that came too late is recorded as one that came in time.
    LateIsInTime,
    /// What happened in one window is counted in the next one too.
    CountedInTwoWindows,
    /// A repeated request makes a collector take a second reading.
    SecondReading,
    /// A boundary that was closed unsettled leaves its phase clean.
    UnsettledIsClean,
    /// A mismatch of the two ledgers leaves the phase clean.
    MismatchIsClean,
    /// A counter that began anew is taken to have gone on.
    ResetIgnored,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 15] = [
        Self::NoRetransmission,
        Self::PeriodicAsBaseline,
        Self::EvictionNotInBoundaries,
        Self::EvictionNotInJoin,
        Self::EndBeforeDrain,
        Self::CountedInBoth,
        Self::TimerNotCleared,
        Self::AckOfAnother,
        Self::FinalisedTwice,
        Self::LateIsInTime,
        Self::CountedInTwoWindows,
        Self::SecondReading,
        Self::UnsettledIsClean,
        Self::MismatchIsClean,
        Self::ResetIgnored,
    ];
}

#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a bug in this process, or takes it out.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}

/// Whether `bug` is planted.
#[cfg(feature = "planted")]
#[inline]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}

/// Whether `bug` is planted: never, without the feature.
#[cfg(not(feature = "planted"))]
#[inline]
pub(crate) const fn is_planted(_bug: Bug) -> bool {
    false
}
