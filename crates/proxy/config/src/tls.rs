//! TLS contexts, and the transport sockets that hold them.

use meltemi_ir::{
    DownstreamTls, SanMatch, SecretRef, TlsCertificate, TlsVersion, UpstreamTls, ValidationContext,
};
use meltemi_xds::pb::envoy::config::core::v3::TransportSocket;
use meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_xds::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::{
    OcspStaplePolicy, SessionTicketKeysType,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, TlsParameters, UpstreamTlsContext,
};
use prost_types::Any;

use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{enumeration, non_empty};
use crate::secret::{by_name, certificate, validation};

/// Converts the configuration of a transport socket; `Some(None)` is plaintext.
pub(crate) type Socket<T> = fn(Option<&Any>, &At<'_>) -> Option<Option<T>>;

const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";
const RAW_BUFFER_TYPE: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const TLS: &str = "envoy.transport_sockets.tls";

/// The transport sockets of filter chains.
pub(crate) static DOWNSTREAM: &[Known<Socket<DownstreamTls>>] = &[
    Known {
        name: RAW_BUFFER,
        type_name: RAW_BUFFER_TYPE,
        convert: |config, at| raw_buffer(config, at).map(|()| None),
    },
    Known {
        name: TLS,
        type_name: "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        convert: |config, at| downstream(&unpack(config, at)?, at).map(Some),
    },
];

/// The transport sockets of clusters.
pub(crate) static UPSTREAM: &[Known<Socket<UpstreamTls>>] = &[
    Known {
        name: RAW_BUFFER,
        type_name: RAW_BUFFER_TYPE,
        convert: |config, at| raw_buffer(config, at).map(|()| None),
    },
    Known {
        name: TLS,
        type_name: "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        convert: |config, at| upstream(&unpack(config, at)?, at).map(Some),
    },
];

empty_message!(raw_buffer, RawBuffer);

/// A transport socket; none is plaintext.
pub(crate) fn socket<T>(
    message: Option<&TransportSocket>,
    known: &[Known<Socket<T>>],
    at: &At<'_>,
) -> Option<T> {
    let message = message?;
    fields!(at, message, TransportSocket {
        honoured { name }
        oneof { config_type { typed_config: Partly "plaintext and TLS" } }
    });
    let config = config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    non_empty(name, &at.field("name"));
    let known = Extension { name, config }.find(known, at)?;
    (known.convert)(config, &at.field("typed_config"))?
}

fn downstream(message: &DownstreamTlsContext, at: &At<'_>) -> Option<DownstreamTls> {
    fields!(at, message, DownstreamTlsContext {
        honoured { common_tls_context, require_client_certificate }
        partly {
            require_sni: "false",
            ocsp_staple_policy: "LENIENT_STAPLING",
        }
        oneof { session_ticket_keys_type {
            session_ticket_keys: Ignored "keys of the proxy's own encrypt session tickets",
            session_ticket_keys_sds_secret_config: Ignored "keys of the proxy's own encrypt session tickets",
            disable_stateless_session_resumption: Ignored "resumption only shortens the handshake",
        } }
        ignored {
            disable_stateful_session_resumption: "resumption only shortens the handshake",
            session_timeout: "resumption only shortens the handshake",
            full_scan_certs_on_sni_mismatch: "every certificate is looked at",
            prefer_client_ciphers: "every suite of TLS 1.2 and 1.3 that is offered is sound",
        }
    });
    match session_ticket_keys_type {
        // ignored: the proxy's own keys encrypt session tickets, and resumption does not show.
        Some(
            SessionTicketKeysType::SessionTicketKeys(_)
            | SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(_)
            | SessionTicketKeysType::DisableStatelessSessionResumption(_),
        )
        | None => {}
    }
    if *require_sni == Some(true) {
        at.field("require_sni").refuse("");
    }
    if enumeration(*ocsp_staple_policy, &at.field("ocsp_staple_policy"))
        != Some(OcspStaplePolicy::LenientStapling)
    {
        at.field("ocsp_staple_policy")
            .refuse("only LENIENT_STAPLING is");
    }
    let at_common = &at.field("common_tls_context");
    let common = common(common_tls_context.as_ref(), at_common)?;
    if common.certificates.is_empty() {
        at_common.problem("a server needs a certificate");
    }
    let require_client_certificate = require_client_certificate.unwrap_or(false);
    if require_client_certificate && common.validation.is_none() {
        at.field("require_client_certificate")
            .problem("needs a validation context to check the certificate by");
    }
    Some(DownstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        san_matchers: common.san_matchers,
        require_client_certificate,
        alpn: common.alpn,
        min_version: common.min_version,
        max_version: common.max_version,
        cipher_suites: common.cipher_suites,
    })
}

