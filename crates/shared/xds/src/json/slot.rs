//! What a value is read as, and what is expected of it, for errors.
//!
//! The reader asks; nothing here reads.

use serde_json::Value;

use super::known::WellKnown;
use super::scalar::{self, Scalar};
use super::schema::{EnumType, Field, MessageType, Shape};

/// What errors call an object.
pub const AN_OBJECT: &str = "an object";
/// What errors call a list.
pub const A_LIST: &str = "a list";

/// What a value is read as.
#[derive(Clone, Copy)]
pub enum Slot {
    /// All of a field: its one value, its list or its map.
    Field(&'static Field),
    /// An element of a list.
    Element(&'static Field),
    /// The value of an entry of a map.
    Entry(&'static Field),
    /// A message without a tag.
    Bare(&'static MessageType),
}

impl Slot {
    /// The number that its values are tagged with.
    pub fn number(self) -> u32 {
        match self {
            Self::Field(field) | Self::Element(field) | Self::Entry(field) => field.number,
            Self::Bare(_) => 0,
        }
    }

    /// The message type of its values, if they are messages.
    pub fn message(self) -> Option<&'static MessageType> {
        match self {
            Self::Field(field) | Self::Element(field) | Self::Entry(field) => field.kind.message(),
            Self::Bare(message) => Some(message),
        }
    }

    /// What it takes, for an error.
    pub fn expected(self) -> String {
        match self {
            Self::Field(field) if field.shape == Shape::Map => AN_OBJECT.to_owned(),
            Self::Field(field) if field.shape.is_list() => A_LIST.to_owned(),
            Self::Field(field) | Self::Element(field) | Self::Entry(field) => {
                let kind = field.kind;
                match (kind.message(), kind.enumeration()) {
                    (Some(message), _) => described(message),
                    (_, Some(enumeration)) => format!("a value of {}", enumeration.name()),
                    (None, None) => scalar::expected(kind).to_owned(),
                }
            }
            Self::Bare(message) => described(message),
        }
    }
}

/// Whether `null` is a value of the field, and not its absence.
pub fn takes_null(field: &Field) -> bool {
    if matches!(field.shape, Shape::List | Shape::Packed | Shape::Map) {
        return false;
    }
    let message = field.kind.message().map(MessageType::name);
    message.and_then(WellKnown::named) == Some(WellKnown::Value)
        || field.kind.enumeration().is_some_and(is_null_value)
}

pub fn is_null_value(enumeration: &EnumType) -> bool {
    enumeration.name() == "google.protobuf.NullValue"
}

/// What a message takes, for an error.
pub fn described(message: &MessageType) -> String {
    let described = match WellKnown::named(message.name()) {
        None | Some(WellKnown::Value) => return format!("an object of {}", message.name()),
        Some(WellKnown::Any) => "an object with @type",
        Some(WellKnown::Duration) => "a duration such as \"1.5s\"",
        Some(WellKnown::Timestamp) => "a time such as \"2006-01-02T15:04:05Z\"",
        Some(WellKnown::Struct) => AN_OBJECT,
        Some(WellKnown::List) => A_LIST,
        Some(WellKnown::Wrapper) => match message.field("value") {
            Some((field, _)) => scalar::expected(field.kind),
            None => AN_OBJECT,
        },
    };
    described.to_owned()
}

/// A value as an error shows it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => AN_OBJECT.to_owned(),
        Value::Array(_) => A_LIST.to_owned(),
        Value::Null => Scalar::Null.shown(),
        Value::Bool(value) => Scalar::Bool(*value).shown(),
        Value::Number(number) => Scalar::Number(number.clone()).shown(),
        Value::String(text) => Scalar::Text(text).shown(),
    }
}
