//! Reading directories.
//!
//! In: paths of directories and files. Out: the YAML and JSON files there and their text. Hidden
//! files and `meltemi.yaml`, which configures `meltemi up` itself, are passed over.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
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

/// Reads every file below `roots`. A file that cannot be read is an error of its own in the result.
pub(crate) fn scan(roots: &[PathBuf]) -> Result<BTreeMap<Arc<Path>, Read>, SourceError> {
    let mut found = BTreeMap::new();
    for root in roots {
        let is_directory = std::fs::metadata(root)
            .map_err(|it| error(root, it))?
            .is_dir();
        if is_directory {
            directory(root, &mut found).map_err(|it| error(root, it))?;
        } else {
            file(root, &mut found);
        }
    }
    Ok(found)
}

fn error(path: &Path, reason: io::Error) -> SourceError {
    SourceError::Directory {
        path: path.display().to_string(),
        reason,
    }
}

fn directory(path: &Path, found: &mut BTreeMap<Arc<Path>, Read>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if is_hidden(&path) {
            continue;
        }
        // Links are followed; what vanished since the directory was read is not there.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => match directory(&path, found) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            },
            Ok(_) if is_resource_file(&path) => file(&path, found),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn file(path: &Path, found: &mut BTreeMap<Arc<Path>, Read>) {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => {
            found.insert(path.into(), read.map_err(|error| error.to_string()));
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_resource_file(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json"))
        && path.file_name() != Some(OsStr::new(OWN_CONFIGURATION))
}
