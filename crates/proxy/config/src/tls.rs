//! TLS contexts, and the transport sockets that hold them.

use meltemi_ir::{
    DownstreamTls, ProxyHeader, SecretRef, SessionTickets, TicketKeySource, TlsCertificate,
    TlsVersion, UpstreamTls, ValidationContext,
};
use meltemi_xds::pb::envoy::config::core::v3::TransportSocket;
use meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_xds::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
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
use crate::proxy_protocol::proxy_header;
use crate::scalar::{duration, enumeration, non_empty};
use crate::secret::{by_name, certificate, ticket_keys, validation};

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
pub(crate) static UPSTREAM: &[Known<Socket<UpstreamSocket>>] = &[
    Known {
        name: RAW_BUFFER,
        type_name: RAW_BUFFER_TYPE,
        convert: |config, at| raw_buffer(config, at).map(|()| None),
    },
    Known {
        name: TLS,
        type_name: "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        convert: |config, at| {
            let tls = upstream(&unpack(config, at)?, at);
            Some(Some(UpstreamSocket { tls, header: None }))
        },
    },
    Known {
        name: "envoy.transport_sockets.upstream_proxy_protocol",
        type_name: "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        convert: |config, at| proxied(&unpack(config, at)?, at).map(Some),
    },
];

/// How connections to upstreams begin.
#[derive(Default)]
pub(crate) struct UpstreamSocket {
    pub(crate) tls: Option<UpstreamTls>,
    /// Before it.
    pub(crate) header: Option<ProxyHeader>,
}

/// The transport socket of a cluster.
pub(crate) fn upstream_socket(message: Option<&TransportSocket>, at: &At<'_>) -> UpstreamSocket {
    socket(message, UPSTREAM, at).unwrap_or_default()
}

fn proxied(message: &ProxyProtocolUpstreamTransport, at: &At<'_>) -> Option<UpstreamSocket> {
    fields!(at, message, ProxyProtocolUpstreamTransport {
        honoured { config }
        partly { transport_socket: "plaintext and TLS" }
        ignored {
            allow_unspecified_address: "Envoy does not look at it either",
            tlv_as_pool_key: "no two clients share a connection",
        }
    });
    let at_socket = &at.field("transport_socket");
    if transport_socket.is_none() {
        at_socket.problem("is required");
    }
    let inner = upstream_socket(transport_socket.as_ref(), at_socket);
    if inner.header.is_some() {
        at_socket.refuse("one header in another");
    }
    let header = config
        .as_ref()
        .map(|message| proxy_header(message, &at.field("config")))
        .unwrap_or_default();
    Some(UpstreamSocket {
        tls: inner.tls,
        header: Some(header),
    })
}

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
        oneof { config_type { typed_config: Partly "plaintext, TLS and the PROXY protocol" } }
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
        honoured { common_tls_context, require_client_certificate, session_timeout }
        partly {
            require_sni: "false",
            ocsp_staple_policy: "LENIENT_STAPLING",
        }
        oneof { session_ticket_keys_type {
            session_ticket_keys: Honoured "",
            session_ticket_keys_sds_secret_config: Honoured "",
            disable_stateless_session_resumption: Honoured "",
        } }
        ignored {
            disable_stateful_session_resumption: "no session is kept in memory",
            full_scan_certs_on_sni_mismatch: "every certificate is looked at",
            prefer_client_ciphers: "every suite of TLS 1.2 and 1.3 that is offered is sound",
        }
    });
    let tickets = SessionTickets {
        keys: ticket_source(session_ticket_keys_type.as_ref(), at),
        lifetime: duration(session_timeout.as_ref(), &at.field("session_timeout")),
    };
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
        validation_defaults: common.defaults,
        require_client_certificate,
        alpn: common.alpn,
        min_version: common.parameters.min,
        max_version: common.parameters.max,
        cipher_suites: common.parameters.cipher_suites,
        signature_algorithms: common.parameters.signature_algorithms,
        tickets,
    })
}

fn ticket_source(kind: Option<&SessionTicketKeysType>, at: &At<'_>) -> TicketKeySource {
    match kind {
        None | Some(SessionTicketKeysType::DisableStatelessSessionResumption(false)) => {
            TicketKeySource::Own
        }
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => {
            TicketKeySource::None
        }
        Some(SessionTicketKeysType::SessionTicketKeys(message)) => {
            let keys = ticket_keys(message, &at.field("session_ticket_keys"));
            keys.map_or(TicketKeySource::Own, |keys| {
                TicketKeySource::Given(SecretRef::Inline(keys))
            })
        }
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(message)) => {
            let at = &at.field("session_ticket_keys_sds_secret_config");
            by_name(message, at).map_or(TicketKeySource::Own, TicketKeySource::Given)
        }
    }
}

