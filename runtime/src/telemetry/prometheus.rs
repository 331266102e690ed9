//! Prometheus endpoints.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phasegate_core::reading::ReadingBody;

use super::fetch::Fetch;
use super::scrape::Scraper;
use super::{Source, Taken, urls};
use crate::clock::Clock;
use crate::secret::Secret;

/// A server's Prometheus endpoint.
#[derive(Debug)]
pub struct PrometheusSource {
    scraper: Scraper,
    name: String,
    warned: AtomicBool,
}

impl PrometheusSource {
    /// A source that reads `url`; without a path that is `/metrics`.
    ///
    /// # Errors
    /// If `url` is no HTTP URL: what would be right.
    pub fn new(url: &str, fetch: Arc<dyn Fetch>, clock: Clock) -> Result<Self, String> {
        let scraper = Scraper::new(urls::exposition(url)?, fetch, clock);
        Ok(Self { name: scraper.shown().to_owned(), scraper, warned: AtomicBool::new(false) })
    }

    /// Sends further headers.
    #[must_use]
    pub fn with_headers(mut self, headers: &[(String, Secret)]) -> Self {
        self.scraper.set_headers(headers);
        self
    }

    /// Refuses answers of more than `limit` bytes (decompressed) instead of
    /// [`DEFAULT_LIMIT`](super::scrape::DEFAULT_LIMIT).
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.scraper.set_limit(limit);
        self
    }
}

impl Source for PrometheusSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async {
            self.scraper.scrape().await.taken(|report| {
                if let Some(first) = report.first_bad.first()
                    && !self.warned.swap(true, Ordering::Relaxed)
                {
                    let (name, count) = (&self.name, report.bad_lines);
                    tracing::warn!("{count} lines of {name} cannot be read; first {first}");
                }
                Ok(ReadingBody::Families(report.families))
            })
        })
    }
}
