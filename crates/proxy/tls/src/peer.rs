//! What a finished handshake says about the two ends.

use rustls_pki_types::CertificateDer;

/// What a certificate says, for logs, metrics, policy and `x-forwarded-client-cert`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// URI names, such as `spiffe://cluster.local/ns/default/sa/web`.
    pub uri_sans: Vec<String>,
    /// DNS names.
    pub dns_sans: Vec<String>,
    /// The subject, as RFC 2253 writes it.
    pub subject: String,
    /// The issuer, as RFC 2253 writes it.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the DER form, in hexadecimal.
    pub sha256: String,
}

/// Reads a certificate; none where it cannot be read.
pub fn peer_certificate(_certificate: &CertificateDer<'_>) -> Option<PeerCertificate> {
    unimplemented!()
}
