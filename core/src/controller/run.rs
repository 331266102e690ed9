//! How far the run is: the controller's own table.

use serde::{Deserialize, Serialize};

use crate::machine::{Step, Transitions};

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Not started.
    New,
    /// Waiting for the expected services to be ready.
    Gathering,
    /// The barrier is open.
    Running,
    /// Credits are complete; results are waited for.
    Joining,
    /// Shut down.
    Ended,
}

/// What may happen to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// The run begins.
    Start,
    /// Every expected service is ready or left, or their time ran out.
    BarrierOpens,
    /// The conductor says that all phases are over.
    CreditsComplete,
    /// Credits are complete and every domain is joined or evicted.
    AllSettled,
    /// The conductor is gone.
    ConductorLost,
}

impl Transitions for RunState {
    type Event = RunEvent;
    const STATES: &'static [Self] =
        &[Self::New, Self::Gathering, Self::Running, Self::Joining, Self::Ended];
    const EVENTS: &'static [RunEvent] = &[
        RunEvent::Start,
        RunEvent::BarrierOpens,
        RunEvent::CreditsComplete,
        RunEvent::AllSettled,
        RunEvent::ConductorLost,
    ];

    fn step(self, event: RunEvent) -> Step<Self> {
        use RunEvent as E;
        match (self, event) {
            (Self::New, E::Start) => Step::To(Self::Gathering),
            (Self::New, E::BarrierOpens | E::AllSettled) => Step::Invalid,
            (Self::Gathering, E::BarrierOpens) => Step::To(Self::Running),
            (Self::Gathering, E::AllSettled) => Step::Invalid,
            // A conductor that never heard the barrier open begins on its own.
            (Self::New | Self::Gathering | Self::Running, E::CreditsComplete) => {
                Step::To(Self::Joining)
            }
            (Self::Running | Self::Joining, E::AllSettled) => Step::To(Self::Ended),
            (Self::New | Self::Gathering | Self::Running | Self::Joining, E::ConductorLost) => {
                Step::To(Self::Ended)
            }
            (Self::Gathering | Self::Running | Self::Joining, E::Start)
            | (Self::Running | Self::Joining, E::BarrierOpens)
            | (Self::Joining, E::CreditsComplete)
            | (
                Self::Ended,
                E::Start | E::BarrierOpens | E::CreditsComplete | E::AllSettled | E::ConductorLost,
            ) => Step::NoOp,
        }
    }
}
