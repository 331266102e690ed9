//! The text form of a hazard: `name`, `name:arg`, `name:arg,every=K`.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use super::{ApiFault, Exporter, ExporterFault, Hazard, MOST_REPLICAS, Published};

/// A text that names no hazard, or names one wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hazard `{text}`: {problem}")]
pub struct HazardError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// Tokens before a stream is struck, where no count is given.
const AFTER: u32 = 3;
/// Foreign requests in a thousand seconds, where no rate is given.
const FOREIGN: NonZeroU64 = NonZeroU64::MIN.saturating_add(1999);
/// The most foreign requests in a thousand seconds.
const MOST_FOREIGN: u64 = 1_000_000;
/// The steepest drift of idle power, in milliwatts a second.
const STEEPEST_DRIFT: i64 = 1_000_000;
/// The longest padding of an event; it is built in memory.
const BIGGEST_EVENT: u64 = 64 << 20;

/// The arguments of one hazard, each taken once; what is left over is wrong.
struct Args<'a> {
    plain: Option<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

type Parsed<T> = Result<T, String>;

impl<'a> Args<'a> {
    fn split(text: &'a str) -> Parsed<Self> {
        let mut args = Self { plain: None, named: Vec::new() };
        for part in text.split(',') {
            let part = part.trim();
            if let Some((key, value)) = part.split_once('=') {
                if args.named.iter().any(|(known, _)| *known == key) {
                    return Err(format!("`{key}` is given twice"));
                }
                args.named.push((key, value));
            } else if part.is_empty() {
                return Err("an argument is empty; leave out the `:` or the `,`".to_owned());
            } else if args.plain.replace(part).is_some() {
                return Err("takes one value and `key=value` arguments".to_owned());
            }
        }
        Ok(args)
    }

    fn named(&mut self, key: &str) -> Option<&'a str> {
        let at = self.named.iter().position(|(known, _)| *known == key)?;
        Some(self.named.swap_remove(at).1)
    }

    fn plain_or<T>(&mut self, default: T, parse: fn(&str) -> Parsed<T>) -> Parsed<T> {
        self.plain.take().map_or(Ok(default), parse)
    }

    fn required<T>(&mut self, parse: fn(&str) -> Parsed<T>) -> Parsed<T> {
        self.plain.take().map_or_else(|| Err("needs a count, as in `:5`".to_owned()), parse)
    }

    /// `after=K`, or the plain value.
    fn after(&mut self) -> Parsed<u32> {
        match self.named("after") {
            Some(value) => count(value),
            None => self.plain_or(AFTER, count),
        }
    }

    fn every(&mut self) -> Parsed<NonZeroU64> {
        self.named("every").map_or(Ok(NonZeroU64::MIN), positive)
    }

    fn finish(self) -> Parsed<()> {
        match (self.plain, self.named.first()) {
            (None, None) => Ok(()),
            (Some(plain), _) => Err(format!("takes no value `{plain}`")),
            (None, Some((key, _))) => Err(format!("takes no argument `{key}`")),
        }
    }
}

fn count<T: FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("`{text}` is no count; write a whole number"))
}

fn positive(text: &str) -> Parsed<NonZeroU64> {
    text.parse().map_err(|_| format!("`{text}` is no count of at least 1"))
}

const SIZES: [(&str, u64); 7] = [
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("B", 1),
];

const TIMES: [(&str, u64); 4] = [("ms", 1_000_000), ("us", 1_000), ("ns", 1), ("s", 1_000_000_000)];

/// A whole number and one of `units`; `bare` multiplies one without a unit.
fn with_unit(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let factor = if unit.is_empty() {
        bare
    } else {
        units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1
    };
    let Some((whole, fraction)) = number.split_once('.') else {
        return number.parse::<u64>().ok()?.checked_mul(factor);
    };
    // A fraction counts down to the smallest unit and must not be finer.
    let digits = u32::try_from(fraction.len()).ok()?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    let scale = 10_u128.checked_pow(digits)?;
    if !part.is_multiple_of(scale) {
        return None;
    }
    let part = u64::try_from(part / scale).ok()?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
}

