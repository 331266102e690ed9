//! Escaping, numbers, words.

use phasegate_core::account::result::{PhaseResult, Verdict};
use phasegate_core::time::Tick;
use serde::Serialize;

/// `text` as it may stand in an element or in a quoted attribute.
pub(super) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, escaped or not.
            c if c.is_control() && !c.is_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A number with three or four digits that count, thousands apart.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs();
    let decimals = if size >= 1000.0 || (value.fract() == 0.0) {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 1.0 {
        2
    } else if size >= 0.001 {
        4
    } else {
        return format!("{value:.1e}");
    };
    if size >= 1e15 {
        return format!("{value:.3e}");
    }
    thousands(&format!("{value:.decimals$}"))
}

/// A number that somebody chose, as a bound of a bucket: without the zeros at
/// its end.
pub(super) fn chosen(value: f64) -> String {
    let text = number(value);
    if !text.contains('.') || text.contains('e') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name made of parts, which may be broken after each slash.
pub(super) fn breakable(name: &str) -> String {
    esc(name).replace('/', "/<wbr>")
}

/// A whole number, thousands apart.
pub(super) fn count(value: u64) -> String {
    thousands(&value.to_string())
}

fn thousands(digits: &str) -> String {
    let (sign, rest) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, part) = rest.split_once('.').map_or((rest, None), |(a, b)| (a, Some(b)));
    let mut out = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        // Four digits read well without.
        if place > 0 && whole.len() > 4 && (whole.len() - place) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if let Some(part) = part {
        out.push('.');
        out.push_str(part);
    }
    out
}

/// A value that is not known, with the reason.
pub(super) fn unknown(why: &str) -> String {
    format!("<span class=\"na\">n/a ({})</span>", esc(why.trim_end_matches('.')))
}

/// A value, or why it is not known.
pub(super) fn known(value: Option<f64>, why: &str) -> String {
    value.map_or_else(|| unknown(why), number)
}

/// A length of time.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds >= 120.0 {
        return format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0);
    }
    if seconds >= 1.0 {
        return format!("{seconds:.2} s");
    }
    format!("{:.1} ms", seconds * 1e3)
}

/// A moment on the run's clock.
pub(super) fn moment(at: Tick) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

/// A moment that may not have come.
pub(super) fn moment_or(at: Option<Tick>, why: &str) -> String {
    at.map_or_else(|| unknown(why), moment)
}

/// The published word of one of the contract's values.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a verdict means.
pub(super) fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "every collector was read at both boundaries, and nothing contradicts it",
        Verdict::Overlapped => "a seamless neighbour was in flight at a boundary",
        Verdict::Unsettled => "the server was still publishing when settling timed out",
        Verdict::Incomplete => "a reading that was due, or the phase's end, is missing",
        Verdict::Contaminated => {
            "client and server disagree, or a counter was set back inside the phase"
        }
    }
}

/// A verdict as a badge.
pub(super) fn badge(value: &impl Serialize) -> String {
    let word = word(value);
    format!("<span class=\"badge {0}\">{0}</span>", esc(&word))
}

/// Why a phase has no value of a client metric.
pub(super) fn why_unmeasured(phase: &PhaseResult, metric: &str) -> &'static str {
    const RATES: [&str; 4] =
        ["request_throughput", "output_token_throughput", "total_token_throughput", "goodput"];
    if phase.start_ns.is_none() {
        "the phase was not started"
    } else if !phase.metrics.contains_key(metric) {
        "does not apply to this endpoint"
    } else if RATES.contains(&metric) && phase.end_ns.is_none() {
        "the phase's end is not known"
    } else if phase.requests.completed == 0 {
        "no request completed"
    } else {
        "no completed request has it; see the notes"
    }
}

/// The class of a phase's colour.
pub(super) fn colour(phase: usize) -> String {
    format!("p{}", phase % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_tag_or_an_attribute_is_escaped() {
        assert_eq!(esc("<a b='c' d=\"e\">&"), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;");
        assert_eq!(esc("a\u{0}b\u{1b}[0m\n"), "a\u{fffd}b\u{fffd}[0m\n");
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (0.000_01, "1.0e-5"),
            (0.25, "0.2500"),
            (5.0, "5"),
            (5.123, "5.12"),
            (-512.34, "-512.3"),
            (4305.6, "4306"),
            (1_234_567.8, "1\u{202f}234\u{202f}568"),
        ];
        for (value, shown) in cases {
            assert_eq!(number(value), shown);
        }
    }
}
