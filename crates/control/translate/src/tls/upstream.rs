//! How a cluster's connections are secured (FEATURES S4, S6).
//!
//! In: the destination and what its rule says. Out: [`UpstreamTransport`]: with no rule, mutual TLS to
//! those endpoints that take it and plain text to the others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meltemi_model::{
    CertificateFiles, ClientTls, ProxyProtocol, ServerVerification, Service, TlsDefaults,
    TlsVersions,
};
use meltemi_spiffe::SpiffeId;
use meltemi_xds::pb::envoy::config::cluster::v3::{Cluster, cluster::TransportSocketMatch};
use meltemi_xds::pb::envoy::config::core::v3::{
    ProxyProtocolConfig, TransportSocket, UpstreamHttpProtocolOptions,
    proxy_protocol_config::Version, transport_socket::ConfigType,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsParameters,
    UpstreamTlsContext,
    certificate_validation_context::SystemRootCerts,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    subject_alt_name_matcher::SanType,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost_types::Struct;

use super::downstream::parameters;
use super::{
    SYSTEM_ROOTS, agent_secret, ca_name, certificate_files, client_versions, credential_secret,
    file, grpc_mutual, mutual, peer_name, plain_socket, tls_socket,
};
use crate::ProxyRole;
use crate::node::IstioFilters;
use crate::proto::{fields, matching, pack, text};
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

/// The client cannot do what is wanted.
pub(crate) struct Unsupported;

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
        Some(ClientTls::Simple(server)) => foreign(scope, peer, server, None),
        Some(ClientTls::Mutual { server, files }) => {
            foreign(scope, peer, server, Some(files.as_ref()))
        }
    }
}

/// TLS of somebody else, with a client certificate where one is wanted: of files, or that of the
/// credential.
#[expect(clippy::option_option, reason = "no files is not no certificate")]
fn foreign(
    scope: &Scope<'_>,
    peer: &Peer<'_>,
    server: &ServerVerification,
    client: Option<Option<&CertificateFiles>>,
) -> UpstreamTransport {
    let ServerVerification {
        sni,
        subject_alt_names,
        ca_certificates,
        ca_crl,
        insecure_skip_verify,
        credential_name,
    } = server;
    // What the service entry says of its servers holds where the rule says nothing.
    let entry = peer.service.entry.as_ref();
    let names = match subject_alt_names.as_slice() {
        [] => entry.map_or(&[][..], |it| it.subject_alt_names.as_slice()),
        written => written,
    };
    // Secrets are for gateways; a sidecar has files only.
    let is_gateway = scope.node.role == ProxyRole::Router;
    let credential = credential_name.as_deref().filter(|_| is_gateway);
    if credential_name.is_some() && credential.is_none() {
        return UpstreamTransport::default();
    }
    let mut common = CommonTlsContext {
        tls_params: Some(foreign_parameters(&scope.mesh().tls_defaults)),
        alpn_protocols: peer.http2.then(|| "h2".to_owned()).into_iter().collect(),
        ..Default::default()
    };
    match (client, credential) {
        (Some(Some(CertificateFiles { certificate, key })), _) => {
            common.tls_certificates = vec![certificate_files(certificate, key)];
        }
        (Some(None), Some(name)) => {
            common.tls_certificate_sds_secret_configs = vec![credential_secret(scope.mesh(), name)];
        }
        _ => {}
    }
    if !insecure_skip_verify {
        let expected = CertificateValidationContext {
            match_typed_subject_alt_names: names.iter().map(|it| written_name(it)).collect(),
            crl: ca_crl.as_deref().map(file),
            ..Default::default()
        };
        common.validation_context_type = Some(match credential {
            Some(name) => ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(expected),
                    validation_context_sds_secret_config: Some(credential_secret(
                        scope.mesh(),
                        &ca_name(name),
                    )),
                    ..Default::default()
                },
            ),
            None if ca_certificates.is_none() && scope.node.filters == IstioFilters::default() => {
                // A stock Envoy takes `system_root_certs` and then verifies nothing by it.
                ValidationContextType::CombinedValidationContext(
                    CombinedCertificateValidationContext {
                        default_validation_context: Some(expected),
                        validation_context_sds_secret_config: Some(agent_secret(SYSTEM_ROOTS)),
                        ..Default::default()
                    },
                )
            }
            None => ValidationContextType::ValidationContext(CertificateValidationContext {
                trusted_ca: ca_certificates.as_deref().map(file),
                system_root_certs: ca_certificates.is_none().then(SystemRootCerts::default),
                ..expected
            }),
        });
    }
    let auto_san = sni.is_none() && names.is_empty() && !insecure_skip_verify;
    let context = UpstreamTlsContext {
        sni: sni.clone().unwrap_or_default(),
        common_tls_context: Some(common),
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

/// The versions that a client speaks, with what holds in the mesh for TLS that is not its own.
fn foreign_parameters(defaults: &TlsDefaults) -> TlsParameters {
    let plain = client_versions();
    match parameters(&TlsVersions::default(), defaults) {
        None => plain,
        Some(made) => TlsParameters {
            tls_maximum_protocol_version: plain.tls_maximum_protocol_version,
            tls_minimum_protocol_version: made
                .tls_minimum_protocol_version
                .max(plain.tls_minimum_protocol_version),
            ..made
        },
    }
}

/// Has each connection of a cluster begin with who its client is, before any TLS.
pub(crate) fn announce_client(cluster: &mut Cluster, version: ProxyProtocol) {
    let version = match version {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    };
    let announced = |inner: TransportSocket| TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(
            &ProxyProtocolUpstreamTransport {
                config: Some(ProxyProtocolConfig {
                    version: version.into(),
                    ..Default::default()
                }),
                transport_socket: Some(inner),
                ..Default::default()
            },
        ))),
    };
    if cluster.transport_socket_matches.is_empty() {
        let inner = cluster.transport_socket.take();
        cluster.transport_socket = Some(announced(inner.unwrap_or_else(plain_socket)));
    }
    for it in &mut cluster.transport_socket_matches {
        it.transport_socket = it.transport_socket.take().map(announced);
    }
}

