//! The engine: a task a credit, used again for a later one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use phasegate_core::account::result::LagStats;
use phasegate_core::ledger::url_of;
use phasegate_core::record::{Credit, Outcome};
use rustls::RootCertStore;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use super::connection::{ConnectionCounts, Pool, Target};
use super::connector::{Connector, Tcp, Tls};
use super::delays::Delays;
use super::endpoint::{Endpoint, EndpointError};
use super::exchange::Exchange;
use super::progress::{End, Progress};
use super::prompts::Prompts;
use super::template::Templates;
use super::tokens::{self, TokenSample};
use super::workers::{Worker, Workers};
use super::{Completions, PlannedCancel};
use crate::clock::Clock;
use crate::config::EndpointConfig;

/// The longest streamed event that is accepted, unless told otherwise.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 16 << 20;

/// What an engine is made from.
pub struct EngineConfig<'a> {
    /// The server.
    pub endpoint: &'a EndpointConfig,
    /// The model that every request names.
    pub model: String,
    /// What is asked.
    pub prompts: Arc<dyn Prompts>,
    /// The run's clock.
    pub clock: Clock,
    /// Keep an [`EventMark`](super::EventMark) for each event with content.
    pub events: bool,
    /// A longer event fails its request as malformed.
    pub max_event_bytes: usize,
    /// Keeps the texts of a sample of requests, if there is one.
    pub tokens: Option<Arc<TokenSample>>,
    /// The network.
    pub connector: Arc<dyn Connector>,
    /// Whom TLS trusts; `None` is the platform's trust store.
    pub roots: Option<Arc<RootCertStore>>,
}

impl<'a> EngineConfig<'a> {
    /// The real network, the platform's trust store, no event marks.
    #[must_use]
    pub fn new(
        endpoint: &'a EndpointConfig,
        model: impl Into<String>,
        prompts: Arc<dyn Prompts>,
        clock: Clock,
    ) -> Self {
        Self {
            endpoint,
            model: model.into(),
            prompts,
            clock,
            events: false,
            max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
            tokens: None,
            connector: Arc::new(Tcp),
            roots: None,
        }
    }
}

/// Why there can be no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The endpoint cannot be asked.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Called outside a tokio runtime.
    #[error("the load engine: there is no tokio runtime here; make it inside one")]
    NoRuntime,
}

/// Sends what credits permit. Every credit issued is completed exactly once.
pub struct Engine {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    /// One for each URL.
    first: Exchange,
    more: Vec<Exchange>,
    prompts: Arc<dyn Prompts>,
    clock: Clock,
    events: bool,
    tokens: Option<Arc<TokenSample>>,
    completions: Arc<dyn Completions>,
    in_flight: AtomicUsize,
    connecting: Delays,
    parsing: Delays,
    /// How to cancel what is in flight, by phase.
    cancels: Mutex<BTreeMap<u16, Arc<Cancel>>>,
    workers: Workers<Job>,
}

/// A credit and what its task needs. A task that has none keeps nothing of the engine.
struct Job {
    credit: Credit,
    cancel: Arc<Cancel>,
    held: InFlight,
}

impl Engine {
    /// An engine that hands finished requests to `completions`. Nothing is sent
    /// or connected yet. Requests run on the tokio runtime in which this is
    /// called.
    ///
    /// # Errors
    /// [`EngineError`] if the endpoint is unusable, or outside a runtime.
    pub fn new(
        config: EngineConfig<'_>,
        completions: Arc<dyn Completions>,
    ) -> Result<Self, EngineError> {
        let runtime = Handle::try_current().map_err(|_| EngineError::NoRuntime)?;
        let exchange = |url: &str| -> Result<Exchange, EngineError> {
            let endpoint = Endpoint::new(config.endpoint, url, &config.model)?;
            let tls = match endpoint.https {
                false => None,
                true => {
                    Some(Tls::new(&endpoint.host, config.roots.clone()).map_err(|problem| {
                        let remedy = "check the host name and the machine's certificates";
                        EndpointError::new("endpoint.url", problem, remedy)
                    })?)
                }
            };
            let target = Target {
                host: endpoint.host.clone(),
                port: endpoint.port,
                tls,
                connector: Arc::clone(&config.connector),
                clock: config.clock,
            };
            let pool = Pool::default();
            let templates = Templates::default();
            let max_event_bytes = config.max_event_bytes;
            Ok(Exchange { endpoint, target, pool, max_event_bytes, templates })
        };
        let first = exchange(&config.endpoint.url)?;
        let more = config.endpoint.more_urls.iter().map(|url| exchange(url));
        let more = more.collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            first,
            more,
            prompts: config.prompts,
            clock: config.clock,
            events: config.events,
            tokens: config.tokens,
            completions,
            in_flight: AtomicUsize::new(0),
            connecting: Delays::default(),
            parsing: Delays::default(),
            cancels: Mutex::default(),
            workers: Workers::default(),
        });
        Ok(Self { shared, runtime })
    }

    /// Sends one request in a task that has no other. Never blocks.
    pub fn issue(&self, credit: Credit) {
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
        let cancel = Arc::clone(self.shared.cancels().entry(credit.id.phase).or_default());
        let held = InFlight(Arc::clone(&self.shared));
        if let Some(worker) = self.shared.workers.give(Job { credit, cancel, held }) {
            self.runtime.spawn(serve(worker));
        }
    }

    /// Cancels every request of `phase` that is in flight now. Each is
    /// completed as cancelled, unless its answer was complete already; credits
    /// issued later are not affected.
    pub fn cancel(&self, phase: u16) {
        let cancel = self.shared.cancels().remove(&phase);
        if let Some(cancel) = cancel {
            cancel.0.store(true, Ordering::Release);
            self.shared.workers.wake();
        }
    }

    /// Requests issued whose completion has not been taken yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Acquire)
    }

    /// How many connections were made and used again so far.
    #[must_use]
    pub fn connections(&self) -> ConnectionCounts {
        let exchanges = [&self.shared.first].into_iter().chain(&self.shared.more);
        exchanges.map(|exchange| exchange.pool.counts()).fold(
            ConnectionCounts::default(),
            |all, one| ConnectionCounts {
                opened: all.opened + one.opened,
                reused: all.reused + one.reused,
                died_idle: all.died_idle + one.died_idle,
            },
        )
    }

    /// From a request's start until its new connection was there; of those
    /// that needed a new one.
    #[must_use]
    pub fn connection_wait_us(&self) -> LagStats {
        self.shared.connecting.stats()
    }

    /// From the return of a socket read until its events were parsed; the
    /// longest of each request that streamed.
    #[must_use]
    pub fn read_to_parsed_us(&self) -> LagStats {
        self.shared.parsing.stats()
    }

    /// Where requests go, without credentials and query; the first of several
    /// URLs.
    #[must_use]
    pub fn url(&self) -> &str {
        self.shared.first.endpoint.shown()
    }
}

