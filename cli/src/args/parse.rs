//! The small languages of values, the same in flags, variables and files:
//! durations, rates, shares, switches, goodput, headers, extra inputs.
//!
//! Every function returns what is wrong together with what would be right, as
//! one clause that a caller puts behind the name of the place.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// The longest duration that is accepted, about 31 years: everything that is
/// later added to a clock must stay in range.
const LONGEST: f64 = 1e9;

/// A duration: `500ms`, `30s`, `5m`, `1h`, or plain seconds.
///
/// # Errors
/// A text that is none of these, negative, or longer than a billion seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "give a time such as 500ms, 30s, 5m, 1h, or plain seconds";
    let text = text.trim();
    let split = text.find(|c: char| c.is_alphabetic() || c == 'µ').unwrap_or(text.len());
    // `1e3` is a number, not 1 of unit `e3`.
    let (number, unit) = match text.parse::<f64>() {
        Ok(_) => (text, ""),
        Err(_) => text.split_at(split),
    };
    let seconds: f64 =
        number.trim().parse().map_err(|_| format!("'{text}' is not a time; {RIGHT}"))?;
    let scale = match unit.trim() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("'{text}' has the unknown unit '{other}'; {RIGHT}")),
    };
    let seconds = seconds * scale;
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err(format!("'{text}' is not between 0 and 1e9 seconds; {RIGHT}"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("'{text}' is not a time; {RIGHT}"))
}

/// Requests per second: a number above 0, or `inf`.
///
/// # Errors
/// Anything else.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        Ok(_) | Err(_) => {
            Err(format!("'{text}' is not a rate; give requests per second above 0, or inf"))
        }
    }
}

/// Values of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Levels<T> {
    /// One value, or several with commas between: the steps of a sweep.
    Steps(Vec<T>),
    /// `LOW..HIGH`: what a search takes its values from.
    Range(T, T),
}

impl<T: Copy> Levels<T> {
    /// The steps; none of a range.
    #[must_use]
    pub fn steps(&self) -> &[T] {
        match self {
            Self::Steps(steps) => steps,
            Self::Range(..) => &[],
        }
    }

    /// The value, where it is one.
    #[must_use]
    pub fn one(&self) -> Option<T> {
        match self.steps() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The range, if it is one.
    #[must_use]
    pub fn range(&self) -> Option<(T, T)> {
        match self {
            Self::Steps(_) => None,
            Self::Range(low, high) => Some((*low, *high)),
        }
    }
}

impl<T: Copy + PartialOrd> Levels<T> {
    fn parse(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        if let Some((low, high)) = text.split_once("..") {
            return range(low, high, one).map(|(low, high)| Self::Range(low, high));
        }
        let mut steps = Vec::new();
        for part in text.split(',') {
            let step = one(part)?;
            if steps.contains(&step) {
                return Err(format!("'{}' is listed twice; list it once", part.trim()));
            }
            steps.push(step);
        }
        Ok(Self::Steps(steps))
    }
}

fn range<T: PartialOrd>(
    low: &str,
    high: &str,
    one: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, T), String> {
    let ends = (one(low)?, one(high)?);
    if ends.0 < ends.1 {
        return Ok(ends);
    }
    Err(format!("'{low}..{high}' is not a range; give LOW..HIGH, the lower one first"))
}

/// A range of rates, `1..100`.
///
/// # Errors
/// Anything else.
pub fn rate_range(text: &str) -> Result<(f64, f64), String> {
    let wrong = || format!("'{text}' is not a range; give LOW..HIGH, e.g. 1..100");
    rates(text)?.range().ok_or_else(wrong)
}

/// A range of concurrencies, `1..64`.
///
/// # Errors
/// Anything else.
pub fn concurrency_range(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("'{text}' is not a range; give LOW..HIGH, e.g. 1..64");
    concurrencies(text)?.range().ok_or_else(wrong)
}

/// One rate, several, or a range: `5`, `5,10,20`, `1..100`.
///
/// # Errors
/// As [`rate`], a rate that is listed twice, and a range that is none.
pub fn rates(text: &str) -> Result<Levels<f64>, String> {
    Levels::parse(text, rate)
}

/// One concurrency, several, or a range: `8`, `1,2,4,8`, `1..64`.
///
/// # Errors
/// As [`small_count`], one that is listed twice, and a range that is none.
pub fn concurrencies(text: &str) -> Result<Levels<u32>, String> {
    Levels::parse(text, small_count)
}

/// The rate of a stage: requests per second, 0 or above.
///
/// # Errors
/// Anything else.
pub fn stage_rate(text: &str) -> Result<f64, String> {
    not_negative(text).map_err(|_| {
        format!("'{text}' is not a rate of a stage; give requests per second, 0 or above")
    })
}

/// A percentage as a share: `10` or `10%` is 0.1.
///
/// # Errors
/// Anything outside 0 to 100.
pub fn percent(text: &str) -> Result<f64, String> {
    let trimmed = text.trim();
    let number = trimmed.strip_suffix('%').unwrap_or(trimmed).trim().parse::<f64>();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) | Err(_) => Err(format!("'{text}' is not a percentage; give 0 to 100")),
    }
}

