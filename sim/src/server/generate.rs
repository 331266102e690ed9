//! Carries a request from the engine to its response.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::body::{Body, Closed};
use super::engine::Progress;
use super::error::ApiError;
use super::hazard::{HaltKind, RequestFaults};
use super::reply::Reply;
use super::request::{Api, Request};
use super::respond;
use super::shared::{Shared, Ticket};

/// Long enough for what was written to leave before the connection is closed.
const FLUSH: Duration = Duration::from_millis(5);

/// Answers a request that is in the engine.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: Request,
    ticket: Ticket,
    faults: RequestFaults,
) -> Result<Response<Body>, Closed> {
    if let Some(delay) = faults.slow_first_byte {
        sleep(delay).await;
    }
    let created = (shared.started_at + ticket.uptime()).as_secs();
    let reply = Reply::new(&request, ticket.number(), created, faults, &shared.config);
    if request.stream {
        let step = shared.config.tokens_per_chunk;
        let body = Body::produced(move |chunks| {
            let stream = Stream { chunks, reply, request, faults, step };
            stream.produce(ticket)
        });
        let mut response = respond(StatusCode::OK, "text/event-stream; charset=utf-8", body);
        let no_cache = hyper::header::HeaderValue::from_static("no-cache");
        response.headers_mut().insert(hyper::header::CACHE_CONTROL, no_cache);
        return Ok(response);
    }
    whole(&shared, request, ticket, reply, faults).await
}

async fn whole(
    shared: &Shared,
    request: Request,
    ticket: Ticket,
    mut reply: Reply,
    faults: RequestFaults,
) -> Result<Response<Body>, Closed> {
    let json = |body: Body| Ok(respond(StatusCode::OK, "application/json", body));
    let progress = ticket.until(u32::MAX).await;
    if let Progress::Finished { produced } = progress {
        return json(Body::whole(match request.api {
            Api::Chat | Api::Completions | Api::Responses | Api::Messages => reply.whole(produced),
            Api::Embeddings => reply.embeddings(&request, &shared.config),
            Api::Rerank => reply.ranking(&request, &shared.config),
        }));
    }
    match faults.halt.map(|halt| halt.how) {
        Some(HaltKind::Stall) => pending().await,
        Some(HaltKind::HalfEvent) => {
            ticket.fail();
            let mut half = reply.whole(request.output_tokens);
            half.truncate(half.len() / 2);
            json(Body::produced(|chunks| async move {
                send(&chunks, half).await?;
                sleep(FLUSH).await;
                Err(Closed)
            }))
        }
        Some(HaltKind::ErrorEvent) => {
            ticket.fail();
            Ok(struck().response())
        }
        Some(HaltKind::Cut) | None => {
            ticket.fail();
            Err(Closed)
        }
    }
}

fn struck() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the simulated engine failed on purpose")
}

async fn send(chunks: &mpsc::Sender<Bytes>, bytes: Vec<u8>) -> Result<(), Closed> {
    chunks.send(Bytes::from(bytes)).await.map_err(|_| Closed)
}

/// A streamed answer.
struct Stream {
    chunks: mpsc::Sender<Bytes>,
    reply: Reply,
    request: Request,
    faults: RequestFaults,
    /// Tokens in one event.
    step: u32,
}

impl Stream {
    async fn produce(mut self, ticket: Ticket) -> Result<(), Closed> {
        let mut sent = 0;
        loop {
            let progress = ticket.until(sent + self.step).await;
            let (produced, more) = match progress {
                Progress::Running { produced, .. } => (produced, true),
                Progress::Halted { produced } | Progress::Finished { produced } => {
                    (produced, false)
                }
                Progress::Waiting | Progress::Gone => return Err(Closed),
            };
            while sent < produced {
                let tokens = self.step.min(produced - sent);
                if tokens < self.step && more {
                    break;
                }
                if sent == 0
                    && let Some(opening) = self.reply.opening()
                {
                    self.send(opening).await?;
                }
                sent += tokens;
                let last = sent == self.request.output_tokens;
                let event = self.reply.tokens(tokens, last);
                self.send(event).await?;
            }
            match progress {
                Progress::Finished { .. } => break,
                Progress::Halted { .. } => return self.halt(ticket).await,
                Progress::Running { .. } | Progress::Waiting | Progress::Gone => {}
            }
        }
        self.send(self.reply.closing(sent, self.request.include_usage)).await
    }

    /// Stops short.
    async fn halt(mut self, ticket: Ticket) -> Result<(), Closed> {
        match self.faults.halt.map(|halt| halt.how) {
            Some(HaltKind::Stall) => pending().await,
            Some(HaltKind::ErrorEvent) => {
                ticket.fail();
                self.send(self.reply.error(&struck().json())).await?;
                return self.send(self.reply.done()).await;
            }
            Some(HaltKind::HalfEvent) => {
                ticket.fail();
                let mut half = self.reply.tokens(1, true);
                half.truncate(half.len() / 2);
                self.send(half).await?;
            }
            Some(HaltKind::Cut) | None => ticket.fail(),
        }
        sleep(FLUSH).await;
        Err(Closed)
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), Closed> {
        send(&self.chunks, bytes).await
    }
}
