//! Reads a tree section by section. Whatever is wrong with a key or value is
//! one error that names file, line, column, key, problem and remedy; a key that
//! nobody asked for is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::node::{Entry, Node, Place, Value};
use super::suggest::nearest;
use crate::exit::Usage;

/// A file being read.
#[derive(Debug)]
pub struct Source {
    /// Its name, for messages.
    pub name: String,
    /// Its content.
    pub root: Node,
    /// Every key that was asked for, list indices left out.
    asked: RefCell<BTreeSet<String>>,
}

impl Source {
    /// The file called `name` with the content `text`.
    ///
    /// # Errors
    /// A text that is not YAML.
    pub fn new(name: impl Into<String>, text: &str) -> Result<Self, Usage> {
        let name = name.into();
        match Node::parse(text) {
            Ok(root) => Ok(Self { name, root, asked: RefCell::default() }),
            Err(e) => Err(Usage::new(format!("{} {}", at(&name, e.place), e.message))),
        }
    }

    /// An error at the key `path`, wherever that stands.
    #[must_use]
    pub fn error(&self, path: &str, problem: &str) -> Usage {
        self.error_at(self.root.locate(path), path, problem)
    }

    fn error_at(&self, place: Place, path: &str, problem: &str) -> Usage {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        Usage::new(format!("{} {path}{problem}", at(&self.name, place)))
    }

    /// The whole file as a section.
    ///
    /// # Errors
    /// A file that is not a map.
    pub fn section(&self) -> Result<Section<'_>, Usage> {
        Section::open(self, Some(&self.root), String::new())
    }

    /// Every key that was asked for so far, e.g. `phases[].name`.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

fn at(name: &str, place: Place) -> String {
    if place.line == 0 {
        return format!("{name}:");
    }
    format!("{name}:{}:{}:", place.line, place.column)
}

