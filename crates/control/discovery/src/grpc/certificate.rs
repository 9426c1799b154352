//! The server's own certificate, and whom it trusts.
//!
//! In: the authorities. Out: a TLS configuration that is replaced when the certificate has lived half of
//! its life and whenever another root is trusted or signs; callers may show a certificate of the mesh,
//! and one that is shown is verified.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_ca::{Authorities, KeyedCertificate};
use meltemi_lifecycle::{Clock, DrainSignal};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tracing::{error, info};

use super::accept::Tls;
use crate::DiscoveryError;

/// How long to wait after a renewal that failed.
const RETRY: Duration = Duration::from_secs(60);

/// The certificate in use, and how to get the next one.
pub(crate) struct ServerCertificate {
    authorities: Arc<Authorities>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    clock: Clock,
    tls: Tls,
}

impl ServerCertificate {
    /// The first certificate for these names and addresses, and how long it is good for.
    pub fn new(
        authorities: Arc<Authorities>,
        names: Vec<String>,
        addresses: Vec<IpAddr>,
        clock: Clock,
    ) -> Result<(Self, Duration), DiscoveryError> {
        let first = authorities.server_certificate(&names, &addresses)?;
        let wait = renewal(&first, clock);
        let tls = Arc::new(ArcSwap::from(configuration(&authorities, first)?));
        let certificate = Self {
            authorities,
            names,
            addresses,
            clock,
            tls,
        };
        Ok((certificate, wait))
    }

    /// TLS with the certificate of the moment.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Renews the certificate until the drain.
    pub async fn keep_fresh(self, first: Duration, mut drain: DrainSignal) {
        let mut changes = self.authorities.watch();
        changes.mark_changed();
        let mut wait = first;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = changes.changed() => {}
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
            .authorities
            .server_certificate(&self.names, &self.addresses)?;
        let wait = renewal(&next, self.clock);
        self.tls.store(configuration(&self.authorities, next)?);
        Ok(wait)
    }
}

fn renewal(certificate: &KeyedCertificate, clock: Clock) -> Duration {
    let left = certificate.not_after.duration_since(clock.wall());
    (left.unwrap_or_default() / 2).max(Duration::from_secs(1))
}

fn configuration(
    authorities: &Authorities,
    certificate: KeyedCertificate,
) -> Result<Arc<ServerConfig>, DiscoveryError> {
    let refused = |error: &dyn std::fmt::Display| DiscoveryError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in authorities.standing().bundle() {
        roots.add(root).map_err(|error| refused(&error))?;
    }
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let callers =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| refused(&error))?;
    let KeyedCertificate {
        chain,
        key,
        not_before: _, // ignored: only the end matters to a server
        not_after: _,  // ignored: used by `renewal`
    } = certificate;
    let key = PrivatePkcs8KeyDer::from(key).into();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(|error| refused(&error))?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}
