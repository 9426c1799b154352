//! Watching directories.
//!
//! In: directories, and what the system says of changes in them. Out: [`Event`]s over a channel.
//! The system's word is only taken as a hint: after each burst of changes the directories are read
//! again as a whole, so that renames, links and lost notices do no harm.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meltemi_model::Defaults;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::scan::scan;
use crate::{Event, FileState, SourceError};

/// A burst of changes is over when nothing has changed for this long: editors write in steps.
const QUIET: Duration = Duration::from_millis(50);

/// A burst is looked at after this long, over or not.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// Watches the directories (or single files) `roots` and sends what happens to `events` until its
/// receiver is dropped.
///
/// # Errors
/// When a root cannot be read at the beginning, or the system cannot watch.
pub async fn watch(
    roots: Vec<PathBuf>,
    defaults: Defaults,
    events: mpsc::Sender<Event>,
) -> Result<(), SourceError> {
    let changed = Arc::new(Notify::new());
    // The watcher stops when it is dropped.
    let _watcher = watcher(&roots, changed.clone())?;
    let mut state = FileState::new(defaults);
    read(&roots, &mut state).await?;
    let mut batch = vec![Event::Init];
    batch.extend(state.changes());
    batch.push(Event::Ready);
    loop {
        for event in batch {
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = changed.notified() => {}
            () = events.closed() => return Ok(()),
        }
        let burst = async { while timeout(QUIET, changed.notified()).await.is_ok() {} };
        // An endless burst is cut short; what follows is the next one.
        let _over = timeout(LONGEST_BURST, burst).await;
        if let Err(error) = read(&roots, &mut state).await {
            // A root that is gone for the moment loses nothing; its return is a change.
            tracing::warn!(%error, "cannot read the configuration; the last one stays");
        }
        batch = state.changes();
    }
}

async fn read(roots: &[PathBuf], state: &mut FileState) -> Result<(), SourceError> {
    let roots = roots.to_vec();
    let found = tokio::task::spawn_blocking(move || scan(&roots)).await;
    let found = found.expect("reading directories does not panic")?;
    let gone: Vec<_> = state
        .paths()
        .filter(|path| !found.contains_key(*path))
        .cloned()
        .collect();
    for path in gone {
        state.remove(&path);
    }
    for (path, read) in found {
        state.set(&path, read);
    }
    Ok(())
}

fn watcher(roots: &[PathBuf], changed: Arc<Notify>) -> Result<RecommendedWatcher, SourceError> {
    let mut watcher =
        notify::recommended_watcher(move |notice: notify::Result<notify::Event>| match notice {
            Ok(event) if !is_change(event.kind) => {}
            Ok(_) => changed.notify_one(),
            Err(error) => {
                tracing::warn!(%error, "a notice of changes was lost");
                changed.notify_one();
            }
        })?;
    for root in roots {
        if root.is_file() {
            // Editors replace files: only the directory knows.
            let parent = root.parent().filter(|it| !it.as_os_str().is_empty());
            watcher.watch(
                parent.unwrap_or(Path::new(".")),
                RecursiveMode::NonRecursive,
            )?;
        } else {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
    }
    Ok(watcher)
}

/// Whether a notice is of a change; reading the files causes notices, too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
