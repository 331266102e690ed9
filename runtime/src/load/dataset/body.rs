//! A request body that is passed through: its bytes as they stand in the file.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Wrong;
use super::file::object_of;

/// One body. It was read for what decides how it is sent, and is otherwise left
/// alone: order, spaces and numbers stay as they are.
#[derive(Debug, PartialEq)]
pub struct Body {
    /// An object, from its opening to its closing brace.
    text: Box<str>,
    /// Its fields, in their order: the name, and where the value stands.
    fields: Box<[(Box<str>, Range<usize>)]>,
    /// What it says itself of being streamed; `None` leaves it to the run.
    streams: Option<bool>,
}

impl Body {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is no object, or does not say clearly whether it is streamed.
    pub(in crate::load) fn read(line: &str) -> Result<Self, Wrong> {
        let text = line.trim();
        let raw: Fields<'_> = object_of(text)?;
        // The values are slices of the text.
        let place = |value: &RawValue| {
            let start = value.get().as_ptr().addr() - text.as_ptr().addr();
            start..start + value.get().len()
        };
        let fields =
            raw.0.into_iter().map(|(name, value)| (name.into_boxed_str(), place(value))).collect();
        let mut body = Self { text: text.into(), fields, streams: None };
        body.streams = match body.raw("stream") {
            None => None,
            Some("true") => Some(true),
            // OpenAI takes null for the default, which is not to stream.
            Some("false" | "null") => Some(false),
            Some(_) => {
                let remedy = "give one of them, or leave it to --streaming";
                return Err(("its 'stream' is neither true nor false".into(), remedy));
            }
        };
        Ok(body)
    }

    /// The JSON of a field; of the last one, where the name comes twice.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().rfind(|(field, _)| **field == *name)?;
        self.text.get(found.1.clone())
    }

    /// Whether it has a field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| **field == *name)
    }

    /// What it says itself of being streamed; `None` leaves it to the run.
    #[must_use]
    pub fn streams(&self) -> Option<bool> {
        self.streams
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// Every field with its JSON, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, at)| (&**name, self.text.get(at.clone()).unwrap_or("null")))
    }

    /// The object without its closing brace, and whether a comma must stand
    /// before a further field.
    pub(crate) fn open(&self) -> (&str, bool) {
        let open = self.text.strip_suffix('}').unwrap_or(&self.text);
        (open, !self.fields.is_empty())
    }

    /// Whether the server is asked to count the tokens of the stream.
    fn asks_for_usage(&self) -> bool {
        let options = self.raw("stream_options").and_then(|json| serde_json::from_str(json).ok());
        options.is_some_and(|options: Value| options["include_usage"] == Value::Bool(true))
    }
}

/// The fields of an object in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(field) = map.next_entry()? {
                    all.push(field);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(InOrder).map(Fields)
    }
}

/// What the run asks for, beside the bodies of a file.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The model, where one was named.
    pub model: Option<&'a str>,
    /// Streaming, for bodies that say nothing of it.
    pub streaming: bool,
    /// Streaming was asked for, or against, and is not merely the default.
    pub streaming_given: bool,
    /// The endpoint counts a stream's tokens only if `stream_options` ask it to.
    pub usage_is_asked_for: bool,
    /// What is merged into every body, and wins over it.
    pub extra: &'a Map<String, Value>,
}

