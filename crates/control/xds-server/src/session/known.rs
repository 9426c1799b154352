//! The names that a session knows of one kind: which the proxy asked for, and in which version it was
//! sent them.
//!
//! A control plane holds one entry for each resource of each proxy, millions of them, so that an entry
//! is a shared name and one number, in one allocation for all.

use std::sync::Arc;

use crate::view::Version;

/// Names in order, with what is known of each.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// The version that was sent, shifted by one; the lowest bit says that the name was asked for.
    state: u64,
}

const ASKED: u64 = 1;

impl Entry {
    fn is_asked(&self) -> bool {
        self.state & ASKED != 0
    }

    fn sent(&self) -> Option<Version> {
        Version::from_bits(self.state >> 1)
    }
}

impl Known {
    /// The version in which a resource was sent, if it was.
    pub fn sent(&self, name: &str) -> Option<Version> {
        self.entries[self.find(name).ok()?].sent()
    }

    /// Whether a name was asked for.
    pub fn is_asked(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|it| self.entries[it].is_asked())
    }

    /// The names that were asked for.
    pub fn asked(&self) -> impl Iterator<Item = &Arc<str>> {
        let asked = self.entries.iter().filter(|it| it.is_asked());
        asked.map(|it| &it.name)
    }

    /// The names of the resources that were sent.
    pub fn all_sent(&self) -> impl Iterator<Item = &Arc<str>> {
        let sent = self.entries.iter().filter(|it| it.sent().is_some());
        sent.map(|it| &it.name)
    }

    /// A name is asked for.
    pub fn ask(&mut self, name: &str) -> Arc<str> {
        let entry = self.entry(name);
        entry.state |= ASKED;
        entry.name.clone()
    }

    /// A name is not asked for any more.
    pub fn release(&mut self, name: &str) {
        if let Ok(place) = self.find(name) {
            self.entries[place].state &= !ASKED;
            self.drop_if_unknown(place);
        }
    }

    /// A resource is sent.
    pub fn send(&mut self, name: &Arc<str>, version: Version) {
        let place = match self.find(name) {
            Ok(place) => place,
            Err(place) => {
                let name = name.clone();
                self.entries.insert(place, Entry { name, state: 0 });
                place
            }
        };
        let entry = &mut self.entries[place];
        // The name as others have it, rather than a copy of what the proxy wrote.
        entry.name = name.clone();
        entry.state = version.bits() << 1 | entry.state & ASKED;
    }

    /// A resource counts as never sent.
    pub fn forget(&mut self, name: &str) {
        if let Ok(place) = self.find(name) {
            self.entries[place].state &= ASKED;
            self.drop_if_unknown(place);
        }
    }

    /// Only resources that were asked for count as sent.
    pub fn forget_unasked(&mut self) {
        self.entries.retain(Entry::is_asked);
    }

    /// Exactly these names are asked for.
    pub fn ask_only(&mut self, names: impl IntoIterator<Item = String>) {
        for entry in &mut self.entries {
            entry.state &= !ASKED;
        }
        for name in names {
            self.ask(&name);
        }
        self.entries.retain(|it| it.state != 0);
    }

    /// The version of the resource that was sent, if it is the only one.
    pub fn only_version(&self) -> Option<Version> {
        let mut sent = self.entries.iter().filter_map(Entry::sent);
        sent.next().filter(|_| sent.next().is_none())
    }

    /// How many resources were sent.
    pub fn count_sent(&self) -> usize {
        self.all_sent().count()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|it| it.name.as_ref().cmp(name))
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        let place = match self.find(name) {
            Ok(place) => place,
            Err(place) => {
                let name = name.into();
                self.entries.insert(place, Entry { name, state: 0 });
                place
            }
        };
        &mut self.entries[place]
    }

    fn drop_if_unknown(&mut self, place: usize) {
        if self.entries[place].state == 0 {
            self.entries.remove(place);
        }
    }
}
