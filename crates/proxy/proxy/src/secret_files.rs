//! Secrets whose certificates are files: when a file changes, the secret is read again. A secret
//! whose files cannot be read, or do not belong together, leaves what was there.
//!
//! In: which secret has which files; secrets that are files themselves (`path_config_source`).
//! Out: secrets in the store. Called by whoever applies secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use meltemi_ir::{CertificateSource, ResourceSource, SecretConfig};
use meltemi_tls::SecretStore;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use tracing::{info, warn};

/// How often files are looked at. A look is one question to the system for each file.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The files of secrets.
pub(crate) struct SecretFiles {
    secrets: Arc<SecretStore>,
    watched: Mutex<BTreeMap<String, Watched>>,
}

struct Watched {
    message: Secret,
    files: BTreeMap<PathBuf, Mark>,
}

/// What tells that a file is another one.
pub(crate) type Mark = Option<(SystemTime, u64, u64)>;

impl SecretFiles {
    pub fn new(secrets: Arc<SecretStore>) -> Arc<Self> {
        Arc::new(Self {
            secrets,
            watched: Mutex::default(),
        })
    }

    /// Watches the files of a secret that is in the store.
    pub fn watch(&self, name: &str, files: Vec<PathBuf>, message: &Secret) {
        if files.is_empty() {
            return self.forget(name);
        }
        let marked = files.into_iter().map(|file| (file.clone(), mark(&file)));
        let watched = Watched {
            message: message.clone(),
            files: marked.collect(),
        };
        self.lock().insert(name.to_owned(), watched);
    }

    /// Watches nothing of a secret any more.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Looks again and again, until dropped. `after` is called when a secret changed.
    pub async fn run(self: Arc<Self>, after: impl Fn()) {
        let mut whole: BTreeMap<PathBuf, (Mark, BTreeSet<String>)> = BTreeMap::new();
        loop {
            let changed = self.read_changed();
            let read = self.read_whole(&mut whole);
            if changed || read {
                after();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads secrets again whose files changed.
    fn read_changed(&self) -> bool {
        let mut changed = Vec::new();
        for (name, watched) in self.lock().iter_mut() {
            let mut is_other = false;
            for (file, before) in &mut watched.files {
                let now = mark(file);
                is_other |= now != *before;
                *before = now;
            }
            if is_other {
                changed.push((name.clone(), watched.message.clone()));
            }
        }
        for (name, message) in &changed {
            match self.read(message) {
                Ok(_) => info!(secret = name, "read again from its files"),
                Err(error) => warn!(secret = name, "stays as it is: {error}"),
            }
        }
        !changed.is_empty()
    }

    fn read(&self, message: &Secret) -> Result<SecretConfig, String> {
        let secret = meltemi_config::secret(message).map_err(|errors| errors.to_string())?;
        meltemi_tls::check(&secret.secret).map_err(|error| error.to_string())?;
        self.secrets.set(&secret.name, secret.secret.clone());
        Ok(secret)
    }

    /// Reads the files that are secrets themselves and that contexts want.
    fn read_whole(&self, known: &mut BTreeMap<PathBuf, (Mark, BTreeSet<String>)>) -> bool {
        let mut wanted: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        for one in self.secrets.wanted() {
            if let CertificateSource::Discovered(source) = one.source
                && let ResourceSource::Path(path) = source.from
            {
                wanted.entry(path).or_default().insert(one.name);
            }
        }
        known.retain(|path, _| wanted.contains_key(path));
        let mut any = false;
        for (path, names) in wanted {
            let now = (mark(&path), names);
            if known.get(&path) == Some(&now) {
                continue;
            }
            match self.read_file(&path, &now.1) {
                Ok(()) => any = true,
                Err(error) => warn!(path = %path.display(), "secrets stay as they are: {error}"),
            }
            known.insert(path, now);
        }
        any
    }

    fn read_file(&self, path: &Path, names: &BTreeSet<String>) -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let messages = meltemi_config::secret_messages(&text, &path.display().to_string());
        let messages = messages.map_err(|errors| errors.to_string())?;
        for (index, message) in messages.iter().enumerate() {
            if names.contains(&message.name) {
                let of = |error: String| format!("resources[{index}]: {error}");
                let secret = self.read(message).map_err(of)?;
                self.watch(&message.name, secret.files, message);
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells now that a file is another one; nothing where there is none.
pub(crate) fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}
