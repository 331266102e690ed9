//! How one boundary's baseline comes about.
//!
//! Readings are taken one after the other until one counts: the first, where
//! settling is not asked for or cannot be told; where it can, the first that is
//! settled (see `settling`), or that no further one would improve on. The last
//! successful reading is the baseline. A failed one is tried again a few times.
//! The answer is out before the gate's time is over, whatever happens.

use core::time::Duration;
use std::sync::Arc;

use super::io::{ReadId, ReadStamp};
use super::settling::{Expected, Judgement};
use crate::engines::Observed;
use crate::machine::{Step, Transitions};
use crate::message::{BaselineRequest, CollectError, CollectErrorKind, ReadingMark};
use crate::time::Tick;

/// A failed reading is tried again after this long.
pub const RETRY_AFTER: Duration = Duration::from_millis(200);
/// So many times at most.
pub const RETRIES: u32 = 2;
/// The first pause between two readings of a boundary; it doubles.
pub const FIRST_SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
pub const LONGEST_SETTLE_PAUSE: Duration = Duration::from_millis(250);
/// The answer is out this long before the gate's time is over, or a tenth of
/// that time, whichever is less.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// How a boundary's sampling stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingState {
    /// A reading is under way.
    Reading,
    /// The next reading waits for its moment.
    Pausing,
    /// The answer is given; it will be the same for ever.
    Answered,
}

/// What may happen to a sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingEvent {
    /// The request is repeated.
    Request,
    /// A reading came that counts.
    Enough,
    /// A reading came that is not settled, or failed and may be tried again.
    Again,
    /// A reading failed, and that was the last try.
    Spent,
    /// The pause is over.
    Resume,
    /// The time for settling is over.
    SettleOver,
    /// The time for the answer is over.
    Expired,
    /// The collector is disabled.
    Disable,
}

impl Transitions for SamplingState {
    type Event = SamplingEvent;
    const STATES: &'static [Self] = &[Self::Reading, Self::Pausing, Self::Answered];
    const EVENTS: &'static [SamplingEvent] = &[
        SamplingEvent::Request,
        SamplingEvent::Enough,
        SamplingEvent::Again,
        SamplingEvent::Spent,
        SamplingEvent::Resume,
        SamplingEvent::SettleOver,
        SamplingEvent::Expired,
        SamplingEvent::Disable,
    ];

    fn step(self, event: SamplingEvent) -> Step<Self> {
        use SamplingEvent as E;
        match (self, event) {
            (Self::Reading | Self::Pausing | Self::Answered, E::Request) => Step::NoOp,
            (Self::Reading, E::Enough | E::Spent) => Step::To(Self::Answered),
            (Self::Reading, E::Again) => Step::To(Self::Pausing),
            // What is under way may still be the one that is settled.
            (Self::Reading, E::SettleOver) => Step::NoOp,
            (Self::Pausing, E::Resume) => Step::To(Self::Reading),
            (Self::Pausing, E::SettleOver) => Step::To(Self::Answered),
            (Self::Reading | Self::Pausing, E::Expired | E::Disable) => Step::To(Self::Answered),
            (Self::Reading, E::Resume) => Step::Invalid,
            (Self::Pausing, E::Enough | E::Again | E::Spent) => Step::Invalid,
            (
                Self::Answered,
                E::Enough | E::Again | E::Spent | E::Resume | E::SettleOver | E::Expired,
            ) => Step::Invalid,
            (Self::Answered, E::Disable) => Step::NoOp,
        }
    }
}

/// The answer to a boundary: the reading that is its baseline, or why there is
/// none.
pub(super) type Answer = Result<(ReadId, ReadingMark), CollectError>;

/// What a sampling wants done when its time comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Begin the next reading and say so with [`Sampling::reading`].
    Read,
    /// The answer is there; `abort` is what was still under way.
    Answer { abort: Option<ReadId> },
}

/// The sampling of one boundary.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    state: SamplingState,
    /// The reading that is under way, or was last.
    read: ReadId,
    /// What it is to be compared with.
    before: Option<Arc<Observed>>,
    budget: Duration,
    deadline: Tick,
    settle_end: Option<Tick>,
    resume: Tick,
    pause: Duration,
    readings: u32,
    failures: u32,
    /// What settling is to show, where it is asked for.
    expected: Option<Expected>,
    last: Option<(ReadId, ReadStamp)>,
    /// Of the last successful reading.
    judgement: Option<Judgement>,
    error: Option<CollectError>,
    answer: Option<Answer>,
}

impl Sampling {
    /// The sampling that `request` asks for, with its first reading under way.
    pub(super) fn begin(
        now: Tick,
        request: &BaselineRequest,
        read: ReadId,
        before: Option<Arc<Observed>>,
    ) -> Self {
        let budget = request.budget;
        let deadline = now + budget.saturating_sub(ANSWER_MARGIN.min(budget / 10));
        let settle = request.settle;
        Self {
            state: SamplingState::Reading,
            read,
            before,
            budget,
            deadline,
            settle_end: (!settle.is_zero()).then(|| now + settle),
            resume: Tick::NEVER,
            pause: FIRST_SETTLE_PAUSE,
            readings: 0,
            failures: 0,
            expected: (!settle.is_zero()).then(|| Expected::of(request)),
            last: None,
            judgement: None,
            error: None,
            answer: None,
        }
    }

