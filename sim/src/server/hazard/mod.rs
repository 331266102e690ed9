//! Faults that the simulated server injects when asked, for tests of clients.
//!
//! `parse.rs` reads and writes their text form; this file says what there is
//! and when each strikes.

mod parse;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::time::Duration;

pub use parse::HazardError;

use super::config::ServerConfig;

/// One fault, and how often it strikes. Text form: `name`, or `name:` followed
/// by arguments separated by commas; see [`Hazard::KNOWN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hazard {
    /// An exporter answers badly.
    Exporter {
        /// Which of the two.
        exporter: Exporter,
        /// How.
        fault: ExporterFault,
        /// At every so-manieth scrape.
        every: NonZeroU64,
    },
    /// The API answers badly.
    Api {
        /// How.
        fault: ApiFault,
        /// At every so-manieth request.
        every: NonZeroU64,
    },
    /// `/health`, `/v1/models` and the API answer 503.
    NotReady {
        /// For this long after the start; `None` means for ever.
        lasting: Option<Duration>,
    },
    /// After this many API requests the port is closed: new connections are
    /// refused.
    RefuseAfter(NonZeroU64),
    /// After this many finished requests the server's counters fall back to
    /// zero, once; nothing else tells of it.
    ResetCounters(NonZeroU64),
    /// After this many finished requests the server's process is, as far as
    /// `/metrics` tells, another one: the counters fall back to zero, and what
    /// says when the process and each series began changes. (What is being
    /// computed goes on.)
    Restart(NonZeroU64),
    /// `/metrics` shows what happened only so much later.
    PublishDelay {
        /// How much.
        delay: Duration,
        /// Of which families alone; of all without.
        of: Option<Published>,
    },
    /// Somebody else's requests, so many in a thousand seconds, at random
    /// moments: counted in `/metrics` and in the GPUs' power like any other, in
    /// `/truth` apart.
    ForeignTraffic(NonZeroU64),
    /// So many processes behind one address, each with counters of its own:
    /// requests and scrapes go to them in turn.
    Replicas(NonZeroU64),
    /// The GPUs' energy counters move only so often.
    EnergyTick(Duration),
    /// The GPU exporter reads its GPUs only so often.
    GpuRefresh(Duration),
    /// The GPU exporter answers, but shows nothing newer than so long after the
    /// start.
    GpuFrozen(Duration),
    /// The GPUs' idle power rises by so many milliwatts a second.
    IdleDrift(i64),
}

/// Which families are published together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Those that are counted when a request is over.
    Requests,
    /// Those that are counted with its tokens: prompt, output, time to first
    /// token, time between tokens.
    Tokens,
}

/// Where a scrape goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exporter {
    /// `/metrics`
    Server,
    /// `/gpu/metrics`
    Gpu,
}

/// How an exporter answers badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExporterFault {
    /// Never.
    Hang,
    /// With text that is no exposition, and not UTF-8 either.
    Garbage,
    /// With status 404: there is no such exporter.
    Status404,
    /// With status 500.
    Status500,
    /// With this many bytes: the genuine exposition, then filler samples.
    Huge(u64),
    /// At this many bytes a second.
    Trickle(NonZeroU64),
    /// So much later.
    Delay(Duration),
    /// Later by a time drawn evenly from this range, seeded by the number of the
    /// scrape. What is shown was read at a random moment of that time.
    Jitter(Duration, Duration),
    /// After this many good answers by closing the connection.
    DieAfter(u64),
}

/// How the API answers badly. Counts of tokens are output tokens; a stream that
/// is shorter than the given count is struck before its last token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFault {
    /// With this status instead of an answer.
    Status(u16),
    /// Sends nothing more after this many tokens and keeps the connection.
    StallMidStream(u32),
    /// Closes the connection after this many tokens.
    CutMidStream(u32),
    /// Closes the connection within the event after this many tokens.
    HalfEvent(u32),
    /// Sends an error event after this many tokens, and ends the stream.
    ErrorEvent(u32),
    /// Ends lines with CR LF.
    Crlf,
    /// Ends lines with CR.
    BareCr,
    /// Pads the first token's event to this many bytes.
    BigEvent(u64),
    /// Puts a byte that is not UTF-8 into the first token's text.
    InvalidUtf8,
    /// Leaves the usage out.
    NoUsage,
    /// Breaks the JSON of the second token's event (of the only one, or of the
    /// whole answer, where there is no second).
    MalformedJson,
    /// Delays the response's head.
    SlowFirstByte(Duration),
}

