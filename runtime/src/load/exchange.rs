//! One request and its answer.
//!
//! There are no hidden retries: they would falsify a load test. The one
//! exception is no retry but a change of plan: a reused connection that turns
//! out to be dead before a single byte of the request was written is replaced
//! by a new one, once. If the server closes an idle connection in the very
//! moment in which a request is written to it, the request fails as cut.

use std::time::Duration;

use phasegate_core::record::ErrorClass;
use tokio::time::{Instant, timeout_at};

use super::classify::Failure;
use super::connection::{Connection, Pool, Target, Unanswered};
use super::endpoint::Endpoint;
use super::http1::{Framing, Head};
use super::progress::Progress;
use super::response;
use super::sse::{Event, Parser, SseError};
use super::stamped::ReadMark;
use super::template::{Template, Templates};
use crate::config::EndpointType;

/// The largest answer that is read in one piece.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// After the answer is complete (`[DONE]`), or known to be an error, how long
/// to wait for its body to end, so that the connection can be used again. The
/// request's times do not include it.
const TAIL_WAIT: Duration = Duration::from_millis(500);

/// How much of an error's body is looked at, how much of that is quoted, and
/// how much is read to save the connection.
const ERROR_LOOK: usize = 4096;
const ERROR_QUOTE: usize = 512;
const ERROR_DRAIN: usize = 64 << 10;

/// What every exchange of an engine shares.
pub(crate) struct Exchange {
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Target,
    pub(crate) pool: Pool,
    pub(crate) max_event_bytes: usize,
    pub(crate) templates: Templates,
}

impl Exchange {
    /// Sends `request` and reads the answer, noting in `progress` what happens.
    /// `streams`: a stream was asked for. May be dropped at any point; `progress`
    /// is true at each.
    pub(crate) async fn run(
        &self,
        mut request: Vec<u8>,
        streams: bool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let (mut connection, head) = self.send(&mut request, progress).await?;
        progress.head(head.status);
        let reusable = if !(200..300).contains(&head.status) {
            self.refused(head.status, &mut connection, progress).await
        } else if let Some(encoding) = encoding(&head) {
            let what = format!("the answer came compressed ({encoding}), which was not asked for");
            return Err(Failure::malformed(what));
        } else if is_stream(&head.media_type, streams) {
            self.stream(&mut connection, progress).await?
        } else {
            self.whole(&head, &mut connection, progress).await?
        };
        if reusable {
            self.pool.put(connection);
        }
        Ok(())
    }

