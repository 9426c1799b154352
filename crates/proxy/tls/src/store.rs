//! Secrets by name, as they were last delivered.

use meltemi_ir as ir;

/// Secrets by name. Shared by all threads.
#[derive(Default)]
pub struct SecretStore {
    _private: (),
}

impl SecretStore {
    /// An empty store.
    pub fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::default())
    }
    /// Stores a secret; contexts that use it rebuild at their next handshake.
    pub fn set(&self, _name: &str, _secret: ir::Secret) {
        unimplemented!()
    }
    /// Forgets a secret; contexts that need it refuse handshakes.
    pub fn remove(&self, _name: &str) {
        unimplemented!()
    }
    /// The secret of that name.
    pub fn get(&self, _name: &str) -> Option<std::sync::Arc<ir::Secret>> {
        unimplemented!()
    }
    /// All names with a secret, sorted.
    pub fn names(&self) -> Vec<String> {
        unimplemented!()
    }
    /// Names that contexts refer to, whether delivered or not, with where they come from.
    pub fn wanted(&self) -> Vec<(String, ir::CertificateSource)> {
        unimplemented!()
    }
    /// Changes whenever a secret, or the set of wanted names, does.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!()
    }
}
