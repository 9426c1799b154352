//! Reading directories.
//!
//! In: paths of directories and files. Out: the YAML and JSON files there and their text. Hidden
//! files and `meltemi.yaml`, which configures `meltemi up` itself, are passed over.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Read;

/// The configuration of `meltemi up`, which is no resource.
const OWN_CONFIGURATION: &str = "meltemi.yaml";

/// Why a source cannot do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A directory cannot be read.
    #[error("{path}: {reason}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system says.
        reason: io::Error,
    },
    /// Changes cannot be watched.
    #[error("cannot watch for changes: {0}")]
    Watch(#[from] notify::Error),
}

/// What is below some roots.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The files, and by what it is told that one has changed.
    pub files: BTreeMap<Arc<Path>, Stamp>,
    /// Directories and roots that cannot be looked at.
    pub failed: BTreeMap<Arc<Path>, io::Error>,
}

/// By what it is told that a file has changed, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    file: Identity,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which file or directory it is, whatever its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Stamp {
    /// Of a file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            file: Identity::of(metadata),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Identity {
    /// Of whatever has this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Reads every file below `roots`. A file that cannot be read is an error of its own in the result.
pub(crate) fn scan(roots: &[PathBuf]) -> Result<BTreeMap<Arc<Path>, Read>, SourceError> {
    let Found { files, failed } = find(roots);
    if let Some((path, reason)) = failed.into_iter().next() {
        return Err(error(&path, reason));
    }
    let read = files.into_keys().filter_map(|path| {
        let read = read(&path)?;
        Some((path, read))
    });
    Ok(read.collect())
}

/// Looks at every directory below `roots`, and reads nothing.
pub(crate) fn find(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for root in roots {
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => directory(root, &mut found),
            Ok(metadata) => drop(
                found
                    .files
                    .insert(root.as_path().into(), Stamp::of(&metadata)),
            ),
            Err(error) => drop(found.failed.insert(root.as_path().into(), error)),
        }
    }
    found
}

/// Reads a file; `None` if it is not there any more.
pub(crate) fn read(path: &Path) -> Option<Read> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(|error| error.to_string())),
    }
}

/// That a root cannot be looked at.
pub(crate) fn error(path: &Path, reason: io::Error) -> SourceError {
    SourceError::Directory {
        path: path.display().to_string(),
        reason,
    }
}

fn directory(path: &Path, found: &mut Found) {
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return drop(found.failed.insert(path.into(), error)),
    };
    for entry in entries {
        let path = entry.path();
        if is_hidden(&path) {
            continue;
        }
        // Links are followed; what vanished since the directory was read is not there.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => directory(&path, found),
            Ok(metadata) if is_resource_file(&path) => {
                found.files.insert(path.into(), Stamp::of(&metadata));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

pub(crate) fn is_resource_file(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
        && path.file_name() != Some(OsStr::new(OWN_CONFIGURATION))
}