fn upstream(message: &UpstreamTlsContext, at: &At<'_>) -> Option<UpstreamTls> {
    fields!(at, message, UpstreamTlsContext {
        honoured { common_tls_context, sni }
        refused {
            auto_host_sni: "give sni",
            auto_sni_san_validation: "give match_typed_subject_alt_names",
            allow_renegotiation: "TLS 1.3 has none",
        }
        ignored {
            max_session_keys: "resumption only shortens the handshake",
            enforce_rsa_key_usage: "key usage is always checked",
        }
    });
    if sni.len() > 255 {
        at.field("sni").problem("has more than 255 bytes");
    }
    let common = common(common_tls_context.as_ref(), &at.field("common_tls_context"))?;
    Some(UpstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        san_matchers: common.san_matchers,
        sni: sni.clone(),
        alpn: common.alpn,
        min_version: common.min_version,
        max_version: common.max_version,
        cipher_suites: common.cipher_suites,
    })
}

struct Common {
    certificates: Vec<SecretRef<TlsCertificate>>,
    validation: Option<SecretRef<ValidationContext>>,
    san_matchers: Vec<SanMatch>,
    alpn: Vec<Vec<u8>>,
    min_version: TlsVersion,
    max_version: TlsVersion,
    cipher_suites: Vec<String>,
}

fn common(message: Option<&CommonTlsContext>, at: &At<'_>) -> Option<Common> {
    let default = CommonTlsContext::default();
    let message = message.unwrap_or(&default);
    fields!(at, message, CommonTlsContext {
        honoured { tls_params, tls_certificates, tls_certificate_sds_secret_configs }
        partly { alpn_protocols: "without istio-peer-exchange, as the exchange is not made" }
        oneof { validation_context_type {
            validation_context: Honoured "",
            validation_context_sds_secret_config: Honoured "",
            combined_validation_context: Honoured "",
            validation_context_certificate_provider: Refused "",
            validation_context_certificate_provider_instance: Refused "",
        } }
        unsupported {
            tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance,
            custom_handshaker, key_log,
        }
    });
    let mut certificates = at
        .field("tls_certificates")
        .each(tls_certificates, |message, at| {
            certificate(message, at).map(SecretRef::Inline)
        });
    certificates.extend(
        at.field("tls_certificate_sds_secret_configs")
            .each(tls_certificate_sds_secret_configs, by_name),
    );
    let (validation, san_matchers) = validation_context(validation_context_type.as_ref(), at);
    let default = TlsParameters::default();
    let parameters = tls_params.as_ref().unwrap_or(&default);
    let (min_version, max_version, cipher_suites) =
        self::parameters(parameters, &at.field("tls_params"));
    Some(Common {
        certificates,
        validation,
        san_matchers,
        alpn: at
            .field("alpn_protocols")
            .each(alpn_protocols, |name, at| alpn(name, at)),
        min_version,
        max_version,
        cipher_suites,
    })
}

/// The protocol's name. A peer that agreed on Istio's exchange of metadata would begin with it.
fn alpn(name: &str, at: &At<'_>) -> Option<Vec<u8>> {
    if name.len() > 255 {
        at.problem("has more than 255 bytes");
    }
    let name = non_empty(name, at);
    (name != "istio-peer-exchange").then(|| name.as_bytes().to_vec())
}