impl Hazard {
    /// The text forms and what they do, for help texts. `[…]` may be left out.
    /// Those that strike one answer, rather than for good, also take `every=K`.
    pub const KNOWN: &'static [(&'static str, &'static str)] = &[
        ("metrics-hang", "/metrics never answers"),
        ("metrics-garbage", "/metrics answers with what is no exposition"),
        ("metrics-404", "/metrics answers that there is no such page"),
        ("metrics-500", "/metrics answers with status 500"),
        ("metrics-huge[:200MB]", "/metrics answers with so many bytes"),
        ("metrics-trickle[:100]", "/metrics answers at so many bytes a second"),
        ("metrics-delay[:2s]", "/metrics answers so much later"),
        (
            "metrics-jitter[:50ms-400ms]",
            "/metrics answers later by a random time, and shows a random moment of it",
        ),
        ("metrics-die-after:N", "/metrics closes the connection after N good answers"),
        ("gpu-…", "the same nine for /gpu/metrics"),
        ("status-NNN", "the API answers with status NNN, 400 to 599"),
        ("stall-mid-stream[:after=3]", "stops sending after so many tokens"),
        ("cut-mid-stream[:after=3]", "closes the connection after so many tokens"),
        ("half-event[:after=3]", "closes the connection within an event"),
        ("error-event[:after=3]", "sends an error event after so many tokens"),
        ("crlf", "ends lines with CR LF"),
        ("bare-cr", "ends lines with CR"),
        ("big-event[:1MB]", "pads an event to so many bytes"),
        ("invalid-utf8", "puts a byte that is not UTF-8 into an event"),
        ("no-usage", "leaves the usage out"),
        ("malformed-json", "breaks the JSON of an event"),
        ("slow-first-byte[:2s]", "delays the head of the response"),
        ("not-ready[:3s]", "answers 503 for so long, or for ever"),
        ("refuse-after:N", "closes the port after N API requests"),
        ("reset-counters:N", "the counters fall back to 0 after N finished requests"),
        ("restart:N", "the same, and /metrics says that another process began then"),
        (
            "publish-delay[:1.5s]",
            "/metrics shows what happened so much later; with `of=requests` or `of=tokens` that \
             group of families alone",
        ),
        ("foreign-traffic[:2]", "somebody else sends so many requests a second"),
        (
            "replicas:N",
            "N processes behind one address, taken in turn; each alone at /replica/1/metrics and \
             so on",
        ),
        ("energy-tick[:100ms]", "the GPUs' energy counters move only so often"),
        ("gpu-refresh[:10s]", "/gpu/metrics shows what the GPUs were at the last so many seconds"),
        ("gpu-frozen[:0s]", "/gpu/metrics shows nothing newer than so long after the start"),
        ("idle-drift[:5]", "the GPUs' idle power rises by so many watts a second"),
    ];
}

/// What the hazards do to the engine and its books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EngineFaults {
    /// The counters fall to zero after so many finished requests.
    pub(crate) reset_after: Option<u64>,
    /// And the process is another one.
    pub(crate) restart_after: Option<u64>,
    /// Somebody else's requests in a thousand seconds.
    pub(crate) foreign: Option<NonZeroU64>,
    /// Replaces the configured publish delay of that group of families.
    pub(crate) requests_lag: Option<Duration>,
    pub(crate) tokens_lag: Option<Duration>,
}

/// What the hazards do to the engine and its books.
pub(crate) fn engine_faults(hazards: &[Hazard]) -> EngineFaults {
    let mut faults = EngineFaults::default();
    for hazard in hazards {
        match hazard {
            Hazard::ResetCounters(after) => faults.reset_after = Some(after.get()),
            Hazard::Restart(after) => faults.restart_after = Some(after.get()),
            Hazard::ForeignTraffic(rate) => faults.foreign = Some(*rate),
            Hazard::PublishDelay { delay, of } => {
                if *of != Some(Published::Tokens) {
                    faults.requests_lag = Some(*delay);
                }
                if *of != Some(Published::Requests) {
                    faults.tokens_lag = Some(*delay);
                }
            }
            _ => {}
        }
    }
    faults
}

