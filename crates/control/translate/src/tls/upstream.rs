//! How a cluster's connections are secured (FEATURES S4, S6 in part).
//!
//! In: the destination and what its rule says. Out: [`UpstreamTransport`]: with no rule, mutual TLS to
//! those endpoints that take it and plain text to the others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meltemi_model::{ClientTls, Service};
use meltemi_snapshot::ServiceEndpoints;
use meltemi_spiffe::SpiffeId;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use meltemi_xds::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, UpstreamHttpProtocolOptions, data_source::Specifier,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
    certificate_validation_context::SystemRootCerts, common_tls_context::ValidationContextType,
    subject_alt_name_matcher::SanType,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost_types::Struct;

use super::{mutual, peer_name, plain_socket, tls_socket};
use crate::proto::{fields, text};
use crate::scope::{Resolution, Scope};

/// Who is connected to.
pub(crate) struct Peer<'a> {
    /// The service.
    pub service: &'a Service,
    /// Its port.
    pub port: u16,
    /// The server name of mutual TLS.
    pub server_name: String,
    /// How its endpoints are found.
    pub resolution: &'a Resolution,
    /// Whether HTTP/2 is spoken whatever the request's version.
    pub http2: bool,
}

/// What a cluster does about TLS.
#[derive(Default)]
pub(crate) struct UpstreamTransport {
    /// For every endpoint.
    pub socket: Option<TransportSocket>,
    /// By what endpoints say of themselves.
    pub matches: Vec<TransportSocketMatch>,
    /// What is taken from each request.
    pub from_request: Option<UpstreamHttpProtocolOptions>,
    /// The TLS is not the mesh's own.
    pub foreign: bool,
}

/// The transport to a peer.
pub(crate) fn transport(
    scope: &Scope<'_>,
    peer: &Peer<'_>,
    rule: Option<&ClientTls>,
) -> UpstreamTransport {
    match rule {
        None => automatic(scope, peer),
        Some(ClientTls::Disable) => UpstreamTransport::default(),
        Some(ClientTls::IstioMutual {
            sni,
            subject_alt_names,
        }) => {
            let names = match subject_alt_names.as_slice() {
                [] => accounts(scope, peer.service),
                written => written.iter().cloned().collect(),
            };
            let server_name = sni.clone().unwrap_or_else(|| peer.server_name.clone());
            UpstreamTransport {
                socket: Some(mutual_socket(scope, peer, server_name, names)),
                ..Default::default()
            }
        }
        Some(ClientTls::Simple {
            sni,
            subject_alt_names,
            ca_certificates,
            insecure_skip_verify,
        }) => {
            let validation = (!insecure_skip_verify)
                .then(|| validation(subject_alt_names, ca_certificates.as_deref()));
            let auto_san = sni.is_none() && subject_alt_names.is_empty() && !insecure_skip_verify;
            let context = UpstreamTlsContext {
                sni: sni.clone().unwrap_or_default(),
                common_tls_context: Some(CommonTlsContext {
                    validation_context_type: validation
                        .map(ValidationContextType::ValidationContext),
                    alpn_protocols: peer.http2.then(|| "h2".to_owned()).into_iter().collect(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            UpstreamTransport {
                socket: Some(tls_socket(&context)),
                from_request: sni.is_none().then(|| UpstreamHttpProtocolOptions {
                    auto_sni: true,
                    auto_san_validation: auto_san,
                    ..Default::default()
                }),
                foreign: true,
                ..Default::default()
            }
        }
    }
}

/// Mutual TLS where the endpoint takes it.
fn automatic(scope: &Scope<'_>, peer: &Peer<'_>) -> UpstreamTransport {
    if !scope.mesh().enable_auto_mtls {
        return UpstreamTransport::default();
    }
    let socket = || {
        let names = accounts(scope, peer.service);
        mutual_socket(scope, peer, peer.server_name.clone(), names)
    };
    match peer.resolution {
        Resolution::Endpoints => {
            let matching = fields([("tlsMode", text("istio"))]);
            UpstreamTransport {
                matches: vec![
                    socket_match("tlsMode-istio", matching, socket()),
                    socket_match("tlsMode-disabled", Struct::default(), plain_socket()),
                ],
                ..Default::default()
            }
        }
        // Which endpoint it will be is not known, so that all of them must take it.
        Resolution::OriginalDestination => {
            let endpoints = scope.snapshot.endpoints(peer.service);
            let all_take = endpoints.is_some_and(|it| {
                let here = it.port(peer.port);
                !here.is_empty() && here.iter().all(|endpoint| endpoint.mtls)
            });
            UpstreamTransport {
                socket: all_take.then(socket),
                ..Default::default()
            }
        }
        Resolution::Dns(_) | Resolution::Alias => UpstreamTransport::default(),
    }
}

fn socket_match(name: &str, matching: Struct, socket: TransportSocket) -> TransportSocketMatch {
    TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(matching),
        transport_socket: Some(socket),
    }
}

fn mutual_socket(
    scope: &Scope<'_>,
    peer: &Peer<'_>,
    server_name: String,
    names: BTreeSet<String>,
) -> TransportSocket {
    let names = names
        .into_iter()
        .map(|name| peer_name(SanType::Uri, MatchPattern::Exact(name)))
        .collect();
    // The ALPN filter puts `istio-http/1.1` and `istio-h2` in the place of these.
    let mut alpn = Vec::new();
    if scope.node.filters.metadata_exchange {
        alpn.push("istio-peer-exchange");
    }
    alpn.push("istio");
    if peer.http2 {
        alpn.push("h2");
    }
    tls_socket(&UpstreamTlsContext {
        common_tls_context: Some(mutual(names, &alpn)),
        sni: server_name,
        ..Default::default()
    })
}

/// The identities of a service's workloads, under the mesh's trust domain and its aliases.
fn accounts(scope: &Scope<'_>, service: &Service) -> BTreeSet<String> {
    let mesh = scope.mesh();
    let endpoints = scope.snapshot.endpoints(service);
    let accounts = |it: &ServiceEndpoints| it.accounts.clone();
    endpoints
        .map(|it| accounts(it))
        .unwrap_or_default()
        .iter()
        .flat_map(|account| {
            std::iter::once(&mesh.trust_domain)
                .chain(&mesh.trust_domain_aliases)
                .filter_map(|domain| {
                    SpiffeId::workload(domain, account.namespace.as_str(), &account.name).ok()
                })
        })
        .map(|id| id.to_string())
        .collect()
}

/// How a server outside the mesh is verified.
fn validation(names: &[String], ca_file: Option<&str>) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: ca_file.map(|file| DataSource {
            specifier: Some(Specifier::Filename(file.to_owned())),
            ..Default::default()
        }),
        system_root_certs: ca_file.is_none().then(SystemRootCerts::default),
        match_typed_subject_alt_names: names.iter().map(|it| written_name(it)).collect(),
        ..Default::default()
    }
}

fn written_name(name: &str) -> SubjectAltNameMatcher {
    let kind = if name.contains("://") {
        SanType::Uri
    } else if name.parse::<IpAddr>().is_ok() {
        SanType::IpAddress
    } else {
        SanType::Dns
    };
    peer_name(kind, MatchPattern::Exact(name.to_owned()))
}
