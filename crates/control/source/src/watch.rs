//! Watching directories.
//!
//! In: directories, and what the system says of changes in them. Out: [`Event`]s over a channel.
//! The system's word is only taken as a hint of where to look: what is there is what is read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meltemi_model::Defaults;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::files::Files;
use crate::notices::Notices;
use crate::{Event, SourceError};

/// A burst of changes is over when nothing has changed for this long: editors write in steps.
const QUIET: Duration = Duration::from_millis(50);

/// The same where every file that was opened has been closed again.
const SETTLED: Duration = Duration::from_millis(5);

/// A burst is looked at after this long, over or not.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// How often what is gone or may not be read is looked for.
const RETRY: Duration = Duration::from_secs(1);

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
    let notices = Arc::new(Notices::default());
    let mut files = Files::new(&roots, defaults)?;
    // It stops when it is dropped.
    let mut watcher = watcher(&mut files, &notices);
    let (mut files, first) = aside(files, |files| files.first()).await;
    // A root that cannot be read explains better why it cannot be watched.
    let mut batch = vec![Event::Init];
    batch.extend(first?);
    batch.push(Event::Ready);
    if let Err(error) = watcher {
        return Err(error.into());
    }
    loop {
        for event in batch {
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
        let incomplete = watcher.is_err() || files.has_failed() || files.has_other_roots();
        tokio::select! {
            () = notices.changed() => {}
            () = sleep(RETRY), if incomplete || notices.is_holding() => {}
            () = events.closed() => return Ok(()),
        }
        // An endless burst is cut short; what follows is the next one.
        let _over = timeout(LONGEST_BURST, settle(&notices)).await;
        let mut burst = notices.burst();
        burst.directories |= incomplete;
        if watcher.is_err() || files.has_other_roots() {
            watcher = self::watcher(&mut files, &notices);
            burst.lost |= watcher.is_ok();
        }
        (files, batch) = aside(files, move |files| files.look(&burst)).await;
    }
}

/// Waits until nothing more comes.
async fn settle(notices: &Notices) {
    loop {
        let quiet = if notices.is_settled() { SETTLED } else { QUIET };
        if timeout(quiet, notices.changed()).await.is_err() {
            return;
        }
    }
}

/// Does work with files where it delays nobody.
async fn aside<T: Send + 'static>(
    mut files: Files,
    work: impl FnOnce(&mut Files) -> T + Send + 'static,
) -> (Files, T) {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut files);
        (files, result)
    });
    done.await.expect("reading files does not panic")
}

fn watcher(files: &mut Files, notices: &Arc<Notices>) -> Result<RecommendedWatcher, notify::Error> {
    let notices = notices.clone();
    let mut watcher = notify::recommended_watcher(move |notice| notices.take(notice))?;
    files.note_watched();
    // What is gone is looked for, and watched when it is there again.
    for (directory, whole) in files.watched().filter(|(it, _)| it.exists()) {
        let mode = match whole {
            true => RecursiveMode::Recursive,
            false => RecursiveMode::NonRecursive,
        };
        watcher.watch(directory, mode)?;
    }
    Ok(watcher)
}