/// A number in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    let thousandths = (value * 1000.0).round();
    // The multiplication rounds; a number with finer digits is off by far more.
    let exact = (thousandths / 1000.0 - value).abs() <= value.abs() * f64::EPSILON;
    (thousandths.abs() <= 1e12 && exact).then_some(thousandths as i64)
}

/// Requests a second, in thousandths.
fn rate(text: &str) -> Parsed<NonZeroU64> {
    let rate =
        thousandths(text).and_then(|rate| u64::try_from(rate).ok()).and_then(NonZeroU64::new);
    rate.filter(|rate| rate.get() <= MOST_FOREIGN).ok_or_else(|| {
        format!(
            "`{text}` is no rate; write requests a second, from 0.001 to {}",
            MOST_FOREIGN / 1000
        )
    })
}

/// Watts a second, in thousandths.
fn drift(text: &str) -> Parsed<i64> {
    let drift = thousandths(text).filter(|drift| drift.abs() <= STEEPEST_DRIFT);
    drift.ok_or_else(|| {
        format!("`{text}` is no drift; write watts a second, from -1000 to 1000, as in `:5`")
    })
}

fn processes(text: &str) -> Parsed<NonZeroU64> {
    let n = positive(text)?;
    if n.get() > MOST_REPLICAS {
        return Err(format!("there can be at most {MOST_REPLICAS} replicas"));
    }
    Ok(n)
}

/// Two times, the first not above the second.
fn times(text: &str) -> Parsed<(Duration, Duration)> {
    let (low, high) = text
        .split_once('-')
        .ok_or_else(|| format!("`{text}` is no range of times; write it like `50ms-400ms`"))?;
    let (low, high) = (time(low)?, time(high)?);
    if low > high {
        return Err(format!("`{text}` falls; write the shorter time first"));
    }
    Ok((low, high))
}

fn published(text: &str) -> Parsed<Published> {
    match text {
        "requests" => Ok(Published::Requests),
        "tokens" => Ok(Published::Tokens),
        _ => Err(format!("`of={text}` names no families; write `of=requests` or `of=tokens`")),
    }
}

fn size(text: &str) -> Parsed<u64> {
    with_unit(text, &SIZES, 1)
        .ok_or_else(|| format!("`{text}` is no size; write it like `200MB`, `64KiB` or `1000`"))
}

fn time(text: &str) -> Parsed<Duration> {
    with_unit(text, &TIMES, 1_000_000_000)
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("`{text}` is no time; write it like `2s` or `500ms`"))
}

fn exporter_fault(name: &str, args: &mut Args<'_>) -> Parsed<Option<ExporterFault>> {
    Ok(Some(match name {
        "hang" => ExporterFault::Hang,
        "garbage" => ExporterFault::Garbage,
        "404" => ExporterFault::Status404,
        "500" => ExporterFault::Status500,
        "huge" => ExporterFault::Huge(args.plain_or(200_000_000, size)?),
        "trickle" => {
            let rate = args.plain_or(100, size)?;
            let rate = NonZeroU64::new(rate).ok_or("a trickle of 0 bytes is a `hang`")?;
            ExporterFault::Trickle(rate)
        }
        "delay" => ExporterFault::Delay(args.plain_or(Duration::from_secs(2), time)?),
        "jitter" => {
            let (low, high) =
                args.plain_or((Duration::from_millis(50), Duration::from_millis(400)), times)?;
            ExporterFault::Jitter(low, high)
        }
        "die-after" => ExporterFault::DieAfter(args.required(count)?),
        _ => return Ok(None),
    }))
}

