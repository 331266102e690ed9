//! What is known of a request so far; whatever ends it, this becomes its record.

use std::sync::Arc;
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::record::{Credit, ErrorClass, Outcome, RequestRecord};

use super::answer;
use super::classify::{Failure, Stage};
use super::connection::Connection;
use super::response::Usage;
use super::stamped::{ReadMark, Stamps};
use super::{EventMark, Finished, PlannedCancel};
use crate::config::EndpointType;

/// How the work on a request came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The exchange is over.
    Answered(Result<(), Failure>),
    /// Its deadline has passed.
    TimedOut,
    /// It was cancelled.
    Cancelled,
}

/// Room for so many events, and gaps between them, once there is one.
const GAPS: usize = 16;

/// The measurements of one request, as they come in.
pub(crate) struct Progress {
    credit: Credit,
    pub(crate) started: Tick,
    stage: Stage,
    stamps: Option<Arc<Stamps>>,
    /// Waits for the request to be sent, to cancel it.
    pub(crate) cancel: Option<Arc<PlannedCancel>>,
    pub(crate) new_connection: bool,
    pub(crate) status: Option<u16>,
    /// The answer is complete, even if its connection goes on.
    pub(crate) complete: bool,
    /// The request has failed already, even if more of the answer comes.
    pub(crate) failed: Option<Failure>,
    /// The last read that carried a part of the answer's body.
    last_data: Option<Tick>,
    first_token: Option<Tick>,
    first_output_token: Option<Tick>,
    second_token: Option<Tick>,
    last_token: Option<Tick>,
    chunks: u32,
    gaps_ns: Vec<u64>,
    usage: Usage,
    /// The text of the answer, where it is wanted.
    pub(crate) answer: Option<String>,
    /// Whether any of it was reasoning, where the answer is wanted.
    pub(crate) reasoned: bool,
    /// A longer one is not.
    pub(crate) longest_answer: usize,
    keep_events: bool,
    events: Vec<EventMark>,
    connected: Option<Tick>,
    parsed_after: Duration,
}

impl Progress {
    pub(crate) fn new(credit: Credit, now: Tick, keep_events: bool) -> Self {
        Self {
            credit,
            started: now,
            stage: Stage::default(),
            stamps: None,
            cancel: None,
            new_connection: false,
            status: None,
            complete: false,
            failed: None,
            last_data: None,
            first_token: None,
            first_output_token: None,
            second_token: None,
            last_token: None,
            chunks: 0,
            gaps_ns: Vec::new(),
            usage: Usage::default(),
            answer: None,
            reasoned: false,
            longest_answer: usize::MAX,
            keep_events,
            events: Vec::new(),
            connected: None,
            parsed_after: Duration::ZERO,
        }
    }

    pub(crate) fn connecting(&mut self) {
        self.stage = Stage::Connecting;
    }

    /// The request goes out on this connection.
    pub(crate) fn sending(&mut self, connection: &Connection, now: Tick) {
        connection.stamps.begin();
        self.connected = Some(now);
        self.stamps = Some(Arc::clone(&connection.stamps));
        if let Some(cancel) = &self.cancel {
            cancel.goes_out_with(&connection.stamps);
        }
        self.stage = Stage::Sending;
    }

    /// The head of the answer is in.
    pub(crate) fn head(&mut self, status: u16) {
        self.status = Some(status);
        self.stage = Stage::Receiving;
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        let sent = self.stamps.as_ref().is_some_and(|s| s.sent().is_some());
        if self.stage == Stage::Sending && sent { Stage::Answering } else { self.stage }
    }

    /// A piece of the answer's body.
    pub(crate) fn data(&mut self, mark: ReadMark) {
        if !self.complete {
            self.last_data = Some(mark.at);
        }
    }

    /// What was read is parsed.
    pub(crate) fn parsed(&mut self, mark: ReadMark, now: Tick) {
        self.parsed_after = self.parsed_after.max(now.since(mark.at));
    }

