//! TLS contexts (`envoy.extensions.transport_sockets.tls.v3`).

use crate::{SecretRef, StringMatch, TlsCertificate, ValidationContext};

/// A TLS protocol version that the proxy can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// One subject alternative name that is acceptable in the peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanMatch {
    /// A URI name, which is how SPIFFE names a workload.
    Uri(StringMatch),
    /// A DNS name.
    Dns(StringMatch),
    /// Any kind of name (the older `match_subject_alt_names`).
    Any(StringMatch),
}

/// `DownstreamTlsContext`: how a listener terminates TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    /// The server's certificates, at least one.
    pub certificates: Vec<SecretRef<TlsCertificate>>,
    /// How a client's certificate is verified.
    pub validation: Option<SecretRef<ValidationContext>>,
    /// SAN matchers of a combined validation context, added to the delivered one.
    pub san_matchers: Vec<SanMatch>,
    /// A client without a certificate is refused.
    pub require_client_certificate: bool,
    /// ALPN protocols offered, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// The least version spoken.
    pub min_version: TlsVersion,
    /// The greatest version spoken.
    pub max_version: TlsVersion,
    /// Cipher suites by their IANA or OpenSSL names; empty means the defaults.
    pub cipher_suites: Vec<String>,
}

/// `UpstreamTlsContext`: how a cluster originates TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The client's certificates, none for one-way TLS.
    pub certificates: Vec<SecretRef<TlsCertificate>>,
    /// How the server's certificate is verified; none means that it is not.
    pub validation: Option<SecretRef<ValidationContext>>,
    /// SAN matchers of a combined validation context, added to the delivered one.
    pub san_matchers: Vec<SanMatch>,
    /// Server name indication; empty sends none.
    pub sni: String,
    /// ALPN protocols offered, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// The least version spoken.
    pub min_version: TlsVersion,
    /// The greatest version spoken.
    pub max_version: TlsVersion,
    /// Cipher suites by their IANA or OpenSSL names; empty means the defaults.
    pub cipher_suites: Vec<String>,
}
