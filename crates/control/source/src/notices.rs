//! What the system said of changes, until it is looked at.
//!
//! In: notices, on the watcher's own thread. Out: [`Burst`]: which files have to be read again, or that
//! nobody can tell. A file that somebody is still writing is said to be so, as far as the system tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use tokio::sync::Notify;
use tokio::time::Instant;

/// More files than this are found by looking at all of them.
const MANY: usize = 4096;

/// A file that is open and was not written to for this long is read as it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the system said since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    gathered: Mutex<Gathered>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    burst: Burst,
    /// Files that were written to and not closed since, and when they were last.
    open: BTreeMap<PathBuf, Instant>,
}

/// Changes that are looked at together.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// Files that were written, created, renamed or removed.
    pub files: BTreeSet<PathBuf>,
    /// More than files has changed: every directory has to be looked at.
    pub directories: bool,
    /// Notices were lost: every file has to be read.
    pub lost: bool,
    /// Files that are being written, which are better read when that is over.
    pub held: BTreeSet<PathBuf>,
}

impl Notices {
    /// A notice has come.
    pub fn take(&self, notice: notify::Result<notify::Event>) {
        match notice {
            Ok(event) => {
                if !self.note(&event) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a notice of changes was lost");
                self.lock().burst.lost = true;
            }
        }
        self.changed.notify_one();
    }

    /// Waits until something has come since this last returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether what has come so far is whole: only of files, none of which is being written.
    pub fn is_settled(&self) -> bool {
        let gathered = self.lock();
        gathered.open.is_empty() && !gathered.burst.directories && !gathered.burst.lost
    }

    /// What has come since this was last called, but for files that somebody still writes.
    pub fn burst(&self) -> Burst {
        let mut gathered = self.lock();
        gathered.open.retain(|_, it| it.elapsed() < PATIENCE);
        let held: BTreeSet<_> = gathered.open.keys().cloned().collect();
        let mut burst = std::mem::take(&mut gathered.burst);
        burst.files.retain(|it| !held.contains(it));
        gathered.burst.files.clone_from(&held);
        Burst { held, ..burst }
    }

    /// Whether files are left that somebody still wrote when they would have been read.
    pub fn is_holding(&self) -> bool {
        !self.lock().burst.files.is_empty()
    }

    /// Whether it is of a change; reading files causes notices, too.
    fn note(&self, event: &notify::Event) -> bool {
        let mut gathered = self.lock();
        let Gathered { burst, open } = &mut *gathered;
        if event.need_rescan() {
            burst.lost = true;
            return true;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                open.retain(|it, _| !event.paths.contains(it));
            }
            EventKind::Access(_) => return false,
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                let now = Instant::now();
                open.extend(event.paths.iter().map(|it| (it.clone(), now)));
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                open.retain(|it, _| !event.paths.contains(it));
            }
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => {}
        }
        burst.files.extend(event.paths.iter().cloned());
        burst.directories |= event.paths.is_empty()
            || burst.files.len() > MANY
            || !event.paths.iter().all(|it| is_plain(it));
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path is that of a file by its name, and not a directory or what a link leads to.
fn is_plain(path: &Path) -> bool {
    let hidden = |it: &std::ffi::OsStr| it.as_encoded_bytes().starts_with(b".");
    path.extension().is_some() && !path.file_name().is_some_and(hidden)
}
