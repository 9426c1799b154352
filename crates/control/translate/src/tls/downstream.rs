//! How a listener opens TLS.
//!
//! In: the mesh's identity settings, or a gateway's certificate. Out: transport sockets for filter
//! chains.

use meltemi_model::{CertificateSource, MeshConfig, ServerTls, TlsVersion};
use meltemi_xds::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsCertificate, TlsParameters,
    subject_alt_name_matcher::SanType, tls_parameters::TlsProtocol,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::{mutual, peer_name, tls_socket};
use crate::proto::ads;

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
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            cipher_suites: SIDECAR_CIPHERS.map(str::to_owned).to_vec(),
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

/// The TLS that a gateway's server opens, mode SIMPLE.
pub(crate) fn gateway(tls: &ServerTls) -> TransportSocket {
    let ServerTls {
        certificate,
        min_version,
        max_version,
        cipher_suites,
    } = tls;
    let params = min_version.is_some() || max_version.is_some() || !cipher_suites.is_empty();
    let mut context = CommonTlsContext {
        alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
        tls_params: params.then(|| TlsParameters {
            tls_minimum_protocol_version: version(*min_version).into(),
            tls_maximum_protocol_version: version(*max_version).into(),
            cipher_suites: cipher_suites.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    match certificate {
        CertificateSource::Secret(name) => {
            context.tls_certificate_sds_secret_configs = vec![SdsSecretConfig {
                name: credential_name(name),
                sds_config: Some(ads()),
            }];
        }
        CertificateSource::Files { certificate, key } => {
            context.tls_certificates = vec![TlsCertificate {
                certificate_chain: Some(file(certificate)),
                private_key: Some(file(key)),
                ..Default::default()
            }];
        }
    }
    tls_socket(&DownstreamTlsContext {
        common_tls_context: Some(context),
        require_client_certificate: Some(false),
        ..Default::default()
    })
}

/// The name under which a gateway's credential is asked for.
pub(crate) fn credential_name(name: &str) -> String {
    format!("kubernetes://{name}")
}

fn file(path: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}

fn version(version: Option<TlsVersion>) -> TlsProtocol {
    match version {
        None => TlsProtocol::TlsAuto,
        Some(TlsVersion::V1_2) => TlsProtocol::TlSv12,
        Some(TlsVersion::V1_3) => TlsProtocol::TlSv13,
    }
}
