//! Free-form values: `google.protobuf.Struct` and the metadata of listeners, routes and endpoints.

use std::collections::BTreeMap;

use meltemi_ir::{Metadata, Value};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use prost_types::value::Kind;

use crate::fields::fields;
use crate::path::At;

/// A value.
pub(crate) fn value(message: &prost_types::Value) -> Value {
    match &message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(value)) => Value::Number(*value),
        Some(Kind::StringValue(value)) => Value::String(value.clone()),
        Some(Kind::StructValue(value)) => Value::Struct(fields_of(value)),
        Some(Kind::ListValue(list)) => Value::List(list.values.iter().map(value).collect()),
    }
}

/// The fields of a struct.
pub(crate) fn fields_of(message: &prost_types::Struct) -> BTreeMap<String, Value> {
    message
        .fields
        .iter()
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

/// Filter metadata.
pub(crate) fn metadata(message: Option<&core_v3::Metadata>, at: &At<'_>) -> Metadata {
    let Some(message) = message else {
        return Metadata::default();
    };
    fields!(at, message, core_v3::Metadata {
        honoured { filter_metadata }
        ignored { typed_filter_metadata: "no filter of the proxy reads it" }
    });
    Metadata(
        filter_metadata
            .iter()
            .map(|(filter, fields)| (filter.clone(), fields_of(fields)))
            .collect(),
    )
}
