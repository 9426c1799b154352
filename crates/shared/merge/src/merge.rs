//! One message merged into another.
//!
//! In: a message and a patch in its encoded form. Out: the message with the patch's fields: scalars in
//! the place of what was there, messages merged, lists grown or replaced, maps by key. Durations and
//! wrapped scalars are values, so that they are replaced as a whole.

use meltemi_xds::any::type_name;
use meltemi_xds::pool;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};
use prost_types::Any;

/// What becomes of a list that the patch has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// The patch's elements come behind.
    Grow,
    /// The patch's elements stand alone.
    Replace,
}

/// Merges a patch into a message. Nothing happens if the bytes are not one of its type.
pub fn merge<M: Message + Name + Default>(into: &mut M, patch: &[u8], lists: Lists) {
    let merged = merged(&M::full_name(), &into.encode_to_vec(), patch, lists);
    if let Some(merged) = merged.and_then(|bytes| M::decode(bytes.as_slice()).ok()) {
        *into = merged;
    }
}

/// Merges the message within one `Any` into that of another. Nothing happens if their types differ:
/// what one says has no meaning in the other.
pub fn merge_any(into: &mut Any, patch: &Any, lists: Lists) {
    let name = type_name(&into.type_url);
    if name != type_name(&patch.type_url) {
        return;
    }
    if let Some(value) = merged(name, &into.value, &patch.value, lists) {
        into.value = value;
    }
}

/// Merges two messages of the type of this name in their encoded form; `None` if the bytes are not of
/// that type.
pub fn merged(name: &str, into: &[u8], patch: &[u8], lists: Lists) -> Option<Vec<u8>> {
    let descriptor = pool().get_message_by_name(name)?;
    let mut into = DynamicMessage::decode(descriptor.clone(), into).ok()?;
    let patch = DynamicMessage::decode(descriptor, patch).ok()?;
    merge_fields(&mut into, &patch, lists);
    Some(into.encode_to_vec())
}

fn merge_fields(into: &mut DynamicMessage, patch: &DynamicMessage, lists: Lists) {
    for (field, value) in patch.fields() {
        match (into.has_field(&field), value) {
            (true, Value::List(more)) if lists == Lists::Grow => {
                if let Value::List(list) = into.get_field_mut(&field) {
                    list.extend(more.iter().cloned());
                }
            }
            (true, Value::Map(more)) => {
                if let Value::Map(map) = into.get_field_mut(&field) {
                    map.extend(more.iter().map(|(key, it)| (key.clone(), it.clone())));
                }
            }
            (true, Value::Message(more)) if !is_value(&field) => {
                if let Value::Message(message) = into.get_field_mut(&field) {
                    merge_fields(message, more, lists);
                }
            }
            (_, value) => into.set_field(&field, value.clone()),
        }
    }
}

/// Whether a message of this field is one value rather than a number of fields.
fn is_value(field: &FieldDescriptor) -> bool {
    let Kind::Message(descriptor) = field.kind() else {
        return false;
    };
    matches!(
        descriptor.full_name().strip_prefix("google.protobuf."),
        Some(
            "Duration"
                | "Timestamp"
                | "Any"
                | "BoolValue"
                | "BytesValue"
                | "DoubleValue"
                | "FloatValue"
                | "Int32Value"
                | "Int64Value"
                | "StringValue"
                | "UInt32Value"
                | "UInt64Value"
        )
    )
}

#[cfg(test)]
mod tests {
    use meltemi_xds::json::{from_json, to_json};
    use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
    use serde_json::{Value as Json, json};

    use super::*;

    fn cluster(json: Json) -> Cluster {
        from_json(json).expect("a cluster")
    }

    #[track_caller]
    fn check(into: Json, patch: Json, lists: Lists, expected: Json) {
        let mut into = cluster(into);
        merge(&mut into, &cluster(patch).encode_to_vec(), lists);
        assert_eq!(to_json(&into), to_json(&cluster(expected)));
    }

    #[test]
    fn values_are_replaced_and_messages_merged() {
        check(
            json!({
                "name": "a",
                "connect_timeout": "1.5s",
                "type": "EDS",
                "wait_for_warm_on_init": true,
                "alt_stat_name": "b",
            }),
            json!({
                "connect_timeout": "2s",
                "type": "STATIC",
                "wait_for_warm_on_init": false,
            }),
            Lists::Grow,
            json!({
                "name": "a",
                "connect_timeout": "2s",
                "type": "STATIC",
                "wait_for_warm_on_init": false,
                "alt_stat_name": "b",
            }),
        );
    }

    #[test]
    fn lists_grow_or_are_replaced_and_maps_go_by_key() {
        let into = || {
            json!({
                "circuit_breakers": {"thresholds": [{"max_retries": 1}]},
                "metadata": {"filter_metadata": {"a": {"x": 1}, "b": {"x": 2}}},
            })
        };
        let patch = || {
            json!({
                "circuit_breakers": {"thresholds": [{"max_retries": 2}]},
                "metadata": {"filter_metadata": {"b": {"y": 3}}},
            })
        };
        let metadata = || json!({"filter_metadata": {"a": {"x": 1}, "b": {"y": 3}}});
        let both = json!({"thresholds": [{"max_retries": 1}, {"max_retries": 2}]});
        let grown = json!({"circuit_breakers": both, "metadata": metadata()});
        check(into(), patch(), Lists::Grow, grown);
        let one = json!({"thresholds": [{"max_retries": 2}]});
        let replaced = json!({"circuit_breakers": one, "metadata": metadata()});
        check(into(), patch(), Lists::Replace, replaced);
    }
}
