//! Why a handshake failed: what the library says enters, a kind to count and the words in which
//! Envoy's TLS library says the same leave.
//!
//! People search for those words, and their logs and alerts have them; what this proxy can say more
//! exactly stands inside of them.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, OtherError};
use rustls_pki_types::CertificateDer;

use crate::CertificateInfo;
use crate::verifier::Side;

/// What a failed handshake counts as (`ssl.fail_verify_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The chain leads to no trust anchor, or not now.
    Chain,
    /// No name is accepted.
    San,
    /// The fingerprint is not listed.
    Hash,
    /// A client without a certificate, where one is required.
    NoCertificate,
    /// Nothing of the peer's certificate.
    Other,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    /// What it counts as.
    pub kind: FailureKind,
    /// The reason, such as `TLS_error:|268435703:SSL routines:...:TLS_error_end`; empty where the
    /// connection just ended.
    pub reason: String,
}

/// A certificate that was refused for a reason that the library does not know.
#[derive(Debug)]
pub(crate) struct Refused {
    kind: FailureKind,
    text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// As an error of the library.
    pub(crate) fn error(kind: FailureKind, text: String) -> Error {
        let refused = Arc::new(Self { kind, text });
        Error::InvalidCertificate(CertificateError::Other(OtherError(refused)))
    }
}

impl HandshakeFailure {
    /// What the error of a handshake means.
    pub fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self {
                kind: FailureKind::Other,
                reason: match error.kind() {
                    io::ErrorKind::UnexpectedEof => String::new(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => String::new(),
                    _ => format!("TLS_error:|{error}:TLS_error_end"),
                },
            };
        };
        let (kind, code, name, more) = described(tls);
        let more = if more.is_empty() {
            more
        } else {
            format!(":{more}")
        };
        Self {
            kind,
            reason: format!(
                "TLS_error:|{}:SSL routines:OPENSSL_internal:{name}{more}:TLS_error_end",
                LIBRARY + code
            ),
        }
    }
}

/// What error numbers of the TLS part of Envoy's library begin with.
const LIBRARY: u32 = 16 << 24;

/// The number and name under which Envoy's library knows an error, and what is to be said beside.
fn described(error: &Error) -> (FailureKind, u32, String, String) {
    let plain = |code, name: &str| (FailureKind::Other, code, name.to_owned(), String::new());
    match error {
        Error::InvalidCertificate(error) => {
            let (kind, text) = match error {
                CertificateError::Other(OtherError(inner)) => {
                    match inner.downcast_ref::<Refused>() {
                        Some(refused) => (refused.kind, refused.text.clone()),
                        None => (FailureKind::Chain, inner.to_string()),
                    }
                }
                known => (FailureKind::Chain, verification(0, words(known))),
            };
            (kind, 125, "CERTIFICATE_VERIFY_FAILED".to_owned(), text)
        }
        Error::NoCertificatesPresented => (
            FailureKind::NoCertificate,
            192,
            "PEER_DID_NOT_RETURN_A_CERTIFICATE".to_owned(),
            "peer did not provide required client certificate".to_owned(),
        ),
        Error::AlertReceived(alert) => {
            let (prefix, name) = alert_name(*alert);
            let code = 1000 + u32::from(u8::from(*alert));
            plain(code, &format!("{prefix}_ALERT_{name}"))
        }
        Error::InvalidMessage(_) => plain(247, "WRONG_VERSION_NUMBER"),
        Error::PeerIncompatible(reason) => {
            use rustls::PeerIncompatible::{
                NoCipherSuitesInCommon, NoKxGroupsInCommon, NoSignatureSchemesInCommon,
            };
            match reason {
                NoCipherSuitesInCommon => plain(184, "NO_SHARED_CIPHER"),
                NoKxGroupsInCommon => plain(189, "NO_SHARED_GROUP"),
                NoSignatureSchemesInCommon => plain(253, "NO_COMMON_SIGNATURE_ALGORITHMS"),
                _ => plain(240, "UNSUPPORTED_PROTOCOL"),
            }
        }
        Error::NoApplicationProtocol => plain(307, "NO_APPLICATION_PROTOCOL"),
        other => (
            FailureKind::Other,
            68,
            "INTERNAL_ERROR".to_owned(),
            other.to_string(),
        ),
    }
}

