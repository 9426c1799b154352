//! Values from metadata: what `%METADATA(..)%` and its kin lead to.

use std::collections::BTreeMap;

use meltemi_ir::{Metadata, Value};

use crate::StreamRecord;

/// Whose metadata.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetadataSource {
    Dynamic,
    Cluster,
    Host,
    Route,
    VirtualHost,
    Listener,
    FilterChain,
}

impl MetadataSource {
    /// Where that is kept for this stream.
    fn of<'a>(self, record: &'a StreamRecord<'a>) -> Option<&'a Metadata> {
        let upstream = record.upstream.as_ref();
        match self {
            Self::Dynamic => record.dynamic_metadata,
            Self::Route => record.route_metadata,
            Self::VirtualHost => record.virtual_host_metadata,
            Self::Listener => {
                let settings = record.connection.listener_settings.as_ref();
                settings.map(|settings| &settings.metadata)
            }
            Self::FilterChain => {
                let settings = record.connection.chain_settings.as_ref();
                settings.map(|settings| &settings.metadata)
            }
            Self::Cluster => upstream?.cluster_metadata,
            Self::Host => upstream?.host_metadata,
        }
    }
}

/// What a path into metadata leads to.
pub(super) enum Looked<'a> {
    /// A string.
    Text(&'a str),
    /// Anything else.
    Json(serde_json::Value),
}

impl MetadataSource {
    /// The value at `path`: a filter's name, then keys.
    pub fn look_up<'a>(self, record: &'a StreamRecord<'a>, path: &[String]) -> Option<Looked<'a>> {
        let (filter, keys) = path.split_first()?;
        let fields = self.of(record)?.0.get(filter)?;
        let Some((key, deeper)) = keys.split_first() else {
            return Some(Looked::Json(json_of_struct(fields)));
        };
        let mut value = fields.get(key)?;
        for key in deeper {
            value = value.get(key)?;
        }
        Some(match value {
            Value::String(text) => Looked::Text(text),
            other => Looked::Json(json_of(other)),
        })
    }
}

fn json_of_struct(fields: &BTreeMap<String, Value>) -> serde_json::Value {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), json_of(value)))
        .collect()
}

fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "checked to be whole and small"
        )]
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            (*number as i64).into()
        }
        Value::Number(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json_of).collect(),
        Value::Struct(fields) => json_of_struct(fields),
    }
}
