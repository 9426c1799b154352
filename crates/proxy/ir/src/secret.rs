//! Secrets: certificates and trust anchors, by value or by name.

use std::path::PathBuf;

use crate::{ConfigSource, SanMatch};

/// A named secret (`envoy.extensions.transport_sockets.tls.v3.Secret`).
#[derive(Clone, Debug, PartialEq)]
pub struct SecretConfig {
    /// The name that [`SecretRef::Sds`] uses.
    pub name: String,
    /// What it holds.
    pub secret: Secret,
    /// The files it was read from; when one changes, the secret is to be read again.
    pub files: Vec<PathBuf>,
}

/// What a secret holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Secret {
    /// A certificate chain and its key.
    Certificate(TlsCertificate),
    /// Trust anchors.
    Validation(ValidationContext),
    /// Keys of session tickets.
    TicketKeys(TicketKeys),
}

/// Keys of session tickets: the first encrypts, all decrypt.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKeys(pub Vec<[u8; 80]>);

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKeys({}, [redacted])", self.0.len())
    }
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
    /// PEM roots, perhaps with revocation lists; empty means that the peer's chain is not verified.
    pub trusted_ca_pem: Vec<u8>,
    /// The roots are those that the system trusts.
    pub system_roots: bool,
    /// At least one must match a subject alternative name; empty means any.
    pub san_matchers: Vec<SanMatch>,
    /// SHA-256 of certificates that are acceptable; empty, with the keys, means any.
    pub certificate_hashes: Vec<[u8; 32]>,
    /// SHA-256 of public keys that are acceptable; empty, with the certificates, means any.
    pub spki_hashes: Vec<[u8; 32]>,
    /// PEM revocation lists; a certificate whose issuer has none is refused.
    pub crl_pem: Option<Vec<u8>>,
    /// Only the peer's own certificate is looked up in the revocation lists.
    pub only_leaf_crl: bool,
    /// A certificate that has expired is taken.
    pub allow_expired: bool,
    /// A certificate that does not fulfil any of this is taken, but means nothing.
    pub accept_untrusted: bool,
    /// How many certificates may stand between the peer's own and a root.
    pub max_verify_depth: Option<u32>,
}

impl ValidationContext {
    /// Adds what was delivered to a default, as protobuf merges messages.
    pub fn merged(&self, delivered: &Self) -> Self {
        let Self {
            trusted_ca_pem,
            system_roots,
            san_matchers,
            certificate_hashes,
            spki_hashes,
            crl_pem,
            only_leaf_crl,
            allow_expired,
            accept_untrusted,
            max_verify_depth,
        } = delivered;
        let mut all = self.clone();
        if !trusted_ca_pem.is_empty() {
            all.trusted_ca_pem.clone_from(trusted_ca_pem);
        }
        all.system_roots |= system_roots;
        all.san_matchers.extend_from_slice(san_matchers);
        all.certificate_hashes.extend_from_slice(certificate_hashes);
        all.spki_hashes.extend_from_slice(spki_hashes);
        if crl_pem.is_some() {
            all.crl_pem.clone_from(crl_pem);
        }
        all.only_leaf_crl |= only_leaf_crl;
        all.allow_expired |= allow_expired;
        all.accept_untrusted |= accept_untrusted;
        all.max_verify_depth = max_verify_depth.or(all.max_verify_depth);
        all
    }

    /// Whether there are names or fingerprints to hold a certificate against.
    pub fn names_peers(&self) -> bool {
        !(self.san_matchers.is_empty()
            && self.certificate_hashes.is_empty()
            && self.spki_hashes.is_empty())
    }
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

/// What delivers a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// Discovery (`sds_config`). The agent in the same process stands in for the service whose cluster
    /// Istio calls `sds-grpc`.
    Discovered(ConfigSource),
    /// `static_resources.secrets` (no `sds_config`).
    Static,
}
