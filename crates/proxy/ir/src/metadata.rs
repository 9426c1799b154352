//! Free-form metadata (`envoy.config.core.v3.Metadata`): filter name to a structured value.

use std::collections::BTreeMap;

/// A `google.protobuf.Value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    String(String),
    /// A list of values.
    List(Vec<Value>),
    /// A `google.protobuf.Struct`.
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// The string inside, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The struct's field of that name, if this is a struct and has it.
    pub fn get(&self, field: &str) -> Option<&Value> {
        match self {
            Self::Struct(fields) => fields.get(field),
            _ => None,
        }
    }
}

/// Filter metadata: the outer key is a filter's name, such as `istio`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub BTreeMap<String, BTreeMap<String, Value>>);

impl Metadata {
    /// The value that `filter` keeps under `key`.
    pub fn get(&self, filter: &str, key: &str) -> Option<&Value> {
        self.0.get(filter)?.get(key)
    }

    /// The value at a path: a filter, then keys; none where the path has no key.
    pub fn at(&self, path: &[String]) -> Option<&Value> {
        let (filter, keys) = path.split_first()?;
        let (first, deeper) = keys.split_first()?;
        let mut value = self.0.get(filter)?.get(first)?;
        for key in deeper {
            value = value.get(key)?;
        }
        Some(value)
    }

    /// True when nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
