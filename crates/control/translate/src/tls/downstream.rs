//! How a listener opens TLS.
//!
//! In: the mesh's identity settings, or a gateway's certificate. Out: transport sockets for filter
//! chains.

use meltemi_model::{
    CaSource, CertificateSource, MeshConfig, ServerTls, TlsDefaults, TlsTermination, TlsVersion,
    TlsVersions,
};
use meltemi_xds::pb::envoy::config::core::v3::TransportSocket;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsParameters,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::{
    agent_secret, ca_name, certificate_files, credential_secret, file, mutual, peer_name,
    tls_socket,
};

/// What sidecars offer in TLS 1.2.
const SIDECAR_CIPHERS: [&str; 4] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
];

/// Mutual TLS of the mesh: the workload's certificate shown, a client of the mesh's trust domain
/// required.
pub(crate) fn mesh(mesh: &MeshConfig, alpn: &[&str]) -> TransportSocket {
    let names = std::iter::once(&mesh.trust_domain)
        .chain(&mesh.trust_domain_aliases)
        .map(|domain| {
            peer_name(
                SanType::Uri,
                MatchPattern::Prefix(format!("spiffe://{domain}/")),
            )
        })
        .collect();
    let context = CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version(Some(mesh.mtls_min_version)).into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            cipher_suites: match mesh.mtls_cipher_suites.as_slice() {
                [] => SIDECAR_CIPHERS.map(str::to_owned).to_vec(),
                written => written.to_vec(),
            },
            ..Default::default()
        }),
        ..mutual(names, alpn)
    };
    tls_socket(&DownstreamTlsContext {
        common_tls_context: Some(context),
        require_client_certificate: Some(true),
        ..Default::default()
    })
}

/// The TLS that a gateway's server opens; `None` if it opens none.
pub(crate) fn gateway(mesh_config: &MeshConfig, tls: &ServerTls) -> Option<TransportSocket> {
    let alpn = ["h2", "http/1.1"];
    match tls {
        ServerTls::Passthrough | ServerTls::AutoPassthrough => None,
        ServerTls::IstioMutual(_) => Some(mesh(mesh_config, &alpn)),
        ServerTls::Simple(it) => Some(terminated(mesh_config, it, Client::Unknown, false)),
        ServerTls::Mutual(it) => Some(terminated(mesh_config, it, Client::Required, false)),
        ServerTls::OptionalMutual(it) => Some(terminated(mesh_config, it, Client::Verified, false)),
    }
}

/// The TLS that a sidecar opens with certificates of its own, which the agent reads from files.
pub(crate) fn sidecar(mesh_config: &MeshConfig, tls: &ServerTls) -> TransportSocket {
    match tls {
        ServerTls::Mutual(it) => terminated(mesh_config, it, Client::Required, true),
        ServerTls::OptionalMutual(it) => terminated(mesh_config, it, Client::Verified, true),
        ServerTls::Simple(it) => terminated(mesh_config, it, Client::Unknown, true),
        ServerTls::Passthrough | ServerTls::AutoPassthrough | ServerTls::IstioMutual(_) => {
            mesh(mesh_config, &["h2", "http/1.1"])
        }
    }
}

/// What is asked of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Nothing.
    Unknown,
    /// A certificate is verified if it comes.
    Verified,
    /// A certificate.
    Required,
}

fn terminated(
    mesh_config: &MeshConfig,
    tls: &TlsTermination,
    client: Client,
    by_agent: bool,
) -> TransportSocket {
    let TlsTermination {
        certificates,
        ca,
        ca_crl,
        subject_alt_names,
        spki_hashes,
        certificate_hashes,
        versions,
    } = tls;
    let mut context = CommonTlsContext {
        alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
        tls_params: parameters(versions, &mesh_config.tls_defaults),
        ..Default::default()
    };
    for certificate in certificates {
        match certificate {
            CertificateSource::Secret(name) => context
                .tls_certificate_sds_secret_configs
                .push(credential_secret(mesh_config, name)),
            CertificateSource::Files { certificate, key } if by_agent => context
                .tls_certificate_sds_secret_configs
                .push(agent_secret(&format!("file-cert:{certificate}~{key}"))),
            CertificateSource::Files { certificate, key } => context
                .tls_certificates
                .push(certificate_files(certificate, key)),
        }
    }
    let checked =
        !(subject_alt_names.is_empty() && spki_hashes.is_empty() && certificate_hashes.is_empty());
    if client != Client::Unknown || checked {
        let names = subject_alt_names.iter();
        let expected = CertificateValidationContext {
            match_typed_subject_alt_names: names
                .flat_map(|it| {
                    let kind = |kind| peer_name(kind, MatchPattern::Exact(it.clone()));
                    [SanType::Dns, SanType::Uri].map(kind)
                })
                .collect(),
            verify_certificate_spki: spki_hashes.clone(),
            verify_certificate_hash: certificate_hashes.clone(),
            crl: ca_crl.as_deref().map(file),
            ..Default::default()
        };
        context.validation_context_type = Some(roots(
            mesh_config,
            certificates,
            ca.as_ref(),
            expected,
            by_agent,
        ));
    }
    tls_socket(&DownstreamTlsContext {
        common_tls_context: Some(context),
        require_client_certificate: Some(client == Client::Required),
        ..Default::default()
    })
}

/// How clients are verified, with roots from where they are.
fn roots(
    mesh: &MeshConfig,
    certificates: &[CertificateSource],
    ca: Option<&CaSource>,
    expected: CertificateValidationContext,
    by_agent: bool,
) -> ValidationContextType {
    let secret = match (ca, certificates) {
        (Some(CaSource::Secret(name)), _) => Some(credential_secret(mesh, name)),
        (Some(CaSource::File(path)), _) if by_agent => {
            Some(agent_secret(&format!("file-root:{path}")))
        }
        (None, [CertificateSource::Secret(name), ..]) => {
            Some(credential_secret(mesh, &ca_name(name)))
        }
        _ => None,
    };
    match (secret, ca) {
        (Some(secret), _) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(expected),
                validation_context_sds_secret_config: Some(secret),
                ..Default::default()
            })
        }
        (None, Some(CaSource::File(path))) => {
            ValidationContextType::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(file(path)),
                ..expected
            })
        }
        (None, _) => ValidationContextType::ValidationContext(expected),
    }
}

/// What is written, else what holds in the mesh for TLS that is not its own.
pub(super) fn parameters(versions: &TlsVersions, defaults: &TlsDefaults) -> Option<TlsParameters> {
    let TlsVersions {
        min,
        max,
        cipher_suites,
    } = versions;
    // A lower maximum that is written goes before a higher minimum that is not.
    let default = defaults
        .min_version
        .filter(|it| max.is_none_or(|max| *it <= max));
    let made = TlsParameters {
        tls_minimum_protocol_version: version(min.or(default)).into(),
        tls_maximum_protocol_version: version(*max).into(),
        cipher_suites: match cipher_suites.as_slice() {
            [] => defaults.cipher_suites.clone(),
            written => written.to_vec(),
        },
        ecdh_curves: defaults.ecdh_curves.clone(),
        ..Default::default()
    };
    (made != TlsParameters::default()).then_some(made)
}

fn version(version: Option<TlsVersion>) -> TlsProtocol {
    match version {
        None => TlsProtocol::TlsAuto,
        Some(TlsVersion::V1_2) => TlsProtocol::TlSv12,
        Some(TlsVersion::V1_3) => TlsProtocol::TlSv13,
    }
}
