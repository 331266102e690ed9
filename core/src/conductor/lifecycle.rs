//! The states of a phase and of the run, as tables.

use crate::machine::{Step, Transitions};

/// Where a phase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseState {
    /// Planned.
    Created,
    /// Its START gate is asked for; no credit before the answer.
    Gated,
    /// Credits are issued. A seamless phase comes here at once; its START gate
    /// is answered while it sends.
    Sending,
    /// No more credits; some are in flight.
    Draining,
    /// Nothing of it is in flight; its END gate is asked for.
    Closing,
    /// Its START gate was refused; its END gate is asked for.
    Failing,
    /// Over.
    Ended,
    /// Over without a credit, because its START gate was refused.
    Failed,
    /// Cancelled at its START gate: no credit, no END gate.
    Cancelled,
    /// Never begun, because the run, or the search, was over before its turn.
    Skipped,
}

impl PhaseState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Created
            | Self::Gated
            | Self::Sending
            | Self::Draining
            | Self::Closing
            | Self::Failing => false,
            Self::Ended | Self::Failed | Self::Cancelled | Self::Skipped => true,
        }
    }
}

/// What happens to a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseEvent {
    /// Its turn has come: the START gate is asked for.
    Ask,
    /// Its seamless turn has come: it sends while the START gate is asked for.
    Join,
    /// The START gate was released (granted, timed out or disabled).
    StartReleased,
    /// The START gate was refused.
    StartRefused,
    /// A stop condition was reached.
    SendingComplete,
    /// Nothing is in flight, and an END gate is owed.
    Drained,
    /// Nothing is in flight, and no END gate is owed.
    DrainedWithoutEnd,
    /// None of its gates is waited for any more.
    GatesReleased,
    /// The search that it is a probe of has ended.
    NotNeeded,
    /// The run was cancelled.
    Cancel,
    /// The controller ended the run early: no more gates.
    Shutdown,
}

impl Transitions for PhaseState {
    type Event = PhaseEvent;
    const STATES: &'static [Self] = &[
        Self::Created,
        Self::Gated,
        Self::Sending,
        Self::Draining,
        Self::Closing,
        Self::Failing,
        Self::Ended,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
    ];
    const EVENTS: &'static [PhaseEvent] = &[
        PhaseEvent::Ask,
        PhaseEvent::Join,
        PhaseEvent::StartReleased,
        PhaseEvent::StartRefused,
        PhaseEvent::SendingComplete,
        PhaseEvent::Drained,
        PhaseEvent::DrainedWithoutEnd,
        PhaseEvent::GatesReleased,
        PhaseEvent::NotNeeded,
        PhaseEvent::Cancel,
        PhaseEvent::Shutdown,
    ];

    fn step(self, event: PhaseEvent) -> Step<Self> {
        use PhaseEvent as E;
        use PhaseState as S;
        match (self, event) {
            (S::Created, E::Ask) => Step::To(S::Gated),
            (S::Created, E::Join) => Step::To(S::Sending),
            (S::Gated, E::StartReleased) => Step::To(S::Sending),
            (S::Gated, E::StartRefused) => Step::To(S::Failing),
            (S::Sending, E::SendingComplete) => Step::To(S::Draining),
            (S::Draining, E::Drained) => Step::To(S::Closing),
            (S::Draining, E::DrainedWithoutEnd) => Step::To(S::Ended),
            (S::Closing, E::GatesReleased) => Step::To(S::Ended),
            (S::Failing, E::GatesReleased) => Step::To(S::Failed),
            (S::Created, E::NotNeeded | E::Cancel | E::Shutdown) => Step::To(S::Skipped),
            (S::Gated, E::Cancel | E::Shutdown) => Step::To(S::Cancelled),
            (S::Sending, E::Cancel | E::Shutdown) => Step::To(S::Draining),
            (S::Closing, E::Shutdown) => Step::To(S::Ended),
            (S::Failing, E::Shutdown) => Step::To(S::Failed),
            // A seamless phase does not wait for its START gate.
            (S::Sending, E::StartRefused) => Step::To(S::Draining),
            (S::Sending | S::Draining | S::Closing, E::StartReleased) => Step::NoOp,
            (S::Draining | S::Closing, E::StartRefused) => Step::NoOp,
            (S::Draining, E::Cancel | E::Shutdown) => Step::NoOp,
            (S::Closing | S::Failing, E::Cancel) => Step::NoOp,
            (S::Ended | S::Failed | S::Cancelled | S::Skipped, E::Cancel | E::Shutdown) => {
                Step::NoOp
            }
            (
                S::Gated
                | S::Sending
                | S::Draining
                | S::Closing
                | S::Failing
                | S::Ended
                | S::Failed
                | S::Cancelled
                | S::Skipped,
                E::NotNeeded,
            ) => Step::Invalid,
            (
                S::Created
                | S::Gated
                | S::Sending
                | S::Draining
                | S::Closing
                | S::Failing
                | S::Ended
                | S::Failed
                | S::Cancelled
                | S::Skipped,
                E::Ask
                | E::Join
                | E::StartReleased
                | E::StartRefused
                | E::SendingComplete
                | E::Drained
                | E::DrainedWithoutEnd
                | E::GatesReleased,
            ) => Step::Invalid,
        }
    }
}

