//! The two exporters over HTTP, with their faults.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use phasegate_core::seed::{Seed, open01};
use tokio::time::{Instant, sleep, sleep_until};

use super::body::{Body, Closed};
use super::exposition::CONTENT_TYPE;
use super::hazard::{Exporter, ExporterFault, scrape_faults};
use super::shared::{Process, Shared};
use super::{metrics, respond};

/// Bytes in one piece of a huge answer.
const PIECE: usize = 64 << 10;
/// What is no exposition: neither samples, nor UTF-8.
const GARBAGE: &[u8] = b"<html><body>{{ 404 }}\nnot_a_sample\nvllm:prompt_tokens_total{ NaN NaN\n\
    \xff\xfe\x00\x01 = =\n";

/// Answers a scrape: of `process`, or of the one whose turn it is.
pub(crate) async fn scrape(
    shared: &Arc<Shared>,
    of: Exporter,
    process: Option<Process>,
) -> Result<Response<Body>, Closed> {
    let nth = shared.next_scrape(of);
    let mut after = Duration::ZERO;
    let mut trickle = None;
    let mut huge = None;
    for fault in scrape_faults(&shared.config.hazards, of, nth) {
        match fault {
            ExporterFault::Hang => pending::<()>().await,
            ExporterFault::Garbage => {
                return Ok(respond(StatusCode::OK, CONTENT_TYPE, Body::whole(GARBAGE)));
            }
            ExporterFault::Status404 => {
                let body = Body::whole("there is no such page\n");
                return Ok(respond(StatusCode::NOT_FOUND, "text/plain", body));
            }
            ExporterFault::Status500 => {
                let body = Body::whole("the simulated exporter failed on purpose\n");
                return Ok(respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", body));
            }
            ExporterFault::Huge(bytes) => huge = Some(bytes),
            ExporterFault::Trickle(rate) => trickle = Some(rate.get()),
            ExporterFault::Delay(delay) => sleep(delay).await,
            ExporterFault::Jitter(low, high) => {
                let (delay, moment) = jitter(shared.config.seed, nth, low, high);
                sleep(moment).await;
                after = delay - moment;
            }
            ExporterFault::DieAfter(_) => return Err(Closed),
        }
    }
    let text = match of {
        Exporter::Server => metrics::server(shared, process.unwrap_or_else(|| shared.turn(nth))),
        Exporter::Gpu => metrics::gpus(shared),
    };
    if !after.is_zero() {
        sleep(after).await;
    }
    let body = match (trickle, huge) {
        (Some(rate), _) => trickled(text, rate),
        (None, Some(bytes)) => padded(text, bytes),
        (None, None) => Body::whole(text),
    };
    Ok(respond(StatusCode::OK, CONTENT_TYPE, body))
}

/// How long the `nth` answer takes, and when in that time it is read.
fn jitter(seed: u64, nth: u64, low: Duration, high: Duration) -> (Duration, Duration) {
    let mut rng = Seed::root(seed).child("jitter").child(&nth.to_string()).rng();
    let delay = low + (high - low).mul_f64(open01(&mut rng));
    (delay, delay.mul_f64(open01(&mut rng)))
}

/// `text`, so many bytes a second.
fn trickled(text: String, rate: u64) -> Body {
    Body::produced(move |chunks| async move {
        let text = Bytes::from(text);
        // At most 20 pieces a second, so that a fast trickle is no busy loop.
        let piece = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
        let start = Instant::now();
        let mut sent = 0;
        while sent < text.len() {
            let end = text.len().min(sent.saturating_add(piece));
            chunks.send(text.slice(sent..end)).await.map_err(|_| Closed)?;
            sent = end;
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            sleep_until(start + due).await;
        }
        Ok(())
    })
}

/// `text`, then filler samples up to at least so many bytes. They are made as
/// they are sent: no more than a piece is in memory.
fn padded(text: String, bytes: u64) -> Body {
    Body::produced(move |chunks| async move {
        let mut left = bytes.saturating_sub(text.len() as u64);
        chunks.send(Bytes::from(text)).await.map_err(|_| Closed)?;
        let mut sample = 0_u64;
        while left > 0 {
            let most = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            let mut piece = String::with_capacity(most + 64);
            while piece.len() < most {
                piece.push_str(&format!("phasegate_filler{{n=\"{sample}\"}} 1\n"));
                sample += 1;
            }
            left = left.saturating_sub(piece.len() as u64);
            chunks.send(Bytes::from(piece)).await.map_err(|_| Closed)?;
        }
        Ok(())
    })
}
