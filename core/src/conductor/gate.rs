//! Asks the controller for gates and waits for the answer, but never longer
//! than the gate timeout and one second.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::GateWait;
use crate::id::PhaseId;
use crate::machine::{Deadline, Machine, Sink, TimerKey};
use crate::message::{BaselineKind, GateCommand, GateGranted, GateRefusal, ReleasedBy};
use crate::plan::GatePlan;
use crate::time::Tick;
use crate::timers::TimerTable;

/// A gate that is not answered is asked for again after this long.
pub const REPEAT: Duration = Duration::from_secs(1);

/// So much longer than the gate timeout is a grant waited for: the controller
/// grants at the timeout, and the grant may be lost once.
pub const GRANT_SLACK: Duration = Duration::from_secs(1);

/// What the gate client is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GateInput {
    /// Wait at this gate. Nothing happens if it is waited for already.
    Ask(GateCommand),
    /// The controller answered. Ignored if that gate is not waited for.
    Granted(GateGranted),
    /// Wait no more at the gates of this phase of this kind.
    Cancel {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
    },
    /// Wait no more at any gate.
    CancelAll,
}

/// What the gate client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GateEffect {
    /// Send this command to the controller.
    Ask(GateCommand),
    /// Send the same message once more.
    Repeat(GateCommand),
    /// The gate is not waited for any more.
    Released {
        /// The phase.
        phase: PhaseId,
        /// How long it took, and why it ended.
        wait: GateWait,
        /// The controller's refusal, if that is why (`wait.by` is
        /// [`ReleasedBy::Cancelled`] then).
        refusal: Option<GateRefusal>,
    },
}

/// Why the gate client wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateTimer {
    /// A gate was waited for long enough.
    GiveUp,
    /// A gate is to be asked for again.
    Repeat,
}

impl TimerKey for GateTimer {
    const ALL: &'static [Self] = &[Self::GiveUp, Self::Repeat];
}

/// The gate client. Any number of gates may be waited for at a time.
#[derive(Debug, Clone)]
pub struct GateClient {
    plan: GatePlan,
    /// In the order in which they were asked for.
    waits: Vec<Wait>,
    timers: TimerTable<GateTimer>,
}

#[derive(Debug, Clone)]
struct Wait {
    command: GateCommand,
    asked: Tick,
    repeat: Tick,
    until: Tick,
}

impl Wait {
    fn is_for(&self, phase: PhaseId, kind: BaselineKind) -> bool {
        self.command.phase == phase && self.command.kind == kind
    }
}

impl GateClient {
    /// A gate client for these gates.
    #[must_use]
    pub fn new(plan: GatePlan) -> Self {
        Self { plan, waits: Vec::new(), timers: TimerTable::default() }
    }

    /// Whether a gate of this phase is waited for.
    #[must_use]
    pub fn waits_for(&self, phase: PhaseId) -> bool {
        self.waits.iter().any(|w| w.command.phase == phase)
    }

    fn ask(&mut self, now: Tick, command: GateCommand, out: &mut impl Sink<GateEffect>) {
        if self.waits.iter().any(|w| w.is_for(command.phase, command.kind)) {
            return;
        }
        let wait = Wait {
            asked: now,
            repeat: now + REPEAT,
            until: now + self.plan.timeout + GRANT_SLACK,
            command,
        };
        if !self.plan.enabled {
            release(wait, now, ReleasedBy::Disabled, None, out);
            return;
        }
        out.push(GateEffect::Ask(wait.command.clone()));
        self.waits.push(wait);
    }

    fn take(&mut self, phase: PhaseId, kind: BaselineKind) -> Option<Wait> {
        let place = self.waits.iter().position(|w| w.is_for(phase, kind))?;
        Some(self.waits.remove(place))
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<GateEffect>) {
        for wait in self.waits.extract_if(.., |w| w.until <= now) {
            release(wait, now, ReleasedBy::Timeout, None, out);
        }
        for wait in &mut self.waits {
            if wait.repeat <= now {
                // From now, not from when it was due: after a long stall one
                // repetition is enough.
                wait.repeat = now + REPEAT;
                out.push(GateEffect::Repeat(wait.command.clone()));
            }
        }
        let give_up = self.waits.iter().map(|w| w.until).min();
        let repeat = self.waits.iter().map(|w| w.repeat).min();
        self.timers.set_or_clear(GateTimer::GiveUp, give_up);
        self.timers.set_or_clear(GateTimer::Repeat, repeat);
    }
}