/// How many processes are behind the address.
pub(crate) fn replicas(hazards: &[Hazard]) -> u64 {
    let mut named = hazards.iter().filter_map(|hazard| match hazard {
        Hazard::Replicas(n) => Some(n.get()),
        _ => None,
    });
    named.next_back().unwrap_or(1).min(MOST_REPLICAS)
}

/// The most processes behind one address.
pub(crate) const MOST_REPLICAS: u64 = 64;

/// Writes into the configuration what a hazard says of the GPUs.
pub(crate) fn apply_to(config: &mut ServerConfig) {
    for hazard in &config.hazards {
        match hazard {
            Hazard::EnergyTick(tick) => config.energy_tick = *tick,
            Hazard::GpuRefresh(period) => config.gpu_refresh = *period,
            Hazard::GpuFrozen(after) => config.gpu_frozen_after = Some(*after),
            Hazard::IdleDrift(milliwatts) => {
                config.idle_drift_w_per_s = *milliwatts as f64 / 1000.0;
            }
            _ => {}
        }
    }
}

/// What befalls one API request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestFaults {
    pub(crate) status: Option<u16>,
    pub(crate) halt: Option<Halt>,
    pub(crate) line_end: LineEnd,
    pub(crate) big_event: Option<u64>,
    pub(crate) invalid_utf8: bool,
    pub(crate) no_usage: bool,
    pub(crate) malformed_json: bool,
    pub(crate) slow_first_byte: Option<Duration>,
}

/// Where a stream stops short, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Halt {
    pub(crate) after: u32,
    pub(crate) how: HaltKind,
}

/// How a stream stops short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HaltKind {
    Stall,
    Cut,
    HalfEvent,
    ErrorEvent,
}

/// How lines of an event stream end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LineEnd {
    #[default]
    Lf,
    Crlf,
    Cr,
}

/// What befalls the `nth` API request (counted from 1).
pub(crate) fn request_faults(hazards: &[Hazard], nth: u64) -> RequestFaults {
    let mut faults = RequestFaults::default();
    for hazard in hazards {
        let Hazard::Api { fault, every } = hazard else { continue };
        if !nth.is_multiple_of(every.get()) {
            continue;
        }
        let mut halt = |after, how| faults.halt = Some(Halt { after, how });
        match *fault {
            ApiFault::Status(status) => faults.status = faults.status.or(Some(status)),
            ApiFault::StallMidStream(after) => halt(after, HaltKind::Stall),
            ApiFault::CutMidStream(after) => halt(after, HaltKind::Cut),
            ApiFault::HalfEvent(after) => halt(after, HaltKind::HalfEvent),
            ApiFault::ErrorEvent(after) => halt(after, HaltKind::ErrorEvent),
            ApiFault::Crlf => faults.line_end = LineEnd::Crlf,
            ApiFault::BareCr => faults.line_end = LineEnd::Cr,
            ApiFault::BigEvent(bytes) => faults.big_event = Some(bytes),
            ApiFault::InvalidUtf8 => faults.invalid_utf8 = true,
            ApiFault::NoUsage => faults.no_usage = true,
            ApiFault::MalformedJson => faults.malformed_json = true,
            ApiFault::SlowFirstByte(delay) => faults.slow_first_byte = Some(delay),
        }
    }
    faults
}

/// What befalls the `nth` scrape of an exporter (counted from 1).
pub(crate) fn scrape_faults(
    hazards: &[Hazard],
    of: Exporter,
    nth: u64,
) -> impl Iterator<Item = ExporterFault> {
    hazards.iter().filter_map(move |hazard| match hazard {
        Hazard::Exporter { exporter, fault: ExporterFault::DieAfter(good), .. }
            if *exporter == of =>
        {
            (nth > *good).then_some(ExporterFault::DieAfter(*good))
        }
        Hazard::Exporter { exporter, fault, every } if *exporter == of => {
            nth.is_multiple_of(every.get()).then_some(*fault)
        }
        _ => None,
    })
}
