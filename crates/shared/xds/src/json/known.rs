//! The messages whose JSON form is not an object of their fields, and `Struct` both ways.

use prost::Message as _;
use prost_reflect::MessageDescriptor;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as StructValue};
use serde_json::{Map, Number, Value};

/// A message with a JSON form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown {
    /// `google.protobuf.Any`: the fields of the message inside, and `@type`.
    Any,
    /// `google.protobuf.Duration`: seconds with a final `s`.
    Duration,
    /// `google.protobuf.Timestamp`: RFC 3339.
    Timestamp,
    /// `google.protobuf.Struct`: any object.
    Struct,
    /// `google.protobuf.Value`: any JSON.
    Value,
    /// `google.protobuf.ListValue`: any list.
    List,
    /// `google.protobuf.UInt32Value` and the like: the value alone.
    Wrapper,
}

impl WellKnown {
    /// Which one a message type is, if any.
    pub fn of(descriptor: &MessageDescriptor) -> Option<Self> {
        Self::named(descriptor.full_name())
    }

    /// Which one the message type of a full name is, if any.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("google.protobuf.")? {
            "Any" => Self::Any,
            "Duration" => Self::Duration,
            "Timestamp" => Self::Timestamp,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::List,
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value"
            | "Int64Value" | "StringValue" | "UInt32Value" | "UInt64Value" => Self::Wrapper,
            _ => return None,
        })
    }
}

/// Prints a number; a whole one as an integer, one that JSON has no number for as a string.
pub fn number_to_json(number: f64) -> Value {
    /// Up to here every whole number is a number of its own in an `f64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        return Value::from(number as i64);
    }
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// Prints a `Struct`.
pub fn struct_to_json(message: Struct) -> Value {
    let fields = message.fields.into_iter();
    Value::Object(
        fields
            .map(|(name, value)| (name, value_to_json(value)))
            .collect(),
    )
}

/// Prints a `ListValue`.
pub fn list_to_json(message: ListValue) -> Value {
    Value::Array(message.values.into_iter().map(value_to_json).collect())
}

/// Prints a `Value`.
pub fn value_to_json(message: StructValue) -> Value {
    match message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number_to_json(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::StructValue(value)) => struct_to_json(value),
        Some(Kind::ListValue(value)) => list_to_json(value),
    }
}

/// Encodes a tree as a `Struct`, a `ListValue` or a `Value`, whichever is asked for and fits; the
/// caller has bounded the depth.
pub fn encode_tree(known: WellKnown, value: Value) -> Vec<u8> {
    match (known, value) {
        (WellKnown::Struct, Value::Object(fields)) => struct_from_json(fields).encode_to_vec(),
        (WellKnown::List, Value::Array(values)) => list_from_json(values).encode_to_vec(),
        (_, value) => value_from_json(value).encode_to_vec(),
    }
}

/// Reads a `Struct` from the fields of an object; the caller has bounded the depth.
fn struct_from_json(fields: Map<String, Value>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name, value_from_json(value)))
            .collect(),
    }
}

/// Reads a `ListValue` from the elements of a list; the caller has bounded the depth.
fn list_from_json(values: Vec<Value>) -> ListValue {
    ListValue {
        values: values.into_iter().map(value_from_json).collect(),
    }
}

/// Reads a `Value`; the caller has bounded the depth.
fn value_from_json(value: Value) -> StructValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(number_from_json(&value)),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => Kind::ListValue(list_from_json(values)),
        Value::Object(fields) => Kind::StructValue(struct_from_json(fields)),
    };
    StructValue { kind: Some(kind) }
}

/// A JSON number as the nearest `f64`.
pub fn number_from_json(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

/// How many lists and objects deep a value is.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}