impl Shared {
    fn cancels(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<Cancel>>> {
        // The map is whole after every operation on it.
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one of the URL whose turn it is.
    fn exchange(&self, credit: Credit) -> &Exchange {
        let place = url_of(credit.id.number, self.more.len() + 1);
        place.checked_sub(1).and_then(|place| self.more.get(place)).unwrap_or(&self.first)
    }

    /// `late` is the task's timer, used again like the task: to set it later than it is
    /// costs nothing, other than to make a new one.
    async fn work(
        &self,
        credit: Credit,
        cancel: &Cancel,
        mut late: Pin<&mut Sleep>,
    ) -> super::Finished {
        let now = self.clock.now();
        let exchange = self.exchange(credit);
        let mut progress = Progress::new(credit, now, self.events);
        let wants_answer = self.prompts.wants_answer(&credit);
        let sample = self.tokens.as_deref().filter(|tokens| tokens.wants(credit.id));
        progress.answer = (wants_answer || sample.is_some()).then(String::new);
        if !wants_answer {
            progress.longest_answer = tokens::LONGEST;
        }
        let mut asked = None;
        let planned = credit.cancel_after.map(|d| Arc::new(PlannedCancel::new(d, self.clock)));
        progress.cancel.clone_from(&planned);
        let end = if cancel.is_fired() {
            End::Cancelled
        } else if credit.deadline <= now {
            End::TimedOut
        } else {
            let answer = async {
                let endpoint = &exchange.endpoint;
                let prompt = self.prompts.prompt(&credit);
                let streams = endpoint.streams(&prompt);
                asked = sample.and_then(|_| TokenSample::text(&prompt));
                let request = endpoint.request(&endpoint.body(&prompt), streams);
                progress.started = self.clock.now();
                exchange.run(request, streams, &mut progress).await
            };
            late.as_mut().reset(Instant::now() + credit.deadline.since(now));
            tokio::select! {
                biased;
                result = answer => End::Answered(result),
                () = cancel.fired() => End::Cancelled,
                () = due(planned.as_deref()) => End::Cancelled,
                () = late => End::TimedOut,
            }
        };
        let answer = progress.answer.take();
        let reasoned = progress.reasoned;
        let mut finished = progress.finish(end, self.clock.now());
        let answered = finished.record.outcome == Outcome::Completed;
        if let Some(sample) = sample.filter(|_| answered) {
            sample.keep(&finished.record, asked, answer.clone(), reasoned);
        }
        if wants_answer {
            self.prompts.answered(&credit, answer.filter(|_| answered));
        }
        if let Some(connected) = finished.connected.filter(|_| finished.new_connection) {
            self.connecting.add(connected.since(finished.record.started));
        }
        if finished.record.chunks > 0 {
            self.parsing.add(finished.parsed_after);
        }
        finished.error = finished.error.map(|what| {
            let endpoint = &exchange.endpoint;
            format!("{}: {}", endpoint.shown(), endpoint.redact(&what))
        });
        finished
    }
}

/// Completes when a request that is to be cancelled is; never, for any other.
async fn due(planned: Option<&PlannedCancel>) {
    match planned {
        Some(planned) => planned.due().await,
        None => std::future::pending().await,
    }
}

/// Counts a request as in flight until it is dropped.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether the requests of a phase are cancelled. Their tasks are woken when they are.
#[derive(Default)]
struct Cancel(AtomicBool);

impl Cancel {
    fn is_fired(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Looked at each time the task is woken, by whomever.
    async fn fired(&self) {
        poll_fn(|_| if self.is_fired() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// A task: one request after the other.
async fn serve(worker: Arc<Worker<Job>>) {
    let mut late = pin!(tokio::time::sleep(Duration::ZERO));
    while let Some(Job { credit, cancel, held }) = worker.next().await {
        let finished = held.0.work(credit, &cancel, late.as_mut()).await;
        held.0.completions.complete(finished).await;
        held.0.workers.is_idle(&worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each request in flight has one, and ten thousand of them are in no cache.
    #[test]
    fn a_task_is_less_than_two_kilobytes() {
        fn size<F>(_: impl FnOnce(Arc<Worker<Job>>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) < 2048, "{}", size(serve));
    }
}
