//! How a listener terminates TLS (`DownstreamTlsContext`).

use std::sync::Arc;

use meltemi_ir as ir;

use crate::{SecretStore, TlsError};

/// A listener's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ServerContext {
    _private: (),
}

impl ServerContext {
    /// Prepares the settings; secrets by name may come later.
    ///
    /// # Errors
    /// When the settings, or material written in place, cannot be served.
    pub fn new(
        _tls: &ir::DownstreamTls,
        _secrets: Arc<SecretStore>,
    ) -> Result<Arc<Self>, TlsError> {
        unimplemented!()
    }
    /// What to accept the next connection with; none while a secret is missing, in which
    /// case the connection is to be closed.
    pub fn config(&self) -> Option<Arc<rustls::ServerConfig>> {
        unimplemented!()
    }
}
