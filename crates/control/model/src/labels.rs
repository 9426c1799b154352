//! Labels and the selection of workloads by them.
//!
//! In: label maps of metadata, selectors and subsets. Out: whether one selects another.

use std::collections::BTreeMap;

/// A label map. As a selector it selects every map that has all of its pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The labels of a map.
    pub fn new(map: BTreeMap<String, String>) -> Self {
        Self(map)
    }

    /// The value of the label `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether `labels` has every pair of this selector. An empty selector selects everything;
    /// what an *absent* selector means is the resource's own affair.
    pub fn selects(&self, labels: &Self) -> bool {
        self.0
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value.as_str()))
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The labels as a map.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// These labels and those of `more`, which win.
    pub fn with(&self, more: &Self) -> Self {
        let mut map = self.0.clone();
        map.extend(
            more.0
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        Self(map)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}
