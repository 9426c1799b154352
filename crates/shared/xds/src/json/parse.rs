//! JSON to messages. Stops at the first value that does not fit and says where it is.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    Value as ProtoValue,
};
use prost_types::{Any, Duration, Timestamp};
use serde_json::{Map, Value};

use super::JsonError;
use super::known::{self, WellKnown};
use super::path::{FieldPath, Segment};
use crate::any::type_name;

/// prost decodes no deeper than this.
const MAX_DEPTH: usize = 100;

/// How many messages deep one level of a `Struct` is: a `Struct`, a map entry and a `Value`.
const DEPTH_OF_STRUCT: usize = 3;

/// How many characters of a value an error shows.
const MAX_SHOWN: usize = 60;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads one document.
#[derive(Default)]
pub struct Parser {
    path: FieldPath,
}

impl Parser {
    /// Reads a message, a well-known one in its own form.
    pub fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        value: Value,
    ) -> Result<DynamicMessage, JsonError> {
        match (WellKnown::of(descriptor), value) {
            (Some(known), value) => self.well_known(known, descriptor, value),
            (None, Value::Object(object)) => self.fields(descriptor, object),
            (None, other) => {
                Err(self.mismatch(format!("an object of {}", descriptor.full_name()), &other))
            }
        }
    }

    fn fields(
        &mut self,
        descriptor: &MessageDescriptor,
        object: Map<String, Value>,
    ) -> Result<DynamicMessage, JsonError> {
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut given: Vec<(FieldDescriptor, String)> = Vec::with_capacity(object.len());
        for (name, value) in object {
            self.inside(Segment::Field(name.clone()), |parser| {
                let field = descriptor
                    .get_field_by_name(&name)
                    .or_else(|| descriptor.get_field_by_json_name(&name))
                    .ok_or_else(|| JsonError::UnknownField {
                        path: parser.path.to_string(),
                        message: descriptor.full_name().to_owned(),
                    })?;
                if value.is_null() && !takes_null(&field) {
                    return Ok(());
                }
                parser.check_alone(&field, &given)?;
                let value = parser.field(&field, value)?;
                message.set_field(&field, value);
                given.push((field, name.clone()));
                Ok(())
            })?;
        }
        Ok(message)
    }

    fn check_alone(
        &self,
        field: &FieldDescriptor,
        given: &[(FieldDescriptor, String)],
    ) -> Result<(), JsonError> {
        let path = || self.path.to_string();
        if let Some((_, other)) = given.iter().find(|(earlier, _)| earlier == field) {
            return Err(JsonError::Duplicate {
                path: path(),
                other: other.clone(),
            });
        }
        let Some(oneof) = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic())
        else {
            return Ok(());
        };
        match given
            .iter()
            .find(|(earlier, _)| earlier.containing_oneof().as_ref() == Some(&oneof))
        {
            Some((_, other)) => Err(JsonError::OneofConflict {
                path: path(),
                other: other.clone(),
                oneof: oneof.name().to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn field(&mut self, field: &FieldDescriptor, value: Value) -> Result<ProtoValue, JsonError> {
        let kind = field.kind();
        match (&kind, value) {
            (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
                self.map(entry, entries)
            }
            (_, other) if field.is_map() => Err(self.mismatch("an object".to_owned(), &other)),
            (kind, Value::Array(values)) if field.is_list() => {
                let mut list = Vec::with_capacity(values.len());
                for (index, value) in values.into_iter().enumerate() {
                    list.push(
                        self.inside(Segment::Index(index), |parser| parser.single(kind, value))?,
                    );
                }
                Ok(ProtoValue::List(list))
            }
            (_, other) if field.is_list() => Err(self.mismatch("a list".to_owned(), &other)),
            (kind, value) => self.single(kind, value),
        }
    }

    fn map(
        &mut self,
        entry: &MessageDescriptor,
        entries: Map<String, Value>,
    ) -> Result<ProtoValue, JsonError> {
        let key_kind = entry.map_entry_key_field().kind();
        let value_kind = entry.map_entry_value_field().kind();
        let mut map = std::collections::HashMap::with_capacity(entries.len());
        for (name, value) in entries {
            let (key, value) = self.inside(Segment::Key(name.clone()), |parser| {
                Ok((
                    parser.map_key(&key_kind, name)?,
                    parser.single(&value_kind, value)?,
                ))
            })?;
            map.insert(key, value);
        }
        Ok(ProtoValue::Map(map))
    }

    fn map_key(&mut self, kind: &Kind, name: String) -> Result<MapKey, JsonError> {
        let value = match (kind, name.as_str()) {
            (Kind::Bool, "true") => Value::Bool(true),
            (Kind::Bool, "false") => Value::Bool(false),
            _ => Value::String(name),
        };
        let found = value.clone();
        self.single(kind, value)?
            .into_map_key()
            .ok_or_else(|| self.mismatch("the key of a map".to_owned(), &found))
    }

    fn single(&mut self, kind: &Kind, value: Value) -> Result<ProtoValue, JsonError> {
        let fit = match (kind, &value) {
            (Kind::Message(descriptor), _) => {
                return self.message(descriptor, value).map(ProtoValue::Message);
            }
            (Kind::Enum(descriptor), _) => return self.enum_value(descriptor, &value),
            (Kind::String, Value::String(text)) => Some(ProtoValue::String(text.clone())),
            (Kind::Bytes, Value::String(text)) => {
                bytes(text).map(|bytes| ProtoValue::Bytes(bytes.into()))
            }
            (Kind::Bool, Value::Bool(value)) => Some(ProtoValue::Bool(*value)),
            (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, _) => {
                integer(&value).map(ProtoValue::I32)
            }
            (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, _) => {
                integer(&value).map(ProtoValue::I64)
            }
            (Kind::Uint32 | Kind::Fixed32, _) => integer(&value).map(ProtoValue::U32),
            (Kind::Uint64 | Kind::Fixed64, _) => integer(&value).map(ProtoValue::U64),
            (Kind::Double, _) => float(&value).map(ProtoValue::F64),
            (Kind::Float, _) => float(&value)
                .and_then(single_precision)
                .map(ProtoValue::F32),
            (Kind::String | Kind::Bytes | Kind::Bool, _) => None,
        };
        fit.ok_or_else(|| self.mismatch(expected(kind).to_owned(), &value))
    }

    fn enum_value(
        &self,
        descriptor: &EnumDescriptor,
        value: &Value,
    ) -> Result<ProtoValue, JsonError> {
        match value {
            Value::Null if is_null_value(descriptor) => Ok(ProtoValue::EnumNumber(0)),
            Value::String(name) => match descriptor.get_value_by_name(name) {
                Some(value) => Ok(ProtoValue::EnumNumber(value.number())),
                None => Err(JsonError::UnknownEnumValue {
                    path: self.path.to_string(),
                    value: name.clone(),
                    enumeration: descriptor.full_name().to_owned(),
                }),
            },
            number => integer(number).map(ProtoValue::EnumNumber).ok_or_else(|| {
                self.mismatch(format!("a value of {}", descriptor.full_name()), number)
            }),
        }
    }

    fn well_known(
        &mut self,
        known: WellKnown,
        descriptor: &MessageDescriptor,
        value: Value,
    ) -> Result<DynamicMessage, JsonError> {
        if matches!(
            known,
            WellKnown::Struct | WellKnown::List | WellKnown::Value
        ) {
            self.check_depth(&value)?;
        }
        let bytes = match (known, value) {
            (WellKnown::Any, Value::Object(object)) => self.any(object)?.encode_to_vec(),
            (WellKnown::Any, other) => {
                return Err(self.mismatch("an object with @type".to_owned(), &other));
            }
            (WellKnown::Duration, value) => {
                self.parsed::<Duration>(&value, "a duration such as \"1.5s\"")?
            }
            (WellKnown::Timestamp, value) => {
                self.parsed::<Timestamp>(&value, "a time such as \"2006-01-02T15:04:05Z\"")?
            }
            (WellKnown::Struct, Value::Object(object)) => {
                known::struct_from_json(object).encode_to_vec()
            }
            (WellKnown::Struct, other) => return Err(self.mismatch("an object".to_owned(), &other)),
            (WellKnown::List, Value::Array(values)) => {
                known::list_from_json(values).encode_to_vec()
            }
            (WellKnown::List, other) => return Err(self.mismatch("a list".to_owned(), &other)),
            (WellKnown::Value, value) => known::value_from_json(value).encode_to_vec(),
            (WellKnown::Wrapper, value) => return self.wrapper(descriptor, value),
        };
        DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).map_err(|source| {
            JsonError::Transcode {
                message: descriptor.full_name().to_owned(),
                source,
            }
        })
    }

    fn any(&mut self, mut object: Map<String, Value>) -> Result<Any, JsonError> {
        let url = match object.shift_remove("@type") {
            Some(Value::String(url)) => url,
            Some(other) => return Err(self.mismatch("a type URL in @type".to_owned(), &other)),
            None if object.is_empty() => return Ok(Any::default()),
            None => {
                return Err(JsonError::MissingType {
                    path: self.path.to_string(),
                });
            }
        };
        let Some(descriptor) = crate::pool().get_message_by_name(type_name(&url)) else {
            return Err(JsonError::UnknownType {
                path: self.path.to_string(),
                url,
            });
        };
        let message = match WellKnown::of(&descriptor) {
            None => self.fields(&descriptor, object)?,
            Some(known) => self.value_of_any(known, &descriptor, object)?,
        };
        Ok(Any {
            type_url: url,
            value: message.encode_to_vec(),
        })
    }

    /// Inside an `Any`, a message whose JSON is not an object of its fields is in `value`.
    fn value_of_any(
        &mut self,
        known: WellKnown,
        descriptor: &MessageDescriptor,
        object: Map<String, Value>,
    ) -> Result<DynamicMessage, JsonError> {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, value) in object {
            message = self.inside(Segment::Field(name.clone()), |parser| match name.as_str() {
                "value" => parser.well_known(known, descriptor, value),
                _ => Err(JsonError::UnknownField {
                    path: parser.path.to_string(),
                    message: descriptor.full_name().to_owned(),
                }),
            })?;
        }
        Ok(message)
    }

    fn wrapper(
        &mut self,
        descriptor: &MessageDescriptor,
        value: Value,
    ) -> Result<DynamicMessage, JsonError> {
        let field = descriptor
            .get_field(1)
            .expect("wrappers have a field `value`");
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field(&field, self.single(&field.kind(), value)?);
        Ok(message)
    }

    /// Reads a message that is written as a string; answers with its encoding.
    fn parsed<M: prost::Message + FromStr>(
        &self,
        value: &Value,
        expected: &str,
    ) -> Result<Vec<u8>, JsonError> {
        let parsed = value.as_str().and_then(|text| M::from_str(text).ok());
        match parsed {
            Some(message) => Ok(message.encode_to_vec()),
            None => Err(self.mismatch(expected.to_owned(), value)),
        }
    }

    fn check_depth(&self, value: &Value) -> Result<(), JsonError> {
        if self.path.len() + DEPTH_OF_STRUCT * known::depth(value) > MAX_DEPTH {
            return Err(JsonError::TooDeep {
                path: self.path.to_string(),
            });
        }
        Ok(())
    }

    /// Runs `read` one step further in.
    fn inside<T>(
        &mut self,
        segment: Segment,
        read: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        self.path.push(segment);
        if self.path.len() > MAX_DEPTH {
            return Err(JsonError::TooDeep {
                path: self.path.to_string(),
            });
        }
        let result = read(self);
        self.path.pop();
        result
    }

    fn mismatch(&self, expected: String, found: &Value) -> JsonError {
        let mut found = match found {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            other => other.to_string(),
        };
        if let Some((end, _)) = found.char_indices().nth(MAX_SHOWN) {
            found.truncate(end);
            found.push('…');
        }
        JsonError::Mismatch {
            path: self.path.to_string(),
            expected,
            found,
        }
    }
}

