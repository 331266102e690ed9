//! Prompts from a file: read and checked at the start, one error for the first
//! thing that is wrong.
//!
//! - `file`: the file as lines; `single`: one prompt or one request body a line;
//!   [`body`]: a body as it stands there;
//!   `conversation`: several turns a line; `sharegpt`: its JSON; `trace`: lengths
//!   and times.
//! - `prompts`: what is sent of it; `history`: what was said in a session.

pub mod body;
mod conversation;
mod file;
mod history;
mod prompts;
mod sharegpt;
mod single;
#[cfg(test)]
mod tests;
mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{EndpointType, InputConfig, InputFile, InputFormat, ScheduleConfig};
use phasegate_core::plan::{Inputs, MAX_ITEMS, MAX_TURNS, PlanError, Schedule, Sessions};

pub use body::{Asked, Body};
pub(crate) use prompts::FilePrompts;

/// Why a file of prompts cannot be used: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}; {remedy}", path.display(), line.map(|n| format!(":{n}")).unwrap_or_default())]
pub struct DatasetError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if it is the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

/// What is wrong with a line, and what would be right.
type Wrong = (String, &'static str);

/// The prompts of a file, in the order in which they are sent.
#[derive(Debug)]
pub struct Dataset {
    entries: Vec<Entry>,
    /// Entries that were left out: why, and how many.
    skipped: Vec<(&'static str, u64)>,
    /// The moments of a schedule, in nanoseconds after its start.
    schedule: Option<Schedule>,
    sessions: Option<Sessions>,
}

/// One item: a session, of one turn in most formats.
#[derive(Debug, PartialEq)]
struct Entry {
    /// When it is sent, in milliseconds, where the line says so.
    at_ms: Option<f64>,
    /// At least one.
    turns: Vec<Turn>,
}

impl Entry {
    fn single(content: Part, max_tokens: Option<u32>, at_ms: Option<f64>) -> Self {
        Self { at_ms, turns: vec![Turn { content, max_tokens, think_ms: None }] }
    }
}

#[derive(Debug, PartialEq)]
struct Turn {
    content: Part,
    max_tokens: Option<u32>,
    /// How long its user thinks before it.
    think_ms: Option<u32>,
}

/// What a turn says.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// A chat's `messages`, as JSON.
    Messages(Arc<str>),
    /// A whole request body.
    Body(Arc<Body>),
    /// The messages that a session's turn adds, as JSON without the brackets.
    Adds(Box<str>),
    /// Text of so many tokens, its beginning made of shared blocks.
    Blocks {
        tokens: u32,
        ids: Box<[u64]>,
    },
}

impl Dataset {
    /// Reads and checks `file` for an endpoint of this kind.
    ///
    /// # Errors
    /// [`DatasetError`] for the first thing that is wrong.
    pub fn load(
        file: &InputFile,
        kind: EndpointType,
        input: &InputConfig,
    ) -> Result<Self, DatasetError> {
        let path = &file.path;
        if file.format == InputFormat::Conversation && input.schedule.is_some() {
            let problem = "conversations cannot be sent by a fixed schedule".to_owned();
            let remedy = "remove --fixed-schedule: their turns follow the answers and think times";
            return Err(error(path, None, (problem, remedy)));
        }
        let text = file::read(path)?;
        let mut skipped = Vec::new();
        let mut entries = match file.format {
            InputFormat::Sharegpt => {
                let given = sharegpt::read(&text, input.osl.is_some())
                    .map_err(|(line, wrong)| error(path, line, wrong))?;
                skipped.extend(given.skipped);
                given.entries.into_iter().map(|entry| (None, entry)).collect()
            }
            InputFormat::Jsonl => file::lines(path, &text, |line| single::jsonl(line, kind))?,
            InputFormat::Openai => file::lines(path, &text, |line| single::openai(line, kind))?,
            InputFormat::Conversation => {
                file::lines(path, &text, |line| conversation::line(line, kind))?
            }
            InputFormat::Mooncake => file::lines(path, &text, |line| trace::line(line, kind))?,
        };
        if entries.is_empty() {
            let wrong = match skipped.iter().map(|(_, n)| n).sum::<u64>() {
                0 => ("has no prompts".to_owned(), "give one JSON object a line"),
                n => (format!("has no prompts: all {n} were left out"), "give longer ones"),
            };
            return Err(error(path, None, wrong));
        }
        if entries.len() > MAX_ITEMS {
            let problem = format!("has {} prompts, more than {MAX_ITEMS}", entries.len());
            return Err(error(path, None, (problem, "split the file")));
        }
        let schedule = match &input.schedule {
            Some(config) => {
                let (schedule, outside) = schedule(path, &mut entries, config)?;
                if outside > 0 {
                    skipped.push(("outside the schedule's window", outside));
                }
                Some(schedule)
            }
            None => None,
        };
        let entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
        let sessions = match file.format {
            InputFormat::Conversation => Some(sessions(path, &entries, input)?),
            InputFormat::Jsonl
            | InputFormat::Openai
            | InputFormat::Sharegpt
            | InputFormat::Mooncake => None,
        };
        Ok(Self { entries, skipped, schedule, sessions })
    }

    /// How many items there are; never 0.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The turns of all items together; `None` if they are no conversations.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        self.sessions.as_ref().map(Sessions::all_turns)
    }

    /// What was left out: why, and how many.
    #[must_use]
    pub fn skipped(&self) -> &[(&'static str, u64)] {
        &self.skipped
    }

    /// In which respects its request bodies, if it has any, differ from what the
    /// run asks for: sentences with numbers.
    #[must_use]
    pub fn differences(&self, asked: &Asked<'_>) -> Vec<String> {
        body::notes(self.bodies(), asked)
    }

    /// Whether any answer is streamed, where `streaming` is the run's word for
    /// requests that say nothing of it.
    #[must_use]
    pub fn any_streams(&self, streaming: bool) -> bool {
        let mut bodies = self.bodies().peekable();
        match bodies.peek() {
            None => streaming,
            Some(_) => bodies.any(|body| body.streams().unwrap_or(streaming)),
        }
    }

    fn bodies(&self) -> impl Iterator<Item = &Body> {
        let turns = self.entries.iter().flat_map(|entry| &entry.turns);
        turns.filter_map(|turn| match &turn.content {
            Part::Body(body) => Some(&**body),
            Part::Text(_) | Part::Messages(_) | Part::Adds(_) | Part::Blocks { .. } => None,
        })
    }

    /// What it means for the plan.
    #[must_use]
    pub fn inputs(&self, repeat: bool) -> Inputs {
        Inputs {
            items: u32::try_from(self.entries.len()).ok(),
            sessions: self.sessions.clone(),
            schedule: self.schedule.clone(),
            repeat,
        }
    }
}

fn error(path: &Path, line: Option<usize>, (problem, remedy): (String, &str)) -> DatasetError {
    DatasetError { path: path.to_owned(), line, problem, remedy: remedy.to_owned() }
}

fn of_plan(path: &Path, e: PlanError) -> DatasetError {
    DatasetError { path: path.to_owned(), line: None, problem: e.problem, remedy: e.remedy }
}

fn sessions(path: &Path, entries: &[Entry], input: &InputConfig) -> Result<Sessions, DatasetError> {
    let turns: usize = entries.iter().map(|entry| entry.turns.len()).sum();
    if turns > MAX_TURNS {
        let problem = format!("has {turns} turns, more than {MAX_TURNS}");
        return Err(error(path, None, (problem, "split the file")));
    }
    let think = u32::try_from(input.think_time.as_millis()).unwrap_or(u32::MAX);
    let later = |entry: &Entry| -> Vec<u32> {
        entry.turns.iter().skip(1).map(|turn| turn.think_ms.unwrap_or(think)).collect()
    };
    Sessions::new(entries.iter().map(later).collect()).map_err(|e| of_plan(path, e))
}

/// Sorts `entries` by their times, drops those outside the window, and says when
/// the others are sent.
fn schedule(
    path: &Path,
    entries: &mut Vec<(Option<usize>, Entry)>,
    config: &ScheduleConfig,
) -> Result<(Schedule, u64), DatasetError> {
    if let Some((line, _)) = entries.iter().find(|(_, entry)| entry.at_ms.is_none()) {
        let problem = "has no 'timestamp', which a fixed schedule needs".to_owned();
        return Err(error(
            path,
            *line,
            (problem, "give it in milliseconds, or remove --fixed-schedule"),
        ));
    }
    let at = |entry: &Entry| entry.at_ms.unwrap_or_default();
    let all = entries.len();
    let (from, to) = (config.start_ms, config.end_ms);
    entries.retain(|(_, entry)| {
        from.is_none_or(|from| at(entry) >= from) && to.is_none_or(|to| at(entry) <= to)
    });
    // Stable: lines of one moment keep their order.
    entries.sort_by(|(_, a), (_, b)| at(a).total_cmp(&at(b)));
    let Some((_, first)) = entries.first() else {
        let problem = "has no line within the schedule's window".to_owned();
        return Err(error(path, None, (problem, "move --schedule-start or --schedule-end")));
    };
    let zero = from.unwrap_or(at(first));
    // The cast saturates.
    let offset = |entry: &Entry| ((at(entry) - zero) / config.speed * 1e6).round() as u64;
    let offsets = entries.iter().map(|(_, entry)| offset(entry)).collect();
    let schedule = Schedule::new(offsets).map_err(|e| of_plan(path, e))?;
    Ok((schedule, (all - entries.len()) as u64))
}
