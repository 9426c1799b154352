//! Certificates and trust anchors: secrets by value, and references to secrets by name.

use std::path::PathBuf;

use meltemi_ir::{
    CertificateSource, SanMatch, Secret, SecretConfig, SecretRef, TicketKeys,
    TlsCertificate, ValidationContext,
};
use meltemi_xds::pb::envoy::config::core::v3::DataSource;
use meltemi_xds::pb::envoy::config::core::v3::data_source::Specifier;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::{
    SystemRootCerts, TrustChainVerification,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher, TlsSessionTicketKeys,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config_source::config_source;
use crate::data_source;
use crate::fields::fields;
use crate::matcher::string_match;
use crate::path::At;
use crate::scalar::{enumeration, non_empty};

/// A secret.
pub(crate) fn secret(message: &tls_v3::Secret, at: &At<'_>) -> Option<SecretConfig> {
    fields!(at, message, tls_v3::Secret {
        honoured { name }
        oneof { r#type {
            tls_certificate: Honoured "",
            validation_context: Honoured "",
            session_ticket_keys: Honoured "",
            generic_secret: Refused "nothing uses one",
        } }
    });
    let mut files = Vec::new();
    let secret = match r#type {
        Some(Type::TlsCertificate(message)) => {
            files.extend(files_of([
                message.certificate_chain.as_ref(),
                message.private_key.as_ref(),
            ]));
            Secret::Certificate(certificate(message, &at.field("tls_certificate"))?)
        }
        Some(Type::ValidationContext(message)) => {
            files.extend(files_of([
                message.trusted_ca.as_ref(),
                message.crl.as_ref(),
            ]));
            Secret::Validation(validation(message, &at.field("validation_context"))?)
        }
        Some(Type::SessionTicketKeys(message)) => {
            files.extend(files_of(message.keys.iter().map(Some)));
            Secret::TicketKeys(ticket_keys(message, &at.field("session_ticket_keys"))?)
        }
        Some(Type::GenericSecret(_)) => {
            at.field("generic_secret").refuse("nothing uses one");
            return None;
        }
        None => {
            at.problem("needs a tls_certificate, validation_context or session_ticket_keys");
            return None;
        }
    };
    Some(SecretConfig {
        name: name.clone(),
        secret,
        files,
    })
}

fn files_of<'a>(
    sources: impl IntoIterator<Item = Option<&'a DataSource>>,
) -> impl Iterator<Item = PathBuf> {
    let files = sources.into_iter().flatten();
    files.filter_map(|source| match &source.specifier {
        Some(Specifier::Filename(path)) => Some(PathBuf::from(path)),
        _ => None,
    })
}

/// Keys of session tickets.
pub(crate) fn ticket_keys(message: &TlsSessionTicketKeys, at: &At<'_>) -> Option<TicketKeys> {
    fields!(at, message, TlsSessionTicketKeys { honoured { keys } });
    let at = &at.field("keys");
    if keys.is_empty() {
        at.problem("must not be empty");
    }
    let keys = at.each(keys, |source, at| {
        let bytes = data_source::bytes(source, at)?;
        let key = <[u8; 80]>::try_from(bytes.as_slice());
        if key.is_err() {
            at.problem(format_args!("has {} bytes, not 80", bytes.len()));
        }
        key.ok()
    });
    Some(TicketKeys(keys))
}

/// A certificate chain and its key.
pub(crate) fn certificate(message: &tls_v3::TlsCertificate, at: &At<'_>) -> Option<TlsCertificate> {
    fields!(at, message, tls_v3::TlsCertificate {
        honoured { certificate_chain, private_key }
        refused {
            pkcs12: "give certificate_chain and private_key",
            private_key_provider: "give private_key",
            password: "give the key unencrypted",
            ocsp_staple: "revocation lists are supported, stapling is not",
        }
        unsupported { signed_certificate_timestamp, tls_params }
        ignored { watched_directory: "the files of a delivered secret are watched themselves" }
    });
    let chain = required(certificate_chain.as_ref(), &at.field("certificate_chain"));
    let key = required(private_key.as_ref(), &at.field("private_key"));
    let (chain_pem, key_pem) = (chain?, key?);
    check_certificates(&chain_pem, &at.field("certificate_chain"));
    if let Err(error) = PrivateKeyDer::from_pem_slice(&key_pem) {
        let at = &at.field("private_key");
        if is_encrypted(&key_pem) {
            at.problem("is encrypted, which is not supported: give the key unencrypted");
        } else {
            at.problem(format_args!("holds no private key in PEM: {error}"));
        }
    }
    Some(TlsCertificate { chain_pem, key_pem })
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn required(source: Option<&DataSource>, at: &At<'_>) -> Option<Vec<u8>> {
    match source {
        Some(source) => data_source::bytes(source, at),
        None => {
            at.problem("is required");
            None
        }
    }
}

fn check_certificates(pem: &[u8], at: &At<'_>) {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        match certificate {
            Ok(_) => count += 1,
            Err(error) => return at.problem(format_args!("is not PEM: {error}")),
        }
    }
    if count == 0 {
        at.problem("holds no certificate in PEM");
    }
}

