//! `records.jsonl`: one line a request.

use phasegate_core::Tick;
use phasegate_core::plan::RunPlan;
use phasegate_core::record::{ErrorClass, Outcome, RequestRecord};
use serde::{Deserialize, Serialize};

use super::lines::{LINE, LineSender};
use crate::config::ExportLevel;
use crate::load::Finished;

/// Room for one event of a line.
const EVENT: usize = 24;

/// One line. Times are nanoseconds on the run's clock; a moment that did not
/// come, and a count that has no source, is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as in RequestRecord
pub struct RecordLine {
    pub phase: String,
    pub number: u32,
    pub outcome: LineOutcome,
    pub error_class: Option<ErrorClass>,
    pub error: Option<String>,
    pub status: Option<u16>,
    pub planned_ns: Tick,
    pub started_ns: Tick,
    #[serde(default)]
    pub connected_ns: Option<Tick>,
    pub sent_ns: Option<Tick>,
    pub first_byte_ns: Option<Tick>,
    pub first_token_ns: Option<Tick>,
    #[serde(default)]
    pub first_output_token_ns: Option<Tick>,
    pub second_token_ns: Option<Tick>,
    pub last_token_ns: Option<Tick>,
    pub ended_ns: Tick,
    pub chunks: u32,
    pub input_tokens: Option<u32>,
    pub output_tokens: Option<u32>,
    #[serde(default)]
    pub reasoning_tokens: Option<u32>,
    pub new_connection: bool,
    /// `[moment, number of the socket read]` of each content event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<(Tick, u32)>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LineOutcome {
    Completed,
    Error,
    Cancelled,
}

/// Writes the records.
#[derive(Debug, Clone)]
pub struct RecordWriter {
    lines: LineSender,
    phases: Vec<String>,
    events: bool,
}

impl RecordWriter {
    /// A writer for the phases of `plan`.
    #[must_use]
    pub fn new(lines: LineSender, plan: &RunPlan, level: ExportLevel) -> Self {
        let phases = plan.phases().iter().map(|phase| phase.name.clone()).collect();
        Self { lines, phases, events: level == ExportLevel::Events }
    }

    /// Writes one request.
    pub fn write(&self, finished: &Finished) {
        let length = LINE + finished.events.len() * EVENT;
        self.lines.send_json_of(&self.line(finished), length);
    }

    fn line(&self, finished: &Finished) -> RecordLine {
        let record: &RequestRecord = &finished.record;
        let (outcome, error_class) = match record.outcome {
            Outcome::Completed => (LineOutcome::Completed, None),
            Outcome::Failed(class) => (LineOutcome::Error, Some(class)),
            Outcome::Cancelled => (LineOutcome::Cancelled, None),
        };
        let phase = self.phases.get(usize::from(record.credit.phase)).cloned().unwrap_or_default();
        let events = if self.events { &finished.events[..] } else { &[] };
        RecordLine {
            phase,
            number: record.credit.number,
            outcome,
            error_class,
            error: finished.error.clone(),
            status: record.status,
            planned_ns: record.planned,
            started_ns: record.started,
            connected_ns: finished.connected,
            sent_ns: record.sent,
            first_byte_ns: record.first_byte,
            first_token_ns: record.first_token,
            first_output_token_ns: record.first_output_token,
            second_token_ns: record.second_token,
            last_token_ns: record.last_token,
            ended_ns: record.ended,
            chunks: record.chunks,
            input_tokens: record.prompt_tokens,
            output_tokens: record.output_tokens,
            reasoning_tokens: record.reasoning_tokens,
            new_connection: finished.new_connection,
            events: events.iter().map(|event| (event.at, event.read)).collect(),
        }
    }
}
