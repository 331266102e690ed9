//! One line of an exposition.

use std::borrow::Cow;

/// A line.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Blank, a comment, HELP, UNIT, EOF.
    Nothing,
    /// A TYPE line.
    Type { name: Cow<'a, str>, kind: Declared },
    /// A sample.
    Sample(Sample<'a>),
}

/// The types that a TYPE line can declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Untyped,
}

/// A sample line. Its timestamp and exemplar are not kept.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// In ascending order of the label's name; no name occurs twice.
    pub(super) labels: Labels<'a>,
    pub(super) value: f64,
}

pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Parses one line, without its end.
pub(super) fn parse(raw: &[u8]) -> Result<Line<'_>, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "not UTF-8")?;
    let text = text.trim_matches(BLANK);
    match text.strip_prefix('#') {
        _ if text.is_empty() => Ok(Line::Nothing),
        Some(comment) => parse_comment(comment),
        None => parse_sample(text).map(Line::Sample),
    }
}

const BLANK: [char; 2] = [' ', '\t'];

fn parse_comment(comment: &str) -> Result<Line<'_>, &'static str> {
    // `#TYPE` without a blank is an ordinary comment, as in Prometheus.
    let Some(rest) = comment.strip_prefix(BLANK) else { return Ok(Line::Nothing) };
    let rest = rest.trim_start_matches(BLANK);
    let Some(rest) = rest.strip_prefix("TYPE").and_then(|rest| rest.strip_prefix(BLANK)) else {
        return Ok(Line::Nothing);
    };
    let mut cursor = Cursor { rest: rest.trim_start_matches(BLANK) };
    let name = match cursor.quoted()? {
        Some(name) => name,
        None => Cow::Borrowed(cursor.token()),
    };
    if name.is_empty() {
        return Err("a TYPE line without a name");
    }
    cursor.blanks();
    let kind = match cursor.rest {
        "counter" => Declared::Counter,
        // `info` and `stateset` samples are gauges that are 0 or 1.
        "gauge" | "info" | "stateset" => Declared::Gauge,
        "histogram" => Declared::Histogram,
        "summary" => Declared::Summary,
        // A `gaugehistogram`'s counts go down too: no difference of two of them
        // is a count, so it is read as if it had no type.
        "untyped" | "unknown" | "gaugehistogram" => Declared::Untyped,
        _ => return Err("a TYPE line with an unknown type"),
    };
    Ok(Line::Type { name, kind })
}

fn parse_sample(text: &str) -> Result<Sample<'_>, &'static str> {
    let mut cursor = Cursor { rest: text };
    let bare = cursor.name();
    let mut name = (!bare.is_empty()).then_some(Cow::Borrowed(bare));
    cursor.blanks();
    let labels = if cursor.eat('{') { parse_labels(&mut cursor, &mut name)? } else { Vec::new() };
    let name = name.filter(|name| !name.is_empty()).ok_or("no metric name")?;
    cursor.blanks();
    let value = cursor.token();
    if value.is_empty() {
        return Err("no value");
    }
    let value = value.parse::<f64>().map_err(|_| "the value is not a number")?;
    cursor.blanks();
    let timestamp = cursor.token();
    if timestamp.starts_with('#') || timestamp.is_empty() {
        return Ok(Sample { name, labels, value });
    }
    timestamp.parse::<f64>().map_err(|_| "the timestamp is not a number")?;
    cursor.blanks();
    if cursor.rest.is_empty() || cursor.rest.starts_with('#') {
        Ok(Sample { name, labels, value })
    } else {
        Err("more than a value and a timestamp")
    }
}

/// What follows `{`, up to and with `}`. A quoted string without `=` is the
/// metric's name.
fn parse_labels<'a>(
    cursor: &mut Cursor<'a>,
    metric: &mut Option<Cow<'a, str>>,
) -> Result<Labels<'a>, &'static str> {
    let mut labels = Labels::new();
    loop {
        cursor.blanks();
        if cursor.eat('}') {
            break;
        }
        let (label, was_quoted) = match cursor.quoted()? {
            Some(label) => (label, true),
            None => (Cow::Borrowed(cursor.name()), false),
        };
        cursor.blanks();
        if cursor.eat('=') {
            if label.is_empty() {
                return Err("a label without a name");
            }
            cursor.blanks();
            let value = cursor.quoted()?.ok_or("a label value without quotes")?;
            labels.push((label, value));
        } else if was_quoted && metric.is_none() {
            *metric = Some(label);
        } else {
            return Err("a label without a value");
        }
        cursor.blanks();
        if !cursor.eat(',') {
            if cursor.eat('}') {
                break;
            }
            return Err("labels that do not end");
        }
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    if labels.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err("a label that occurs twice");
    }
    Ok(labels)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(BLANK);
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Up to the next blank.
    fn token(&mut self) -> &'a str {
        self.take(self.rest.find(BLANK).unwrap_or(self.rest.len()))
    }

    /// A metric's or label's name, possibly empty. `.` and `-` are not allowed by
    /// the formats without quotes, but occur.
    fn name(&mut self) -> &'a str {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-');
        let starts = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
        if !self.rest.starts_with(starts) {
            return "";
        }
        self.take(self.rest.find(|c| !inside(c)).unwrap_or(self.rest.len()))
    }

    /// A string in double quotes, without its escapes; `None` if there is none
    /// here.
    fn quoted(&mut self) -> Result<Option<Cow<'a, str>>, &'static str> {
        let Some(inner) = self.rest.strip_prefix('"') else { return Ok(None) };
        let mut text = Cow::Borrowed("");
        let mut rest = inner;
        loop {
            let at =
                memchr::memchr2(b'"', b'\\', rest.as_bytes()).ok_or("a quote that does not end")?;
            let (plain, tail) = rest.split_at_checked(at).ok_or("a quote that does not end")?;
            // Borrowed as long as nothing is escaped.
            if text.is_empty() {
                text = Cow::Borrowed(plain)
            } else {
                text.to_mut().push_str(plain)
            }
            let mut chars = tail.chars();
            if chars.next() == Some('"') {
                self.rest = chars.as_str();
                return Ok(Some(text));
            }
            match chars.next().ok_or("a quote that does not end")? {
                'n' => text.to_mut().push('\n'),
                escaped @ ('"' | '\\') => text.to_mut().push(escaped),
                // Not an escape of the formats: as written.
                other => text.to_mut().extend(['\\', other]),
            }
            rest = chars.as_str();
        }
    }
}
