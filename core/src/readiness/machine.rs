//! Probes the endpoint until it answers, and gives up at the timeout.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::{Deadline, Machine, Sink, Step, TimerKey, Transitions};
use crate::time::Tick;
use crate::timers::TimerTable;

/// The pause after the first failed probe; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One probe takes at most this long.
pub const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadinessInput {
    /// Begin to probe.
    Start,
    /// The probe is over: the endpoint answered, or why not, in a sentence.
    Probed(Result<(), String>),
    /// Wait no more.
    Cancel,
}

/// What the machine asks for. At most two an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadinessEffect {
    /// Probe the endpoint once.
    Probe,
    /// Give up the probe that is under way; what it answers does not count.
    AbortProbe,
    /// The endpoint answered. Nothing follows.
    Ready,
    /// The endpoint did not answer in time, or the wait was cancelled. Nothing
    /// follows.
    GaveUp {
        /// Why the last probe failed; `None` if none did.
        last_error: Option<String>,
    },
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessTimer {
    /// The wait has taken too long.
    GiveUp,
    /// The probe has taken too long.
    Probe,
    /// The pause is over.
    Pause,
}

impl TimerKey for ReadinessTimer {
    const ALL: &'static [Self] = &[Self::GiveUp, Self::Probe, Self::Pause];
}

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessState {
    /// Not started.
    Idle,
    /// A probe is under way.
    Probing,
    /// Between two probes.
    Pausing,
    /// The endpoint answered.
    Ready,
    /// It did not, or the wait was cancelled.
    GaveUp,
}

/// What happens to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessEvent {
    /// It is started.
    Start,
    /// The endpoint answered the probe.
    Answered,
    /// The probe failed, or took too long.
    Failed,
    /// The pause is over.
    PauseOver,
    /// The time is up, or the wait was cancelled.
    GiveUp,
}

impl Transitions for ReadinessState {
    type Event = ReadinessEvent;
    const STATES: &'static [Self] =
        &[Self::Idle, Self::Probing, Self::Pausing, Self::Ready, Self::GaveUp];
    const EVENTS: &'static [ReadinessEvent] = &[
        ReadinessEvent::Start,
        ReadinessEvent::Answered,
        ReadinessEvent::Failed,
        ReadinessEvent::PauseOver,
        ReadinessEvent::GiveUp,
    ];

    fn step(self, event: ReadinessEvent) -> Step<Self> {
        use ReadinessEvent as E;
        use ReadinessState as S;
        match (self, event) {
            (S::Idle, E::Start) => Step::To(S::Probing),
            (S::Probing, E::Answered) => Step::To(S::Ready),
            (S::Probing, E::Failed) => Step::To(S::Pausing),
            (S::Pausing, E::PauseOver) => Step::To(S::Probing),
            (S::Idle | S::Probing | S::Pausing, E::GiveUp) => Step::To(S::GaveUp),
            (S::Probing | S::Pausing | S::Ready | S::GaveUp, E::Start) => Step::NoOp,
            // What an aborted probe answers all the same.
            (S::Pausing | S::Ready | S::GaveUp, E::Answered | E::Failed) => Step::NoOp,
            (S::Ready | S::GaveUp, E::GiveUp) => Step::NoOp,
            (S::Idle, E::Answered | E::Failed) => Step::Invalid,
            (S::Idle | S::Probing | S::Ready | S::GaveUp, E::PauseOver) => Step::Invalid,
        }
    }
}

/// Waits until the endpoint answers.
#[derive(Debug, Clone)]
pub struct Readiness {
    timeout: Duration,
    state: ReadinessState,
    pause: Duration,
    last_error: Option<String>,
    timers: TimerTable<ReadinessTimer>,
}

