//! Certificate signing requests: what of them counts.
//!
//! In: a PKCS #10 request in PEM. Out: its public key, once the request's own signature has shown
//! that the caller holds the private one. Names and extensions that it asks for are not read at all:
//! a certificate's names come from who the caller is.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

/// The smallest RSA key that is signed for, in bits.
const MIN_RSA_BITS: usize = 2048;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is not PEM, or not a request.
    #[error("csr: not a certificate signing request in PEM: {0}")]
    Malformed(String),
    /// It is signed with another key than the one in it.
    #[error("csr: the signature is not by the key of the request")]
    Signature,
    /// The key is of a sort that is not signed for.
    #[error("csr: {0}; use ECDSA P-256, ECDSA P-384 or RSA of at least 2048 bits")]
    Key(String),
}

/// Reads a request and checks its signature.
pub(crate) fn public_key(pem: &str) -> Result<SubjectPublicKeyInfo, RequestError> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| RequestError::Malformed(error.to_string()))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|error| RequestError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed("bytes follow it".to_owned()));
    }
    let spki = &request.certification_request_info.subject_pki;
    let parsed = spki
        .parsed()
        .map_err(|error| RequestError::Key(format!("the key cannot be read ({error})")))?;
    let key = SubjectPublicKeyInfo::from_der(spki.raw)
        .map_err(|error| RequestError::Key(format!("the key cannot be read ({error})")))?;
    use rcgen::PublicKeyData as _;
    match parsed {
        PublicKey::RSA(rsa) if rsa.key_size() < MIN_RSA_BITS => {
            let bits = rsa.key_size();
            return Err(RequestError::Key(format!(
                "an RSA key of {bits} bits is too short"
            )));
        }
        PublicKey::RSA(_) => {}
        PublicKey::EC(_)
            if [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384].contains(&key.algorithm()) => {}
        PublicKey::EC(_) => return Err(RequestError::Key("another elliptic curve".to_owned())),
        _ => return Err(RequestError::Key("another sort of key".to_owned())),
    }
    request
        .verify_signature()
        .map_err(|_| RequestError::Signature)?;
    Ok(key)
}
