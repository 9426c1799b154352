//! What every resource carries: name, namespace, labels, annotations, age.
//!
//! In: `metadata` as written. Out: [`Metadata`], the part of it that the mesh uses.

mod convert;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Labels, NamespaceName};

pub(crate) use convert::{annotation, boolean, convert, of_template};

/// The checked metadata of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.namespace`; `default` where a namespaced resource names none, empty for kinds that
    /// have no namespace.
    pub namespace: NamespaceName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`; files rarely have one.
    pub created: Option<Timestamp>,
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Metadata {
    /// Metadata with a name and a namespace and nothing else.
    pub fn named(name: &str, namespace: &str) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            labels: Labels::default(),
            annotations: BTreeMap::new(),
            created: None,
        }
    }

    /// The value of the annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// What resources of one kind are sorted by where the oldest wins: age, then `name.namespace`.
    /// A resource without a time stamp counts as the oldest.
    pub fn age_key(&self) -> (Option<Timestamp>, String) {
        (self.created, format!("{}.{}", self.name, self.namespace))
    }
}

impl fmt::Display for Timestamp {
    /// As RFC 3339 has it, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.div_euclid(86400), self.0.rem_euclid(86400));
        let (year, month, day) = convert::date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.as_str().is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