/// In which respects `bodies` differ from what the run asks for: one sentence for
/// each, with their number.
pub(super) fn notes<'b>(bodies: impl Iterator<Item = &'b Body>, asked: &Asked<'_>) -> Vec<String> {
    let (mut all, mut models, mut whole, mut streamed, mut uncounted) = (0_u64, 0_u64, 0, 0, 0);
    for body in bodies {
        all += 1;
        let named = body.raw("model").filter(|_| !asked.extra.contains_key("model"));
        let named = named.and_then(|json| serde_json::from_str::<String>(json).ok());
        models += u64::from(named.zip(asked.model).is_some_and(|(own, wanted)| own != wanted));
        let by_extra = asked.extra.get("stream").and_then(Value::as_bool);
        let streams = by_extra.or(body.streams).unwrap_or(asked.streaming);
        whole += u64::from(!streams && asked.streaming);
        streamed += u64::from(streams && !asked.streaming);
        let options = asked.extra.contains_key("stream_options");
        // One that leaves streaming to the run has its options filled in.
        let own = body.streams.is_some() || body.has("stream_options");
        let uncounts = streams && asked.usage_is_asked_for && !options && own;
        uncounted += u64::from(uncounts && !body.asks_for_usage());
    }
    let given = |what: &str| {
        if asked.streaming_given { format!(" although {what}") } else { String::new() }
    };
    let model = asked.model.unwrap_or_default();
    let sentences = [
        (models, format!("name another model than {model}: they are sent with their own")),
        (
            whole,
            format!(
                "say that they are not to be streamed, and are not{}: their answers have no time \
                 to first token",
                given("streaming was asked for")
            ),
        ),
        (
            streamed,
            format!(
                "say that they are to be streamed, and are{}",
                given("streaming was turned off")
            ),
        ),
        (
            uncounted,
            "are streamed without stream_options.include_usage: unless the server sends its usage \
             unasked, their tokens are not known; add it to the bodies, or give --extra-inputs \
             '{\"stream_options\":{\"include_usage\":true}}'"
                .to_owned(),
        ),
    ];
    let sentences = sentences.into_iter().filter(|(count, _)| *count > 0);
    sentences.map(|(n, what)| format!("{n} of {all} request bodies of the file {what}.")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(line: &str) -> Body {
        Body::read(line).unwrap()
    }

    #[test]
    fn a_body_says_itself_whether_it_is_streamed_or_leaves_it_open() {
        let streams = |line| Body::read(line).map(|body| body.streams);
        assert_eq!(streams("{}"), Ok(None));
        assert_eq!(streams("{\"stream\": true}"), Ok(Some(true)));
        assert_eq!(streams("{\"stream\":false}"), Ok(Some(false)));
        assert_eq!(streams("{\"stream\":null}"), Ok(Some(false)));
        assert!(streams("{\"stream\":\"yes\"}").unwrap_err().0.contains("neither true nor false"));
        assert!(streams("[]").is_err() && streams("{\"a\":}").is_err());
    }

    #[test]
    fn fields_keep_their_order_and_their_own_writing() {
        let body = body(" {\"z\" : 1e2, \"a\\u0062\": [ 1 ,2], \"z\":0.10}\r");
        let fields: Vec<_> = body.fields().collect();
        assert_eq!(fields, [("z", "1e2"), ("ab", "[ 1 ,2]"), ("z", "0.10")]);
        assert_eq!(body.raw("z"), Some("0.10"));
    }

    #[test]
    fn what_differs_from_the_run_is_counted_and_said() {
        let usage = "\"stream_options\":{\"include_usage\":true}";
        let lines = [
            "{}".to_owned(),
            "{\"model\":\"m\",\"stream\":false}".to_owned(),
            "{\"model\":\"n\",\"stream\":true}".to_owned(),
            format!("{{\"stream\":true,{usage}}}"),
            "{\"stream_options\":{}}".to_owned(),
        ];
        let bodies: Vec<Body> = lines.iter().map(|line| body(line)).collect();
        let said = |streaming, streaming_given, extra: Value| {
            let extra = extra.as_object().unwrap().clone();
            let model = Some("m");
            let usage_is_asked_for = true;
            let asked =
                Asked { model, streaming, streaming_given, usage_is_asked_for, extra: &extra };
            notes(bodies.iter(), &asked).join("\n")
        };
        insta::assert_snapshot!(
            [
                said(true, false, serde_json::json!({})),
                said(true, true, serde_json::json!({})),
                said(false, true, serde_json::json!({})),
                said(
                    true,
                    true,
                    serde_json::json!({"model": "x", "stream": true, "stream_options": {}})
                ),
            ]
            .join("\n--\n")
        );
    }
}
