//! The ledger.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::books::PhaseBooks;
use super::goodput::Limits;
use super::metrics::Profile;
use super::report::LedgerReport;
use super::state::{LedgerState, LedgerStep};
use crate::account::result::LagStats;
use crate::account::stats::{EXACT_LIMIT, Series};
use crate::id::{CreditId, Domain, PhaseId, ServiceId};
use crate::machine::{Deadline, Machine, Sink, Step, TimerKey, Transitions};
use crate::message::{
    Capability, CreditsComplete, DomainResult, DomainSummary, Envelope, MeasureProbe, Member,
    Message, PhaseProgress, ProfileFinish, ServiceStatus,
};
use crate::plan::RunPlan;
use crate::planted::{Bug, is_planted};
use crate::record::RequestRecord;
use crate::search::Objective;
use crate::small::SmallMap;
use crate::time::Tick;
use crate::timers::TimerTable;

/// What the ledger is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LedgerInput {
    /// Register and begin.
    Start,
    /// A message came.
    Message(#[serde(with = "crate::journal::envelope")] Envelope),
    /// A request ended. Its gaps are not in the journal: a replayed ledger has
    /// no `inter_chunk_latency`, and no effect depends on it.
    Record(#[serde(with = "crate::journal::compact")] RequestRecord),
}

/// What the ledger asks to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LedgerEffect {
    /// Send this.
    Send(#[serde(with = "crate::journal::envelope")] Envelope),
    /// Something that people may want to know.
    Event(LedgerEvent),
    /// The run is over for the ledger. Said once.
    Finished,
}

/// Something that people may want to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerEvent {
    /// The books are closed. Said once.
    Finalised {
        /// How.
        finish: ProfileFinish,
        /// How many records are in.
        records: u64,
        /// The phases of which records are missing, with how many.
        missing: Vec<(PhaseId, u64)>,
    },
    /// A record was not added to the books.
    Refused {
        /// Its credit.
        credit: CreditId,
        /// Why.
        reason: Refusal,
    },
}

/// Why a record is not added to the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Its credit has a record already.
    #[error("its credit has a record already")]
    Duplicate,
    /// The books are closed.
    #[error("the books are closed")]
    AfterFinalisation,
    /// The plan has no such phase.
    #[error("the plan has no such phase")]
    NoSuchPhase,
    /// No such credit was sent, by the final counts.
    #[error("no such credit was sent")]
    BeyondSent,
}

/// The ledger's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerTimer {
    /// The credits-complete fallback.
    Fallback,
    /// The next heartbeat.
    Heartbeat,
}

impl TimerKey for LedgerTimer {
    // The fallback first, so that a heartbeat of the same moment hands in the
    // result.
    const ALL: &'static [Self] = &[Self::Fallback, Self::Heartbeat];
}

/// How the books were closed.
#[derive(Debug, Clone, Copy)]
struct Closing {
    finish: ProfileFinish,
    records: u64,
    missing: u64,
}

/// The client's books (service `ledger`, producer of the result domain
/// `profile`).
///
/// Every record is counted in exactly one phase, once. The books are closed
/// once: when credits are complete and every record is in, when the
/// credits-complete fallback runs out, or at shutdown. One input causes at most
/// [`Ledger::EFFECTS`] effects.
#[derive(Debug)]
pub struct Ledger {
    member: Member,
    timers: TimerTable<LedgerTimer>,
    state: LedgerState,
    books: Vec<PhaseBooks>,
    exact_limit: usize,
    urls: Vec<String>,
    places: SmallMap<PhaseId, usize>,
    profile: Profile,
    limits: Limits,
    fallback: Duration,
    lag_us: Series,
    closing: Option<Closing>,
    /// Those of a search.
    objectives: Vec<Objective>,
}

impl Ledger {
    /// The most effects that one input can cause: a refused record or the answer
    /// on a probe, then the
    /// fallback (event, result) and the heartbeat (sign of life, result) that
    /// were due at the same moment.
    pub const EFFECTS: usize = 5;