    async fn send(
        &self,
        request: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<(Connection, Head), Failure> {
        if let Some(mut connection) = self.pool.take().await {
            progress.sending(&connection, self.target.clock.now());
            match connection.send(request).await {
                Ok(head) => return Ok((connection, head)),
                Err(Unanswered { unwritten: true, .. }) => self.pool.was_dead(),
                Err(Unanswered { error, .. }) => {
                    return Err(Failure::http(&error, progress.stage()));
                }
            }
        }
        progress.new_connection = true;
        progress.connecting();
        // In a box: what TLS needs to connect would make every request's task
        // several times as large, and a task is moved when it is spawned.
        let opened = Box::pin(self.pool.open(&self.target)).await;
        let mut connection = opened.map_err(|e| Failure::connect(&e))?;
        progress.sending(&connection, self.target.clock.now());
        match connection.send(request).await {
            Ok(head) => Ok((connection, head)),
            Err(Unanswered { error, .. }) => Err(Failure::http(&error, progress.stage())),
        }
    }

    /// An answer with an error status: its beginning goes into the sentence.
    async fn refused(
        &self,
        status: u16,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> bool {
        let failure = |text: &[u8]| {
            let text = self.quote(text);
            let colon = if text.is_empty() { "" } else { ": " };
            Failure::new(ErrorClass::Status, format!("answered {status}{colon}{text}"))
        };
        progress.failed = Some(failure(&[]));
        let until = Instant::now() + TAIL_WAIT;
        let (mut text, mut size) = (Vec::new(), 0);
        loop {
            match timeout_at(until, connection.piece()).await {
                Ok(Some(Ok((bytes, mark)))) => {
                    progress.data(mark);
                    size += bytes.len();
                    let room = ERROR_LOOK.saturating_sub(text.len()).min(bytes.len());
                    text.extend_from_slice(&bytes[..room]);
                    progress.failed = Some(failure(&text));
                    if size > ERROR_DRAIN {
                        break false;
                    }
                }
                Ok(None) => break true,
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        }
    }

    fn quote(&self, text: &[u8]) -> String {
        let text = self.endpoint.redact(&String::from_utf8_lossy(text));
        let mut quoted = String::with_capacity(text.len().min(ERROR_QUOTE));
        for c in text.trim().chars() {
            if quoted.len() + c.len_utf8() > ERROR_QUOTE {
                break;
            }
            quoted.push(if c.is_control() { ' ' } else { c });
        }
        quoted
    }

    async fn stream(
        &self,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        let mut parser = Parser::new(self.max_event_bytes);
        let kind = self.endpoint.kind;
        let mut finished = false;
        let mut until = None;
        let mut template = None;
        loop {
            let frame = match until {
                None => connection.piece().await,
                Some(until) => match timeout_at(until, connection.piece()).await {
                    Ok(frame) => frame,
                    Err(_) => return Ok(false),
                },
            };
            let (bytes, mark) = match frame {
                None => break,
                Some(Ok(frame)) => frame,
                Some(Err(_)) if progress.complete => return Ok(false),
                Some(Err(error)) => return Err(Failure::http(&error, progress.stage())),
            };
            progress.data(mark);
            if progress.complete {
                continue;
            }
            let template = template.get_or_insert_with(|| self.templates.borrow());
            parser.push(bytes, &mut |event| {
                one_event(kind, event, mark, &mut finished, template, progress)
            })?;
            progress.parsed(mark, self.target.clock.now());
            if progress.complete {
                until = Some(Instant::now() + TAIL_WAIT);
            }
        }
        if !progress.complete {
            // A `[DONE]` without its blank line is taken as what it means.
            parser.finish(&mut |event: Event<'_>| {
                progress.complete |= event.data.trim() == response::DONE;
                Ok::<(), Failure>(())
            })?;
        }
        if !progress.complete && !finished {
            let what = "the stream ended without [DONE], or the API's own end, and without a finish reason";
            return Err(Failure::new(ErrorClass::StreamCut, what));
        }
        progress.complete = true;
        if let Some(template) = template {
            self.templates.give_back(template);
        }
        Ok(true)
    }

    async fn whole(
        &self,
        head: &Head,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        let too_large = || {
            Failure::malformed(format!("the answer is larger than {} MiB", MAX_ANSWER_BYTES >> 20))
        };
        if matches!(head.body, Framing::Length(length) if length > MAX_ANSWER_BYTES as u64) {
            return Err(too_large());
        }
        let mut answer = Vec::new();
        while let Some(frame) = connection.piece().await {
            let (bytes, mark) = frame.map_err(|e| Failure::http(&e, progress.stage()))?;
            progress.data(mark);
            if answer.len() + bytes.len() > MAX_ANSWER_BYTES {
                return Err(too_large());
            }
            answer.extend_from_slice(bytes);
        }
        progress.usage(response::whole(&answer, self.endpoint.kind)?);
        progress.said(self.endpoint.kind, &answer);
        progress.complete = true;
        Ok(true)
    }
}

fn one_event(
    kind: EndpointType,
    event: Event<'_>,
    mark: ReadMark,
    finished: &mut bool,
    template: &mut Template,
    progress: &mut Progress,
) -> Result<(), Failure> {
    if progress.complete || event.data.is_empty() {
        return Ok(());
    }
    if event.data.trim() == response::DONE {
        progress.complete = true;
        return Ok(());
    }
    let chunk = template.event(kind, event.name, event.data)?;
    if chunk.content {
        progress.content(mark, chunk.answer);
        progress.said(kind, event.data.as_bytes());
    }
    if let Some(usage) = chunk.usage {
        progress.usage(usage);
    }
    *finished |= chunk.finished;
    progress.complete |= chunk.done;
    Ok(())
}

/// Whether the answer is a stream of events: it says so, or it was asked for one
/// and says nothing that contradicts.
fn is_stream(media_type: &str, asked: bool) -> bool {
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    let vague = is("") || is("text/plain") || is("application/octet-stream");
    is("text/event-stream") || (asked && vague)
}

fn encoding(head: &Head) -> Option<&str> {
    let encoding = head.encoding.as_deref()?;
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

impl From<SseError> for Failure {
    fn from(error: SseError) -> Self {
        Self::malformed(error.to_string())
    }
}
