//! Messages to JSON. Never fails: what has no better form is printed as base64.

use std::collections::HashSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value as ProtoValue,
};
use prost_types::{Any, Duration, ListValue, Struct, Timestamp, Value as StructValue};
use serde_json::{Map, Value};

use super::known::{self, WellKnown};
use super::{JsonNames, JsonStyle, Secrets};
use crate::any::type_name;

const REDACTED: &str = "[redacted]";

/// The full names of the fields that carry `(udpa.annotations.sensitive) = true`.
static SENSITIVE: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let pool = crate::pool();
    let extension = pool
        .get_extension_by_name("udpa.annotations.sensitive")
        .expect("the descriptor set holds udpa's annotations");
    pool.all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| field.options().get_extension(&extension).as_bool() == Some(true))
        .map(|field| field.full_name().to_owned())
        .collect()
});

/// Prints messages in one style.
pub struct Printer {
    style: JsonStyle,
}

/// Whether a value is inside a field that is not to be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    No,
    Yes,
}

impl Printer {
    /// A printer of this style.
    pub fn new(style: JsonStyle) -> Self {
        Self { style }
    }

    /// Prints a message, a well-known one in its own form.
    pub fn message(&self, message: &DynamicMessage) -> Value {
        self.any_message(message, Hidden::No)
    }

    fn any_message(&self, message: &DynamicMessage, hidden: Hidden) -> Value {
        match WellKnown::of(&message.descriptor()) {
            Some(known) => self.well_known(known, message, hidden),
            None => Value::Object(self.fields(message, hidden)),
        }
    }

    fn fields(&self, message: &DynamicMessage, hidden: Hidden) -> Map<String, Value> {
        let mut object = Map::new();
        for (field, value) in message.fields() {
            let name = match self.style.names {
                JsonNames::Proto => field.name(),
                JsonNames::Json => field.json_name(),
            };
            let hidden = self.hidden(&field, hidden);
            object.insert(name.to_owned(), self.field(&field, value, hidden));
        }
        object
    }

    fn hidden(&self, field: &FieldDescriptor, outer: Hidden) -> Hidden {
        match self.style.secrets {
            Secrets::Shown => Hidden::No,
            Secrets::Redacted if SENSITIVE.contains(field.full_name()) => Hidden::Yes,
            Secrets::Redacted => outer,
        }
    }

    fn field(&self, field: &FieldDescriptor, value: &ProtoValue, hidden: Hidden) -> Value {
        match value {
            ProtoValue::List(values) => {
                let values = values.iter();
                Value::Array(
                    values
                        .map(|value| self.single(&field.kind(), value, hidden))
                        .collect(),
                )
            }
            ProtoValue::Map(entries) => {
                let kind = match field.kind() {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    kind => kind,
                };
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                let entries = entries.into_iter();
                Value::Object(
                    entries
                        .map(|(key, value)| (key_name(key), self.single(&kind, value, hidden)))
                        .collect(),
                )
            }
            single => self.single(&field.kind(), single, hidden),
        }
    }

    fn single(&self, kind: &Kind, value: &ProtoValue, hidden: Hidden) -> Value {
        if let ProtoValue::Message(message) = value {
            return self.any_message(message, hidden);
        }
        match hidden {
            Hidden::Yes => redacted(value),
            Hidden::No => scalar(kind, value),
        }
    }

    fn well_known(&self, known: WellKnown, message: &DynamicMessage, hidden: Hidden) -> Value {
        if hidden == Hidden::Yes && known != WellKnown::Any {
            return Value::from(REDACTED);
        }
        match known {
            WellKnown::Any => self.any(&transcode(message), hidden),
            WellKnown::Duration => Value::from(transcode::<Duration>(message).to_string()),
            WellKnown::Timestamp => Value::from(transcode::<Timestamp>(message).to_string()),
            WellKnown::Struct => known::struct_to_json(transcode::<Struct>(message)),
            WellKnown::List => known::list_to_json(transcode::<ListValue>(message)),
            WellKnown::Value => known::value_to_json(transcode::<StructValue>(message)),
            WellKnown::Wrapper => {
                let field = message
                    .descriptor()
                    .get_field(1)
                    .expect("wrappers have a field `value`");
                scalar(&field.kind(), &message.get_field(&field))
            }
        }
    }

    fn any(&self, any: &Any, hidden: Hidden) -> Value {
        let mut object = Map::new();
        if any.type_url.is_empty() && any.value.is_empty() {
            return Value::Object(object);
        }
        object.insert("@type".to_owned(), Value::from(any.type_url.as_str()));
        let inside = crate::pool()
            .get_message_by_name(type_name(&any.type_url))
            .and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok());
        match inside {
            Some(message) if WellKnown::of(&message.descriptor()).is_none() => {
                object.extend(self.fields(&message, hidden));
            }
            Some(message) => {
                object.insert("value".to_owned(), self.any_message(&message, hidden));
            }
            None if hidden == Hidden::Yes => {
                object.insert("value".to_owned(), Value::from(STANDARD.encode(REDACTED)));
            }
            None => {
                object.insert("value".to_owned(), Value::from(STANDARD.encode(&any.value)));
            }
        }
        Value::Object(object)
    }
}

fn transcode<M: prost::Message + Default>(message: &DynamicMessage) -> M {
    message
        .transcode_to()
        .expect("well-known messages decode as themselves")
}

fn scalar(kind: &Kind, value: &ProtoValue) -> Value {
    match value {
        ProtoValue::Bool(value) => Value::Bool(*value),
        ProtoValue::I32(value) => Value::from(*value),
        ProtoValue::U32(value) => Value::from(*value),
        // 64-bit integers are strings in protobuf JSON.
        ProtoValue::I64(value) => Value::from(value.to_string()),
        ProtoValue::U64(value) => Value::from(value.to_string()),
        // Through its shortest decimal form, so that 0.1 is not printed as 0.10000000149.
        ProtoValue::F32(value) => {
            known::number_to_json(value.to_string().parse().unwrap_or(f64::from(*value)))
        }
        ProtoValue::F64(value) => known::number_to_json(*value),
        ProtoValue::String(value) => Value::from(value.as_str()),
        ProtoValue::Bytes(value) => Value::from(STANDARD.encode(value)),
        ProtoValue::EnumNumber(number) => enum_value(kind, *number),
        ProtoValue::Message(_) | ProtoValue::List(_) | ProtoValue::Map(_) => {
            unreachable!("messages, lists and maps are printed by the caller")
        }
    }
}

fn enum_value(kind: &Kind, number: i32) -> Value {
    let Kind::Enum(descriptor) = kind else {
        return Value::from(number);
    };
    if descriptor.full_name() == "google.protobuf.NullValue" {
        return Value::Null;
    }
    match descriptor.get_value(number) {
        Some(value) => Value::from(value.name()),
        None => Value::from(number),
    }
}

fn redacted(value: &ProtoValue) -> Value {
    match value {
        ProtoValue::Bytes(_) => Value::from(STANDARD.encode(REDACTED)),
        _ => Value::from(REDACTED),
    }
}

fn key_name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
