//! Listeners as gRPC libraries take them (gRFC A27, A36, A41).
//!
//! In: the name that a client asks for, `HOST:PORT` as in its target `xds:///HOST:PORT`, or that of a
//! server, `xds.istio.io/grpc/lds/inbound/ADDRESS:PORT`. Out: for a client the name of its route table;
//! for a server who may call it, and whether over mutual TLS.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Hostname, MutualTlsMode, Protocol, Service};
use meltemi_xds::pb::envoy::config::listener::v3::{ApiListener, FilterChain, Listener};
use meltemi_xds::pb::envoy::config::route::v3::{
    NonForwardingAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_match::PathSpecifier,
};
use meltemi_xds::pb::envoy::extensions::filters::http::{fault::v3::HttpFault, router::v3::Router};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;

use crate::authz;
use crate::filter::{http_filter, network_filter};
use crate::name::{SubsetKey, host_port};
use crate::proto::{address, ads, pack};
use crate::scope::Scope;
use crate::tls::{grpc_mutual, tls_socket};

/// What the names of servers' listeners begin with.
const SERVER: &str = "xds.istio.io/grpc/lds/inbound/";
/// The label of a workload whose callers are told to use the mesh's TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";
const ROUTER: &str = "envoy.filters.http.router";

/// Whether a name is that of a server's listener, which is for its workload alone.
pub(crate) fn is_server(name: &str) -> bool {
    name.starts_with(SERVER)
}

/// The listener of this name.
pub(crate) fn build(scope: &Scope<'_>, name: &str) -> Option<Listener> {
    match name.strip_prefix(SERVER) {
        Some(place) => server(scope, name, place),
        None => client(scope, name),
    }
}

/// The names for which a client can ask; those of servers' listeners are its own affair.
pub(crate) fn names(scope: &Scope<'_>) -> BTreeSet<String> {
    let ports = ports(scope).into_iter();
    ports
        .map(|(host, port)| host_port(host.as_str(), port))
        .collect()
}

/// The route tables that clients' listeners ask for.
pub(crate) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    let ports = ports(scope).into_iter();
    let table = |(host, port): (Hostname, u16)| table(&host, port);
    ports.map(table).collect()
}

fn ports(scope: &Scope<'_>) -> Vec<(Hostname, u16)> {
    let mut all = Vec::new();
    for service in scope.services() {
        let concrete = scope.concrete(service).unwrap_or(service);
        if !service.hostname.is_wildcard() {
            let ports = service
                .ports
                .iter()
                .filter(|it| it.protocol != Protocol::Udp);
            all.extend(ports.map(|it| (concrete.hostname.clone(), it.number)));
        }
    }
    all
}

fn table(host: &Hostname, port: u16) -> String {
    let key = SubsetKey {
        port,
        subset: "",
        host: host.as_str(),
    };
    key.cluster()
}

/// What a client is told: where its routes are.
fn client(scope: &Scope<'_>, name: &str) -> Option<Listener> {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (name, None),
    };
    let service = service(scope, host)?;
    let port = match (port, service.ports.as_slice()) {
        (Some(port), _) => service.port(port)?.number,
        (None, [only]) => only.number,
        (None, _) => return None,
    };
    let concrete = scope.concrete(&service).unwrap_or(&service);
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: table(&concrete.hostname, port),
        })),
        http_filters: vec![
            http_filter(crate::route::FAULT_FILTER, &HttpFault::default()),
            http_filter(ROUTER, &Router::default()),
        ],
        ..Default::default()
    };
    Some(Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(pack(&manager)),
        }),
        ..Default::default()
    })
}

/// The service that a client means, whose resolver would complete short names.
fn service(scope: &Scope<'_>, name: &str) -> Option<Arc<Service>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // `shop.svc.cluster.local`, then `svc.cluster.local`, then `cluster.local`.
    let own = scope.node.dns_domain.as_str();
    let rest = |it: &str| it.split_once('.').map(|(_, rest)| rest.to_owned());
    let services = rest(own);
    let cluster = services.as_deref().and_then(rest);
    let searched = [Some(own.to_owned()), services, cluster];
    let searched = searched.into_iter().flatten();
    std::iter::once(name.clone())
        .chain(searched.map(|domain| format!("{name}.{domain}")))
        .find_map(|host| scope.service(&host))
}

/// What a server is told: who may call it.
fn server(scope: &Scope<'_>, name: &str, place: &str) -> Option<Listener> {
    let (ip, port) = place.rsplit_once(':')?;
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port.parse().ok()?;
    // Such a server cannot take both: who are told to use TLS by its label do so.
    let labelled = scope.labels.get(TLS_MODE) == Some("istio");
    let mutual = match scope.inbound_mtls().on_port(port) {
        MutualTlsMode::Strict => true,
        MutualTlsMode::Permissive => labelled,
        MutualTlsMode::Disable => false,
    };
    let mut filters = authz::of_grpc_server(scope);
    filters.push(http_filter(ROUTER, &Router::default()));
    let suffix = if mutual { "mtls" } else { "plaintext" };
    Some(Listener {
        name: name.to_owned(),
        address: Some(address(ip, port)),
        filter_chains: vec![FilterChain {
            name: format!("inbound-{suffix}"),
            filters: vec![network_filter(
                "envoy.filters.network.http_connection_manager",
                &accepting(filters),
            )],
            transport_socket: mutual.then(|| {
                tls_socket(&DownstreamTlsContext {
                    // Servers refuse to be told which names clients must have.
                    common_tls_context: Some(grpc_mutual(Vec::new())),
                    require_client_certificate: Some(true),
                    ..Default::default()
                })
            }),
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn accepting(http_filters: Vec<HttpFilter>) -> HttpConnectionManager {
    let everything = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(Action::NonForwardingAction(NonForwardingAction {})),
        ..Default::default()
    };
    HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: "inbound".to_owned(),
            virtual_hosts: vec![VirtualHost {
                name: "inbound".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![everything],
                ..Default::default()
            }],
            ..Default::default()
        })),
        http_filters,
        ..Default::default()
    }
}
