//! Which certificates are about.
//!
//! In: what was issued: to whom, under which root, until when. Out: how many certificates of other
//! roots than the present one are still good. A certificate is replaced by the next one of the same
//! holder: the same identity in the same process, as the caller names it; without such a name it is
//! good until it expires. Kept in a journal, a line for each certificate, so that a restart forgets
//! none. Called by `authorities`.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::file::{self, FileError};
use crate::rotation::Outstanding;

/// How many lines are too many beside those that count.
const SPARE: usize = 4096;
/// How many holders are named.
const NAMED: usize = 5;

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The identity.
    pub id: String,
    /// The process that has it, in its own words, or the serial number.
    pub holder: String,
    /// The root's fingerprint.
    pub root: String,
    /// Seconds since the Unix epoch.
    pub not_after: u64,
}

/// Which certificates are about.
pub(crate) struct Ledger {
    path: PathBuf,
    journal: File,
    lines: usize,
    live: HashMap<(String, String), Entry>,
}

impl Ledger {
    /// Reads a journal, and writes it anew without what has expired. A line that is cut off counts as
    /// not written.
    pub fn open(path: &Path, now: SystemTime) -> Result<Self, FileError> {
        let text = file::read(path)?.unwrap_or_default();
        let mut live = HashMap::new();
        for line in text.lines() {
            if let Ok(entry) = serde_json::from_str::<Entry>(line) {
                live.insert((entry.id.clone(), entry.holder.clone()), entry);
            }
        }
        let now = seconds(now);
        live.retain(|_, it| it.not_after > now);
        let (journal, lines) = rewrite(path, &live)?;
        Ok(Self {
            path: path.to_owned(),
            journal,
            lines,
            live,
        })
    }

    /// A certificate was issued.
    pub fn record(&mut self, entry: Entry, now: SystemTime) -> Result<(), FileError> {
        let line = line(&entry);
        self.live
            .insert((entry.id.clone(), entry.holder.clone()), entry);
        if self.lines > 2 * self.live.len() + SPARE {
            let now = seconds(now);
            self.live.retain(|_, it| it.not_after > now);
            (self.journal, self.lines) = rewrite(&self.path, &self.live)?;
            return Ok(());
        }
        self.lines += 1;
        let written = self.journal.write_all(line.as_bytes());
        written.map_err(file::at(&self.path))
    }

    /// What is about of other roots than this one.
    pub fn outstanding(&self, root: &str, now: SystemTime) -> Outstanding {
        let now = seconds(now);
        let others = self.live.values();
        let others = others.filter(|it| it.root != root && it.not_after > now);
        let others: Vec<_> = others.collect();
        let until = others.iter().map(|it| it.not_after).max();
        let names: BTreeSet<&str> = others.iter().map(|it| it.id.as_str()).collect();
        let mut holders: Vec<_> = names
            .iter()
            .take(NAMED)
            .map(|it| (*it).to_owned())
            .collect();
        if names.len() > NAMED {
            holders.push(format!("{} more", names.len() - NAMED));
        }
        Outstanding {
            count: others.len(),
            until: until.map(|it| SystemTime::UNIX_EPOCH + Duration::from_secs(it)),
            holders,
        }
    }

    /// The processes that have certificates, as they name themselves.
    pub fn holders(&self, now: SystemTime) -> Vec<String> {
        let now = seconds(now);
        let live = self.live.values();
        let live = live.filter(|it| it.not_after > now && !is_serial(&it.holder));
        live.map(|it| it.holder.clone()).collect()
    }

    /// How many certificates of a root are about.
    pub fn count(&self, root: &str, now: SystemTime) -> usize {
        let now = seconds(now);
        let live = self.live.values();
        live.filter(|it| it.root == root && it.not_after > now)
            .count()
    }
}

/// Whether a holder has no name of its own.
fn is_serial(holder: &str) -> bool {
    holder.len() == 32 && holder.bytes().all(|it| it.is_ascii_hexdigit())
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn line(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("text and numbers are JSON") + "\n"
}

fn rewrite(
    path: &Path,
    live: &HashMap<(String, String), Entry>,
) -> Result<(File, usize), FileError> {
    let text: String = live.values().map(line).collect();
    file::replace(path, &text)?;
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    let journal = options.open(path).map_err(file::at(path))?;
    Ok((journal, live.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entry(id: &str, holder: &str, root: &str, not_after: u64) -> Entry {
        Entry {
            id: id.to_owned(),
            holder: holder.to_owned(),
            root: root.to_owned(),
            not_after,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_replaced_or_expired_is_not_about_any_more() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("issued");
        let mut ledger = Ledger::open(&path, at(0)).unwrap();
        for it in [
            entry("web", "pod-1", "old", 100),
            entry("web", "pod-2", "old", 200),
            entry("web", "pod-1", "new", 300),
            entry("db", "serial", "old", 150),
        ] {
            ledger.record(it, at(0)).unwrap();
        }
        let check = |ledger: &Ledger, now, count, until, holders: &[&str]| {
            let found = ledger.outstanding("new", at(now));
            assert_eq!(found.count, count, "{now}");
            assert_eq!(found.until, until, "{now}");
            assert_eq!(found.holders, holders, "{now}");
        };
        check(&ledger, 0, 2, Some(at(200)), &["db", "web"]);
        check(&ledger, 150, 1, Some(at(200)), &["web"]);
        check(&ledger, 200, 0, None, &[]);
        assert_eq!(ledger.count("new", at(0)), 1);
        // Another process knows the same, but for a line that was cut off.
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"id\":\"x")
            .unwrap();
        let again = Ledger::open(&path, at(150)).unwrap();
        check(&again, 150, 1, Some(at(200)), &["web"]);
    }

    #[test]
    fn a_journal_does_not_grow_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("issued");
        let mut ledger = Ledger::open(&path, at(0)).unwrap();
        for number in 0..3 * SPARE as u64 {
            ledger
                .record(entry("web", "pod", "root", number), at(0))
                .unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SPARE + 3, "{lines}");
    }
}
