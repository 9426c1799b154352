//! How a cluster originates TLS (`UpstreamTlsContext`).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_ir::UpstreamTls;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{Ipv4Addr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::material::{Material, References, Resolved, Slot};
use crate::verifier::{Rules, ServerVerifier, Side};
use crate::{CertificateInfo, SecretStore, SessionInfo, TlsError, cipher, key};

/// Sessions remembered for resumption; every host of a cluster may have one.
const SESSIONS: usize = 256;

/// Which protocols a handshake offers.
#[derive(Clone, Copy, Debug, Default)]
pub enum Alpn<'a> {
    /// Those of the settings.
    #[default]
    AsConfigured,
    /// Those of the settings, or these where the settings name none.
    Otherwise(&'a [&'a [u8]]),
    /// These, whatever the settings say.
    Instead(&'a [Vec<u8>]),
}

/// What one connection wants beside the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Protocols.
    pub alpn: Alpn<'a>,
    /// The endpoint's host name, which `auto_host_sni` sends; empty where it has none.
    pub host: &'a str,
    /// The server name in place of that of the settings (`auto_sni`).
    pub server_name: Option<&'a str>,
    /// The name that the certificate must bear in place of the SAN matchers
    /// (`auto_san_validation`).
    pub subject: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    /// Protocols, and all else as the settings say.
    pub fn of_alpn(alpn: Alpn<'a>) -> Self {
        Self {
            alpn,
            ..Self::default()
        }
    }
}

/// A cluster's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ClientContext {
    material: Material,
    slot: Slot<Arc<Built>>,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    schemes: Vec<SignatureScheme>,
    server_name: Option<ServerName<'static>>,
    auto_host_sni: bool,
    by_server_name: bool,
    alpn: Vec<Vec<u8>>,
}

struct Built {
    config: Arc<ClientConfig>,
    verifier: Arc<ServerVerifier>,
    verifies: bool,
    local: Option<Arc<CertificateInfo>>,
    /// Sessions of servers that bore the name they were called by.
    named_sessions: Resumption,
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
            validation_defaults,
            sni,
            auto_host_sni,
            auto_sni_san_validation,
            alpn,
            min_version,
            max_version,
            cipher_suites,
            signature_algorithms,
        } = tls;
        let (provider, versions) = cipher::provider(cipher_suites, *min_version, *max_version)?;
        let schemes = cipher::schemes(signature_algorithms)?;
        let server_name = if sni.is_empty() {
            None
        } else {
            let name =
                ServerName::try_from(sni.clone()).map_err(|_| TlsError::ServerName(sni.clone()))?;
            Some(name)
        };
        let references = References {
            certificates,
            validation: validation.as_ref(),
            defaults: validation_defaults,
            ticket_keys: None,
            schemes: &schemes,
        };
        let context = Self {
            material: Material::new(secrets, &references),
            slot: Slot::new(),
            provider,
            versions,
            schemes,
            server_name,
            auto_host_sni: *auto_host_sni,
            by_server_name: *auto_sni_san_validation,
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

    /// Whether it waits for a secret that has not come yet.
    pub fn is_waiting(&self) -> bool {
        self.material.is_waiting()
    }

    /// Makes a handshake with the secrets of this moment, and says what was agreed on.
    ///
    /// # Errors
    /// When the handshake fails or a secret is missing.
    pub async fn connect<IO>(
        &self,
        io: IO,
        wishes: Wishes<'_>,
    ) -> io::Result<(TlsStream<IO>, SessionInfo)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let built = self.built().map_err(io::Error::other)?;
        let server_name = self.name_for(&wishes);
        let sent_name = match &server_name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            _ => None,
        };
        let connector = TlsConnector::from(match wishes.subject {
            Some(subject) => built.for_subject(subject, &server_name),
            None => built.config.clone(),
        });
        let offered = match wishes.alpn {
            Alpn::Otherwise(protocols) if self.alpn.is_empty() => {
                Some(protocols.iter().map(|protocol| protocol.to_vec()).collect())
            }
            Alpn::AsConfigured | Alpn::Otherwise(_) => None,
            Alpn::Instead(protocols) => Some(protocols.to_vec()),
        };
        let stream = match offered {
            Some(protocols) => {
                let connector = connector.with_alpn(protocols);
                connector.connect(server_name, io).await?
            }
            None => connector.connect(server_name, io).await?,
        };
        let state = stream.get_ref().1;
        let rules = built.verifier.rules();
        let verified = built.verifies
            && (!rules.accept_untrusted || {
                let chain = state.peer_certificates().unwrap_or_default();
                rules.fulfilled(Side::Server, chain)
            });
        let mut session =
            SessionInfo::read(state, verified, Some(rules.signed()), built.local.clone());
        session.server_name = sent_name;
        Ok((stream, session))
    }

    /// The name to connect with; an address where none is to be sent, since an address never is.
    fn name_for(&self, wishes: &Wishes<'_>) -> ServerName<'static> {
        let host = Some(wishes.host).filter(|host| self.auto_host_sni && !host.is_empty());
        let of_text = |name: &str| ServerName::try_from(name.to_owned()).ok();
        wishes
            .server_name
            .or(host)
            .and_then(of_text)
            .or_else(|| self.server_name.clone())
            .unwrap_or(ServerName::IpAddress(rustls_pki_types::IpAddr::V4(
                Ipv4Addr::from([0, 0, 0, 0]),
            )))
    }

    fn built(&self) -> Result<Arc<Built>, TlsError> {
        self.slot.get(&self.material, |resolved| {
            self.build(resolved).map(Arc::new)
        })
    }

    fn build(&self, resolved: Resolved) -> Result<Built, TlsError> {
        let Resolved {
            certificates,
            validation,
            ticket_keys: _, // ignored: a client is given tickets
        } = resolved;
        let store = self.material.store();
        let context = validation.unwrap_or_default();
        let rules = Rules::new(&context, store, &self.provider, &self.schemes)?;
        let verifies = rules.verify();
        if self.by_server_name && !verifies {
            return Err(TlsError::Material {
                path: "auto_sni_san_validation".to_owned(),
                reason: "is only of use where trusted_ca is given".to_owned(),
            });
        }
        let verifier = Arc::new(ServerVerifier::new(rules, self.by_server_name));
        let first = certificates.first();
        let local = first.map(|certificate| certificate.info.clone());
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|_| TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = if certificates.is_empty() {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_resolver(Arc::new(key::Resolver(certificates)))
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Built {
            config: Arc::new(config),
            verifier,
            verifies,
            local,
            named_sessions: Resumption::in_memory_sessions(SESSIONS),
        })
    }
}

impl Built {
    /// The configuration for a server whose certificate must bear this name. A session of another
    /// name says nothing about it, so that only one of the very server name is resumed.
    fn for_subject(&self, subject: &str, server_name: &ServerName<'_>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        let verifier = Arc::new(self.verifier.of_name(subject));
        config.dangerous().set_certificate_verifier(verifier);
        let is_the_same = match server_name {
            ServerName::DnsName(name) => name.as_ref() == subject,
            ServerName::IpAddress(address) => {
                subject.parse::<IpAddr>().ok() == Some(IpAddr::from(*address))
            }
            _ => false,
        };
        config.resumption = if is_the_same {
            self.named_sessions.clone()
        } else {
            Resumption::disabled()
        };
        Arc::new(config)
    }
}
