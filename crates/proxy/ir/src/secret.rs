//! Secrets: certificates and trust anchors, by value or by name.

use std::path::PathBuf;

use crate::SanMatch;

/// A named secret (`envoy.extensions.transport_sockets.tls.v3.Secret`).
#[derive(Clone, Debug, PartialEq)]
pub struct SecretConfig {
    /// The name that [`SecretRef::Sds`] uses.
    pub name: String,
    /// What it holds.
    pub secret: Secret,
}

/// What a secret holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Secret {
    /// A certificate chain and its key.
    Certificate(TlsCertificate),
    /// Trust anchors.
    Validation(ValidationContext),
}

/// A certificate chain and its private key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsCertificate {
    /// PEM chain, leaf first.
    pub chain_pem: Vec<u8>,
    /// PEM private key.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsCertificate")
            .field("key_pem", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// Trust anchors and what the peer's certificate must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationContext {
    /// PEM roots; empty means that the peer's chain is not verified.
    pub trusted_ca_pem: Vec<u8>,
    /// At least one must match a subject alternative name; empty means any.
    pub san_matchers: Vec<SanMatch>,
}

/// Where a certificate or validation context comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretRef<T> {
    /// Written in place.
    Inline(T),
    /// Delivered by secret discovery under this name.
    Sds {
        /// The secret's name, such as `default` or `kubernetes://cred`.
        name: String,
        /// Which discovery service delivers it.
        source: CertificateSource,
    },
}

/// Which secret discovery service delivers a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// Over the proxy's own ADS stream (`sds_config.ads`).
    Ads,
    /// From the SDS service reached by this cluster (`api_config_source`); the agent in
    /// the same process serves the one that Istio calls `sds-grpc`.
    Cluster(String),
    /// `static_resources.secrets` (no `sds_config`).
    Static,
    /// A file watched on disk (`path_config_source`).
    Path(PathBuf),
}