impl Readiness {
    /// A machine that waits for at most `timeout` in all.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            state: ReadinessState::Idle,
            pause: FIRST_PAUSE,
            last_error: None,
            timers: TimerTable::default(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> ReadinessState {
        self.state
    }

    /// Takes a step of the table and does what belongs to the new state.
    fn step(&mut self, now: Tick, event: ReadinessEvent, out: &mut impl Sink<ReadinessEffect>) {
        use ReadinessTimer as T;
        let Step::To(next) = self.state.step(event) else { return };
        let before = core::mem::replace(&mut self.state, next);
        match next {
            ReadinessState::Idle => {}
            ReadinessState::Probing => {
                if before == ReadinessState::Idle {
                    self.timers.set(T::GiveUp, now + self.timeout);
                }
                self.timers.set(T::Probe, now + PROBE_LIMIT);
                out.push(ReadinessEffect::Probe);
            }
            ReadinessState::Pausing => {
                self.timers.clear(T::Probe);
                self.timers.set(T::Pause, now + self.pause);
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            ReadinessState::Ready => {
                self.timers = TimerTable::default();
                out.push(ReadinessEffect::Ready);
            }
            ReadinessState::GaveUp => {
                self.timers = TimerTable::default();
                if before == ReadinessState::Probing {
                    out.push(ReadinessEffect::AbortProbe);
                }
                out.push(ReadinessEffect::GaveUp { last_error: self.last_error.take() });
            }
        }
    }

    fn fail(&mut self, now: Tick, error: String, out: &mut impl Sink<ReadinessEffect>) {
        if self.state == ReadinessState::Probing {
            self.last_error = Some(error);
        }
        self.step(now, ReadinessEvent::Failed, out);
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<ReadinessEffect>) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                ReadinessTimer::GiveUp => self.step(now, ReadinessEvent::GiveUp, out),
                ReadinessTimer::Probe => {
                    out.push(ReadinessEffect::AbortProbe);
                    let error = format!("no answer within {} s", PROBE_LIMIT.as_secs());
                    self.fail(now, error, out);
                }
                ReadinessTimer::Pause => self.step(now, ReadinessEvent::PauseOver, out),
            }
        }
    }
}

impl Machine for Readiness {
    type Input = ReadinessInput;
    type Effect = ReadinessEffect;
    type Timer = ReadinessTimer;

