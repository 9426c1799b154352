//! A YAML document as a tree that knows its lines.
//!
//! In: text. Out: [`Node`]s, one for each document of the text. Called by `document`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::{FieldPath, Segment};

/// A value and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line, from 1; 0 for what was never text with lines.
    pub line: u32,
    /// The value.
    pub value: Value,
}

/// A YAML value. Scalars without quotes have the type that YAML 1.2 gives them; `yes`, `on` and the
/// like stay text and are taken as booleans where a boolean is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written.
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The line of the key.
    pub line: u32,
    /// The key.
    pub key: String,
    /// The value.
    pub node: Node,
}

/// Reads every document of `text`; the error has a line and a message.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, (Option<u32>, String)> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options::<Node>(text, options).map_err(|error| {
        let line = error.location().map(|at| line_number(at.line()));
        (
            line,
            without_place(&one_line(&error.without_snippet().to_string())),
        )
    })
}

impl Node {
    /// The value at `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The text of a scalar that is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of the field at `path`, or of the nearest thing around it that is written.
    pub fn line_of(&self, path: &FieldPath) -> u32 {
        let mut line = self.line;
        let mut node = self;
        for segment in path.segments() {
            let (next_line, next) = match (segment, &node.value) {
                (Segment::Index(index), Value::List(list)) => match list.get(*index) {
                    Some(next) => (next.line, next),
                    None => return line,
                },
                (Segment::Field(key) | Segment::Key(key), _) => match node.entry(key) {
                    Some(entry) => (entry.line, &entry.node),
                    None => return line,
                },
                (Segment::Index(_), _) => return line,
            };
            line = next_line;
            node = next;
        }
        line
    }

    /// Puts nothing in the place of the value at `path`.
    pub(crate) fn clear(&mut self, path: &FieldPath) {
        let mut node = self;
        for segment in path.segments() {
            let next = match (segment, &mut node.value) {
                (Segment::Index(index), Value::List(list)) => list.get_mut(*index),
                (Segment::Field(key) | Segment::Key(key), Value::Map(entries)) => {
                    let at = position(entries, key);
                    at.and_then(|at| entries.get_mut(at))
                        .map(|entry| &mut entry.node)
                }
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return,
            }
        }
        node.value = Value::Null;
    }

    /// Adds `lines` to every line number, for text that lies inside another file.
    pub(crate) fn shift(&mut self, lines: u32) {
        self.line += lines;
        match &mut self.value {
            Value::List(list) => list.iter_mut().for_each(|node| node.shift(lines)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.line += lines;
                    entry.node.shift(lines);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => position(entries, key).and_then(|at| entries.get(at)),
            _ => None,
        }
    }
}

impl From<serde_json::Value> for Node {
    /// What a server has sent: there are no lines to speak of.
    fn from(json: serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Array(list) => {
                Value::List(list.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| Entry {
                    line: 0,
                    key,
                    node: Self::from(value),
                });
                Value::Map(entries.collect())
            }
        };
        Self { line: 0, value }
    }
}

impl Value {
    /// What the value is, for messages: `the number 5`, `a list`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text \"{text}\""),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// The camel-case spelling of a snake-case name; other names stay as they are.
pub(crate) fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn position(entries: &[Entry], key: &str) -> Option<usize> {
    entries
        .iter()
        .position(|entry| entry.key == key)
        .or_else(|| {
            entries
                .iter()
                .position(|entry| camel_case(&entry.key) == key)
        })
}

fn line_number(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A message without the place at its end: problems have one of their own.
fn without_place(message: &str) -> String {
    let place = message.rfind(" at line ").filter(|at| {
        let rest = &message[at + " at line ".len()..];
        rest.chars().all(|c| c.is_ascii_digit() || c == ' ') || rest.contains(", column ")
    });
    message[..place.unwrap_or(message.len())].to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: line_number(spanned.referenced.line()),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // A number beyond i64 is no number of any field; as a float it is reported as such.
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node: Node = access.next_value()?;
            entries.push(Entry {
                line: line_number(key.referenced.line()),
                key: key.value,
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}
