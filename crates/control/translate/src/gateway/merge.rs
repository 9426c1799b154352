//! Several Gateways on one proxy (FEATURES T1 to T3).
//!
//! In: the Gateways that select the proxy, the oldest first. Out: its ports, each with the servers
//! that share it. A server that cannot share its port with an older one is left out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{Gateway, GatewayHost, GatewayName, GatewayRef, Server, ServerTls};
use meltemi_snapshot::ServiceTarget;

use crate::scope::Scope;

/// Names the services whose ports a Gateway has, in the place of its selector.
const GATEWAY_SERVICE: &str = "internal.istio.io/gateway-service";
/// On a service: Gateways name the workload's ports, not those of this service.
const NO_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";

/// A port of the proxy.
pub(super) struct MergedPort<'a> {
    /// Its number.
    pub number: u16,
    /// Its address; `None` for every address.
    pub bind: Option<IpAddr>,
    /// Whether connections begin with TLS.
    pub tls: bool,
    /// The servers.
    pub servers: Vec<MergedServer<'a>>,
}

/// A server on a port.
pub(super) struct MergedServer<'a> {
    /// The Gateway that it is from.
    pub gateway: &'a Arc<Gateway>,
    /// The server.
    pub server: &'a Server,
    /// Its route table, if it reads HTTP: `http.PORT` for all HTTP servers of a port together,
    /// `https.PORT.NAME.GATEWAY.NAMESPACE` for one HTTPS server.
    pub route_name: Option<String>,
}

impl MergedServer<'_> {
    /// The Gateway as virtual services name it.
    pub fn gateway_ref(&self) -> GatewayRef {
        GatewayRef::Gateway(GatewayName {
            namespace: self.gateway.meta.namespace.clone(),
            name: self.gateway.meta.name.clone(),
        })
    }
}

/// The ports of a gateway proxy, by number.
pub(super) fn ports<'a>(scope: &Scope<'a>) -> Vec<MergedPort<'a>> {
    let targets = scope.targets();
    let mut ports: Vec<MergedPort<'a>> = Vec::new();
    for gateway in scope.gateways() {
        let Some(mine) = selected(scope, gateway, &targets) else {
            continue;
        };
        for server in &gateway.servers {
            for number in mine.resolve(server.port.number) {
                add(&mut ports, gateway, server, number);
            }
        }
    }
    ports.retain(|it| scope.node.may_bind(it.number));
    ports.sort_by_key(|it| (it.number, it.bind));
    ports
}

/// How the ports of a Gateway are those of the proxy.
struct Selected<'a> {
    targets: Vec<&'a ServiceTarget>,
    /// The Gateway selects by labels, so that a port that no service has is the proxy's own.
    by_label: bool,
}

/// Whether a Gateway is for the proxy, and how.
fn selected<'a>(
    scope: &Scope<'_>,
    gateway: &Gateway,
    targets: &'a [ServiceTarget],
) -> Option<Selected<'a>> {
    let Some(hosts) = gateway.meta.annotation(GATEWAY_SERVICE) else {
        return gateway.selector.selects(scope.labels).then(|| Selected {
            targets: targets
                .iter()
                .filter(|it| it.service.meta.labels.get(NO_TRANSLATION).is_none())
                .collect(),
            by_label: true,
        });
    };
    let named = |it: &&ServiceTarget| {
        let mut hosts = hosts.split(',').map(str::trim);
        it.service.meta.namespace == gateway.meta.namespace
            && hosts.any(|host| host == it.service.hostname.as_str())
    };
    let targets: Vec<_> = targets.iter().filter(named).collect();
    (!targets.is_empty()).then_some(Selected {
        targets,
        by_label: false,
    })
}

impl Selected<'_> {
    /// Clients address the service's port, the proxy listens on the workload's.
    fn resolve(&self, number: u16) -> BTreeSet<u16> {
        let here = self.targets.iter().filter(|it| it.port.number == number);
        let mut ports: BTreeSet<_> = here.map(|it| it.target).collect();
        if ports.is_empty() && self.by_label {
            ports.insert(number);
        }
        ports
    }
}

fn add<'a>(
    ports: &mut Vec<MergedPort<'a>>,
    gateway: &'a Arc<Gateway>,
    server: &'a Server,
    number: u16,
) {
    let merged = MergedServer {
        gateway,
        server,
        route_name: route_name(gateway, server, number),
    };
    let tls = server.port.protocol.is_tls();
    // Plain text and TLS do not share a number, whatever the address.
    let mixed = |it: &&MergedPort<'_>| it.number == number && it.tls != tls;
    let same = |it: &&mut MergedPort<'_>| it.number == number && it.bind == server.bind;
    if ports.iter().any(|it| mixed(&it)) {
        return;
    }
    match ports.iter_mut().find(same) {
        Some(port) if can_join(port, &merged) => port.servers.push(merged),
        Some(_) => {}
        None => ports.push(MergedPort {
            number,
            bind: server.bind,
            tls,
            servers: vec![merged],
        }),
    }
}

fn route_name(gateway: &Gateway, server: &Server, number: u16) -> Option<String> {
    let port = &server.port;
    if !port.protocol.is_http() || server.tls.as_ref().is_some_and(ServerTls::passes_through) {
        return None;
    }
    if port.protocol.is_tls() {
        return Some(format!(
            "https.{}.{}.{}.{}",
            port.number, port.name, gateway.meta.name, gateway.meta.namespace
        ));
    }
    Some(match server.bind {
        Some(ip) => format!("http.{number}.{ip}"),
        None => format!("http.{number}"),
    })
}

/// Plain HTTP joins plain HTTP; TLS joins TLS where the client's server name tells them apart; bytes
/// join nothing.
fn can_join(port: &MergedPort<'_>, new: &MergedServer<'_>) -> bool {
    if !port.tls {
        let http = |it: &MergedServer<'_>| it.route_name.is_some();
        return http(new) && port.servers.iter().all(http);
    }
    let names = |server: &Server| -> BTreeSet<String> {
        let hosts = server.hosts.iter();
        hosts.map(|it: &GatewayHost| it.host.to_string()).collect()
    };
    let mine = names(new.server);
    port.servers.iter().all(|it| {
        let same_table = it.route_name.is_some() && it.route_name == new.route_name;
        !same_table && names(it.server).is_disjoint(&mine)
    })
}