    /// An event with content; `answer`: of the answer itself, not only reasoning.
    pub(crate) fn content(&mut self, mark: ReadMark, answer: bool) {
        if answer {
            self.first_output_token.get_or_insert(mark.at);
        }
        match self.last_token {
            None => self.first_token = Some(mark.at),
            Some(last) => {
                self.second_token.get_or_insert(mark.at);
                if self.gaps_ns.is_empty() {
                    self.gaps_ns.reserve(GAPS);
                }
                self.gaps_ns.push(mark.at.0.saturating_sub(last.0));
            }
        }
        self.last_token = Some(mark.at);
        self.chunks = self.chunks.saturating_add(1);
        if self.keep_events {
            if self.events.is_empty() {
                self.events.reserve(GAPS);
            }
            self.events.push(EventMark { at: mark.at, read: mark.read });
        }
    }

    /// An event with content, or a whole answer: keeps its text, where it is
    /// wanted.
    pub(crate) fn said(&mut self, kind: EndpointType, json: &[u8]) {
        let Some(answer) = &mut self.answer else { return };
        self.reasoned |= answer::append(answer, kind, json);
        if answer.len() > self.longest_answer {
            self.answer = None;
        }
    }

    /// Token counts; later ones replace earlier ones, unknown ones do not.
    pub(crate) fn usage(&mut self, usage: Usage) {
        self.usage.prompt_tokens = usage.prompt_tokens.or(self.usage.prompt_tokens);
        self.usage.completion_tokens = usage.completion_tokens.or(self.usage.completion_tokens);
        self.usage.reasoning_tokens = usage.reasoning_tokens.or(self.usage.reasoning_tokens);
    }

    /// The record. What the server has already decided goes before how we
    /// stopped listening.
    pub(crate) fn finish(mut self, end: End, now: Tick) -> Finished {
        let decided = self.failed.take();
        let (outcome, what) = match (self.complete, decided, end) {
            (true, _, _) | (false, None, End::Answered(Ok(()))) => (Outcome::Completed, None),
            (false, Some(failure), _) | (false, None, End::Answered(Err(failure))) => {
                (Outcome::Failed(failure.class), Some(failure.what))
            }
            (false, None, End::TimedOut) => {
                (Outcome::Failed(ErrorClass::Timeout), Some(self.timed_out(now)))
            }
            (false, None, End::Cancelled) => (Outcome::Cancelled, None),
        };
        let stamps = self.stamps.as_ref();
        let sent = stamps.and_then(|s| s.sent());
        let first_byte = stamps.and_then(|s| s.first_byte());
        let ended = match outcome {
            Outcome::Completed => self.last_data.or(first_byte).unwrap_or(now),
            Outcome::Failed(_) | Outcome::Cancelled => now,
        };
        let record = RequestRecord {
            credit: self.credit.id,
            outcome,
            status: self.status,
            planned: self.credit.planned,
            started: self.started,
            sent,
            first_byte,
            first_token: self.first_token,
            first_output_token: self.first_output_token,
            second_token: self.second_token,
            last_token: self.last_token,
            ended,
            chunks: self.chunks,
            prompt_tokens: self.usage.prompt_tokens,
            output_tokens: self.usage.completion_tokens,
            reasoning_tokens: self.usage.reasoning_tokens,
            gaps_ns: self.gaps_ns,
        };
        Finished {
            record,
            error: what,
            new_connection: self.new_connection,
            connected: self.connected,
            parsed_after: self.parsed_after,
            events: self.events,
        }
    }

    fn timed_out(&self, now: Tick) -> String {
        let after = now.since(self.started).as_secs_f64();
        let mut what = format!("timed out after {after:.3} s {}", self.stage().while_doing());
        if self.chunks > 0 {
            what.push_str(&format!(" ({} events with content came)", self.chunks));
        }
        what
    }
}
