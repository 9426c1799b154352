//! From a tree to a typed spec.
//!
//! In: a [`Node`] and a type of this crate. Out: the value and every fault of form, each with its
//! path. A part of the wrong type is put aside and the rest decoded, so that all faults of a resource
//! are reported at once. Called by `document`.

use std::cell::RefCell;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::tree::{Entry, Node, Value, camel_case};
use crate::{FieldPath, Segment, nearest};

/// What is done with fields that a type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Each is a fault, with the nearest known name. For Istio's specs, where names may be written
    /// in snake case too.
    Strict,
    /// They are passed over. For Kubernetes' own kinds, where most fields are the kubelet's business.
    Lenient,
}

/// A decoded value and what was wrong with its form.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The value; parts of the wrong type are missing from it.
    pub value: T,
    /// Unknown fields and parts of the wrong type.
    pub faults: Vec<(FieldPath, String)>,
    /// The parts of the wrong type and those whose names were probably misspelt, so that what is
    /// missing for their sake is not reported again.
    pub set_aside: Vec<FieldPath>,
}

/// Decodes `node`, which lies at `at` in its document.
pub(crate) fn decode<T: DeserializeOwned + Default>(
    node: &Node,
    at: &FieldPath,
    strictness: Strictness,
) -> Decoded<T> {
    let mut tree = node.clone();
    let mut faults = Vec::new();
    let mut set_aside: Vec<FieldPath> = Vec::new();
    loop {
        let unknown = RefCell::new(Vec::new());
        let context = Context {
            strictness,
            unknown: &unknown,
        };
        let trail = Trail::Root;
        match T::deserialize(Part {
            node: &tree,
            trail: &trail,
            context,
        }) {
            Ok(value) => {
                for Unknown {
                    path,
                    message,
                    meant,
                } in unknown.into_inner()
                {
                    faults.push((path, message));
                    set_aside.extend(meant);
                }
                faults
                    .iter_mut()
                    .for_each(|(path, _)| *path = path.below(at));
                set_aside.iter_mut().for_each(|path| *path = path.below(at));
                return Decoded {
                    value,
                    faults,
                    set_aside,
                };
            }
            Err(Mismatch { path, message }) => {
                let path = path.unwrap_or_default();
                if set_aside.contains(&path) {
                    // Setting it aside did not help: the type wants something that is not there.
                    faults
                        .iter_mut()
                        .for_each(|(path, _)| *path = path.below(at));
                    set_aside.iter_mut().for_each(|path| *path = path.below(at));
                    return Decoded {
                        value: T::default(),
                        faults,
                        set_aside,
                    };
                }
                tree.clear(&path);
                faults.push((path.clone(), message));
                set_aside.push(path);
            }
        }
    }
}

/// Why a part does not fit its type.
#[derive(Debug)]
struct Mismatch {
    path: Option<FieldPath>,
    message: String,
}

/// A field that the type does not have.
struct Unknown {
    path: FieldPath,
    message: String,
    /// The field that was probably meant.
    meant: Option<FieldPath>,
}

#[derive(Clone, Copy)]
struct Context<'a> {
    strictness: Strictness,
    unknown: &'a RefCell<Vec<Unknown>>,
}

/// The way to a part, as a list from the part to the root.
enum Trail<'a> {
    Root,
    Step(&'a Trail<'a>, Segment),
}

/// A node on its way into a type.
#[derive(Clone, Copy)]
struct Part<'a> {
    node: &'a Node,
    trail: &'a Trail<'a>,
    context: Context<'a>,
}

impl Trail<'_> {
    fn path(&self) -> FieldPath {
        let mut segments = Vec::new();
        let mut at = self;
        while let Trail::Step(parent, segment) = at {
            segments.push(segment.clone());
            at = parent;
        }
        segments.reverse();
        FieldPath::from_segments(segments)
    }
}

impl<'a> Part<'a> {
    fn wrong<T>(&self, expected: &str) -> Result<T, Mismatch> {
        let found = self.node.value.describe();
        Err(Mismatch {
            path: Some(self.trail.path()),
            message: format!("expected {expected}, found {found}"),
        })
    }

    fn lenient(self) -> Self {
        let strictness = Strictness::Lenient;
        Self {
            context: Context {
                strictness,
                ..self.context
            },
            ..self
        }
    }

    fn located<T>(&self, result: Result<T, Mismatch>) -> Result<T, Mismatch> {
        result.map_err(|mut error| {
            error.path.get_or_insert_with(|| self.trail.path());
            error
        })
    }

    fn integer(&self) -> Result<i64, Mismatch> {
        match &self.node.value {
            Value::Int(value) => Ok(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Ok(*value as i64),
            Value::Text(text) => text.parse().or_else(|_| self.wrong("an integer")),
            Value::Null => Ok(0),
            Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                self.wrong("an integer")
            }
        }
    }

