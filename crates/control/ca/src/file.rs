//! Files that nobody else may read, written whole or not at all.
//!
//! In: paths and contents. Out: contents, or the error with its path. Called by `store` and
//! `ledger`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file or directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// Makes the directory, for its owner only, if it is not there.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(at(path))
}

/// Keeps other processes out of a directory's making while the answer lives.
pub(crate) fn lock(directory: &Path) -> Result<File, FileError> {
    let file = File::open(directory).map_err(at(directory))?;
    file.lock().map_err(at(directory))?;
    Ok(file)
}

/// The text of a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a file for its owner only; a file that is already there stays and counts as success.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let whole = path.with_file_name(name);
    let written = write_new(&whole, text).map_err(at(&whole));
    let linked = written.and_then(|()| match fs::hard_link(&whole, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    });
    let _ = fs::remove_file(&whole);
    linked
}

/// Writes a file for its owner only, in the place of one that is there.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let whole = path.with_file_name(name);
    write_new(&whole, text).map_err(at(&whole))?;
    fs::rename(&whole, path).map_err(at(path))
}

/// Removes a file or a whole directory; that it is not there counts as success.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file: File = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError { path, error }
}
