//! The directory of a running mesh, and what it says to the tools.
//!
//! In: where the mesh is. Out: a directory that one `up` at a time has, with keys, tokens, logs and
//! [`MeshState`], the file by which `meltemi proxy-status` and the others find it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pod::ProxyKind;
use crate::report::Published;

const STATE: &str = "up.json";
const LOCK: &str = "lock";
const CA: &str = "ca";
const TOKENS: &str = "tokens";
const LOGS: &str = "logs";

/// Where a mesh is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshState {
    /// The process of `up`.
    pub pid: u32,
    /// The manifests' directories.
    pub directories: Vec<PathBuf>,
    /// Its addresses.
    pub loopback: String,
    /// The control plane's xDS and CSR address.
    pub discovery: SocketAddr,
    /// The control plane's debug address.
    pub debug: SocketAddr,
    /// Where logs are; `None` if they are printed.
    pub logs: Option<PathBuf>,
    /// Published ports.
    pub published: Vec<Published>,
    /// Pods.
    pub pods: Vec<PodState>,
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its Deployment's name, or its own.
    pub workload: String,
    /// Its address.
    pub ip: IpAddr,
    /// What its proxy is.
    pub proxy: ProxyKind,
    /// The proxy's administration.
    pub admin: Option<SocketAddr>,
    /// Where its applications listen.
    pub applications: Vec<SocketAddr>,
}

/// The directory of a mesh, held by one `up`.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    /// Held until the end.
    _lock: File,
    /// Somebody named the directory: keys and logs stay in it.
    named: bool,
    /// It has been left: what is there now is somebody else's.
    left: bool,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Something is wrong with a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another user has a directory of this name.
    #[error("{} belongs to another user; name another directory with --state-dir", .0.display())]
    Foreign(PathBuf),
    /// Another `up` has it.
    #[error(
        "a mesh is already running{by} (its state is in {}); stop it first, or run this one beside it with --state-dir, --loopback and --gateway-port of its own",
        path.display()
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// By whom, if that is known.
        by: String,
    },
    /// The state is not of the form.
    #[error("{}: {source}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The directory of the mesh of this user: below `runtime_dir` (`$XDG_RUNTIME_DIR`), else
/// `/tmp/meltemi-UID`.
#[must_use]
pub fn default_state_dir(runtime_dir: Option<&Path>) -> PathBuf {
    match runtime_dir {
        Some(directory) => directory.join("meltemi"),
        None => PathBuf::from(format!("/tmp/meltemi-{}", nix::unistd::getuid())),
    }
}

impl MeshState {
    /// What the mesh in `directory` says; `None` if there is none.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub fn load(directory: &Path) -> Result<Option<Self>, StateError> {
        let path = directory.join(STATE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let state = serde_json::from_str(&text);
        state
            .map(Some)
            .map_err(|source| StateError::Form { path, source })
    }
}

impl StateDirectory {
    /// Makes the directory and takes it.
    pub(crate) fn take(path: PathBuf, named: bool) -> Result<Self, StateError> {
        make(&path)?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| at(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let running = MeshState::load(&path).ok().flatten();
                let by = running.map_or_else(String::new, |it| {
                    format!(" as process {} on {}", it.pid, it.loopback)
                });
                return Err(StateError::Taken { path, by });
            }
            Err(TryLockError::Error(source)) => return Err(at(&lock_path, source)),
        }
        let directory = Self {
            path,
            _lock: lock,
            named,
            left: false,
        };
        directory.clean()?;
        make(&directory.tokens())?;
        make(&directory.logs())?;
        Ok(directory)
    }

    /// Where the authority's keys lie.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path.join(CA)
    }

    /// Where the proxies' tokens lie.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.path.join(TOKENS)
    }

    /// Where logs lie.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join(LOGS)
    }

    /// Says where the mesh is, to whoever reads the file from now on.
    pub(crate) fn write(&self, state: &MeshState) -> Result<(), StateError> {
        let path = self.path.join(STATE);
        let text = serde_json::to_vec_pretty(state).expect("names and addresses are JSON");
        write_private(&path, &text)
    }

    /// Removes what is of no use without the mesh; of a directory that nobody named, everything.
    /// Dropping the directory does the same.
    pub(crate) fn leave(mut self) -> Result<(), StateError> {
        self.left = true;
        self.tidy()
    }

    fn tidy(&self) -> Result<(), StateError> {
        if self.named {
            remove(&self.path.join(STATE))?;
            remove(&self.tokens())?;
            return remove(&self.path.join(LOCK));
        }
        remove(&self.path)
    }

    /// Removes what an earlier mesh left behind.
    fn clean(&self) -> Result<(), StateError> {
        remove(&self.path.join(STATE))?;
        remove(&self.tokens())?;
        remove(&self.logs())
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        if !self.left {
            // ignored: whoever wants to know calls `leave`
            let _ = self.tidy();
        }
    }
}

/// Writes a file that only this user may read, as a whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)?;
        io::Write::write_all(&mut file, content)?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|source| at(path, source))
}

/// Makes a directory that only this user may enter, or sees that it is one.
fn make(path: &Path) -> Result<(), StateError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|source| at(path, source))?;
    let metadata = std::fs::symlink_metadata(path).map_err(|source| at(path, source))?;
    let owned = metadata.is_dir() && metadata.uid() == nix::unistd::getuid().as_raw();
    if owned {
        Ok(())
    } else {
        Err(StateError::Foreign(path.to_owned()))
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn at(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::{StateDirectory, StateError, write_private};

    #[test]
    fn one_mesh_at_a_time_and_nothing_left() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("mesh");
        let first = StateDirectory::take(path.clone(), false).unwrap();
        let error = StateDirectory::take(path.clone(), false).unwrap_err();
        assert!(matches!(error, StateError::Taken { .. }), "{error}");
        assert!(error.to_string().contains("already running"));
        first.leave().unwrap();
        assert!(!path.exists());
        StateDirectory::take(path, false).unwrap();
    }

    #[test]
    fn a_named_directory_keeps_keys_and_logs() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("mesh");
        let mesh = StateDirectory::take(path.clone(), true).unwrap();
        std::fs::create_dir(mesh.ca()).unwrap();
        write_private(&mesh.tokens().join("webapp.shop"), b"secret").unwrap();
        let mode = std::fs::metadata(mesh.tokens().join("webapp.shop"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let (ca, tokens, logs) = (mesh.ca(), mesh.tokens(), mesh.logs());
        mesh.leave().unwrap();
        assert!(ca.exists() && logs.exists() && !tokens.exists());
    }
}