    fn handle(&mut self, now: Tick, input: ReadinessInput, out: &mut impl Sink<ReadinessEffect>) {
        match input {
            ReadinessInput::Start => self.step(now, ReadinessEvent::Start, out),
            ReadinessInput::Probed(Ok(())) => self.step(now, ReadinessEvent::Answered, out),
            ReadinessInput::Probed(Err(error)) => self.fail(now, error, out),
            ReadinessInput::Cancel => self.step(now, ReadinessEvent::GiveUp, out),
        }
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<ReadinessEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<ReadinessTimer>> {
        self.timers.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::render_table;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn feed(machine: &mut Readiness, at_ms: u64, input: ReadinessInput) -> Vec<ReadinessEffect> {
        let mut out = Vec::new();
        machine.handle(Tick(at_ms * MS), input, &mut out);
        out
    }

    fn wake(machine: &mut Readiness, at_ms: u64) -> Vec<ReadinessEffect> {
        let mut out = Vec::new();
        machine.handle_timeout(Tick(at_ms * MS), &mut out);
        out
    }

    fn failed(error: &str) -> ReadinessInput {
        ReadinessInput::Probed(Err(error.to_owned()))
    }

    fn next_ms(machine: &Readiness) -> Option<u64> {
        machine.next_deadline().map(|d| d.at.0 / MS)
    }

    #[test]
    fn the_table() {
        insta::assert_snapshot!(render_table::<ReadinessState>());
    }

    #[test]
    fn it_probes_at_once_and_is_done_with_the_first_answer() {
        let mut machine = Readiness::new(Duration::from_secs(60));
        assert_eq!(feed(&mut machine, 0, ReadinessInput::Start), [ReadinessEffect::Probe]);
        let effects = feed(&mut machine, 3, ReadinessInput::Probed(Ok(())));
        assert_eq!(effects, [ReadinessEffect::Ready]);
        assert_eq!(machine.next_deadline(), None);
        assert_eq!(feed(&mut machine, 4, ReadinessInput::Probed(Ok(()))), []);
        assert_eq!(feed(&mut machine, 5, ReadinessInput::Cancel), []);
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut machine = Readiness::new(Duration::from_secs(60));
        feed(&mut machine, 0, ReadinessInput::Start);
        let (mut at, mut pauses) = (0, Vec::new());
        for _ in 0..6 {
            assert_eq!(feed(&mut machine, at, failed("refused")), []);
            let next = next_ms(&machine).unwrap();
            pauses.push(next - at);
            at = next;
            assert_eq!(wake(&mut machine, at - 1), [], "a spurious call changes nothing");
            assert_eq!(wake(&mut machine, at), [ReadinessEffect::Probe]);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_probe_that_does_not_answer_is_aborted_and_its_late_answer_does_not_count() {
        let mut machine = Readiness::new(Duration::from_secs(60));
        feed(&mut machine, 0, ReadinessInput::Start);
        assert_eq!(next_ms(&machine), Some(5000));
        assert_eq!(wake(&mut machine, 5000), [ReadinessEffect::AbortProbe]);
        assert_eq!(feed(&mut machine, 5050, ReadinessInput::Probed(Ok(()))), []);
        assert_eq!(wake(&mut machine, 5100), [ReadinessEffect::Probe]);
        let effects = feed(&mut machine, 5200, ReadinessInput::Cancel);
        let last_error = Some("no answer within 5 s".to_owned());
        assert_eq!(effects, [ReadinessEffect::AbortProbe, ReadinessEffect::GaveUp { last_error }]);
    }

    #[test]
    fn at_the_timeout_it_gives_up_with_the_last_error() {
        let mut machine = Readiness::new(Duration::from_millis(250));
        feed(&mut machine, 0, ReadinessInput::Start);
        feed(&mut machine, 10, failed("connection refused"));
        wake(&mut machine, 110);
        feed(&mut machine, 120, failed("status 503"));
        let last_error = Some("status 503".to_owned());
        assert_eq!(wake(&mut machine, 250), [ReadinessEffect::GaveUp { last_error }]);
        assert_eq!(machine.next_deadline(), None);
    }

    #[test]
    fn cancelled_before_anything_failed_there_is_no_error() {
        let mut machine = Readiness::new(Duration::from_secs(1));
        let gave_up = ReadinessEffect::GaveUp { last_error: None };
        assert_eq!(feed(&mut machine, 0, ReadinessInput::Cancel), [gave_up]);
        assert_eq!(feed(&mut machine, 0, ReadinessInput::Start), [], "over is over");
    }

    proptest! {
        #[test]
        fn it_always_ends_at_the_timeout_at_the_latest(
            timeout_ms in 0_u64..20_000,
            answers in prop::collection::vec((0_u64..7_000, any::<bool>()), 0..40),
        ) {
            let mut machine = Readiness::new(Duration::from_millis(timeout_ms));
            let mut effects = feed(&mut machine, 0, ReadinessInput::Start);
            let mut now = 0;
            for (after, late) in answers {
                now = match next_ms(&machine) {
                    Some(next) if next <= now + after || late => {
                        effects.extend(wake(&mut machine, next));
                        next
                    }
                    Some(_) | None => {
                        effects.extend(feed(&mut machine, now + after, failed("no")));
                        now + after
                    }
                };
                prop_assert!(next_ms(&machine).is_none_or(|next| next > now));
            }
            while let Some(next) = next_ms(&machine) {
                effects.extend(wake(&mut machine, next));
            }
            let ends = effects.iter().filter(|e| matches!(e, ReadinessEffect::GaveUp { .. }));
            prop_assert_eq!(ends.count(), 1);
            prop_assert_eq!(machine.state(), ReadinessState::GaveUp);
        }
    }
}
