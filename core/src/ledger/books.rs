//! One phase's books: its records, counted and accumulated.

use std::collections::BTreeMap;

use super::goodput::{Judgement, Limits};
use super::metrics::{Applies, METRICS, ONE_TOKEN, PER_TOKEN, Profile, Rule, Totals};
use super::report::PhaseLedger;
use super::seen::Seen;
use super::values::Values;
use crate::account::result::{MetricStats, RequestCounts};
use crate::account::stats::single;
use crate::id::PhaseId;
use crate::message::{MeasureProbe, ProfileFinish};
use crate::record::{ErrorClass, Outcome, RequestRecord};
use crate::search::interval::ranks;
use crate::search::{Estimate, Objective, Percentile, ProbeMeasured};
use crate::time::Tick;

/// One phase's books.
#[derive(Debug, Clone)]
pub(super) struct PhaseBooks {
    pub(super) phase: PhaseId,
    seen: Seen,
    counts: RequestCounts,
    /// The conductor's word on the phase.
    pub(super) start: Option<Tick>,
    pub(super) end: Option<Tick>,
    /// How many credits it says were sent, once no more will be.
    pub(super) sent: Option<u64>,
    /// The same by the records.
    first_started: Option<Tick>,
    last_ended: Option<Tick>,
    values: Values,
    prompt: TokenCount,
    output: TokenCount,
    without_first_token: u64,
    /// Of completed requests with content events and a count of output tokens.
    streamed: Streamed,
    /// By the place of their URL; empty where there is one.
    by_url: Vec<RequestCounts>,
    errors: BTreeMap<(ErrorClass, Option<u16>), u64>,
    good: u64,
    unjudged: u64,
    pub(super) refused: Refused,
}

/// Records that were not added, by why.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    pub(super) duplicate: u64,
    pub(super) late: u64,
    pub(super) beyond_sent: u64,
}

/// Events and the tokens they carried.
#[derive(Debug, Clone, Copy, Default)]
struct Streamed {
    requests: u64,
    chunks: u64,
    tokens: u64,
}

impl Streamed {
    fn add(&mut self, record: &RequestRecord) {
        if let (Some(tokens), 1..) = (record.output_tokens, record.chunks) {
            self.requests += 1;
            self.chunks = self.chunks.saturating_add(record.chunks.into());
            self.tokens = self.tokens.saturating_add(tokens.into());
        }
    }

    /// Output tokens an event, where that is more than one. One token a request
    /// is left aside: usage counts the end-of-sequence token, and no event
    /// carries it.
    fn several(self) -> Option<f64> {
        let carried = self.tokens.saturating_sub(self.requests) as f64;
        let chunks = self.chunks as f64;
        (carried > ONE_TOKEN * chunks).then(|| self.tokens as f64 / chunks)
    }
}

/// Tokens of completed requests.
#[derive(Debug, Clone, Copy, Default)]
struct TokenCount {
    sum: u64,
    unknown: u64,
}

impl TokenCount {
    fn add(&mut self, count: Option<u32>) {
        match count {
            Some(count) => self.sum = self.sum.saturating_add(u64::from(count)),
            None => self.unknown += 1,
        }
    }

    /// The sum, where every request has a count.
    fn known(self) -> Option<u64> {
        (self.unknown == 0).then_some(self.sum)
    }
}

impl PhaseBooks {
    /// Books of `phase`, whose requests go to `urls` URLs in turn.
    pub(super) fn new(phase: PhaseId, exact_limit: usize, urls: usize) -> Self {
        Self {
            phase,
            seen: Seen::default(),
            counts: RequestCounts::default(),
            start: None,
            end: None,
            sent: None,
            first_started: None,
            last_ended: None,
            values: Values::new(exact_limit),
            prompt: TokenCount::default(),
            output: TokenCount::default(),
            without_first_token: 0,
            streamed: Streamed::default(),
            by_url: if urls > 1 { vec![RequestCounts::default(); urls] } else { Vec::new() },
            errors: BTreeMap::new(),
            good: 0,
            unjudged: 0,
            refused: Refused::default(),
        }
    }

    /// How many records are in.
    pub(super) fn records(&self) -> u64 {
        self.counts.sent
    }

    /// Whether a record of every credit that was sent is in.
    pub(super) fn complete(&self) -> bool {
        self.sent.is_none_or(|sent| self.seen.covers(sent))
    }

    /// How many credits are known to have been sent and have no record.
    pub(super) fn missing(&self) -> u64 {
        self.sent.map_or(0, |sent| sent - self.seen.below(sent))
    }

