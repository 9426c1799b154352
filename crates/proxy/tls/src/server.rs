//! How a listener terminates TLS (`DownstreamTlsContext`).

use std::io;
use std::sync::Arc;

use meltemi_ir::{DownstreamTls, SanMatch};
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{CommonState, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::material::{Material, Resolved, Slot};
use crate::verifier::ClientVerifier;
use crate::{CertificateInfo, SecretStore, SessionInfo, TlsError, cipher, key};

/// A listener's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ServerContext {
    material: Material,
    slot: Slot<Arc<Built>>,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    san_matchers: Vec<SanMatch>,
    validates: bool,
    required: bool,
    alpn: Vec<Vec<u8>>,
}

struct Built {
    config: Arc<ServerConfig>,
    /// For clients that offer none of our protocols: they get none instead of an alert.
    without_alpn: Arc<ServerConfig>,
    verifies: bool,
    local: Option<Arc<CertificateInfo>>,
}

impl ServerContext {
    /// Prepares the settings; secrets by name may come later.
    ///
    /// # Errors
    /// When the settings, or material written in place, cannot be served.
    pub fn new(tls: &DownstreamTls, secrets: Arc<SecretStore>) -> Result<Arc<Self>, TlsError> {
        let DownstreamTls {
            certificates,
            validation,
            san_matchers,
            require_client_certificate,
            alpn,
            min_version,
            max_version,
            cipher_suites,
        } = tls;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let (provider, versions) = cipher::provider(cipher_suites, *min_version, *max_version)?;
        let context = Self {
            material: Material::new(secrets, certificates, validation.as_ref()),
            slot: Slot::new(),
            provider,
            versions,
            san_matchers: san_matchers.clone(),
            validates: validation.is_some() || !san_matchers.is_empty(),
            required: *require_client_certificate,
            alpn: alpn.clone(),
        };
        match context.built() {
            // What is delivered under a name may still be delivered rightly.
            Err(error) if !context.material.is_by_name() => Err(error),
            _ => Ok(Arc::new(context)),
        }
    }

    /// What to accept the next connection with; none while a secret is missing, in which
    /// case the connection is to be closed. [`Self::accept`] is the usual way.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.built().ok().map(|built| built.config.clone())
    }

    /// Why [`Self::config`] has nothing to give, where it has not.
    pub fn problem(&self) -> Option<TlsError> {
        self.built().err()
    }

    /// Accepts a connection with the secrets of this moment. A client that offers only
    /// application protocols that are not ours gets none, as it would from Envoy.
    ///
    /// # Errors
    /// When the handshake fails or a secret is missing.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let built = self.built().map_err(io::Error::other)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let offers_ours = start.client_hello().alpn().is_none_or(|mut offered| {
            offered.any(|protocol| self.alpn.iter().any(|ours| ours == protocol))
        });
        let config = if offers_ours {
            &built.config
        } else {
            &built.without_alpn
        };
        start.into_stream(config.clone()).await
    }

    /// What a connection that this context accepted agreed on.
    pub fn session(&self, state: &CommonState) -> SessionInfo {
        match self.built() {
            Ok(built) => SessionInfo::read(state, built.verifies, built.local.clone()),
            // The secrets went away since; what the handshake verified cannot be told.
            Err(_) => SessionInfo::read(state, false, None),
        }
    }

    fn built(&self) -> Result<Arc<Built>, TlsError> {
        self.slot.get(&self.material, |resolved| {
            self.build(resolved).map(Arc::new)
        })
    }

    fn build(&self, resolved: Resolved) -> Result<Built, TlsError> {
        let fault = |error: rustls::Error| TlsError::Material {
            path: "common_tls_context".to_owned(),
            reason: error.to_string(),
        };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|_| TlsError::Versions)?;
        let mut verifies = false;
        let builder = if self.validates || self.required {
            let verifier = ClientVerifier::new(
                resolved.validation.as_ref(),
                &self.san_matchers,
                self.required,
                &self.provider,
            )?;
            verifies = verifier.verifies_chain();
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_no_client_auth()
        };
        let local = resolved
            .certificates
            .first()
            .map(|certificate| certificate.info.clone());
        let mut config = builder.with_cert_resolver(Arc::new(key::Resolver(resolved.certificates)));
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(fault)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(Built {
            config: Arc::new(config),
            without_alpn,
            verifies,
            local,
        })
    }
}