    /// The ledger of a run of `plan`. `goodput` has the limits in milliseconds
    /// by metric name (see [`can_limit`](super::goodput::can_limit)); without
    /// limits there is no goodput. `streaming`: answers are streamed.
    /// `produces_tokens`: false for embeddings.
    #[must_use]
    pub fn new(
        plan: &RunPlan,
        goodput: BTreeMap<String, f64>,
        streaming: bool,
        produces_tokens: bool,
    ) -> Self {
        Self::with_exact_limit(plan, &goodput, streaming, produces_tokens, EXACT_LIMIT)
    }

    /// The same, with statistics exact up to `exact_limit` values a metric.
    #[must_use]
    pub fn with_exact_limit(
        plan: &RunPlan,
        goodput: &BTreeMap<String, f64>,
        streaming: bool,
        produces_tokens: bool,
        exact_limit: usize,
    ) -> Self {
        let profile = Profile { streaming, produces_tokens, goodput: !goodput.is_empty() };
        let capabilities = vec![Capability::ResultProducer(Domain::profile())];
        let phases = plan.phases();
        Self {
            member: Member::new(ServiceId::ledger(), capabilities, plan.limits().heartbeat),
            timers: TimerTable::default(),
            state: LedgerState::Idle,
            books: phases.iter().map(|phase| PhaseBooks::new(phase.id, exact_limit, 1)).collect(),
            exact_limit,
            urls: Vec::new(),
            places: phases.iter().enumerate().map(|(place, phase)| (phase.id, place)).collect(),
            profile,
            limits: Limits::new(goodput, profile),
            fallback: plan.limits().credits_complete_fallback,
            lag_us: Series::with_limit(exact_limit),
            closing: None,
            objectives: plan.search().map(|s| s.objectives.clone()).unwrap_or_default(),
        }
    }

    /// The same, with counts by URL: requests go to `urls` in turn, by their
    /// numbers (see [`url_of`](super::url_of)).
    #[must_use]
    pub fn with_urls(mut self, urls: &[String]) -> Self {
        if urls.is_empty() {
            return self;
        }
        let exact_limit = self.exact_limit;
        let books = self.books.iter().map(|b| PhaseBooks::new(b.phase, exact_limit, urls.len()));
        self.books = books.collect();
        self.urls = urls.to_vec();
        self
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        self.state
    }

    /// The books as they stand; to be taken once the run is over.
    pub fn report(&mut self) -> LedgerReport {
        let finish = self.closing.map(|closing| closing.finish);
        let missing = match self.closing {
            Some(closing) => closing.missing,
            None => self.missing(),
        };
        let (profile, limits) = (self.profile, &self.limits);
        let lag = self.lag_us.stats("us");
        let urls = &self.urls;
        LedgerReport {
            phases: self
                .books
                .iter_mut()
                .map(|b| b.report(profile, limits, urls, finish))
                .collect(),
            finish,
            missing,
            dispatch_lag_us: LagStats { p50: lag.p50, p99: lag.p99, max: lag.max },
        }
    }

    fn missing(&self) -> u64 {
        // The counts come over the bus: their sum may be beyond any number.
        self.books.iter().map(PhaseBooks::missing).fold(0, u64::saturating_add)
    }

    /// Takes a step of the lifecycle, if the table has one here.
    fn step(&mut self, event: LedgerStep) -> bool {
        match self.state.step(event) {
            Step::To(next) => {
                self.state = next;
                true
            }
            Step::NoOp | Step::Invalid => false,
        }
    }

    fn start(&mut self, now: Tick, out: &mut impl Sink<LedgerEffect>) {
        if self.step(LedgerStep::Start) {
            out.push(LedgerEffect::Send(self.member.start(now)));
            out.push(LedgerEffect::Send(self.member.announce(ServiceStatus::Ready)));
            self.arm_heartbeat(now);
        }
    }

