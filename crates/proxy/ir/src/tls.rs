//! TLS contexts (`envoy.extensions.transport_sockets.tls.v3`).

use std::time::Duration;

use crate::{SecretRef, StringMatch, TicketKeys, TlsCertificate, ValidationContext};

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
    /// A mail address.
    Email(StringMatch),
    /// An address, as text.
    Ip(StringMatch),
    /// Any kind of name (the older `match_subject_alt_names`).
    Any(StringMatch),
}

/// How a listener lets a client resume a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTickets {
    /// Who can open a ticket.
    pub keys: TicketKeySource,
    /// How long a session may be resumed (`session_timeout`); the library's own limit unless set.
    pub lifetime: Option<Duration>,
}

impl Default for SessionTickets {
    fn default() -> Self {
        Self {
            keys: TicketKeySource::Own,
            lifetime: None,
        }
    }
}

/// Which keys encrypt session tickets.
#[derive(Clone, Debug, PartialEq)]
pub enum TicketKeySource {
    /// Keys that the proxy makes and changes itself.
    Own,
    /// These, which other proxies may have too.
    Given(SecretRef<TicketKeys>),
    /// There are no tickets (`disable_stateless_session_resumption`).
    None,
}

/// `DownstreamTlsContext`: how a listener terminates TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    /// The server's certificates, at least one.
    pub certificates: Vec<SecretRef<TlsCertificate>>,
    /// How a client's certificate is verified.
    pub validation: Option<SecretRef<ValidationContext>>,
    /// The default part of a combined validation context, to which the delivered one is added.
    pub validation_defaults: ValidationContext,
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
    /// Signature algorithms by their names in the TLS registry; empty means the defaults.
    pub signature_algorithms: Vec<String>,
    /// How sessions are resumed.
    pub tickets: SessionTickets,
}

impl Default for DownstreamTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            validation: None,
            validation_defaults: ValidationContext::default(),
            require_client_certificate: false,
            alpn: Vec::new(),
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: Vec::new(),
            signature_algorithms: Vec::new(),
            tickets: SessionTickets::default(),
        }
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            validation: None,
            validation_defaults: ValidationContext::default(),
            sni: String::new(),
            auto_host_sni: false,
            auto_sni_san_validation: false,
            alpn: Vec::new(),
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: Vec::new(),
            signature_algorithms: Vec::new(),
        }
    }
}

/// `UpstreamTlsContext`: how a cluster originates TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The client's certificates, none for one-way TLS.
    pub certificates: Vec<SecretRef<TlsCertificate>>,
    /// How the server's certificate is verified; none means that it is not.
    pub validation: Option<SecretRef<ValidationContext>>,
    /// The default part of a combined validation context, to which the delivered one is added.
    pub validation_defaults: ValidationContext,
    /// Server name indication; empty sends none.
    pub sni: String,
    /// The server name is the endpoint's host name, where it has one.
    pub auto_host_sni: bool,
    /// The server name that was sent takes the place of the SAN matchers.
    pub auto_sni_san_validation: bool,
    /// ALPN protocols offered, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// The least version spoken.
    pub min_version: TlsVersion,
    /// The greatest version spoken.
    pub max_version: TlsVersion,
    /// Cipher suites by their IANA or OpenSSL names; empty means the defaults.
    pub cipher_suites: Vec<String>,
    /// Signature algorithms by their names in the TLS registry; empty means the defaults.
    pub signature_algorithms: Vec<String>,
}
