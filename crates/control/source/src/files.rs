//! The files below some roots, and which of them have to be read again.
//!
//! In: [`Burst`]s of notices. Out: the events that they lead to. What a notice names is read; a notice of
//! more than files has every directory looked at, and those files read that are others by their stamp.
//! What cannot be looked at keeps what it gave. Called by `watch`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use meltemi_model::Defaults;

use crate::notices::Burst;
use crate::scan::{self, Found, Identity, Stamp, find, is_hidden, is_resource_file};
use crate::{Event, FileState, SourceError};

/// The files below some roots.
#[derive(Debug)]
pub(crate) struct Files {
    roots: Vec<Root>,
    state: FileState,
    stamps: BTreeMap<Arc<Path>, Stamp>,
    /// What could not be looked at the last time.
    failed: BTreeSet<Arc<Path>>,
}

/// A directory or file that is given.
#[derive(Debug)]
struct Root {
    /// As given, which is how people know it.
    path: PathBuf,
    /// As notices have it.
    absolute: PathBuf,
    is_file: bool,
    /// Which one is watched, of all that had this name.
    watched: Option<Identity>,
}

/// What a notice is of.
enum Meant {
    /// Files, by their paths below the roots.
    Files(Vec<Arc<Path>>),
    /// Something that takes a look at everything.
    Unclear,
}

impl Files {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// When the working directory is not to be had.
    pub fn new(roots: &[PathBuf], defaults: Defaults) -> Result<Self, SourceError> {
        let roots = roots.iter().map(|path| {
            let absolute = std::path::absolute(path).map_err(|it| scan::error(path, it));
            absolute.map(|absolute| Root {
                absolute,
                is_file: path.is_file(),
                path: path.clone(),
                watched: None,
            })
        });
        Ok(Self {
            roots: roots.collect::<Result<_, _>>()?,
            state: FileState::new(defaults),
            stamps: BTreeMap::new(),
            failed: BTreeSet::new(),
        })
    }

    /// Reads everything for the first time.
    ///
    /// # Errors
    /// When a root cannot be read.
    pub fn first(&mut self) -> Result<Vec<Event>, SourceError> {
        let mut found = find(&self.paths());
        if let Some((path, reason)) = found.failed.pop_first() {
            return Err(scan::error(&path, reason));
        }
        self.follow(found, &BTreeSet::new(), true);
        Ok(self.state.changes())
    }

    /// Reads again what a burst of changes may have changed.
    pub fn look(&mut self, burst: &Burst) -> Vec<Event> {
        let mut named = BTreeSet::new();
        let mut unclear = burst.directories || burst.lost;
        for path in &burst.files {
            match self.meant(path) {
                Meant::Files(files) => named.extend(files),
                Meant::Unclear => unclear = true,
            }
        }
        // One that turns out to be a directory takes a look at everything, too.
        if unclear || !named.iter().all(|path| self.read_named(path)) {
            let mut found = find(&self.paths());
            for path in &burst.held {
                if let Meant::Files(files) = self.meant(path) {
                    self.hold(&files, &mut found);
                }
            }
            self.follow(found, &named, burst.lost);
        }
        self.state.changes()
    }

    /// What has to be watched: directories and whether what is below them counts.
    pub fn watched(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.roots.iter().map(|root| match root.is_file {
            // Editors replace files: only the directory knows.
            true => (root.absolute.parent().unwrap_or(&root.absolute), false),
            false => (root.absolute.as_path(), true),
        })
    }

    /// The watch is a new one, of what is there now.
    pub fn note_watched(&mut self) {
        for root in &mut self.roots {
            root.watched = root.identity();
        }
    }

    /// Whether what is watched is not what has the roots' names now: one was removed, came back, or was
    /// put in the place of another.
    pub fn has_other_roots(&self) -> bool {
        self.roots.iter().any(|it| it.watched != it.identity())
    }

    /// Whether something could not be looked at, so that nobody will say that it has come back.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|it| it.path.clone()).collect()
    }

    fn meant(&self, path: &Path) -> Meant {
        let mut files = Vec::new();
        let mut known = false;
        for root in &self.roots {
            if root.is_file {
                known |= path.parent() == root.absolute.parent();
                if path == root.absolute {
                    files.push(root.path.as_path().into());
                }
                continue;
            }
            let Ok(rest) = path.strip_prefix(&root.absolute) else {
                continue;
            };
            known = true;
            let parts = || rest.components().map(Component::as_os_str).map(Path::new);
            let own: Arc<Path> = root.path.join(rest).into();
            // Behind what is hidden may be what a link leads to.
            if rest.as_os_str().is_empty() || parts().any(is_hidden) {
                return Meant::Unclear;
            }
            if is_resource_file(path) {
                files.push(own);
            } else if self.has_below(&own) || path.is_dir() {
                return Meant::Unclear;
            }
        }
        match known {
            true => Meant::Files(files),
            false => Meant::Unclear,
        }
    }

    /// Whether files below this path are known.
    fn has_below(&self, path: &Arc<Path>) -> bool {
        let after = self.stamps.range(path.clone()..);
        let mut after = after.filter(|(it, _)| *it != path);
        after.next().is_some_and(|(it, _)| it.starts_with(path))
    }

    /// Reads what is said to be a file; `false` if it is or was a directory.
    fn read_named(&mut self, path: &Arc<Path>) -> bool {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return false,
            Err(_) if self.has_below(path) => return false,
            Ok(metadata) => self.read(path, Stamp::of(&metadata)),
            Err(_) => self.forget(path),
        }
        true
    }

    /// Files that are being written are as they were before that.
    fn hold(&self, files: &[Arc<Path>], found: &mut Found) {
        for path in files {
            match self.stamps.get(path) {
                Some(stamp) => drop(found.files.insert(path.clone(), stamp.clone())),
                None => drop(found.files.remove(path)),
            }
        }
    }

    /// Takes what was found: reads what is named or is another by its stamp, or `all`.
    fn follow(&mut self, found: Found, named: &BTreeSet<Arc<Path>>, all: bool) {
        let Found { files, failed } = found;
        let is_out_of_sight = |path: &Path| failed.keys().any(|it| path.starts_with(it));
        let gone = self.stamps.keys();
        let gone = gone.filter(|it| !files.contains_key(*it) && !is_out_of_sight(it));
        for path in gone.cloned().collect::<Vec<_>>() {
            self.forget(&path);
        }
        for path in std::mem::take(&mut self.failed) {
            if !failed.contains_key(&path) {
                self.state.remove(&path);
            }
        }
        for (path, stamp) in files {
            if all || named.contains(&path) || self.stamps.get(&path) != Some(&stamp) {
                self.read(&path, stamp);
            }
        }
        for (path, error) in failed {
            self.state.set(&path, Err(error.to_string()));
            self.failed.insert(path);
        }
    }

    fn read(&mut self, path: &Arc<Path>, stamp: Stamp) {
        match scan::read(path) {
            Some(read) => {
                self.state.set(path, read);
                self.stamps.insert(path.clone(), stamp);
            }
            None => self.forget(path),
        }
    }

    fn forget(&mut self, path: &Arc<Path>) {
        self.state.remove(path);
        self.stamps.remove(path);
    }
}

impl Root {
    /// Which one has the name now, of the file or the directory that has to be watched.
    fn identity(&self) -> Option<Identity> {
        let watched = match self.is_file {
            true => self.absolute.parent()?,
            false => &self.absolute,
        };
        std::fs::metadata(watched).ok().map(|it| Identity::of(&it))
    }
}