    fn boolean(&self) -> Result<bool, Mismatch> {
        match &self.node.value {
            Value::Bool(value) => Ok(*value),
            Value::Null => Ok(false),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Ok(true),
                "false" | "no" | "off" | "n" => Ok(false),
                _ => self.wrong("true or false"),
            },
            Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                self.wrong("true or false")
            }
        }
    }

    fn text(&self) -> Result<&'a str, Mismatch> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Null => Ok(""),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                self.wrong("text (put it in quotes)")
            }
            Value::List(_) | Value::Map(_) => self.wrong("text"),
        }
    }

    fn entries(&self) -> Result<&'a [Entry], Mismatch> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            _ => self.wrong("a map"),
        }
    }

    /// The name among `fields` that `entry` is written for; notes the entry if there is none.
    fn field_name(&self, entry: &Entry, fields: &'static [&'static str]) -> Option<&'static str> {
        let known = |name: &str| fields.iter().copied().find(|field| *field == name);
        if let Some(name) = known(&entry.key) {
            return Some(name);
        }
        if self.context.strictness == Strictness::Lenient {
            return None;
        }
        if let Some(name) = known(&camel_case(&entry.key)) {
            return Some(name);
        }
        let meant = nearest(&entry.key, fields.iter().copied());
        let message = match meant {
            Some(name) => format!("unknown field; did you mean `{name}`?"),
            None => format!("unknown field; known here: {}", fields.join(", ")),
        };
        self.note(&entry.key, message, meant);
        None
    }

    /// Notes the members of a list or a map that are nothing: an empty rule would match everything, and
    /// nobody means that by a dash alone.
    fn note_nothings<'n>(&self, members: impl Iterator<Item = (&'n Node, &'n Trail<'n>)>) {
        if self.context.strictness == Strictness::Lenient {
            return;
        }
        let nothings = members.filter(|(node, _)| node.value == Value::Null);
        for (_, trail) in nothings {
            self.context.unknown.borrow_mut().push(Unknown {
                path: trail.path(),
                message: "is nothing; write a value, or leave it out".to_owned(),
                meant: Some(trail.path()),
            });
        }
    }

    fn note(&self, key: &str, message: String, meant: Option<&str>) {
        let here = self.trail.path();
        let meant = meant.map(|name| here.field(name));
        self.context.unknown.borrow_mut().push(Unknown {
            path: here.field(key),
            message,
            meant,
        });
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for Part<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Value::Null => self.located(visitor.visit_unit()),
            Value::Bool(value) => self.located(visitor.visit_bool(*value)),
            Value::Int(value) => self.located(visitor.visit_i64(*value)),
            Value::Float(value) => self.located(visitor.visit_f64(*value)),
            Value::Text(text) => self.located(visitor.visit_str(text)),
            // A value of any form is not ours to judge.
            Value::List(_) => self.lenient().deserialize_seq(visitor),
            Value::Map(_) => self.lenient().deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.located(visitor.visit_bool(self.boolean()?))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.located(visitor.visit_i64(self.integer()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Value::Int(value) => self.located(visitor.visit_i64(*value)),
            Value::Float(value) => self.located(visitor.visit_f64(*value)),
            Value::Null => self.located(visitor.visit_f64(0.0)),
            _ => self.wrong("a number"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.located(visitor.visit_str(self.text()?))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let list: &[Node] = match &self.node.value {
            Value::List(list) => list,
            Value::Null => &[],
            _ => return self.wrong("a list"),
        };
        let trails: Vec<_> = (0..list.len())
            .map(|index| Trail::Step(self.trail, Segment::Index(index)))
            .collect();
        self.note_nothings(list.iter().zip(&trails));
        let parts = list.iter().zip(&trails).map(|(node, trail)| Part {
            node,
            trail,
            context: self.context,
        });
        self.located(visitor.visit_seq(SeqDeserializer::new(parts)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let entries = self.entries()?;
        let trails: Vec<_> = entries
            .iter()
            .map(|entry| Trail::Step(self.trail, Segment::Key(entry.key.clone())))
            .collect();
        self.note_nothings(entries.iter().map(|it| &it.node).zip(&trails));
        let parts = entries.iter().zip(&trails).map(|(entry, trail)| {
            let part = Part {
                node: &entry.node,
                trail,
                context: self.context,
            };
            (entry.key.as_str(), part)
        });
        self.located(visitor.visit_map(MapDeserializer::new(parts)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let mut taken: Vec<(&'static str, &Entry, Trail<'_>)> = Vec::new();
        for entry in self.entries()? {
            let Some(name) = self.field_name(entry, fields) else {
                continue;
            };
            if taken.iter().any(|(other, ..)| *other == name) {
                self.note(
                    &entry.key,
                    format!("`{name}` is written twice; remove one"),
                    None,
                );
            } else if entry.node.value != Value::Null {
                let step = Segment::Field(name.to_owned());
                taken.push((name, entry, Trail::Step(self.trail, step)));
            }
        }
        let parts = taken.iter().map(|(name, entry, trail)| {
            (
                *name,
                Part {
                    node: &entry.node,
                    trail,
                    context: self.context,
                },
            )
        });
        self.located(visitor.visit_map(MapDeserializer::new(parts)))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self {
            path: None,
            message: message.to_string(),
        }
    }
}