/// Mutual TLS where the endpoint takes it.
fn automatic(scope: &Scope<'_>, peer: &Peer<'_>) -> UpstreamTransport {
    if !scope.mesh().enable_auto_mtls || peer.service.is_external() {
        return UpstreamTransport::default();
    }
    let socket = || {
        let names = accounts(scope, peer.service);
        mutual_socket(scope, peer, peer.server_name.clone(), names)
    };
    match peer.resolution {
        Resolution::Endpoints | Resolution::DnsOfEndpoints { .. } => {
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
            let endpoints = scope.endpoints(peer.service);
            let all_take = endpoints.is_some_and(|it| {
                let here = it.port(peer.port);
                !here.is_empty() && here.iter().all(|endpoint| endpoint.mtls)
            });
            UpstreamTransport {
                socket: all_take.then(socket),
                ..Default::default()
            }
        }
        Resolution::Dns(_) | Resolution::DynamicDns | Resolution::Alias => {
            UpstreamTransport::default()
        }
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
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(client_versions()),
            ..mutual(names, &alpn)
        }),
        sni: server_name,
        ..Default::default()
    })
}

/// The mesh's mutual TLS for a gRPC library, where the rule wants it. With no rule there is none: what
/// the server takes cannot be told from here. `Err` where the rule wants what such a client cannot do.
pub(crate) fn grpc(
    scope: &Scope<'_>,
    service: &Service,
    rule: Option<&ClientTls>,
) -> Result<Option<TransportSocket>, Unsupported> {
    let names = match rule {
        None | Some(ClientTls::Disable) => return Ok(None),
        Some(ClientTls::Simple(_) | ClientTls::Mutual { .. }) => return Err(Unsupported),
        Some(ClientTls::IstioMutual {
            sni: _, // ignored: such a client sends the name that it was asked for
            subject_alt_names,
        }) => match subject_alt_names.as_slice() {
            [] => accounts(scope, service),
            written => written.iter().cloned().collect(),
        },
    };
    let names = names.into_iter().map(MatchPattern::Exact);
    Ok(Some(tls_socket(&UpstreamTlsContext {
        common_tls_context: Some(grpc_mutual(names.map(matching).collect())),
        ..Default::default()
    })))
}

/// The identities of a service's workloads, under the mesh's trust domain and its aliases.
fn accounts(scope: &Scope<'_>, service: &Service) -> BTreeSet<String> {
    let mesh = scope.mesh();
    let entry = service.entry.as_ref();
    let written = entry.into_iter().flat_map(|it| &it.subject_alt_names);
    let accounts = scope.accounts(service);
    accounts
        .into_iter()
        .flatten()
        .flat_map(|account| {
            std::iter::once(&mesh.trust_domain)
                .chain(&mesh.trust_domain_aliases)
                .filter_map(|domain| {
                    SpiffeId::workload(domain, account.namespace.as_str(), &account.name).ok()
                })
        })
        .map(|id| id.to_string())
        .chain(written.cloned())
        .collect()
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