    fn message(&mut self, now: Tick, body: Message, out: &mut impl Sink<LedgerEffect>) {
        match body {
            Message::PhaseStarted(PhaseProgress { phase, at, .. }) => {
                if let Some(books) = self.phase(phase) {
                    books.start.get_or_insert(at);
                }
            }
            Message::SendingComplete(PhaseProgress { phase, counts, .. }) => {
                self.sent(phase, counts.sent);
            }
            Message::PhaseComplete(PhaseProgress { phase, at, counts }) => {
                // It may be overtaken by the end of all credits, and is still
                // the phase's end.
                if let Some(books) = self.phase(phase) {
                    books.end.get_or_insert(at);
                }
                self.sent(phase, counts.sent);
            }
            Message::CreditsComplete(complete) => self.credits_complete(now, &complete, out),
            Message::MeasureProbe(probe) => self.measure(probe, out),
            Message::Shutdown { .. } => self.shutdown(out),
            // Not for the ledger.
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::Begin
            | Message::GateCommand(_)
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::DomainResult(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }

    fn phase(&mut self, phase: PhaseId) -> Option<&mut PhaseBooks> {
        let place = self.places.get(&phase)?;
        self.books.get_mut(*place)
    }

    /// No more than `sent` credits of `phase` will be sent. What was missing
    /// when the books were closed is not changed afterwards.
    fn sent(&mut self, phase: PhaseId, sent: u64) {
        let open = self.closing.is_none();
        if let Some(books) = self.phase(phase).filter(|_| open) {
            books.sent.get_or_insert(sent);
        }
    }

    /// Says what there is of a probe. Counts that are still to be told change
    /// nothing: the question says how many were sent.
    fn measure(&mut self, probe: MeasureProbe, out: &mut impl Sink<LedgerEffect>) {
        let Some(place) = self.places.get(&probe.phase).copied() else { return };
        let Some(books) = self.books.get_mut(place) else { return };
        let measured = books.measured(probe, &self.objectives);
        let body = Message::ProbeMeasured(Box::new(measured));
        out.push(LedgerEffect::Send(self.member.send(&ServiceId::conductor(), body)));
    }

    fn credits_complete(
        &mut self,
        now: Tick,
        complete: &CreditsComplete,
        out: &mut impl Sink<LedgerEffect>,
    ) {
        if !self.step(LedgerStep::CreditsComplete) {
            return;
        }
        // A phase that is not named was never started.
        for books in &mut self.books {
            books.sent = Some(0);
        }
        for (phase, counts) in &complete.phases {
            if let Some(books) = self.phase(*phase) {
                books.sent = Some(counts.sent);
            }
        }
        self.timers.set(LedgerTimer::Fallback, now + self.fallback);
        self.close_if_all_in(out);
    }

    fn record(&mut self, record: &RequestRecord, out: &mut impl Sink<LedgerEffect>) {
        let credit = record.credit;
        if let Err(reason) = self.add(record) {
            out.push(LedgerEffect::Event(LedgerEvent::Refused { credit, reason }));
        } else if self.state == LedgerState::Awaiting {
            self.close_if_all_in(out);
        }
    }

    fn add(&mut self, record: &RequestRecord) -> Result<(), Refusal> {
        let (state, profile, limits) = (self.state, self.profile, &self.limits);
        let place = usize::from(record.credit.phase);
        let books = self.books.get_mut(place).ok_or(Refusal::NoSuchPhase)?;
        if !state.takes_records() {
            books.refused.late += 1;
            return Err(Refusal::AfterFinalisation);
        }
        // Only credits-complete says for certain how many were sent.
        let known = books.sent.filter(|_| state == LedgerState::Awaiting);
        if known.is_some_and(|sent| u64::from(record.credit.number) >= sent) {
            books.refused.beyond_sent += 1;
            return Err(Refusal::BeyondSent);
        }
        if !books.add(record, profile, limits) {
            books.refused.duplicate += 1;
            return Err(Refusal::Duplicate);
        }
        if is_planted(Bug::CountedInBoth)
            && let Some(next) = self.books.get_mut(place + 1)
            && next.start.is_some()
        {
            next.add(record, profile, limits);
        }
        self.lag_us.push(record.started.since(record.planned).as_nanos() as f64 / 1e3);
        Ok(())
    }

    fn close_if_all_in(&mut self, out: &mut impl Sink<LedgerEffect>) {
        if self.books.iter().all(PhaseBooks::complete) && self.step(LedgerStep::AllIn) {
            self.close(ProfileFinish::Complete, out);
        }
    }

    /// Closes the books and hands in the result, once.
    fn close(&mut self, finish: ProfileFinish, out: &mut impl Sink<LedgerEffect>) {
        if self.closing.is_some() && !is_planted(Bug::FinalisedTwice) {
            return;
        }
        self.timers.clear(LedgerTimer::Fallback);
        let records = self.books.iter().map(PhaseBooks::records).sum();
        self.closing = Some(Closing { finish, records, missing: self.missing() });
        let missing = self.books.iter().map(|b| (b.phase, b.missing())).filter(|(_, n)| *n > 0);
        let event = LedgerEvent::Finalised { finish, records, missing: missing.collect() };
        out.push(LedgerEffect::Event(event));
        self.hand_in(out);
    }

    fn hand_in(&mut self, out: &mut impl Sink<LedgerEffect>) {
        if let Some(Closing { finish, records, missing }) = self.closing {
            let summary = DomainSummary::Records { records, missing, finish };
            let result = DomainResult { domain: Domain::profile(), summary };
            out.push(LedgerEffect::Send(self.member.to_controller(Message::DomainResult(result))));
        }
    }

    fn shutdown(&mut self, out: &mut impl Sink<LedgerEffect>) {
        if self.step(LedgerStep::Shutdown) {
            self.close(ProfileFinish::Shutdown, out);
            out.push(LedgerEffect::Send(self.member.announce(ServiceStatus::Stopped)));
            self.member.silence();
            self.timers.clear(LedgerTimer::Heartbeat);
            out.push(LedgerEffect::Finished);
        }
    }

    /// Arms the heartbeat, always in the future: an interval of zero would
    /// otherwise be due for ever.
    fn arm_heartbeat(&mut self, now: Tick) {
        let soonest = now + Duration::from_nanos(1);
        let next = self.member.next_heartbeat().map(|at| at.max(soonest));
        self.timers.set_or_clear(LedgerTimer::Heartbeat, next.filter(|at| *at > now));
    }

    fn fire(&mut self, now: Tick, out: &mut impl Sink<LedgerEffect>) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                LedgerTimer::Fallback => {
                    if self.step(LedgerStep::FallbackOver) {
                        self.close(ProfileFinish::Fallback, out);
                    }
                }
                LedgerTimer::Heartbeat => {
                    if let Some(beat) = self.member.heartbeat(now) {
                        out.push(LedgerEffect::Send(beat));
                        self.hand_in(out);
                    }
                    self.arm_heartbeat(now);
                }
            }
        }
    }
}

impl Machine for Ledger {
    type Input = LedgerInput;
    type Effect = LedgerEffect;
    type Timer = LedgerTimer;

    fn handle(&mut self, now: Tick, input: LedgerInput, out: &mut impl Sink<LedgerEffect>) {
        match input {
            LedgerInput::Start => self.start(now, out),
            LedgerInput::Message(envelope) => self.message(now, envelope.body, out),
            LedgerInput::Record(record) => self.record(&record, out),
        }
        self.fire(now, out);
    }

    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<LedgerEffect>) {
        self.fire(now, out);
    }

    fn next_deadline(&self) -> Option<Deadline<LedgerTimer>> {
        self.timers.next_deadline()
    }
}

#[cfg(test)]
mod tests;
