//! How new the tokens were that workloads have used.
//!
//! In: a workload, and when its token was made. Out: when the newest was made that it has used. Kept in
//! a journal, so that a restart lets no old token in again. Called by `token`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use meltemi_spiffe::SpiffeId;

use crate::file::{self, FileError};

/// How many lines are too many beside those that count.
const SPARE: usize = 4096;

/// The newest token that each workload has used, in seconds since the Unix epoch.
#[derive(Default)]
pub(crate) struct UsedTokens {
    newest: HashMap<String, u64>,
    journal: Option<Journal>,
}

struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl UsedTokens {
    /// Reads a journal, and writes it anew. A line that is cut off counts as not written.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let text = file::read(path)?.unwrap_or_default();
        let mut newest: HashMap<String, u64> = HashMap::new();
        let whole = text.rsplit_once('\n').map_or("", |it| it.0);
        for line in whole.lines() {
            if let Some((made, id)) = line.split_once(' ')
                && let Ok(made) = made.parse::<u64>()
            {
                let known = newest.entry(id.to_owned()).or_default();
                *known = made.max(*known);
            }
        }
        let journal = Some(rewrite(path, &newest)?);
        Ok(Self { newest, journal })
    }

    /// When the newest was made; 0 where none was used.
    pub fn newest(&self, id: &SpiffeId) -> u64 {
        self.newest.get(&id.to_string()).copied().unwrap_or(0)
    }

    /// A token was used that is newer than all before.
    pub fn note(&mut self, id: &SpiffeId, made: u64) -> Result<(), FileError> {
        let id = id.to_string();
        if let Some(journal) = &mut self.journal {
            let written = journal.file.write_all(format!("{made} {id}\n").as_bytes());
            written.map_err(file::at(&journal.path))?;
            journal.lines += 1;
            if journal.lines > 2 * self.newest.len() + SPARE {
                self.newest.insert(id, made);
                let path = journal.path.clone();
                self.journal = Some(rewrite(&path, &self.newest)?);
                return Ok(());
            }
        }
        self.newest.insert(id, made);
        Ok(())
    }
}

fn rewrite(path: &Path, newest: &HashMap<String, u64>) -> Result<Journal, FileError> {
    let mut text = String::new();
    for (id, made) in newest {
        // ignored: a text takes all that is written
        let _ = writeln!(text, "{made} {id}");
    }
    file::replace(path, &text)?;
    let mut options = OpenOptions::new();
    let file = options.append(true).mode(0o600).open(path);
    Ok(Journal {
        path: path.to_owned(),
        file: file.map_err(file::at(path))?,
        lines: newest.len(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_used_is_known_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("used-tokens");
        let id = |account: &str| -> SpiffeId {
            let text = format!("spiffe://cluster.local/ns/shop/sa/{account}");
            text.parse().unwrap()
        };
        let mut used = UsedTokens::open(&path).unwrap();
        used.note(&id("web"), 5).unwrap();
        used.note(&id("web"), 1200).unwrap();
        used.note(&id("db"), 7).unwrap();
        // A line that is cut off could say less than what was.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"9 spiffe://cluster.local/ns/shop/sa/d")
            .unwrap();
        let again = UsedTokens::open(&path).unwrap();
        assert_eq!(again.newest(&id("web")), 1200);
        assert_eq!(again.newest(&id("db")), 7);
        assert_eq!(again.newest(&id("d")), 0);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn the_journal_does_not_grow_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("used-tokens");
        let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        let mut used = UsedTokens::open(&path).unwrap();
        for made in 0..2 * SPARE as u64 {
            used.note(&id, made).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SPARE + 3, "{lines}");
        let again = UsedTokens::open(&path).unwrap();
        assert_eq!(again.newest(&id), 2 * SPARE as u64 - 1);
    }
}
