//! YAML as a tree in which every key and value knows its line and column, so
//! that whatever is found wrong later can be pointed at.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A line and a column, both from 1; 0 where they are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

/// The shapes of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as text, so that no digit of an integer is lost.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; no key twice.
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for messages.
    #[must_use]
    pub fn shape(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A text that is not YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong, on one line.
    pub message: String,
}

impl Node {
    /// The tree of `text`.
    ///
    /// # Errors
    /// What is not YAML, has a key twice, or is beyond the parser's limits.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.trim().is_empty() {
            return Ok(Self { place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()) });
        }
        // `.inf` is YAML's own way to write the rate `inf`.
        let options = serde_saphyr::options! {
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        };
        let parsed = serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options);
        parsed.map(Self::from).map_err(|error| {
            let error = error.without_snippet();
            let place = error.location().map(place).unwrap_or_default();
            SyntaxError { place, message: syntax_message(error) }
        })
    }

    /// The node at `path`, e.g. `phases[1].seamless`, with the place to point
    /// at; where the path ends early, the last node on it.
    #[must_use]
    pub fn locate(&self, path: &str) -> Place {
        let mut node = self;
        for step in path.split(['.', '[']) {
            let next = match &node.value {
                Value::List(items) => {
                    let index = step.strip_suffix(']').and_then(|i| i.parse::<usize>().ok());
                    index.and_then(|i| items.get(i))
                }
                Value::Map(entries) => entries.iter().find(|e| e.key == step).map(|e| &e.node),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.place
    }
}

/// What the parser found, without the place, which is said in our own way.
fn syntax_message(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_deref().map(|k| format!("{k}: ")).unwrap_or_default();
        return format!("{key}the key is there twice; keep one of them");
    }
    if let serde_saphyr::Error::MultipleDocuments { .. } = error {
        return "a second document begins; put everything into one".to_owned();
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let line: Vec<&str> = message.split_whitespace().collect();
    format!("not valid YAML ({}); correct it", line.join(" "))
}

fn place(location: serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { place: place(spanned.referenced), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::Text(v))
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        Value::deserialize(d)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            items.push(item.into());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let node = map.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry { key: key.value, place: place(key.referenced), node });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_line_and_column() {
        let root = Node::parse("a: 1\nb:\n  - {c: x, d: 30s}\n  - e: .5\n").expect("valid");
        assert_eq!(root.locate("a"), Place { line: 1, column: 4 });
        assert_eq!(root.locate("b[0].d"), Place { line: 3, column: 15 });
        assert_eq!(root.locate("b[1].e"), Place { line: 4, column: 8 });
        let Value::Map(entries) = &root.value else { panic!("a map") };
        assert_eq!(entries[1].place, Place { line: 2, column: 1 });
    }

    #[test]
    fn a_path_that_ends_early_points_at_the_last_node_on_it() {
        let root = Node::parse("phases:\n  - name: a\n").expect("valid");
        assert_eq!(root.locate("phases[0].requests"), Place { line: 2, column: 5 });
        assert_eq!(root.locate("phases[7].requests").line, 2);
    }

    #[test]
    fn what_is_not_yaml_is_one_line_with_its_place() {
        for text in ["a: [1", "a: 1\na: 2\n", "a: b: c", "a: *b"] {
            let error = Node::parse(text).expect_err(text);
            assert!(error.place.line > 0, "{text}: {error:?}");
            assert!(!error.message.contains('\n') && !error.message.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_units_stay_text() {
        let root = Node::parse("[18446744073709551615, 30s, inf, .inf, 0.1, yes]").expect("valid");
        let Value::List(items) = root.value else { panic!("a list") };
        let shown: Vec<_> = items.iter().map(|n| format!("{:?}", n.value)).collect();
        assert_eq!(shown[0], "Number(\"18446744073709551615\")");
        assert_eq!(shown[1], "Text(\"30s\")");
        assert_eq!(shown[4], "Number(\"0.1\")");
        insta::assert_debug_snapshot!(shown);
    }
}
