//! What the client observed of one request.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::CreditId;
use crate::time::Tick;

/// A credit on its way to the load engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Which one.
    pub id: CreditId,
    /// When it was planned to be sent; in a closed loop, when its slot became
    /// free.
    pub planned: Tick,
    /// When the request is to be given up.
    pub deadline: Tick,
    /// What is to be sent.
    pub item: Item,
    /// The client cancels it so long after its last byte was written, unless it
    /// is answered by then.
    pub cancel_after: Option<Duration>,
}

/// What a credit sends, by its place in the run's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Item {
    /// The item of the input, from 0; always 0 where prompts are made up one by
    /// one.
    pub index: u32,
    /// The number of its session within the phase, from 0. Where there are no
    /// sessions every credit is one of its own.
    pub session: u32,
    /// The turn of its session, from 0.
    pub turn: u16,
    /// No turn of its session follows.
    pub last: bool,
}

impl Item {
    /// An item that is a session of one turn.
    #[must_use]
    pub fn single(index: u32, number: u32) -> Self {
        Self { index, session: number, turn: 0, last: true }
    }
}

/// A credit back from the load engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditReturn {
    /// Which one.
    pub id: CreditId,
    /// How it ended.
    pub end: CreditEnd,
    /// The prompt tokens, where the server counted them.
    pub prompt_tokens: Option<u32>,
    /// The output tokens, where the server counted them.
    pub output_tokens: Option<u32>,
}

/// How a credit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditEnd {
    /// Answered in full.
    Completed,
    /// Ended by an error.
    Failed,
    /// Cancelled by us.
    Cancelled,
}

/// The classes of request errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No connection could be made (refused, unreachable, name, TLS).
    Connect,
    /// The request timeout ran out.
    Timeout,
    /// An answer with an error status.
    Status,
    /// The connection ended before the answer was complete.
    StreamCut,
    /// The answer, or an event of it, was not what the endpoint promises.
    Malformed,
}

/// How a request ended, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered in full.
    Completed,
    /// Ended by an error of this class.
    Failed(ErrorClass),
    /// Cancelled by us.
    Cancelled,
}

impl Outcome {
    /// The same, without the reason.
    #[must_use]
    pub fn end(self) -> CreditEnd {
        match self {
            Self::Completed => CreditEnd::Completed,
            Self::Failed(_) => CreditEnd::Failed,
            Self::Cancelled => CreditEnd::Cancelled,
        }
    }
}

/// One request as the client saw it. Moments that did not come are `None`;
/// counts that have no source are `None`, never 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The credit.
    pub credit: CreditId,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status, once there was one.
    pub status: Option<u16>,
    /// When it was planned to be sent.
    pub planned: Tick,
    /// When the client began to work on it: before connecting, before writing.
    pub started: Tick,
    /// When its last byte had been handed to the socket. In the journal only of
    /// requests that did not reason, as `first_byte` and `last_token`: no metric
    /// depends on them.
    pub sent: Option<Tick>,
    /// When the first byte of the answer was read from the socket.
    pub first_byte: Option<Tick>,
    /// When the first event with content (text, reasoning, tool call) was read
    /// from the socket. Role-only, empty and keep-alive events have none.
    pub first_token: Option<Tick>,
    /// The same for the first that has a part of the answer itself (text, refusal,
    /// tool call): reasoning is none.
    pub first_output_token: Option<Tick>,
    /// When the second event with content was read.
    pub second_token: Option<Tick>,
    /// The same for the last.
    pub last_token: Option<Tick>,
    /// When it ended.
    pub ended: Tick,
    /// Events with content.
    pub chunks: u32,
    /// Prompt tokens, by the server's usage.
    pub prompt_tokens: Option<u32>,
    /// Output tokens, by the server's usage.
    pub output_tokens: Option<u32>,
    /// Those of them that are reasoning, by the server's usage.
    pub reasoning_tokens: Option<u32>,
    /// Gaps between neighbouring content events, in nanoseconds. Not in the
    /// journal: no decision depends on them.
    #[serde(skip)]
    pub gaps_ns: Vec<u64>,
}

impl RequestRecord {
    /// The credit's return, for the conductor.
    #[must_use]
    pub fn credit_return(&self) -> CreditReturn {
        CreditReturn {
            id: self.credit,
            end: self.outcome.end(),
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
        }
    }
}