    /// Adds a record, unless its credit has one already: whether it was added.
    pub(super) fn add(
        &mut self,
        record: &RequestRecord,
        profile: Profile,
        limits: &Limits,
    ) -> bool {
        if !self.seen.insert(record.credit.number) {
            return false;
        }
        let earliest = self.first_started.map_or(record.started, |at| at.min(record.started));
        self.first_started = Some(earliest);
        self.last_ended = self.last_ended.max(Some(record.ended));
        self.counts.sent += 1;
        let completed = match record.outcome {
            Outcome::Completed => {
                self.counts.completed += 1;
                self.prompt.add(record.prompt_tokens);
                self.output.add(record.output_tokens);
                self.streamed.add(record);
                self.without_first_token += u64::from(record.first_token.is_none());
                match limits.judge(record) {
                    Judgement::Good => self.good += 1,
                    Judgement::Bad => {}
                    Judgement::Unknown => self.unjudged += 1,
                }
                true
            }
            Outcome::Failed(class) => {
                self.counts.errors += 1;
                let status = record.status.filter(|_| class == ErrorClass::Status);
                *self.errors.entry((class, status)).or_default() += 1;
                false
            }
            Outcome::Cancelled => {
                self.counts.cancelled += 1;
                false
            }
        };
        self.count_by_url(record);
        self.values.add(record, completed, profile);
        true
    }

    fn count_by_url(&mut self, record: &RequestRecord) {
        let place = url_of(record.credit.number, self.by_url.len());
        let Some(counts) = self.by_url.get_mut(place) else { return };
        counts.sent += 1;
        match record.outcome {
            Outcome::Completed => counts.completed += 1,
            Outcome::Failed(_) => counts.errors += 1,
            Outcome::Cancelled => counts.cancelled += 1,
        }
    }

    /// The phase's duration, and a note where the conductor's word is missing.
    fn seconds(&self) -> (Option<f64>, Option<&'static str>) {
        let start = self.start.or(self.first_started);
        let end = self.end.or(self.last_ended);
        let (Some(start), Some(end)) = (start, end) else { return (None, None) };
        let note = match (self.start, self.end) {
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(
                "the phase's end was not announced: throughputs count until its last record ended",
            ),
            (None, Some(_)) => Some(
                "the phase's start was not announced: throughputs count from its first request",
            ),
            (None, None) => Some(
                "the phase's start and end were not announced: throughputs count from its first \
                 request until its last record ended",
            ),
        };
        (Some(end.since(start).as_secs_f64()), note)
    }

    pub(super) fn report(
        &mut self,
        profile: Profile,
        limits: &Limits,
        urls: &[String],
        finish: Option<ProfileFinish>,
    ) -> PhaseLedger {
        let (seconds, duration_note) = self.seconds();
        let judged = limits.impossible.is_empty() && self.unjudged == 0;
        let output_tokens = self.output.known().filter(|_| profile.produces_tokens);
        let totals = Totals {
            seconds,
            sent: self.counts.sent,
            completed: self.counts.completed,
            errors: self.counts.errors,
            good: judged.then_some(self.good),
            prompt_tokens: self.prompt.known(),
            output_tokens: if profile.produces_tokens { output_tokens } else { Some(0) },
        };
        let several = self.streamed.several();
        let applying = METRICS.iter().zip(self.values.series()).filter(|(m, series)| {
            let absent = m.applies == Applies::Reasoning && series.count() == 0;
            profile.has(m.applies) && !absent
        });
        let metrics: BTreeMap<String, MetricStats> = applying
            .map(|(metric, series)| {
                let mut stats = match metric.rule {
                    Rule::Completed(_) | Rule::Every(_) | Rule::Gaps => series.stats(metric.unit),
                    Rule::Phase(rule) => single(rule(&totals), metric.unit),
                };
                if several.is_some() && PER_TOKEN.contains(&metric.name) {
                    stats.resolvable = Some(false);
                }
                (metric.name.to_owned(), stats)
            })
            .collect();
        let errors = self.errors.iter().map(|((class, status), n)| (label(*class, *status), *n));
        PhaseLedger {
            phase: self.phase,
            counts: self.counts,
            prompt_tokens: self.prompt.known(),
            output_tokens,
            metrics,
            by_url: urls.iter().cloned().zip(self.by_url.iter().copied()).collect(),
            errors: errors.collect(),
            notes: self.notes(profile, limits, finish, duration_note),
        }
    }