fn alert_name(alert: AlertDescription) -> (&'static str, String) {
    let name = format!("{alert:?}");
    let mut words = String::new();
    let mut previous = 'A';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_uppercase());
        previous = letter;
    }
    // Those that SSL 3.0 knew bear its name.
    let old = matches!(
        alert,
        AlertDescription::CloseNotify
            | AlertDescription::UnexpectedMessage
            | AlertDescription::BadRecordMac
            | AlertDescription::DecompressionFailure
            | AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::IllegalParameter
    );
    (if old { "SSLV3" } else { "TLSV1" }, words)
}

fn verification(depth: usize, words: &str) -> String {
    format!(
        "verify cert failed: X509_verify_cert: certificate verification error at depth {depth}: {words}"
    )
}

fn words(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => "unable to get local issuer certificate",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid"
        }
        CertificateError::Revoked => {
            "certificate revocation check against provided CRLs failed: certificate revoked"
        }
        CertificateError::UnknownRevocationStatus => {
            "certificate revocation check against provided CRLs failed: unable to get certificate CRL"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "certificate revocation check against provided CRLs failed: CRL has expired"
        }
        CertificateError::BadSignature => "certificate signature failure",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsupported certificate purpose"
        }
        _ => "certificate chain is not acceptable",
    }
}

/// What is wrong with a chain. A client gets the alert that tells it; of a server, the error says
/// which of its certificates it is.
pub(crate) fn chain_error(
    error: &webpki::Error,
    side: Side,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Error {
    let known = known(error);
    if side == Side::Client {
        return Error::InvalidCertificate(
            known.unwrap_or(CertificateError::ApplicationVerificationFailure),
        );
    }
    let chain: Vec<CertificateInfo> = std::iter::once(leaf)
        .chain(intermediates)
        .filter_map(CertificateInfo::read)
        .collect();
    let is_own = |it: &CertificateInfo| it.subject == it.issuer;
    let place = |wrong: &dyn Fn(&CertificateInfo) -> bool| chain.iter().position(wrong);
    let text = match error {
        webpki::Error::CaUsedAsEndEntity | webpki::Error::UnknownIssuer => {
            match (chain.first(), place(&is_own)) {
                (Some(first), _) if is_own(first) => verification(0, "self signed certificate"),
                (_, Some(depth)) => {
                    verification(depth, "self signed certificate in certificate chain")
                }
                _ => {
                    let issuers = chain.windows(2);
                    let links = issuers.take_while(|pair| pair[0].issuer == pair[1].subject);
                    verification(links.count(), "unable to get local issuer certificate")
                }
            }
        }
        webpki::Error::CertExpired { time, .. } => {
            let now = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let expired = |it: &CertificateInfo| it.not_after < now;
            let depth = place(&expired).unwrap_or(chain.len());
            verification(depth, "certificate has expired")
        }
        webpki::Error::MaximumPathDepthExceeded => verification(0, "certificate chain too long"),
        other => match &known {
            Some(known) => verification(0, words(known)),
            None => verification(0, &other.to_string()),
        },
    };
    Refused::error(FailureKind::Chain, text)
}

/// The error of the TLS library that stands for one of its verifier.
fn known(error: &webpki::Error) -> Option<CertificateError> {
    Some(match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity => {
            CertificateError::UnknownIssuer
        }
        webpki::Error::CertExpired { .. } | webpki::Error::InvalidCertValidity => {
            CertificateError::Expired
        }
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        _ => return None,
    })
}