fn api_fault(name: &str, args: &mut Args<'_>) -> Parsed<Option<ApiFault>> {
    Ok(Some(match name {
        "stall-mid-stream" => ApiFault::StallMidStream(args.after()?),
        "cut-mid-stream" => ApiFault::CutMidStream(args.after()?),
        "half-event" => ApiFault::HalfEvent(args.after()?),
        "error-event" => ApiFault::ErrorEvent(args.after()?),
        "crlf" => ApiFault::Crlf,
        "bare-cr" => ApiFault::BareCr,
        "big-event" => {
            let bytes = args.plain_or(1_000_000, size)?;
            if bytes > BIGGEST_EVENT {
                return Err(format!("an event has at most {BIGGEST_EVENT} bytes"));
            }
            ApiFault::BigEvent(bytes)
        }
        "invalid-utf8" => ApiFault::InvalidUtf8,
        "no-usage" => ApiFault::NoUsage,
        "malformed-json" => ApiFault::MalformedJson,
        "slow-first-byte" => ApiFault::SlowFirstByte(args.plain_or(Duration::from_secs(2), time)?),
        _ => {
            let Some(status) = name.strip_prefix("status-") else { return Ok(None) };
            let status: u16 = count(status)?;
            if !(400..600).contains(&status) {
                return Err(format!("status {status} is no error; use 400 to 599"));
            }
            ApiFault::Status(status)
        }
    }))
}

fn parse(text: &str) -> Parsed<Hazard> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut args = if text.contains(':') {
        Args::split(rest)?
    } else {
        Args { plain: None, named: Vec::new() }
    };
    let hazard = match name {
        "not-ready" => Hazard::NotReady { lasting: args.plain.take().map(time).transpose()? },
        "refuse-after" => Hazard::RefuseAfter(args.required(positive)?),
        "reset-counters" => Hazard::ResetCounters(args.required(positive)?),
        "restart" => Hazard::Restart(args.required(positive)?),
        "publish-delay" => Hazard::PublishDelay {
            delay: args.plain_or(Duration::from_millis(1500), time)?,
            of: args.named("of").map(published).transpose()?,
        },
        "foreign-traffic" => Hazard::ForeignTraffic(args.plain_or(FOREIGN, rate)?),
        "replicas" => Hazard::Replicas(args.required(processes)?),
        "energy-tick" => Hazard::EnergyTick(args.plain_or(Duration::from_millis(100), time)?),
        "gpu-refresh" => Hazard::GpuRefresh(args.plain_or(Duration::from_secs(10), time)?),
        "gpu-frozen" => Hazard::GpuFrozen(args.plain_or(Duration::ZERO, time)?),
        "idle-drift" => Hazard::IdleDrift(args.plain_or(5000, drift)?),
        _ => {
            let exporter = match name.split_once('-') {
                Some(("metrics", fault)) => Some((Exporter::Server, fault)),
                Some(("gpu", fault)) => Some((Exporter::Gpu, fault)),
                Some(_) | None => None,
            };
            let hazard = match exporter {
                Some((exporter, fault)) => {
                    exporter_fault(fault, &mut args)?.map(|fault| match fault {
                        // A dead exporter stays dead: `every` is not taken.
                        ExporterFault::DieAfter(_) => {
                            Ok(Hazard::Exporter { exporter, fault, every: NonZeroU64::MIN })
                        }
                        fault => {
                            args.every().map(|every| Hazard::Exporter { exporter, fault, every })
                        }
                    })
                }
                None => api_fault(name, &mut args)?
                    .map(|fault| args.every().map(|every| Hazard::Api { fault, every })),
            };
            hazard.ok_or_else(|| {
                let known: Vec<&str> = Hazard::KNOWN.iter().map(|(form, _)| *form).collect();
                format!("there is none of this name; known are {}", known.join(", "))
            })??
        }
    };
    args.finish()?;
    Ok(hazard)
}

impl FromStr for Hazard {
    type Err = HazardError;

    fn from_str(text: &str) -> Result<Self, HazardError> {
        parse(text.trim()).map_err(|problem| HazardError { text: text.to_owned(), problem })
    }
}