/// A finite number above 0.
///
/// # Errors
/// Anything else.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        Ok(_) | Err(_) => Err(format!("'{text}' is not a number above 0; give one, e.g. 0.5")),
    }
}

/// A finite number, 0 or above.
///
/// # Errors
/// Anything else.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        Ok(_) | Err(_) => Err(format!("'{text}' is not a number of 0 or above; give one")),
    }
}

/// A whole number from 1.
///
/// # Errors
/// Anything else.
pub fn count(text: &str) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(n) if n > 0 => Ok(n),
        Ok(_) | Err(_) => Err(format!("'{text}' is not a whole number from 1; give one")),
    }
}

/// A whole number from 1 that fits 32 bits.
///
/// # Errors
/// Anything else.
pub fn small_count(text: &str) -> Result<u32, String> {
    let n = count(text)?;
    u32::try_from(n).map_err(|_| format!("'{text}' is too large; give at most {}", u32::MAX))
}

/// How many probes a search may take: 1 to 1000.
///
/// # Errors
/// Anything else.
pub fn probes(text: &str) -> Result<u32, String> {
    small_count(text)
        .ok()
        .filter(|probes| *probes <= 1000)
        .ok_or_else(|| format!("'{text}' is not a number of probes; give 1 to 1000"))
}

/// A whole number from 0 that fits 32 bits.
///
/// # Errors
/// Anything else.
pub fn whole(text: &str) -> Result<u32, String> {
    let number = text.trim().parse();
    number.map_err(|_| format!("'{text}' is not a whole number from 0; give one"))
}

/// A seed: a whole number from 0.
///
/// # Errors
/// Anything else.
pub fn seed(text: &str) -> Result<u64, String> {
    let seed = text.trim().parse();
    seed.map_err(|_| format!("'{text}' is not a seed; give a whole number from 0"))
}

/// The mean output length: a whole number from 1, or `none`, which leaves the
/// length to the server.
///
/// # Errors
/// Anything else.
pub fn output_length(text: &str) -> Result<OutputLength, String> {
    if text.trim() == "none" {
        return Ok(OutputLength(None));
    }
    small_count(text).map(|n| OutputLength(Some(n))).map_err(|_| {
        format!("'{text}' is not a length; give a whole number from 1, or none to leave it to the server")
    })
}

/// See [`output_length`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLength(pub Option<u32>);

/// A share: `0.05` or `5%`.
///
/// # Errors
/// Anything outside 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let trimmed = text.trim();
    let number = match trimmed.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
        None => trimmed.parse::<f64>(),
    };
    match number {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err(format!("'{text}' is not a share; give 0 to 1, or 0% to 100%")),
    }
}

/// A switch: `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`.
///
/// # Errors
/// Anything else.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("'{text}' is not a switch; give true or false")),
    }
}

/// Short names of metrics that can limit goodput, with the metric's own name.
pub const GOODPUT_METRICS: [(&str, &str); 16] = [
    ("time_to_first_token", "time_to_first_token"),
    ("ttft", "time_to_first_token"),
    ("time_to_first_output_token", "time_to_first_output_token"),
    ("ttfo", "time_to_first_output_token"),
    ("time_to_second_token", "time_to_second_token"),
    ("ttst", "time_to_second_token"),
    ("inter_token_latency", "inter_token_latency"),
    ("itl", "inter_token_latency"),
    ("tpot", "inter_token_latency"),
    ("request_latency", "request_latency"),
    ("latency", "request_latency"),
    ("e2el", "request_latency"),
    ("e2e", "request_latency"),
    ("e2e_latency", "request_latency"),
    ("scheduled_latency", "scheduled_latency"),
    ("scheduled_time_to_first_token", "scheduled_time_to_first_token"),
];

/// The metric that `name`, short or long, means for goodput.
///
/// # Errors
/// An unknown name, with the known ones.
pub fn goodput_metric(name: &str) -> Result<&'static str, String> {
    let name = name.trim();
    if let Some((_, metric)) = GOODPUT_METRICS.iter().find(|(short, _)| *short == name) {
        return Ok(metric);
    }
    let known: Vec<&str> = GOODPUT_METRICS.iter().map(|(short, _)| *short).collect();
    Err(format!("'{name}' is not a goodput metric; known are {}", known.join(", ")))
}

/// Goodput limits: `time_to_first_token:200 inter_token_latency:50`, in
/// milliseconds.
///
/// # Errors
/// A pair that is not `metric:milliseconds`, an unknown metric, or one that is
/// given twice.
pub fn goodput(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut limits = BTreeMap::new();
    for pair in text.split([' ', ',']).filter(|p| !p.is_empty()) {
        let Some((name, limit)) = pair.split_once(':') else {
            return Err(format!(
                "'{pair}' is not a limit; give metric:milliseconds, e.g. time_to_first_token:200"
            ));
        };
        let metric = goodput_metric(name)?;
        let limit = positive(limit).map_err(|e| format!("{name}: {e}"))?;
        if limits.insert(metric.to_owned(), limit).is_some() {
            return Err(format!("{metric} is limited twice; give it once"));
        }
    }
    Ok(limits)
}