/// A map of the file, or the absence of one, which has no keys.
#[derive(Debug)]
pub struct Section<'a> {
    source: &'a Source,
    entries: &'a [Entry],
    place: Place,
    path: String,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The map `node`, which stands at `path`.
    ///
    /// # Errors
    /// A node that is not a map.
    pub fn open(source: &'a Source, node: Option<&'a Node>, path: String) -> Result<Self, Usage> {
        let place = node.map(|n| n.place).unwrap_or_default();
        let entries: &[Entry] = match node.map(|n| &n.value) {
            Some(Value::Map(entries)) => entries,
            None => &[],
            Some(other) => {
                let problem = format!("is {}; give a map of keys and values", other.shape());
                return Err(source.error_at(place, &path, &problem));
            }
        };
        Ok(Self { source, entries, place, path, known: Vec::new() })
    }

    /// Whether the section has no keys at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, if it is there; an empty one is an error.
    fn get(&mut self, key: &'static str) -> Result<Option<&'a Node>, Usage> {
        self.known.push(key);
        self.source.asked.borrow_mut().insert(without_indices(&self.path_of(key)));
        let Some(entry) = self.entries.iter().find(|e| e.key == key) else {
            return Ok(None);
        };
        if entry.node.value == Value::Null {
            let problem = "is empty; give a value, or remove the key";
            return Err(self.source.error_at(entry.place, &self.path_of(key), problem));
        }
        Ok(Some(&entry.node))
    }

    fn wrong(&self, node: &Node, key: &str, problem: &str) -> Usage {
        self.source.error_at(node.place, &self.path_of(key), problem)
    }

    /// The text at `key`.
    ///
    /// # Errors
    /// Anything but text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        match &node.value {
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Number(_) | Value::Bool(_) => {
                let problem =
                    format!("is {}; put it in quotes to make it text", node.value.shape());
                Err(self.wrong(node, key, &problem))
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                let problem = format!("is {}; give text", node.value.shape());
                Err(self.wrong(node, key, &problem))
            }
        }
    }

    /// The switch at `key`.
    ///
    /// # Errors
    /// Anything but `true` and `false`.
    pub fn switch(&mut self, key: &'static str) -> Result<Option<bool>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        match &node.value {
            Value::Bool(on) => Ok(Some(*on)),
            Value::Text(text) => {
                let problem = format!("'{text}' is not a switch; give true or false");
                Err(self.wrong(node, key, &problem))
            }
            Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                let problem = format!("is {}; give true or false", node.value.shape());
                Err(self.wrong(node, key, &problem))
            }
        }
    }

    /// The scalar at `key`, through `parse`, which is the one of the flag.
    ///
    /// # Errors
    /// A list or map, or what `parse` refuses.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        let text = match &node.value {
            Value::Text(text) | Value::Number(text) => text.as_str(),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Null | Value::List(_) | Value::Map(_) => {
                let problem = format!("is {}; give one value", node.value.shape());
                return Err(self.wrong(node, key, &problem));
            }
        };
        parse(text).map(Some).map_err(|problem| self.wrong(node, key, &problem))
    }

    /// The text, or texts of a list, at `key`.
    ///
    /// # Errors
    /// Anything else.
    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                std::slice::from_ref(node)
            }
        };
        let text = |item: &Node| match &item.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                let problem = format!("has {}; give text, or a list of texts", item.value.shape());
                Err(self.wrong(item, key, &problem))
            }
        };
        items.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// The items of the list at `key`.
    ///
    /// # Errors
    /// Anything but a list.
    pub fn list(&mut self, key: &'static str) -> Result<Option<&'a [Node]>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        match &node.value {
            Value::List(items) => Ok(Some(items)),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Map(_)) => {
                let problem = format!("is {}; give a list, one '- ' an item", other.shape());
                Err(self.wrong(node, key, &problem))
            }
        }
    }

    /// The maps of the list at `key`.
    ///
    /// # Errors
    /// Anything but a list of maps.
    pub fn sections(&mut self, key: &'static str) -> Result<Option<Vec<Section<'a>>>, Usage> {
        let Some(items) = self.list(key)? else { return Ok(None) };
        let path = self.path_of(key);
        let open =
            |(index, item)| Section::open(self.source, Some(item), format!("{path}[{index}]"));
        items.iter().enumerate().map(open).collect::<Result<_, _>>().map(Some)
    }

    /// The map at `key`; an empty section if it is absent.
    ///
    /// # Errors
    /// Anything but a map.
    pub fn section(&mut self, key: &'static str) -> Result<Section<'a>, Usage> {
        let node = self.get(key)?;
        Section::open(self.source, node, self.path_of(key))
    }

    /// The entries of the map at `key`, whose keys are the user's own.
    ///
    /// # Errors
    /// Anything but a map.
    pub fn entries(&mut self, key: &'static str) -> Result<Option<&'a [Entry]>, Usage> {
        let Some(node) = self.get(key)? else { return Ok(None) };
        Section::open(self.source, Some(node), self.path_of(key)).map(|s| Some(s.entries))
    }

    /// An error about `entry` of the map at `key`.
    #[must_use]
    pub fn wrong_entry(&self, key: &str, entry: &Entry, problem: &str) -> Usage {
        let path = format!("{}.{}", self.path_of(key), entry.key);
        self.source.error_at(entry.node.place, &path, problem)
    }

    /// An error about `key`, which is there.
    #[must_use]
    pub fn wrong_key(&self, key: &str, problem: &str) -> Usage {
        self.source.error(&self.path_of(key), problem)
    }

    /// An error about the absence of `key`.
    #[must_use]
    pub fn missing(&self, key: &str, remedy: &str) -> Usage {
        self.source.error_at(self.place, &self.path_of(key), &format!("is missing; {remedy}"))
    }

    /// Ends the reading: called once every key has been asked for.
    ///
    /// # Errors
    /// The first key that was not asked for, with the one that was likely
    /// meant, or all that there are.
    pub fn close(&self) -> Result<(), Usage> {
        let Some(entry) = self.entries.iter().find(|e| !self.known.contains(&e.key.as_str()))
        else {
            return Ok(());
        };
        let remedy = match nearest(&entry.key, &self.known) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("known here are {}", self.known.join(", ")),
        };
        let problem = format!("unknown key; {remedy}");
        Err(self.source.error_at(entry.place, &self.path_of(&entry.key), &problem))
    }
}

/// `phases[1].name` as `phases[].name`.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        if *c == ']' {
            inside = false;
        }
        let kept = !inside;
        if *c == '[' {
            inside = true;
        }
        kept
    };
    path.chars().filter(keep).collect()
}
