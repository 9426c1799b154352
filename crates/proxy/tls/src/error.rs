//! Why a TLS context cannot be built.

/// Why a TLS context cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The name is of no cipher suite that this proxy has.
    #[error("cipher_suites: {0:?} is not supported")]
    CipherSuite(String),
    /// A certificate, key or trust anchor cannot be read.
    #[error("{path}: {reason}")]
    Material {
        /// The field or secret.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refuses the combination.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}