    /// What there is of a probe: each objective's metric from the same series as
    /// the phase's statistics.
    pub(super) fn measured(
        &mut self,
        probe: MeasureProbe,
        objectives: &[Objective],
    ) -> ProbeMeasured {
        let missing = probe.sent.saturating_sub(self.seen.below(probe.sent));
        let missing = missing.saturating_sub(probe.written_off);
        let sent = probe.sent.max(self.counts.sent);
        let failed = sent.saturating_sub(self.counts.completed);
        let late_ms = self.values.series_of("dispatch_lag").and_then(|lag| {
            let (least, _) = ranks(Percentile::P99, lag.count());
            lag.at_rank(least?)
        });
        let silent = self.without_first_token;
        let mut estimate = |objective: &Objective| {
            if objective.percentile.is_none() {
                return Estimate::of_failures(failed, sent);
            }
            let unanswered = failed + if objective.is_streamed() { silent } else { 0 };
            match self.values.series_of(&objective.metric) {
                Some(series) => Estimate::of_latency(objective, series, unanswered),
                None => Estimate::unknown(0, 0),
            }
        };
        let estimates = objectives.iter().map(&mut estimate).collect();
        ProbeMeasured { phase: self.phase, missing, late_ms, estimates }
    }

    /// What could not be measured, and why.
    fn notes(
        &self,
        profile: Profile,
        limits: &Limits,
        finish: Option<ProfileFinish>,
        duration_note: Option<&str>,
    ) -> Vec<String> {
        let RequestCounts { sent: records, completed, .. } = self.counts;
        let mut notes = Vec::new();
        if records == 0 {
            notes.push("no request of this phase has a record".to_owned());
        }
        let (missing, sent) = (self.missing(), self.sent.unwrap_or_default());
        if missing > 0 {
            let why = match finish {
                Some(ProfileFinish::Fallback) => "; the credits-complete fallback ran out",
                Some(ProfileFinish::Shutdown) => "; the run was shut down before they came",
                Some(ProfileFinish::Complete) | None => "",
            };
            notes.push(format!("{missing} of {sent} requests have no record{why}"));
        }
        let late = self.refused.late;
        if late > 0 {
            notes.push(format!("{late} records came after the books were closed: not counted"));
        }
        let duplicate = self.refused.duplicate;
        if duplicate > 0 {
            notes.push(format!("{duplicate} records came twice: counted once"));
        }
        let seen_beyond = self.sent.map_or(0, |sent| records - self.seen.below(sent));
        if seen_beyond > 0 {
            notes.push(format!(
                "{seen_beyond} of {records} records are of credits beyond the {sent} that were sent"
            ));
        }
        let refused = self.refused.beyond_sent;
        if refused > 0 {
            notes.push(format!(
                "{refused} records of credits beyond the {sent} that were sent: not counted"
            ));
        }
        notes.extend(duration_note.map(str::to_owned));
        let usage = |what: &str, unknown: u64| {
            format!(
                "the server sent no usage with {what} tokens for {unknown} of {completed} completed \
                 requests: their count and sums that need it are not known"
            )
        };
        if self.prompt.unknown > 0 {
            notes.push(usage("prompt", self.prompt.unknown));
        }
        if profile.produces_tokens && self.output.unknown > 0 {
            notes.push(usage("output", self.output.unknown));
        }
        let streaming = profile.streaming && profile.produces_tokens;
        if streaming && self.without_first_token > 0 {
            let none = self.without_first_token;
            notes.push(format!(
                "{none} of {completed} completed requests streamed no content: they have no time \
                 to first token"
            ));
        }
        if let Some(several) = self.streamed.several().filter(|_| streaming) {
            notes.push(format!(
                "an event carried {several:.2} output tokens on average: what lies between the \
                 tokens of one event cannot be seen, so percentiles of {} are of averages and not \
                 of tokens",
                PER_TOKEN.join(", ")
            ));
        }
        if profile.goodput {
            notes.extend(limits.impossible.iter().cloned());
            if limits.impossible.is_empty() && self.unjudged > 0 {
                let unjudged = self.unjudged;
                notes.push(format!(
                    "goodput: {unjudged} of {completed} completed requests cannot be judged, the \
                     server sent no usage for them"
                ));
            }
        }
        notes
    }
}

/// The place of the URL, of so many, to which the request of this number goes:
/// in turn.
#[must_use]
pub fn url_of(number: u32, urls: usize) -> usize {
    usize::try_from(number).unwrap_or_default().checked_rem(urls).unwrap_or_default()
}

/// The published name of an error class: an error status is named with its
/// code.
fn label(class: ErrorClass, status: Option<u16>) -> String {
    let name = match class {
        ErrorClass::Connect => "connect",
        ErrorClass::Timeout => "timeout",
        ErrorClass::Status => "status",
        ErrorClass::StreamCut => "stream_cut",
        ErrorClass::Malformed => "malformed",
    };
    status.map_or_else(|| name.to_owned(), |code| format!("{name}_{code}"))
}

#[cfg(test)]
pub(super) mod tests;
