//! How a cluster originates TLS (`UpstreamTlsContext`).

use std::sync::Arc;

use meltemi_ir as ir;
use rustls_pki_types::ServerName;

use crate::{SecretStore, TlsError};

/// A cluster's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ClientContext {
    _private: (),
}

impl ClientContext {
    /// Prepares the settings; secrets by name may come later.
    ///
    /// # Errors
    /// When the settings, or material written in place, cannot be served.
    pub fn new(_tls: &ir::UpstreamTls, _secrets: Arc<SecretStore>) -> Result<Arc<Self>, TlsError> {
        unimplemented!()
    }
    /// What to make the next connection with; none while a secret is missing, in which
    /// case no connection is to be made.
    pub fn config(&self) -> Option<Arc<rustls::ClientConfig>> {
        unimplemented!()
    }
    /// The name to connect with; whether it is sent as SNI is up to the configuration.
    pub fn server_name(&self) -> ServerName<'static> {
        unimplemented!()
    }
}
