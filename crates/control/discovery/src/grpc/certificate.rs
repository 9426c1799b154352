//! The server's own certificate.
//!
//! In: the authority. Out: a TLS configuration whose certificate is renewed at half of its life;
//! callers may show a certificate of the mesh, and one that is shown is verified.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_ca::{CertificateAuthority, KeyedCertificate};
use meltemi_lifecycle::{Clock, DrainSignal};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tracing::{error, info};

use crate::DiscoveryError;

/// How long to wait after a renewal that failed.
const RETRY: Duration = Duration::from_secs(60);

/// The certificate in use, and how to get the next one.
pub(crate) struct ServerCertificate {
    authority: Arc<CertificateAuthority>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    clock: Clock,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerCertificate {
    /// The first certificate for these names and addresses, and how long it is good for.
    pub fn new(
        authority: Arc<CertificateAuthority>,
        names: Vec<String>,
        addresses: Vec<IpAddr>,
        clock: Clock,
    ) -> Result<(Self, Duration), DiscoveryError> {
        let first = authority.server_certificate(&names, &addresses, None)?;
        let wait = renewal(&first, clock);
        let current = Arc::new(Current(ArcSwap::from_pointee(certified(first)?)));
        let certificate = Self {
            authority,
            names,
            addresses,
            clock,
            current,
        };
        Ok((certificate, wait))
    }

    /// TLS with the certificate of the moment.
    pub fn tls(&self) -> Result<Arc<ServerConfig>, DiscoveryError> {
        let refused = |error: &dyn std::fmt::Display| DiscoveryError::Tls(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in self.authority.roots() {
            roots.add(root.clone()).map_err(|error| refused(&error))?;
        }
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| refused(&error))?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(callers)
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(tls))
    }

    /// Renews the certificate until the drain.
    pub async fn keep_fresh(self, first: Duration, mut drain: DrainSignal) {
        let mut wait = first;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = drain.draining() => return,
            }
            wait = match self.renew() {
                Ok(wait) => {
                    info!(?wait, "server certificate renewed");
                    wait
                }
                Err(error) => {
                    error!("the server certificate could not be renewed: {error}");
                    RETRY
                }
            };
        }
    }

    fn renew(&self) -> Result<Duration, DiscoveryError> {
        let next = self
            .authority
            .server_certificate(&self.names, &self.addresses, None)?;
        let wait = renewal(&next, self.clock);
        self.current.0.store(Arc::new(certified(next)?));
        Ok(wait)
    }
}

fn renewal(certificate: &KeyedCertificate, clock: Clock) -> Duration {
    let left = certificate.not_after.duration_since(clock.wall());
    (left.unwrap_or_default() / 2).max(Duration::from_secs(1))
}

fn certified(certificate: KeyedCertificate) -> Result<CertifiedKey, DiscoveryError> {
    let KeyedCertificate {
        chain,
        key,
        not_before: _, // ignored: only the end matters to a server
        not_after: _,  // ignored: used by `renewal`
    } = certificate;
    let key = PrivatePkcs8KeyDer::from(key).into();
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| DiscoveryError::Tls(error.to_string()))?;
    Ok(CertifiedKey::new(chain, key))
}