    /// What a reading is to show, and what it is to be compared with; `None` where
    /// settling is not asked for.
    pub(super) fn expected(&self) -> Option<(&Expected, Option<&Observed>)> {
        Some((self.expected.as_ref()?, self.before.as_deref()))
    }

    /// The reading that the answer is given with, and how it was judged.
    pub(super) fn closing(&self) -> Option<(&Expected, &ReadStamp, &Judgement)> {
        let (_, stamp) = self.last.as_ref()?;
        Some((self.expected.as_ref()?, stamp, self.judgement.as_ref()?))
    }

    /// The reading that is under way.
    pub(super) fn under_way(&self) -> Option<ReadId> {
        (self.state == SamplingState::Reading).then_some(self.read)
    }

    /// How much time the gate had when it asked.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    /// The answer, once there is one; nothing is asked of the sampling after that.
    #[inline]
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// The next moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Tick> {
        match self.state {
            SamplingState::Reading => Some(self.deadline),
            SamplingState::Pausing => {
                let settle_end = self.settle_end.filter(|_| self.last.is_some());
                Some(self.deadline.min(self.resume).min(settle_end.unwrap_or(Tick::NEVER)))
            }
            SamplingState::Answered => None,
        }
    }

    /// The next reading is under way.
    pub(super) fn reading(&mut self, read: ReadId, before: Option<Arc<Observed>>) {
        if self.step(SamplingEvent::Resume) {
            self.read = read;
            self.before = before;
        }
    }

    /// The reading that was under way has succeeded; `judgement` is whether it is
    /// settled, where that was asked for and can be told.
    pub(super) fn succeeded(&mut self, now: Tick, stamp: ReadStamp, judgement: Option<Judgement>) {
        self.readings = self.readings.saturating_add(1);
        self.last = Some((self.read, stamp));
        let settled = match &judgement {
            None => None,
            Some(Judgement::Settled) => Some(true),
            Some(Judgement::Hopeless(_)) => Some(false),
            Some(Judgement::Waiting(_)) => {
                self.judgement = judgement;
                self.pause(now + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_SETTLE_PAUSE);
                return;
            }
        };
        self.judgement = judgement;
        self.conclude(SamplingEvent::Enough, settled);
    }

    /// The reading that was under way has failed.
    pub(super) fn failed(&mut self, now: Tick, error: CollectError) {
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
        let resume = now + RETRY_AFTER;
        if self.failures <= RETRIES && resume < self.deadline {
            self.pause(resume);
        } else {
            self.conclude(SamplingEvent::Spent, Some(false));
        }
    }

    /// The collector is disabled: there will be no reading.
    pub(super) fn disable(&mut self, error: CollectError) {
        if self.step(SamplingEvent::Disable) {
            self.answer = Some(Err(error));
        }
    }

    /// What is due at `now`.
    pub(super) fn due(&mut self, now: Tick) -> Option<Due> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let under_way = self.under_way();
        if self.deadline <= now {
            if under_way.is_some() {
                let before = self.error.take().map(|e| format!(" (before that: {e})"));
                let message = format!(
                    "no complete reading in time for the gate, which had {} s left{}",
                    self.budget.as_secs_f64(),
                    before.unwrap_or_default(),
                );
                self.error = Some(CollectError::new(CollectErrorKind::Timeout, message));
            }
            self.conclude(SamplingEvent::Expired, Some(false));
            return Some(Due::Answer { abort: under_way });
        }
        let settle_over = self.settle_end.is_some_and(|end| end <= now) && self.last.is_some();
        if settle_over && self.state == SamplingState::Pausing {
            self.conclude(SamplingEvent::SettleOver, Some(false));
            return Some(Due::Answer { abort: None });
        }
        Some(Due::Read)
    }

    fn pause(&mut self, until: Tick) {
        if self.step(SamplingEvent::Again) {
            self.resume = until;
        }
    }

    /// Answers with the last successful reading; where there is none, with the
    /// last error.
    fn conclude(&mut self, event: SamplingEvent, settled: Option<bool>) {
        if !self.step(event) {
            return;
        }
        let unsettled = match &self.judgement {
            Some(Judgement::Waiting(lacks) | Judgement::Hopeless(lacks)) => {
                lacks.iter().map(ToString::to_string).collect()
            }
            Some(Judgement::Settled) | None => Vec::new(),
        };
        self.answer = Some(match (&self.last, self.error.take()) {
            (Some((read, stamp)), _) => Ok((
                *read,
                ReadingMark {
                    start: stamp.start,
                    end: stamp.end,
                    readings: self.readings,
                    settled,
                    unsettled,
                },
            )),
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(CollectError::new(CollectErrorKind::Timeout, "no reading was taken in time"))
            }
        });
    }

    fn step(&mut self, event: SamplingEvent) -> bool {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }
}
