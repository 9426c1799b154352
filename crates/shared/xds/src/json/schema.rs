//! What messages, fields and enumerations are called, from tables made by `build/schema.rs`.
//!
//! Names enter, fields with their numbers and kinds leave. The tables are constants, so that to
//! look something up takes neither time nor memory at the start of a program.

use self::{EnumType as E, Field as F, Kind as K, MessageType as M, Shape as S, Text as T};

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

/// A piece of the names: where it starts, how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text(u32, u16);

/// A message type.
#[derive(Debug)]
pub struct MessageType {
    name: Text,
    start: u32,
    end: u32,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// The kind of each of its values.
    pub kind: Kind,
    /// How many values it has, and how they are encoded.
    pub shape: Shape,
    oneof: Text,
}

/// An enumeration.
#[derive(Debug)]
pub struct EnumType {
    name: Text,
    start: u32,
    end: u32,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// By its position among the messages.
    Message(u16),
    /// By its position among the enumerations.
    Enum(u16),
}

/// How many values a field has, and how they are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One, which is not encoded where it is the default.
    Implicit,
    /// One or none.
    Explicit,
    /// Many, each for itself.
    List,
    /// Many, together.
    Packed,
    /// Many, by keys.
    Map,
}

impl Text {
    fn text(self) -> &'static str {
        let start = self.0 as usize;
        &NAMES[start..start + usize::from(self.1)]
    }
}

impl MessageType {
    /// The message type of a full name.
    pub fn named(name: &str) -> Option<&'static Self> {
        let at = MESSAGES.binary_search_by(|message| message.name().cmp(name));
        at.ok().map(|at| &MESSAGES[at])
    }

    /// Its full name.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// The field of a name, in either spelling, and the name.
    pub fn field(&self, name: &str) -> Option<(&'static Field, &'static str)> {
        let spellings = &SPELLINGS[self.start as usize..self.end as usize];
        let at = spellings.binary_search_by(|(spelling, _)| spelling.text().cmp(name));
        let (spelling, field) = spellings[at.ok()?];
        Some((&FIELDS[field as usize], spelling.text()))
    }
}

impl Shape {
    /// Whether values are written in a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Packed)
    }
}

impl Field {
    /// The `oneof` whose alternative it is.
    pub fn oneof(&self) -> Option<&'static str> {
        Some(self.oneof.text()).filter(|name| !name.is_empty())
    }
}

impl Kind {
    /// The message type, where that is what it is.
    pub fn message(self) -> Option<&'static MessageType> {
        match self {
            Self::Message(at) => Some(&MESSAGES[usize::from(at)]),
            _ => None,
        }
    }

    /// The enumeration, where that is what it is.
    pub fn enumeration(self) -> Option<&'static EnumType> {
        match self {
            Self::Enum(at) => Some(&ENUMS[usize::from(at)]),
            _ => None,
        }
    }
}

impl EnumType {
    /// Its full name.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// The number of a value's name.
    pub fn number(&self, name: &str) -> Option<i32> {
        let values = &ENUM_VALUES[self.start as usize..self.end as usize];
        let at = values.binary_search_by(|(value, _)| value.text().cmp(name));
        at.ok().map(|at| values[at].1)
    }
}
