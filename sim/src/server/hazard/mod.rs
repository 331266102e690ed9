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
    /// zero, once, as if it had been restarted.
    ResetCounters(NonZeroU64),
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
        ("metrics-die-after:N", "/metrics closes the connection after N good answers"),
        ("gpu-…", "the same eight for /gpu/metrics"),
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
    ];
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
        Hazard::Exporter { .. }
        | Hazard::Api { .. }
        | Hazard::NotReady { .. }
        | Hazard::RefuseAfter(_)
        | Hazard::ResetCounters(_) => None,
    })
}
