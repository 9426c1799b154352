//! Route tables of gateways (FEATURES T1, T9).
//!
//! In: the servers that share a table, and the virtual services bound to their Gateways. Out: a
//! virtual host for each host that both name; a table with none answers 404.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{GatewayRef, Hostname, VirtualService};
use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, virtual_host::TlsRequirementType,
};

use super::merge::{self, MergedServer};
use crate::name::host_port;
use crate::route::{Place, is_catch_all, routes, table};
use crate::scope::Scope;

/// A virtual host in the making.
#[derive(Default)]
struct Host {
    port: u16,
    routes: Vec<Route>,
    /// The gateway and virtual service that each part of the routes is from.
    sources: Vec<(GatewayRef, Arc<str>, Arc<str>)>,
    redirect: bool,
}

/// A gateway's table of this name; with no hosts for a name that stands for nothing, which a proxy may
/// ask for while it drains a listener.
pub(crate) fn build(scope: &Scope<'_>, name: &str) -> RouteConfiguration {
    let servers: Vec<_> = merge::ports(scope)
        .into_iter()
        .flat_map(|port| port.servers)
        .filter(|server| server.route_name.as_deref() == Some(name))
        .collect();
    let Some(first) = servers.first() else {
        return RouteConfiguration {
            ignore_port_in_host_matching: false,
            max_direct_response_body_size_bytes: None,
            ..table(name, Vec::new())
        };
    };
    let port = first.server.port.number;
    let mut hosts = BTreeMap::new();
    for server in &servers {
        add_server(scope, server, &mut hosts);
    }
    if hosts.is_empty() {
        let black_hole = VirtualHost {
            name: host_port("blackhole", port),
            domains: vec!["*".to_owned()],
            ..Default::default()
        };
        return table(name, vec![black_hole]);
    }
    table(name, collapse(scope, hosts))
}

fn add_server(scope: &Scope<'_>, merged: &MergedServer<'_>, hosts: &mut BTreeMap<Hostname, Host>) {
    let server = merged.server;
    let gateway = merged.gateway_ref();
    let place = Place {
        gateway: &gateway,
        port: server.port.number,
        tls: server.tls.is_some(),
    };
    for service in scope.virtual_services_at(&gateway) {
        let shared = shared_hosts(merged, service);
        if shared.is_empty() {
            continue;
        }
        let routes = routes(scope, service, &place);
        if routes.is_empty() {
            continue;
        }
        let meta = &service.meta;
        let source = (
            gateway.clone(),
            Arc::from(meta.namespace.as_str()),
            meta.name.clone(),
        );
        for name in shared {
            let host = hosts.entry(name).or_insert_with(|| Host::on(place.port));
            // Two servers of the table may share the host.
            if !host.sources.contains(&source) {
                host.sources.push(source.clone());
                host.routes.extend(routes.iter().cloned());
            }
            host.redirect |= server.https_redirect;
        }
    }
    if server.https_redirect {
        for name in server.hosts.iter().map(|it| it.host.clone()) {
            let host = hosts.entry(name).or_insert_with(|| Host::on(place.port));
            host.redirect = true;
        }
    }
}

/// The hosts that a server and a virtual service have in common, the narrower of two that overlap.
pub(super) fn shared_hosts(merged: &MergedServer<'_>, service: &VirtualService) -> Vec<Hostname> {
    let mut shared = Vec::new();
    for entry in &merged.server.hosts {
        if !entry.admits(&service.meta.namespace) {
            continue;
        }
        for host in &service.hosts {
            let narrower = if entry.host.contains(host) {
                host
            } else if host.contains(&entry.host) {
                &entry.host
            } else {
                continue;
            };
            if !shared.contains(narrower) {
                shared.push(narrower.clone());
            }
        }
    }
    shared
}

/// Virtual hosts, those with the same routes as one.
fn collapse(scope: &Scope<'_>, hosts: BTreeMap<Hostname, Host>) -> Vec<VirtualHost> {
    let mut made: Vec<(VirtualHost, Vec<_>)> = Vec::new();
    for (name, host) in hosts {
        let Host {
            port,
            routes,
            sources,
            redirect,
        } = host;
        let tls = if redirect {
            TlsRequirementType::All
        } else {
            TlsRequirementType::None
        };
        let same = |(other, of): &&mut (VirtualHost, Vec<_>)| {
            *of == sources && !sources.is_empty() && other.require_tls == i32::from(tls)
        };
        if let Some((other, _)) = made.iter_mut().find(same) {
            other.domains.push(name.as_str().to_owned());
            continue;
        }
        let virtual_host = VirtualHost {
            name: host_port(name.as_str(), port),
            domains: vec![name.as_str().to_owned()],
            routes: catch_alls_last(routes),
            require_tls: tls.into(),
            include_request_attempt_count: !scope.proxy_headers().no_attempt_count,
            ..Default::default()
        };
        made.push((virtual_host, sources));
    }
    made.into_iter().map(|(host, _)| host).collect()
}

/// Routes of several virtual services: what takes everything comes last.
fn catch_alls_last(routes: Vec<Route>) -> Vec<Route> {
    let (last, mut routes): (Vec<_>, Vec<_>) = routes
        .into_iter()
        .partition(|it| it.r#match.as_ref().is_some_and(is_catch_all));
    routes.extend(last);
    routes
}

impl Host {
    fn on(port: u16) -> Self {
        Self {
            port,
            ..Self::default()
        }
    }
}
