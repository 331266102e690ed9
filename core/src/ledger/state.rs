//! The ledger's lifecycle.

use serde::{Deserialize, Serialize};

use crate::machine::{Step, Transitions};

/// Where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerState {
    /// Not started yet. Records are taken already.
    Idle,
    /// Records come in.
    Open,
    /// Credits are complete, records are missing; the fallback runs.
    Awaiting,
    /// The books are closed and the result is handed in until the run ends.
    Finalised,
    /// The run is over.
    Stopped,
}

/// What can happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerStep {
    /// It is started.
    Start,
    /// All phases are over and their counts are known.
    CreditsComplete,
    /// Every record that was announced is in.
    AllIn,
    /// The credits-complete fallback ran out.
    FallbackOver,
    /// The run is shut down.
    Shutdown,
}

impl LedgerState {
    /// Whether records still count.
    #[must_use]
    pub fn takes_records(self) -> bool {
        match self {
            Self::Idle | Self::Open | Self::Awaiting => true,
            Self::Finalised | Self::Stopped => false,
        }
    }
}

impl Transitions for LedgerState {
    type Event = LedgerStep;
    const STATES: &'static [Self] =
        &[Self::Idle, Self::Open, Self::Awaiting, Self::Finalised, Self::Stopped];
    const EVENTS: &'static [LedgerStep] = &[
        LedgerStep::Start,
        LedgerStep::CreditsComplete,
        LedgerStep::AllIn,
        LedgerStep::FallbackOver,
        LedgerStep::Shutdown,
    ];

    fn step(self, event: LedgerStep) -> Step<Self> {
        use LedgerState as S;
        use LedgerStep as E;
        match (self, event) {
            (S::Idle, E::Start) => Step::To(S::Open),
            (S::Open, E::CreditsComplete) => Step::To(S::Awaiting),
            (S::Awaiting, E::AllIn | E::FallbackOver) => Step::To(S::Finalised),
            (S::Idle | S::Open | S::Awaiting | S::Finalised, E::Shutdown) => Step::To(S::Stopped),
            // Said again, or said to one that knows better already.
            (S::Open | S::Awaiting | S::Finalised | S::Stopped, E::Start)
            | (S::Awaiting | S::Finalised | S::Stopped, E::CreditsComplete)
            | (S::Stopped, E::Shutdown) => Step::NoOp,
            // Only asked while records are awaited.
            (S::Idle | S::Open | S::Finalised | S::Stopped, E::AllIn | E::FallbackOver) => {
                Step::Invalid
            }
            // It is repeated until the ledger, once started, has heard it.
            (S::Idle, E::CreditsComplete) => Step::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::render_table;

    #[test]
    fn the_lifecycle_is_this_table() {
        insta::assert_snapshot!(render_table::<LedgerState>());
    }
}
