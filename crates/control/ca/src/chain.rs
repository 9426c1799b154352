//! Certificates in PEM, and whether a chain leads to a root.
//!
//! In: PEM text, DER certificates. Out: certificates that hang together, or what does not. Called by
//! `authority` when a key and its certificates are loaded.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What is wrong with the certificates of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The text is not PEM, or a certificate in it does not parse.
    #[error("{what}: not a certificate in PEM: {reason}")]
    Malformed {
        /// Which of the inputs.
        what: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// There is no certificate where one is needed.
    #[error("{0}: holds no certificate")]
    Empty(&'static str),
    /// The signing certificate may not sign certificates.
    #[error(
        "ca-cert.pem: {0:?} is not the certificate of an authority (basicConstraints CA is not set)"
    )]
    NotAuthority(String),
    /// The signing key is not the certificate's.
    #[error("ca-key.pem: not the key of the certificate in ca-cert.pem")]
    OtherKey,
    /// Nobody known has signed this certificate.
    #[error(
        "the chain ends at {subject:?}: its issuer {issuer:?} is neither in cert-chain.pem nor in root-cert.pem"
    )]
    NoIssuer {
        /// Whose issuer is missing.
        subject: String,
        /// The issuer's name.
        issuer: String,
    },
}

/// Every certificate of a PEM text.
pub(crate) fn read(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    let malformed = |reason: String| ChainError::Malformed { what, reason };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(error.to_string()))?;
    for certificate in &certificates {
        parse(what, certificate)?;
    }
    Ok(certificates)
}

/// The fields of a certificate.
pub(crate) fn parse<'a>(
    what: &'static str,
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, ChainError> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(ChainError::Malformed {
            what,
            reason: error.to_string(),
        }),
    }
}

/// The one of `roots` to which signatures lead from `signer` over certificates of `chain`.
pub(crate) fn anchor(
    signer: &CertificateDer<'_>,
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
) -> Result<CertificateDer<'static>, ChainError> {
    let known = chain.iter().chain(roots);
    let known: Vec<_> = known
        .map(|it| parse("cert-chain.pem", it))
        .collect::<Result<_, _>>()?;
    let mut at = parse("ca-cert.pem", signer)?;
    // A chain visits no certificate twice.
    for _ in 0..=known.len() {
        if let Some(root) = roots.iter().find(|root| ***root == *at.as_raw()) {
            return Ok(root.clone());
        }
        let signed = |issuer: &&X509Certificate<'_>| {
            issuer.subject() == at.issuer()
                && issuer.as_raw() != at.as_raw()
                && at.verify_signature(Some(issuer.public_key())).is_ok()
        };
        match known.iter().find(signed) {
            Some(issuer) => at = issuer.clone(),
            None => break,
        }
    }
    Err(ChainError::NoIssuer {
        subject: at.subject().to_string(),
        issuer: at.issuer().to_string(),
    })
}

/// When a certificate begins.
pub(crate) fn not_before(certificate: &X509Certificate<'_>) -> SystemTime {
    time(certificate.validity().not_before.timestamp())
}

/// When a certificate ends.
pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> SystemTime {
    time(certificate.validity().not_after.timestamp())
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A certificate in PEM, with a line end at its end.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
