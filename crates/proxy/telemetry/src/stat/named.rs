//! Counters whose names come up while the proxy runs, of which there are few: ciphers and the like.

use std::sync::OnceLock;

use super::Counter;

/// As many names as there can be; what is beyond them is not counted.
const MOST: usize = 24;

/// A name, once it has come up, and how often it has.
#[derive(Debug, Default)]
struct Slot {
    name: OnceLock<Box<str>>,
    count: Counter,
}

/// Counts by name. Each has one writing thread (its shard's).
#[derive(Debug, Default)]
pub struct NamedCounters(OnceLock<Box<[Slot; MOST]>>);

impl NamedCounters {
    /// Adds one to the counter of this name; no name is counted nowhere.
    pub fn inc(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        let slots = self.0.get_or_init(Box::default);
        let slot = slots
            .iter()
            .find(|slot| **slot.name.get_or_init(|| name.into()) == *name);
        if let Some(slot) = slot {
            slot.count.inc();
        }
    }

    /// Calls `visit` with every name that has come up.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&str, &Counter)) {
        for slot in self.0.get().into_iter().flat_map(|slots| slots.iter()) {
            if let Some(name) = slot.name.get() {
                visit(name, &slot.count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_each() {
        let counters = NamedCounters::default();
        counters.inc("a");
        counters.inc("b");
        counters.inc("a");
        counters.inc("");
        for other in 0..2 * MOST {
            counters.inc(&format!("other-{other}"));
        }
        counters.inc("b");
        let mut seen = Vec::new();
        counters.visit(|name, count| seen.push((name.to_owned(), count.get())));
        assert_eq!(seen[..2], [("a".to_owned(), 2), ("b".to_owned(), 2)]);
        assert_eq!(seen.len(), MOST);
    }
}