fn upstream(message: &UpstreamTlsContext, at: &At<'_>) -> Option<UpstreamTls> {
    fields!(at, message, UpstreamTlsContext {
        honoured { common_tls_context, sni, auto_host_sni, auto_sni_san_validation }
        refused { allow_renegotiation: "TLS 1.3 has none" }
        ignored {
            max_session_keys: "resumption only shortens the handshake",
            enforce_rsa_key_usage: "key usage is always checked",
        }
    });
    if sni.len() > 255 {
        at.field("sni").problem("has more than 255 bytes");
    }
    let common = common(common_tls_context.as_ref(), &at.field("common_tls_context"))?;
    if *auto_sni_san_validation && common.validation.is_none() {
        at.field("auto_sni_san_validation")
            .problem("needs a validation context with trusted_ca");
    }
    Some(UpstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        validation_defaults: common.defaults,
        sni: sni.clone(),
        auto_host_sni: *auto_host_sni,
        auto_sni_san_validation: *auto_sni_san_validation,
        alpn: common.alpn,
        min_version: common.parameters.min,
        max_version: common.parameters.max,
        cipher_suites: common.parameters.cipher_suites,
        signature_algorithms: common.parameters.signature_algorithms,
    })
}

struct Common {
    certificates: Vec<SecretRef<TlsCertificate>>,
    validation: Option<SecretRef<ValidationContext>>,
    defaults: ValidationContext,
    alpn: Vec<Vec<u8>>,
    parameters: Parameters,
}

struct Parameters {
    min: TlsVersion,
    max: TlsVersion,
    cipher_suites: Vec<String>,
    signature_algorithms: Vec<String>,
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
    let (validation, defaults) = validation_context(validation_context_type.as_ref(), at);
    let default = TlsParameters::default();
    let parameters = tls_params.as_ref().unwrap_or(&default);
    let parameters = self::parameters(parameters, &at.field("tls_params"));
    Some(Common {
        certificates,
        validation,
        defaults,
        alpn: at
            .field("alpn_protocols")
            .each(alpn_protocols, |name, at| alpn(name, at)),
        parameters,
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

type Validation = (Option<SecretRef<ValidationContext>>, ValidationContext);

fn validation_context(kind: Option<&ValidationContextType>, at: &At<'_>) -> Validation {
    match kind {
        None => (None, ValidationContext::default()),
        Some(ValidationContextType::ValidationContext(message)) => {
            let at = &at.field("validation_context");
            let Some(context) = validation(message, at) else {
                return (None, ValidationContext::default());
            };
            check_anchored(&context, at);
            (
                Some(SecretRef::Inline(context)),
                ValidationContext::default(),
            )
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(message)) => (
            by_name(message, &at.field("validation_context_sds_secret_config")),
            ValidationContext::default(),
        ),
        Some(ValidationContextType::CombinedValidationContext(message)) => {
            combined(message, &at.field("combined_validation_context"))
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            at.field("validation_context_certificate_provider")
                .refuse("");
            (None, ValidationContext::default())
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(_)) => {
            at.field("validation_context_certificate_provider_instance")
                .refuse("");
            (None, ValidationContext::default())
        }
    }
}

/// What is of use only where the chain is verified.
fn check_anchored(context: &ValidationContext, at: &At<'_>) {
    if !context.trusted_ca_pem.is_empty() || context.system_roots {
        return;
    }
    for (is_set, problem) in [
        (
            !context.san_matchers.is_empty(),
            "names are matched only where trusted_ca is given",
        ),
        (
            context.crl_pem.is_some(),
            "crl is of use only where trusted_ca is given",
        ),
        (
            context.allow_expired,
            "allow_expired_certificate is of use only where trusted_ca is given",
        ),
    ] {
        if is_set {
            at.problem(problem);
        }
    }
}

fn combined(message: &CombinedCertificateValidationContext, at: &At<'_>) -> Validation {
    fields!(at, message, CombinedCertificateValidationContext {
        honoured { default_validation_context, validation_context_sds_secret_config }
        unsupported {
            validation_context_certificate_provider,
            validation_context_certificate_provider_instance,
        }
    });
    let at_default = &at.field("default_validation_context");
    let defaults = match default_validation_context {
        Some(message) => validation(message, at_default).unwrap_or_default(),
        None => {
            at_default.problem("is required");
            ValidationContext::default()
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
    (reference, defaults)
}

fn parameters(message: &TlsParameters, at: &At<'_>) -> Parameters {
    fields!(at, message, TlsParameters {
        honoured { cipher_suites, signature_algorithms }
        partly {
            tls_minimum_protocol_version: "TLS_AUTO (which is TLSv1_2), TLSv1_2, TLSv1_3",
            tls_maximum_protocol_version: "TLS_AUTO (which is TLSv1_3), TLSv1_2, TLSv1_3",
        }
        unsupported { compliance_policies }
        ignored { ecdh_curves: "every group that is offered is sound" }
    });
    let at_min = &at.field("tls_minimum_protocol_version");
    let min = version(*tls_minimum_protocol_version, at_min).unwrap_or(TlsVersion::V1_2);
    let at_max = &at.field("tls_maximum_protocol_version");
    let max = version(*tls_maximum_protocol_version, at_max).unwrap_or(TlsVersion::V1_3);
    if max < min {
        at_max.problem("is less than tls_minimum_protocol_version");
    }
    Parameters {
        min,
        max,
        cipher_suites: cipher_suites.clone(),
        signature_algorithms: signature_algorithms.clone(),
    }
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
