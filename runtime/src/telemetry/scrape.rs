//! One fetch and parse of an exposition.

use std::sync::Arc;

use phasegate_core::Tick;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::ReadingBody;
use reqwest::Url;

use super::Taken;
use super::exposition::{ParseReport, parse};
use super::fetch::{Fetch, Request, fetch};
use crate::clock::Clock;
use crate::secret::Secret;

/// The decompressed size beyond which an answer is refused, unless told
/// otherwise: a thousand times that of an ordinary server.
pub const DEFAULT_LIMIT: usize = 64 << 20;

/// Prometheus text first. OpenMetrics is taken where a server insists, but not
/// named: Python's client answers in it wherever it reads the word, and with
/// names that differ from their TYPE lines.
const ACCEPT: &str = "text/plain;version=0.0.4,*/*;q=0.1";

/// Bodies up to this size are parsed where they are (well under a millisecond);
/// larger ones on a blocking thread, so that the tasks that send load do not wait
/// for it.
const INLINE: usize = 64 << 10;

/// Fetches and parses one URL.
#[derive(Debug, Clone)]
pub(super) struct Scraper {
    request: Request,
    limit: usize,
    clock: Clock,
    fetch: Arc<dyn Fetch>,
}

/// A scrape.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) start: Tick,
    pub(super) first_byte: Option<Tick>,
    pub(super) end: Tick,
    pub(super) report: Result<ParseReport, CollectError>,
}

impl Scraped {
    /// The reading, with what `body` makes of the families.
    pub(super) fn taken(
        self,
        body: impl FnOnce(ParseReport) -> Result<ReadingBody, CollectError>,
    ) -> Taken {
        let Self { start, first_byte, end, report } = self;
        let malformed = report.as_ref().ok().and_then(ParseReport::malformed);
        Taken { first_byte, malformed, ..Taken::plain(start, end, report.and_then(body)) }
    }
}

impl Scraper {
    pub(super) fn new(url: Url, fetch: Arc<dyn Fetch>, clock: Clock) -> Self {
        Self { request: Request::new(url, ACCEPT), limit: DEFAULT_LIMIT, clock, fetch }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn set_headers(&mut self, headers: &[(String, Secret)]) {
        self.request = self.request.clone().with_headers(headers);
    }

    /// The URL as it may be shown.
    pub(super) fn shown(&self) -> &str {
        self.request.shown()
    }

    pub(super) async fn scrape(&self) -> Scraped {
        let start = self.clock.now();
        let fetched = fetch(&*self.fetch, &self.request, self.limit, &self.clock).await;
        let report = match fetched.body {
            Ok(body) => parsed(body).await.and_then(|report| self.check(report)),
            Err(error) => Err(error),
        };
        Scraped { start, first_byte: fetched.first_byte, end: fetched.end, report }
    }

    /// Refuses an answer that is no exposition.
    fn check(&self, report: ParseReport) -> Result<ParseReport, CollectError> {
        let message = match report.first_bad.first() {
            // A server that has counted nothing yet declares its families.
            _ if !report.families.is_empty() => return Ok(report),
            None if report.declared > 0 => return Ok(report),
            None => format!("the answer of {} holds no metric", self.shown()),
            Some(first) => format!(
                "no line of {} is a metric; first {first}; give the URL of its Prometheus metrics",
                self.shown()
            ),
        };
        Err(CollectError::new(CollectErrorKind::Malformed, message))
    }
}

async fn parsed(body: Vec<u8>) -> Result<ParseReport, CollectError> {
    if body.len() <= INLINE {
        return Ok(parse(&body));
    }
    tokio::task::spawn_blocking(move || parse(&body)).await.map_err(|error| {
        CollectError::new(CollectErrorKind::Other, format!("parsing was abandoned: {error}"))
    })
}