/// Where the conductor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Not started.
    Idle,
    /// Registered; waits until the controller says that everybody is ready.
    Waiting,
    /// Phases are at work.
    Running,
    /// All phases are over; says so until the controller ends the run.
    Complete,
    /// The controller ended the run early; what is in flight comes back.
    Leaving,
    /// Over.
    Finished,
}

/// What happens to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// The conductor is started.
    Start,
    /// The readiness barrier is open, or was waited for long enough.
    Begin,
    /// Every phase is over.
    PhasesOver,
    /// The controller ends the run.
    Shutdown,
    /// The controller did not end the run in time.
    GiveUp,
}

impl Transitions for RunState {
    type Event = RunEvent;
    const STATES: &'static [Self] =
        &[Self::Idle, Self::Waiting, Self::Running, Self::Complete, Self::Leaving, Self::Finished];
    const EVENTS: &'static [RunEvent] = &[
        RunEvent::Start,
        RunEvent::Begin,
        RunEvent::PhasesOver,
        RunEvent::Shutdown,
        RunEvent::GiveUp,
    ];

    fn step(self, event: RunEvent) -> Step<Self> {
        use RunEvent as E;
        use RunState as S;
        match (self, event) {
            (S::Idle, E::Start) => Step::To(S::Waiting),
            (S::Waiting, E::Begin) => Step::To(S::Running),
            // Nothing is begun any more after a cancellation before the barrier.
            (S::Waiting | S::Running, E::PhasesOver) => Step::To(S::Complete),
            (S::Idle | S::Waiting | S::Running, E::Shutdown) => Step::To(S::Leaving),
            (S::Leaving, E::PhasesOver) => Step::To(S::Finished),
            (S::Complete, E::Shutdown | E::GiveUp) => Step::To(S::Finished),
            (S::Leaving, E::Shutdown) => Step::NoOp,
            (
                S::Idle | S::Waiting | S::Running | S::Complete | S::Leaving | S::Finished,
                E::Start | E::Begin,
            ) => Step::NoOp,
            (S::Finished, E::Shutdown) => Step::NoOp,
            (S::Idle | S::Complete | S::Finished, E::PhasesOver) => Step::Invalid,
            (S::Idle | S::Waiting | S::Running | S::Leaving | S::Finished, E::GiveUp) => {
                Step::Invalid
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::render_table;

    #[test]
    fn the_table_of_a_phase() {
        insta::assert_snapshot!(render_table::<PhaseState>());
    }

    #[test]
    fn the_table_of_the_run() {
        insta::assert_snapshot!(render_table::<RunState>());
    }

    #[test]
    fn a_phase_that_is_over_stays_as_it_is() {
        for state in PhaseState::STATES.iter().filter(|s| s.is_over()) {
            for event in PhaseState::EVENTS {
                assert!(!matches!(state.step(*event), Step::To(_)), "{state:?} {event:?}");
            }
        }
    }
}