/// A header, `Name: value`. The text is never repeated in the error: it may
/// hold a secret.
///
/// # Errors
/// No colon, or a name or value that HTTP does not allow.
pub fn header(text: &str) -> Result<(String, String), String> {
    const RIGHT: &str = "give 'Name: value'";
    let Some((name, value)) = text.split_once(':') else {
        return Err(format!("a header has no ':'; {RIGHT}"));
    };
    let (name, value) = (name.trim(), value.trim());
    header_parts(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Checks a header's name (a token of RFC 9110, 5.6.2) and value.
///
/// # Errors
/// What HTTP does not allow, and headers that the client sets itself.
pub fn header_parts(name: &str, value: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!(
            "'{name}' is not a header name; give letters, digits and '-', then ': value'"
        ));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("the value of header {name} has a control character; remove it"));
    }
    let own = ["host", "content-length", "transfer-encoding", "connection"];
    if own.iter().any(|h| name.eq_ignore_ascii_case(h)) {
        return Err(format!("header {name} is set by the client itself; remove it"));
    }
    Ok(())
}

/// Extra inputs: a JSON object, or one `key:value` whose value is JSON where it
/// reads as JSON and text where it does not.
///
/// # Errors
/// Neither form.
pub fn extra_inputs(text: &str) -> Result<Map<String, Value>, String> {
    let trimmed = text.trim();
    if trimmed.starts_with('{') {
        return match serde_json::from_str(trimmed) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err("is not a JSON object; give {\"key\": value} or key:value".to_owned()),
            Err(e) => Err(format!("is not valid JSON ({e}); give {{\"key\": value}} or key:value")),
        };
    }
    match trimmed.split_once(':') {
        Some((key, value)) if !key.trim().is_empty() => {
            let value = value.trim();
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok(Map::from_iter([(key.trim().to_owned(), value)]))
        }
        Some(_) | None => Err(format!("'{text}' is neither; give {{\"key\": value}} or key:value")),
    }
}

/// A duration in the form that [`duration`] reads, for people.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let (seconds, part) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, part) {
        (0, 1..) => format!("{}ms", f64::from(part) / 1e6),
        (_, 1..) => format!("{}s", duration.as_secs_f64()),
        (1.., 0) if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        (1.., 0) if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        (_, 0) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_units_or_plain_seconds() {
        let ms = |text: &str| duration(text).map(|d| d.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("1.5"), Ok(1500));
        assert_eq!(ms("1e3"), Ok(1_000_000));
        assert_eq!(ms(" 2 s "), Ok(2000));
        assert_eq!(ms("0"), Ok(0));
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_the_remedy() {
        for bad in ["", "s", "-1s", "5 parsecs", "nan", "inf", "1e30", "1s2", "5M"] {
            let error = duration(bad).expect_err(bad);
            assert!(error.contains("give a time such as"), "{bad}: {error}");
        }
    }

    #[test]
    fn shown_durations_read_back() {
        for us in [0, 20, 1500, 250_000, 1_000_000, 1_500_000, 60_000_000, 3_600_000_000] {
            let d = Duration::from_micros(us);
            assert_eq!(duration(&show_duration(d)), Ok(d));
        }
    }

    #[test]
    fn rates_take_inf_and_refuse_zero() {
        assert_eq!(rate("inf"), Ok(f64::INFINITY));
        assert_eq!(rate("2.5"), Ok(2.5));
        for bad in ["0", "-1", "nan", "fast", "-inf"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn goodput_short_names_mean_the_metric() {
        let limits = goodput("ttft:200 tpot:50,e2el:1000").expect("valid");
        let names: Vec<_> = limits.keys().map(String::as_str).collect();
        assert_eq!(names, ["inter_token_latency", "request_latency", "time_to_first_token"]);
        assert!(goodput("ttft:1 time_to_first_token:2").is_err_and(|e| e.contains("twice")));
        assert!(goodput("tfft:1").is_err_and(|e| e.contains("known are time_to_first_token")));
        assert!(goodput("ttft").is_err());
        assert!(goodput("ttft:0").is_err());
    }

    #[test]
    fn a_bad_header_is_refused_without_repeating_its_value() {
        assert_eq!(header("X-A: b:c"), Ok(("X-A".into(), "b:c".into())));
        for bad in ["hush hush", "X A: hush", "X: hu\nsh", "Host: hush", ": hush"] {
            let error = header(bad).expect_err(bad);
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn extra_inputs_are_json_or_pairs() {
        assert_eq!(extra_inputs("k:1").map(|m| m["k"].clone()), Ok(Value::from(1)));
        assert_eq!(extra_inputs("k:a b").map(|m| m["k"].clone()), Ok(Value::from("a b")));
        assert_eq!(extra_inputs("{\"k\":[1]}").map(|m| m.len()), Ok(1));
        for bad in ["", "k", "{", ":1"] {
            assert!(extra_inputs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_take_numbers_and_percent() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.5"), Ok(0.5));
        assert!(share("5").is_err());
        assert!(share("-1%").is_err());
    }
}
