//! Cipher suites and versions: names as Envoy and OpenSSL write them enter, a `rustls`
//! provider leaves.
//!
//! A list of suites is what is *allowed*. Suites that are known but that this proxy never
//! speaks (no forward secrecy, CBC) are left out of it; a list of only such is refused.

use std::sync::Arc;

use meltemi_ir::TlsVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedProtocolVersion};

use crate::TlsError;

static V1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static V1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// OpenSSL's and the IANA's name of every suite that both `rustls` and Envoy have.
const SUPPORTED: &[(&str, &str, CipherSuite)] = &[
    (
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites that Envoy knows and this proxy never speaks; Istio lists some of them always.
const LEFT_OUT: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Signature algorithms by their names in the TLS registry, and by OpenSSL's.
const SCHEMES: &[(&str, &str, SignatureScheme)] = &[
    (
        "rsa_pkcs1_sha256",
        "RSA+SHA256",
        SignatureScheme::RSA_PKCS1_SHA256,
    ),
    (
        "rsa_pkcs1_sha384",
        "RSA+SHA384",
        SignatureScheme::RSA_PKCS1_SHA384,
    ),
    (
        "rsa_pkcs1_sha512",
        "RSA+SHA512",
        SignatureScheme::RSA_PKCS1_SHA512,
    ),
    (
        "rsa_pss_rsae_sha256",
        "RSA-PSS+SHA256",
        SignatureScheme::RSA_PSS_SHA256,
    ),
    (
        "rsa_pss_rsae_sha384",
        "RSA-PSS+SHA384",
        SignatureScheme::RSA_PSS_SHA384,
    ),
    (
        "rsa_pss_rsae_sha512",
        "RSA-PSS+SHA512",
        SignatureScheme::RSA_PSS_SHA512,
    ),
    (
        "ecdsa_secp256r1_sha256",
        "ECDSA+SHA256",
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ),
    (
        "ecdsa_secp384r1_sha384",
        "ECDSA+SHA384",
        SignatureScheme::ECDSA_NISTP384_SHA384,
    ),
    (
        "ecdsa_secp521r1_sha512",
        "ECDSA+SHA512",
        SignatureScheme::ECDSA_NISTP521_SHA512,
    ),
    ("ed25519", "Ed25519", SignatureScheme::ED25519),
];

/// The signature algorithms of these names; none allows all.
///
/// # Errors
/// When one is unknown or not spoken.
pub(crate) fn schemes(names: &[String]) -> Result<Vec<SignatureScheme>, TlsError> {
    let scheme = |name: &String| {
        let known = SCHEMES
            .iter()
            .find(|(registry, openssl, _)| registry == name || openssl == name);
        known
            .map(|(_, _, scheme)| *scheme)
            .ok_or_else(|| TlsError::SignatureAlgorithm(name.clone()))
    };
    names.iter().map(scheme).collect()
}

/// The registry's name of a signature algorithm.
pub(crate) fn scheme_name(scheme: SignatureScheme) -> &'static str {
    let known = SCHEMES.iter().find(|(_, _, known)| *known == scheme);
    known.map_or("", |(registry, _, _)| registry)
}

/// The name that BoringSSL has for a group.
pub(crate) fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::secp521r1 => "P-521",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => "",
    }
}

/// OpenSSL's name of a suite.
pub(crate) fn openssl_name(suite: CipherSuite) -> String {
    SUPPORTED
        .iter()
        .find(|(_, _, known)| *known == suite)
        .map_or_else(|| format!("{suite:?}"), |(name, _, _)| (*name).to_owned())
}

/// Cryptography and versions for these settings.
///
/// # Errors
/// When a suite is unknown, or nothing is left to speak.
pub(crate) fn provider(
    names: &[String],
    min: TlsVersion,
    max: TlsVersion,
) -> Result<
    (
        Arc<CryptoProvider>,
        &'static [&'static SupportedProtocolVersion],
    ),
    TlsError,
> {
    let versions = match (min, max) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => V1_2,
        (TlsVersion::V1_3, TlsVersion::V1_3) => V1_3,
        (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
        (TlsVersion::V1_3, TlsVersion::V1_2) => return Err(TlsError::Versions),
    };
    let mut provider = aws_lc_rs::default_provider();
    // Envoy's order, in which what costs least comes first.
    provider
        .cipher_suites
        .sort_by_key(|suite| cost(suite.suite()));
    if names.is_empty() {
        return Ok((Arc::new(provider), versions));
    }
    let allowed = allowed(names)?;
    // Naming no TLS 1.3 suite says nothing about TLS 1.3, whose suites are all fine.
    let names_tls13 = allowed.iter().any(|suite| is_tls13(*suite));
    let speaks_tls12 = versions.iter().any(|v| v.version == V1_2[0].version);
    provider.cipher_suites.retain(|suite| {
        allowed.contains(&suite.suite()) || (is_tls13(suite.suite()) && !names_tls13)
    });
    // The order of preference is the list's.
    provider.cipher_suites.sort_by_key(|suite| {
        allowed
            .iter()
            .position(|wanted| *wanted == suite.suite())
            .map_or(0, |position| position + 1)
    });
    let has_tls12 = provider.cipher_suites.iter().any(|s| !is_tls13(s.suite()));
    if speaks_tls12 && !has_tls12 && !names_tls13 {
        return Err(TlsError::NoCipherSuite(names.join(":")));
    }
    let versions = match (speaks_tls12, has_tls12) {
        (true, false) if versions.len() == 1 => return Err(TlsError::Versions),
        (true, false) => V1_3,
        _ => versions,
    };
    Ok((Arc::new(provider), versions))
}

fn cost(suite: CipherSuite) -> u8 {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => 1,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => 2,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 3,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => 4,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 5,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 6,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => 7,
        _ => 8,
    }
}

/// The suites of a list; `[A|B]` groups equals, and both are in it.
fn allowed(names: &[String]) -> Result<Vec<CipherSuite>, TlsError> {
    let mut allowed = Vec::new();
    for name in names {
        let group = name.trim_start_matches('[').trim_end_matches(']');
        for name in group.split('|') {
            let known = SUPPORTED
                .iter()
                .find(|(openssl, iana, _)| *openssl == name || *iana == name);
            match known {
                Some((_, _, suite)) => allowed.push(*suite),
                None if LEFT_OUT.contains(&name) => {}
                None => return Err(TlsError::UnknownCipherSuite(name.to_owned())),
            }
        }
    }
    Ok(allowed)
}

fn is_tls13(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    )
}