/// A value with the largest unit that divides it.
fn show(value: u64, units: &[(&'static str, u64)]) -> String {
    let fits = units.iter().filter(|(_, factor)| value.is_multiple_of(*factor));
    let (unit, factor) = fits.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

fn show_time(time: Duration) -> String {
    show(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), &TIMES)
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, arg, every) = match self {
            Self::Exporter { exporter, fault, every } => {
                let (name, arg) = exporter_text(*fault);
                let prefix = match exporter {
                    Exporter::Server => "metrics",
                    Exporter::Gpu => "gpu",
                };
                (format!("{prefix}-{name}"), arg, every.get())
            }
            Self::Api { fault, every } => {
                let (name, arg) = api_text(*fault);
                (name, arg, every.get())
            }
            Self::NotReady { lasting } => ("not-ready".to_owned(), lasting.map(show_time), 1),
            Self::RefuseAfter(n) => ("refuse-after".to_owned(), Some(n.to_string()), 1),
            Self::ResetCounters(n) => ("reset-counters".to_owned(), Some(n.to_string()), 1),
            Self::Restart(n) => ("restart".to_owned(), Some(n.to_string()), 1),
            Self::PublishDelay { delay, of } => {
                let of = match of {
                    None => "",
                    Some(Published::Requests) => ",of=requests",
                    Some(Published::Tokens) => ",of=tokens",
                };
                ("publish-delay".to_owned(), Some(format!("{}{of}", show_time(*delay))), 1)
            }
            Self::ForeignTraffic(rate) => {
                let rate = rate.get() as f64 / 1000.0;
                ("foreign-traffic".to_owned(), Some(rate.to_string()), 1)
            }
            Self::Replicas(n) => ("replicas".to_owned(), Some(n.to_string()), 1),
            Self::EnergyTick(tick) => ("energy-tick".to_owned(), Some(show_time(*tick)), 1),
            Self::GpuRefresh(period) => ("gpu-refresh".to_owned(), Some(show_time(*period)), 1),
            Self::GpuFrozen(after) => ("gpu-frozen".to_owned(), Some(show_time(*after)), 1),
            Self::IdleDrift(milliwatts) => {
                let watts = *milliwatts as f64 / 1000.0;
                ("idle-drift".to_owned(), Some(watts.to_string()), 1)
            }
        };
        f.write_str(&name)?;
        let every = (every > 1).then(|| format!("every={every}"));
        let args: Vec<String> = arg.into_iter().chain(every).collect();
        if args.is_empty() { Ok(()) } else { write!(f, ":{}", args.join(",")) }
    }
}

fn exporter_text(fault: ExporterFault) -> (&'static str, Option<String>) {
    match fault {
        ExporterFault::Hang => ("hang", None),
        ExporterFault::Garbage => ("garbage", None),
        ExporterFault::Status404 => ("404", None),
        ExporterFault::Status500 => ("500", None),
        ExporterFault::Huge(bytes) => ("huge", Some(show(bytes, &SIZES))),
        ExporterFault::Trickle(rate) => ("trickle", Some(show(rate.get(), &SIZES))),
        ExporterFault::Delay(delay) => ("delay", Some(show_time(delay))),
        ExporterFault::Jitter(low, high) => {
            ("jitter", Some(format!("{}-{}", show_time(low), show_time(high))))
        }
        ExporterFault::DieAfter(good) => ("die-after", Some(good.to_string())),
    }
}

fn api_text(fault: ApiFault) -> (String, Option<String>) {
    let (name, arg) = match fault {
        ApiFault::Status(status) => return (format!("status-{status}"), None),
        ApiFault::StallMidStream(after) => ("stall-mid-stream", Some(format!("after={after}"))),
        ApiFault::CutMidStream(after) => ("cut-mid-stream", Some(format!("after={after}"))),
        ApiFault::HalfEvent(after) => ("half-event", Some(format!("after={after}"))),
        ApiFault::ErrorEvent(after) => ("error-event", Some(format!("after={after}"))),
        ApiFault::Crlf => ("crlf", None),
        ApiFault::BareCr => ("bare-cr", None),
        ApiFault::BigEvent(bytes) => ("big-event", Some(show(bytes, &SIZES))),
        ApiFault::InvalidUtf8 => ("invalid-utf8", None),
        ApiFault::NoUsage => ("no-usage", None),
        ApiFault::MalformedJson => ("malformed-json", None),
        ApiFault::SlowFirstByte(delay) => ("slow-first-byte", Some(show_time(delay))),
    };
    (name.to_owned(), arg)
}
