//! How a cluster originates TLS (`UpstreamTlsContext`).

use std::io;
use std::sync::Arc;

use meltemi_ir::{SanMatch, UpstreamTls};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, CommonState, SupportedProtocolVersion};
use rustls_pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::material::{Material, Resolved, Slot};
use crate::verifier::ServerVerifier;
use crate::{CertificateInfo, SecretStore, SessionInfo, TlsError, cipher, key};

/// Sessions remembered for resumption; every host of a cluster may have one.
const SESSIONS: usize = 256;

/// Which protocols a handshake offers.
#[derive(Clone, Copy, Debug)]
pub enum Alpn<'a> {
    /// Those of the settings.
    AsConfigured,
    /// Those of the settings, or these where the settings name none.
    Otherwise(&'a [&'a [u8]]),
    /// These, whatever the settings say.
    Instead(&'a [Vec<u8>]),
}

/// A cluster's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ClientContext {
    material: Material,
    slot: Slot<Arc<Built>>,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    san_matchers: Vec<SanMatch>,
    server_name: Option<ServerName<'static>>,
    alpn: Vec<Vec<u8>>,
}

struct Built {
    config: Arc<ClientConfig>,
    verifies: bool,
    local: Option<Arc<CertificateInfo>>,
}

impl ClientContext {
    /// Prepares the settings; secrets by name may come later.
    ///
    /// # Errors
    /// When the settings, or material written in place, cannot be served.
    pub fn new(tls: &UpstreamTls, secrets: Arc<SecretStore>) -> Result<Arc<Self>, TlsError> {
        let UpstreamTls {
            certificates,
            validation,
            san_matchers,
            sni,
            alpn,
            min_version,
            max_version,
            cipher_suites,
        } = tls;
        let (provider, versions) = cipher::provider(cipher_suites, *min_version, *max_version)?;
        let server_name = if sni.is_empty() {
            None
        } else {
            let name =
                ServerName::try_from(sni.clone()).map_err(|_| TlsError::ServerName(sni.clone()))?;
            Some(name)
        };
        let context = Self {
            material: Material::new(secrets, certificates, validation.as_ref()),
            slot: Slot::new(),
            provider,
            versions,
            san_matchers: san_matchers.clone(),
            server_name,
            alpn: alpn.clone(),
        };
        match context.built() {
            // What is delivered under a name may still be delivered rightly.
            Err(error) if !context.material.is_by_name() => Err(error),
            _ => Ok(Arc::new(context)),
        }
    }

    /// What to make the next connection with; none while a secret is missing, in which
    /// case no connection is to be made. [`Self::connect`] is the usual way.
    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.built().ok().map(|built| built.config.clone())
    }

    /// Why [`Self::config`] has nothing to give, where it has not.
    pub fn problem(&self) -> Option<TlsError> {
        self.built().err()
    }

    /// The name to connect with; an address where the settings have no SNI, since an
    /// address is never sent.
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name
            .clone()
            .unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([
                0, 0, 0, 0,
            ]))))
    }

    /// Makes a handshake with the secrets of this moment.
    ///
    /// # Errors
    /// When the handshake fails or a secret is missing.
    pub async fn connect<IO>(&self, io: IO, alpn: Alpn<'_>) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let built = self.built().map_err(io::Error::other)?;
        let connector = TlsConnector::from(built.config.clone());
        let offered = match alpn {
            Alpn::Otherwise(protocols) if self.alpn.is_empty() => {
                Some(protocols.iter().map(|protocol| protocol.to_vec()).collect())
            }
            Alpn::AsConfigured | Alpn::Otherwise(_) => None,
            Alpn::Instead(protocols) => Some(protocols.to_vec()),
        };
        match offered {
            Some(protocols) => {
                let connector = connector.with_alpn(protocols);
                connector.connect(self.server_name(), io).await
            }
            None => connector.connect(self.server_name(), io).await,
        }
    }

    /// What a connection that this context made agreed on.
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
        let verifier = ServerVerifier::new(
            resolved.validation.as_ref(),
            &self.san_matchers,
            &self.provider,
        )?;
        let verifies = verifier.verifies_chain();
        let local = resolved
            .certificates
            .first()
            .map(|certificate| certificate.info.clone());
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|_| TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = if resolved.certificates.is_empty() {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_resolver(Arc::new(key::Resolver(resolved.certificates)))
        };
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Built {
            config: Arc::new(config),
            verifies,
            local,
        })
    }
}
