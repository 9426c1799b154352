//! How a listener terminates TLS (`DownstreamTlsContext`).

use std::io;
use std::sync::Arc;

use meltemi_ir::{DownstreamTls, SessionTickets, TicketKeySource, ValidationContext};
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{ServerConfig, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::anchors::sha256;
use crate::material::{Material, References, Resolved, Slot};
use crate::tickets::{Limited, SharedKeys};
use crate::verifier::{ClientVerifier, Rules, Side};
use crate::{SecretStore, SessionInfo, TlsError, cipher, key};

/// A listener's TLS settings with the secrets of the moment. Shared by all threads.
pub struct ServerContext {
    material: Material,
    slot: Slot<Arc<Built>>,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    schemes: Vec<SignatureScheme>,
    /// Clients must show a certificate, whatever else the validation context says.
    required: bool,
    alpn: Vec<Vec<u8>>,
    tickets: SessionTickets,
}

struct Built {
    config: Arc<ServerConfig>,
    /// For clients that offer none of our protocols: they get none instead of an alert.
    without_alpn: Arc<ServerConfig>,
    /// None where clients are not asked for a certificate.
    rules: Option<Rules>,
    certificates: Arc<key::Resolver>,
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
            validation_defaults,
            require_client_certificate,
            alpn,
            min_version,
            max_version,
            cipher_suites,
            signature_algorithms,
            tickets,
        } = tls;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let (provider, versions) = cipher::provider(cipher_suites, *min_version, *max_version)?;
        let schemes = cipher::schemes(signature_algorithms)?;
        let ticket_keys = match &tickets.keys {
            TicketKeySource::Given(keys) => Some(keys),
            TicketKeySource::Own | TicketKeySource::None => None,
        };
        let references = References {
            certificates,
            validation: validation.as_ref(),
            defaults: validation_defaults,
            ticket_keys,
            schemes: &schemes,
        };
        let context = Self {
            material: Material::new(secrets, &references),
            slot: Slot::new(),
            provider,
            versions,
            schemes,
            required: *require_client_certificate,
            alpn: alpn.clone(),
            tickets: tickets.clone(),
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

    /// Whether it waits for a secret that has not come yet.
    pub fn is_waiting(&self) -> bool {
        self.material.is_waiting()
    }

    /// The secrets that have not come.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        self.material.awaited()
    }

    /// Accepts a connection with the secrets of this moment, and says what was agreed on. A client
    /// that offers only application protocols that are not ours gets none, as it would from Envoy.
    ///
    /// # Errors
    /// When the handshake fails or a secret is missing.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<(TlsStream<IO>, SessionInfo)>
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
        let local = built.certificates.info_for(&start.client_hello());
        let stream = start.into_stream(config.clone()).await?;
        let state = stream.get_ref().1;
        let verified = built.rules.as_ref().is_some_and(|rules| {
            let chain = state.peer_certificates().unwrap_or_default();
            // What was taken untrusted may have been trustworthy all the same.
            rules.verify() && (!rules.accept_untrusted || rules.fulfilled(Side::Client, chain))
        });
        let signed = built.rules.as_ref().map(|rules| rules.signed());
        let session = SessionInfo::read(state, verified, signed, local);
        Ok((stream, session))
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
            ticket_keys,
        } = resolved;
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|_| TlsError::Versions)?;
        let mut rules = None;
        let mut required = self.required;
        let asks = validation.as_ref().is_some_and(asks_for_certificate);
        let builder = if asks || required {
            let context = validation.clone().unwrap_or_default();
            // A certificate whose names must match must be there.
            required |= context.names_peers() && !context.accept_untrusted;
            let store = self.material.store();
            let made = Rules::new(&context, store, &self.provider, &self.schemes)?;
            let verifier = ClientVerifier::new(made.clone(), required);
            rules = Some(made);
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_no_client_auth()
        };
        let certificates = Arc::new(key::Resolver(certificates));
        let mut config = builder.with_cert_resolver(certificates.clone());
        let demands = format!("{required} {validation:?}");
        self.set_tickets(&mut config, ticket_keys.as_ref(), &demands)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(Built {
            config: Arc::new(config),
            without_alpn,
            rules,
            certificates,
        })
    }

    fn set_tickets(
        &self,
        config: &mut ServerConfig,
        keys: Option<&meltemi_ir::TicketKeys>,
        demands: &str,
    ) -> Result<(), TlsError> {
        let SessionTickets {
            keys: source,
            lifetime,
        } = &self.tickets;
        config.send_tls13_tickets = 1;
        match (source, keys) {
            (TicketKeySource::None, _) => config.send_tls13_tickets = 0,
            (TicketKeySource::Given(_), Some(keys)) => {
                let demands = sha256(demands.as_bytes());
                config.ticketer = Arc::new(SharedKeys::new(keys, demands, *lifetime)?);
            }
            (TicketKeySource::Own | TicketKeySource::Given(_), _) => {
                let own = rustls::crypto::aws_lc_rs::Ticketer::new();
                let own = own.map_err(|error| TlsError::Material {
                    path: "common_tls_context".to_owned(),
                    reason: error.to_string(),
                })?;
                config.ticketer = match lifetime {
                    None => own,
                    Some(lifetime) => Arc::new(Limited {
                        inner: own,
                        lifetime: *lifetime,
                    }),
                };
            }
        }
        Ok(())
    }
}

/// Whether clients are asked for a certificate at all.
fn asks_for_certificate(context: &ValidationContext) -> bool {
    context.accept_untrusted
        || context.system_roots
        || !context.trusted_ca_pem.is_empty()
        || context.names_peers()
}