/// Whether `null` is a value of the field, and not its absence.
fn takes_null(field: &FieldDescriptor) -> bool {
    match field.kind() {
        _ if field.is_list() || field.is_map() => false,
        Kind::Message(descriptor) => WellKnown::of(&descriptor) == Some(WellKnown::Value),
        Kind::Enum(descriptor) => is_null_value(&descriptor),
        _ => false,
    }
}

fn is_null_value(descriptor: &EnumDescriptor) -> bool {
    descriptor.full_name() == "google.protobuf.NullValue"
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an integer of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an integer of 64 bits",
        Kind::Uint32 | Kind::Fixed32 => "an integer of 32 bits, not negative",
        Kind::Uint64 | Kind::Fixed64 => "an integer of 64 bits, not negative",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "base64",
        Kind::Message(_) => "a message",
        Kind::Enum(_) => "the name of a value",
    }
}

/// An integer as such, in a string, or as a whole number in floating point.
fn integer<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    /// Beyond this no 64-bit integer lies, and every `f64` within converts exactly.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let number = match value {
        Value::String(text) => return T::try_from(text.parse().ok()?).ok(),
        Value::Number(number) => number,
        _ => return None,
    };
    let exact = number
        .as_u64()
        .map(i128::from)
        .or_else(|| number.as_i64().map(i128::from));
    let exact = exact.or_else(|| {
        let number = number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() <= LIMIT)?;
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        Some(number as i128)
    });
    T::try_from(exact?).ok()
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(known::number_from_json(number)),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    }
}

/// The nearest `f32`, unless a finite number is out of its range.
fn single_precision(number: f64) -> Option<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what protobuf asks for"
    )]
    let single = number as f32;
    (single.is_finite() || !number.is_finite()).then_some(single)
}

/// Base64 in either alphabet, with or without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64
        .decode(text)
        .or_else(|_| BASE64_URL.decode(text))
        .ok()
}