fn release(
    wait: Wait,
    now: Tick,
    by: ReleasedBy,
    refusal: Option<GateRefusal>,
    out: &mut impl Sink<GateEffect>,
) {
    out.push(GateEffect::Released {
        phase: wait.command.phase,
        wait: GateWait {
            kind: wait.command.kind,
            asked: wait.asked,
            released: now,
            by,
            in_flight: wait.command.tally.in_flight,
        },
        refusal,
    });
}

impl Machine for GateClient {
    type Input = GateInput;
    type Effect = GateEffect;
    type Timer = GateTimer;

    fn handle(&mut self, now: Tick, input: GateInput, out: &mut impl Sink<GateEffect>) {
        match input {
            GateInput::Ask(command) => self.ask(now, command, out),
            GateInput::Granted(granted) => {
                if let Some(wait) = self.take(granted.phase, granted.kind) {
                    match granted.outcome {
                        Ok(outcome) => release(wait, now, outcome.released_by, None, out),
                        Err(refusal) => {
                            release(wait, now, ReleasedBy::Cancelled, Some(refusal), out);
                        }
                    }
                }
            }
            GateInput::Cancel { phase, kind } => {
                if let Some(wait) = self.take(phase, kind) {
                    release(wait, now, ReleasedBy::Cancelled, None, out);
                }
            }
            GateInput::CancelAll => {
                for wait in self.waits.drain(..) {
                    release(wait, now, ReleasedBy::Cancelled, None, out);
                }
            }
        }
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<GateEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<GateTimer>> {
        self.timers.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{BoundaryOutcome, Tally};
    use uuid::Uuid;

    const S: u64 = 1_000_000_000;

    fn phase(n: u128) -> PhaseId {
        PhaseId(Uuid::from_u128(n))
    }

    fn command(n: u128, kind: BaselineKind) -> GateCommand {
        GateCommand { phase: phase(n), kind, tally: Tally { in_flight: 3, ..Tally::default() } }
    }

    fn grant(n: u128, kind: BaselineKind) -> GateGranted {
        let outcome = Ok(BoundaryOutcome {
            phase: phase(n),
            kind,
            requested: Tick::ZERO,
            closed: Tick::ZERO,
            released_by: ReleasedBy::AllAcked,
            in_flight: 3,
            collectors: vec![],
        });
        GateGranted { phase: phase(n), kind, outcome }
    }

    fn feed(client: &mut GateClient, at: u64, input: GateInput) -> Vec<GateEffect> {
        let mut out = Vec::new();
        client.handle(Tick(at), input, &mut out);
        out
    }

    fn wake(client: &mut GateClient, at: u64) -> Vec<GateEffect> {
        let mut out = Vec::new();
        client.handle_timeout(Tick(at), &mut out);
        assert!(client.next_deadline().is_none_or(|d| d.at > Tick(at)));
        out
    }

    fn released(n: u128, kind: BaselineKind, asked: u64, at: u64, by: ReleasedBy) -> GateEffect {
        let wait = GateWait { kind, asked: Tick(asked), released: Tick(at), by, in_flight: 3 };
        GateEffect::Released { phase: phase(n), wait, refusal: None }
    }

    #[test]
    fn a_gate_is_asked_for_again_every_second_and_given_up_a_second_after_the_timeout() {
        let mut client = GateClient::new(GatePlan::default());
        let ask = command(1, BaselineKind::Start);
        assert_eq!(
            feed(&mut client, 0, GateInput::Ask(ask.clone())),
            [GateEffect::Ask(ask.clone())]
        );
        for second in 1..6 {
            let at = client.next_deadline().unwrap().at;
            assert_eq!(at, Tick(second * S));
            assert_eq!(wake(&mut client, at.0 - 1), [], "a spurious call changes nothing");
            assert_eq!(wake(&mut client, at.0), [GateEffect::Repeat(ask.clone())]);
        }
        let expected = released(1, BaselineKind::Start, 0, 6 * S, ReleasedBy::Timeout);
        assert_eq!(wake(&mut client, 6 * S), [expected]);
        assert_eq!(client.next_deadline(), None);
    }

    #[test]
    fn several_gates_are_waited_for_at_once_and_released_in_any_order() {
        let mut client = GateClient::new(GatePlan::default());
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::End)));
        feed(&mut client, 5, GateInput::Ask(command(2, BaselineKind::Start)));
        let effects = feed(&mut client, 7, GateInput::Granted(grant(2, BaselineKind::Start)));
        assert_eq!(effects, [released(2, BaselineKind::Start, 5, 7, ReleasedBy::AllAcked)]);
        assert!(client.waits_for(phase(1)) && !client.waits_for(phase(2)));
        let effects = feed(&mut client, 9, GateInput::Granted(grant(1, BaselineKind::End)));
        assert_eq!(effects, [released(1, BaselineKind::End, 0, 9, ReleasedBy::AllAcked)]);
    }

    #[test]
    fn a_grant_that_is_not_waited_for_is_ignored() {
        let mut client = GateClient::new(GatePlan::default());
        assert_eq!(feed(&mut client, 0, GateInput::Granted(grant(1, BaselineKind::Start))), []);
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::Start)));
        assert_eq!(feed(&mut client, 1, GateInput::Granted(grant(1, BaselineKind::End))), []);
        assert_eq!(feed(&mut client, 1, GateInput::Granted(grant(2, BaselineKind::Start))), []);
        assert_eq!(
            feed(&mut client, 2, GateInput::Granted(grant(1, BaselineKind::Start))).len(),
            1
        );
        assert_eq!(
            feed(&mut client, 3, GateInput::Granted(grant(1, BaselineKind::Start))),
            [],
            "a duplicate"
        );
    }

    #[test]
    fn a_refusal_releases_and_says_so() {
        let mut client = GateClient::new(GatePlan::default());
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::Start)));
        let refused = GateGranted {
            phase: phase(1),
            kind: BaselineKind::Start,
            outcome: Err(GateRefusal::ShuttingDown),
        };
        let effects = feed(&mut client, 1, GateInput::Granted(refused));
        assert!(
            matches!(
                effects.as_slice(),
                [GateEffect::Released { refusal: Some(GateRefusal::ShuttingDown), .. }]
            ),
            "{effects:?}"
        );
    }

    #[test]
    fn disabled_gates_send_nothing_and_release_at_once() {
        let mut client = GateClient::new(GatePlan { enabled: false, ..GatePlan::default() });
        let effects = feed(&mut client, 4, GateInput::Ask(command(1, BaselineKind::Start)));
        assert_eq!(effects, [released(1, BaselineKind::Start, 4, 4, ReleasedBy::Disabled)]);
        assert_eq!(client.next_deadline(), None);
    }

    #[test]
    fn a_cancelled_wait_is_released_at_once() {
        let mut client = GateClient::new(GatePlan::default());
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::Start)));
        let cancel = GateInput::Cancel { phase: phase(1), kind: BaselineKind::Start };
        let effects = feed(&mut client, 2, cancel.clone());
        assert_eq!(effects, [released(1, BaselineKind::Start, 0, 2, ReleasedBy::Cancelled)]);
        assert_eq!(feed(&mut client, 3, cancel), []);
    }

    #[test]
    fn when_all_waits_are_cancelled_nothing_is_asked_for_again() {
        let mut client = GateClient::new(GatePlan::default());
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::End)));
        feed(&mut client, 0, GateInput::Ask(command(2, BaselineKind::Start)));
        let effects = feed(&mut client, 9 * S, GateInput::CancelAll);
        assert_eq!(
            effects,
            [
                released(1, BaselineKind::End, 0, 9 * S, ReleasedBy::Cancelled),
                released(2, BaselineKind::Start, 0, 9 * S, ReleasedBy::Cancelled),
            ]
        );
        assert_eq!(client.next_deadline(), None);
    }

    #[test]
    fn after_a_stall_one_repetition_is_enough() {
        let mut client = GateClient::new(GatePlan::default());
        feed(&mut client, 0, GateInput::Ask(command(1, BaselineKind::Start)));
        assert_eq!(wake(&mut client, 4 * S).len(), 1);
        assert_eq!(client.next_deadline().unwrap().at, Tick(5 * S));
    }
}