/// Trust anchors and what the peer's certificate must say.
pub(crate) fn validation(
    message: &CertificateValidationContext,
    at: &At<'_>,
) -> Option<ValidationContext> {
    fields!(at, message, CertificateValidationContext {
        honoured {
            trusted_ca, match_typed_subject_alt_names, match_subject_alt_names, system_root_certs,
            trust_chain_verification, verify_certificate_spki, verify_certificate_hash, crl,
            only_verify_leaf_cert_crl, allow_expired_certificate, max_verify_depth,
        }
        partly { require_signed_certificate_timestamp: "false" }
        unsupported { ca_certificate_provider_instance, custom_validator_config }
        ignored {
            watched_directory: "the files of a delivered secret are watched themselves",
            suppress_client_ca_list: "clients are not told which authorities are trusted",
        }
    });
    if *require_signed_certificate_timestamp == Some(true) {
        at.field("require_signed_certificate_timestamp").refuse("");
    }
    if let Some(message) = system_root_certs {
        let at = &at.field("system_root_certs");
        fields!(at, message, SystemRootCerts {});
    }
    let verification = enumeration(
        *trust_chain_verification,
        &at.field("trust_chain_verification"),
    );
    let trusted_ca_pem = match trusted_ca {
        Some(source) => {
            let at = &at.field("trusted_ca");
            let pem = data_source::bytes(source, at)?;
            check_certificates(&pem, at);
            pem
        }
        None => Vec::new(),
    };
    let mut san_matchers = at
        .field("match_typed_subject_alt_names")
        .each(match_typed_subject_alt_names, san_match);
    san_matchers.extend(
        at.field("match_subject_alt_names")
            .each(match_subject_alt_names, |message, at| {
                string_match(message, at).map(SanMatch::Any)
            }),
    );
    Some(ValidationContext {
        trusted_ca_pem,
        system_roots: system_root_certs.is_some(),
        san_matchers,
        certificate_hashes: at
            .field("verify_certificate_hash")
            .each(verify_certificate_hash, |hash, at| fingerprint(hash, at)),
        spki_hashes: at
            .field("verify_certificate_spki")
            .each(verify_certificate_spki, |hash, at| key_digest(hash, at)),
        crl_pem: crl
            .as_ref()
            .and_then(|source| revocation_lists(source, &at.field("crl"))),
        only_leaf_crl: *only_verify_leaf_cert_crl,
        allow_expired: *allow_expired_certificate,
        accept_untrusted: verification == Some(TrustChainVerification::AcceptUntrusted),
        max_verify_depth: *max_verify_depth,
    })
}

fn revocation_lists(source: &DataSource, at: &At<'_>) -> Option<Vec<u8>> {
    let pem = data_source::bytes(source, at)?;
    let mut count = 0;
    for list in CertificateRevocationListDer::pem_slice_iter(&pem) {
        match list {
            Ok(_) => count += 1,
            Err(error) => at.problem(format_args!("is not PEM: {error}")),
        }
    }
    if count == 0 {
        at.problem("holds no revocation list in PEM");
    }
    Some(pem)
}

/// SHA-256 in hexadecimal, perhaps with colons.
fn fingerprint(text: &str, at: &At<'_>) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.len() {
        95 => text.bytes().filter(|it| *it != b':').collect(),
        _ => text.bytes().collect(),
    };
    let value = |digit: u8| char::from(digit).to_digit(16);
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(value(high)? * 16 + value(low)?).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if digest.is_none() {
        at.problem(format_args!("Invalid hex-encoded SHA-256 {text}"));
    }
    digest
}

/// SHA-256 in base64.
fn key_digest(text: &str, at: &At<'_>) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    let digest = bytes
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if digest.is_none() {
        at.problem(format_args!("Invalid base64-encoded SHA-256 {text}"));
    }
    digest
}

/// A matcher of a certificate's names.
pub(crate) fn san_match(message: &SubjectAltNameMatcher, at: &At<'_>) -> Option<SanMatch> {
    fields!(at, message, SubjectAltNameMatcher {
        honoured { matcher }
        partly { san_type: "DNS, URI, EMAIL and IP_ADDRESS" }
        refused { oid: "OTHER_NAME is not supported" }
    });
    let at_matcher = &at.field("matcher");
    let Some(matcher) = matcher else {
        at_matcher.problem("is required");
        return None;
    };
    let matcher = string_match(matcher, at_matcher);
    let at_type = &at.field("san_type");
    match enumeration(*san_type, at_type)? {
        SanType::Uri => matcher.map(SanMatch::Uri),
        SanType::Dns => matcher.map(SanMatch::Dns),
        SanType::Unspecified => {
            at_type.problem("is required");
            None
        }
        SanType::Email => matcher.map(SanMatch::Email),
        SanType::IpAddress => matcher.map(SanMatch::Ip),
        SanType::OtherName => {
            at_type.refuse("OTHER_NAME is not");
            None
        }
    }
}

/// A reference to a secret by name.
pub(crate) fn by_name<T>(message: &SdsSecretConfig, at: &At<'_>) -> Option<SecretRef<T>> {
    fields!(at, message, SdsSecretConfig { honoured { name, sds_config } });
    let name = non_empty(name, &at.field("name")).to_owned();
    let at_source = &at.field("sds_config");
    let source = match sds_config {
        None => CertificateSource::Static,
        Some(message) => CertificateSource::Discovered(config_source(message, at_source)?),
    };
    Some(SecretRef::Sds { name, source })
}