type Validation = (Option<SecretRef<ValidationContext>>, Vec<SanMatch>);

fn validation_context(kind: Option<&ValidationContextType>, at: &At<'_>) -> Validation {
    match kind {
        None => (None, Vec::new()),
        Some(ValidationContextType::ValidationContext(message)) => {
            let at = &at.field("validation_context");
            let Some(context) = validation(message, at) else {
                return (None, Vec::new());
            };
            if context.trusted_ca_pem.is_empty() && !context.san_matchers.is_empty() {
                at.problem("names are matched only where trusted_ca is given");
            }
            (Some(SecretRef::Inline(context)), Vec::new())
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(message)) => (
            by_name(message, &at.field("validation_context_sds_secret_config")),
            Vec::new(),
        ),
        Some(ValidationContextType::CombinedValidationContext(message)) => {
            combined(message, &at.field("combined_validation_context"))
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            at.field("validation_context_certificate_provider")
                .refuse("");
            (None, Vec::new())
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(_)) => {
            at.field("validation_context_certificate_provider_instance")
                .refuse("");
            (None, Vec::new())
        }
    }
}

fn combined(message: &CombinedCertificateValidationContext, at: &At<'_>) -> Validation {
    fields!(at, message, CombinedCertificateValidationContext {
        honoured { validation_context_sds_secret_config }
        partly { default_validation_context: "its names; the delivered secret has the trust anchors" }
        unsupported {
            validation_context_certificate_provider,
            validation_context_certificate_provider_instance,
        }
    });
    let at_default = &at.field("default_validation_context");
    let san_matchers = match default_validation_context {
        Some(message) => {
            let context = validation(message, at_default).unwrap_or_default();
            if !context.trusted_ca_pem.is_empty() {
                at_default
                    .field("trusted_ca")
                    .refuse("the delivered secret has the trust anchors");
            }
            context.san_matchers
        }
        None => {
            at_default.problem("is required");
            Vec::new()
        }
    };
    let at_sds = &at.field("validation_context_sds_secret_config");
    let reference = match validation_context_sds_secret_config {
        Some(message) => by_name(message, at_sds),
        None => {
            at_sds.problem("is required");
            None
        }
    };
    (reference, san_matchers)
}

fn parameters(message: &TlsParameters, at: &At<'_>) -> (TlsVersion, TlsVersion, Vec<String>) {
    fields!(at, message, TlsParameters {
        honoured { cipher_suites }
        partly {
            tls_minimum_protocol_version: "TLS_AUTO (which is TLSv1_2), TLSv1_2, TLSv1_3",
            tls_maximum_protocol_version: "TLS_AUTO (which is TLSv1_3), TLSv1_2, TLSv1_3",
        }
        unsupported { signature_algorithms, compliance_policies }
        ignored { ecdh_curves: "every group that is offered is sound" }
    });
    let at_min = &at.field("tls_minimum_protocol_version");
    let min = version(*tls_minimum_protocol_version, at_min).unwrap_or(TlsVersion::V1_2);
    let at_max = &at.field("tls_maximum_protocol_version");
    let max = version(*tls_maximum_protocol_version, at_max).unwrap_or(TlsVersion::V1_3);
    if max < min {
        at_max.problem("is less than tls_minimum_protocol_version");
    }
    (min, max, cipher_suites.clone())
}

/// The version; none for `TLS_AUTO`.
fn version(value: i32, at: &At<'_>) -> Option<TlsVersion> {
    match enumeration(value, at)? {
        TlsProtocol::TlsAuto => None,
        TlsProtocol::TlSv12 => Some(TlsVersion::V1_2),
        TlsProtocol::TlSv13 => Some(TlsVersion::V1_3),
        old @ (TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            at.refuse(match old {
                TlsProtocol::TlSv10 => "TLS 1.0 is not secure; the least is TLSv1_2",
                _ => "TLS 1.1 is not secure; the least is TLSv1_2",
            });
            None
        }
    }
}
