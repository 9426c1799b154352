//! Certificates and trust anchors: secrets by value, and references to secrets by name.

use meltemi_ir::{
    CertificateSource, SanMatch, Secret, SecretConfig, SecretRef, TlsCertificate,
    ValidationContext,
};
use meltemi_xds::pb::envoy::config::core::v3::DataSource;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config_source::{SourceKind, config_source};
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
            session_ticket_keys: Refused "keys of the proxy's own encrypt session tickets",
            generic_secret: Refused "nothing uses one",
        } }
    });
    let secret = match r#type {
        Some(Type::TlsCertificate(message)) => {
            Secret::Certificate(certificate(message, &at.field("tls_certificate"))?)
        }
        Some(Type::ValidationContext(message)) => {
            Secret::Validation(validation(message, &at.field("validation_context"))?)
        }
        Some(Type::SessionTicketKeys(_)) => {
            at.field("session_ticket_keys")
                .refuse("keys of the proxy's own encrypt session tickets");
            return None;
        }
        Some(Type::GenericSecret(_)) => {
            at.field("generic_secret").refuse("nothing uses one");
            return None;
        }
        None => {
            at.problem("needs a tls_certificate or validation_context");
            return None;
        }
    };
    Some(SecretConfig {
        name: name.clone(),
        secret,
    })
}

/// A certificate chain and its key.
pub(crate) fn certificate(message: &tls_v3::TlsCertificate, at: &At<'_>) -> Option<TlsCertificate> {
    fields!(at, message, tls_v3::TlsCertificate {
        honoured { certificate_chain, private_key }
        refused {
            pkcs12: "give certificate_chain and private_key",
            watched_directory: "files are read once; deliver what changes by SDS",
            private_key_provider: "give private_key",
            password: "give the key unencrypted",
        }
        unsupported { ocsp_staple, signed_certificate_timestamp, tls_params }
    });
    let chain = required(certificate_chain.as_ref(), &at.field("certificate_chain"));
    let key = required(private_key.as_ref(), &at.field("private_key"));
    let (chain_pem, key_pem) = (chain?, key?);
    check_certificates(&chain_pem, &at.field("certificate_chain"));
    if let Err(error) = PrivateKeyDer::from_pem_slice(&key_pem) {
        at.field("private_key")
            .problem(format_args!("holds no private key in PEM: {error}"));
    }
    Some(TlsCertificate { chain_pem, key_pem })
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
        honoured { trusted_ca, match_typed_subject_alt_names, match_subject_alt_names }
        partly {
            trust_chain_verification: "VERIFY_TRUST_CHAIN",
            require_signed_certificate_timestamp: "false",
        }
        refused {
            system_root_certs: "give trusted_ca",
            watched_directory: "files are read once; deliver what changes by SDS",
        }
        unsupported {
            ca_certificate_provider_instance, verify_certificate_spki, verify_certificate_hash,
            crl, allow_expired_certificate, custom_validator_config, max_verify_depth,
        }
        ignored {
            only_verify_leaf_cert_crl: "revocation lists are refused",
            suppress_client_ca_list: "it only shortens the handshake",
        }
    });
    if enumeration(
        *trust_chain_verification,
        &at.field("trust_chain_verification"),
    ) == Some(TrustChainVerification::AcceptUntrusted)
    {
        at.field("trust_chain_verification")
            .refuse("only VERIFY_TRUST_CHAIN is");
    }
    if *require_signed_certificate_timestamp == Some(true) {
        at.field("require_signed_certificate_timestamp").refuse("");
    }
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
        san_matchers,
    })
}

fn san_match(message: &SubjectAltNameMatcher, at: &At<'_>) -> Option<SanMatch> {
    fields!(at, message, SubjectAltNameMatcher {
        honoured { matcher }
        partly { san_type: "DNS and URI" }
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
        SanType::Email | SanType::IpAddress | SanType::OtherName => {
            at_type.refuse("only DNS and URI are");
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
        Some(message) => match config_source(message, at_source)?.kind {
            SourceKind::Ads => CertificateSource::Ads,
            SourceKind::Path(path) => CertificateSource::Path(path),
            SourceKind::Api(api) => {
                if !api.initial_metadata.is_empty() {
                    at_source.refuse("initial_metadata, for SDS");
                }
                CertificateSource::Cluster(api.cluster)
            }
        },
    };
    Some(SecretRef::Sds { name, source })
}
