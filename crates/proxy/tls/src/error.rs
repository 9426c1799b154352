//! Why a TLS context cannot be built.

/// Why a TLS context cannot be built. The path is that of a field in the context's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The name is of no cipher suite.
    #[error("common_tls_context.tls_params.cipher_suites: {0:?} is no known cipher suite")]
    UnknownCipherSuite(String),
    /// None of the suites is one that this proxy speaks.
    #[error(
        "common_tls_context.tls_params.cipher_suites: none is supported; {0:?} has no forward secrecy or no authenticated encryption"
    )]
    NoCipherSuite(String),
    /// The name is of no signature algorithm that this proxy speaks.
    #[error("common_tls_context.tls_params.signature_algorithms: {0:?} is not supported")]
    SignatureAlgorithm(String),
    /// The least version is greater than the greatest.
    #[error(
        "common_tls_context.tls_params: the least version is above the greatest, or its cipher suites are missing"
    )]
    Versions,
    /// A server without a certificate.
    #[error("common_tls_context.tls_certificates: a server needs at least one")]
    NoCertificate,
    /// The server name is no host name.
    #[error("sni: {0:?} is no host name")]
    ServerName(String),
    /// A certificate, key or trust anchor cannot be read.
    #[error("{path}: {reason}")]
    Material {
        /// The field or the secret.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret has not been delivered.
    #[error("secret {0:?} has not been delivered")]
    Missing(String),
}
