//! Several Gateways on one proxy (FEATURES T1).
//!
//! In: the Gateways that select the proxy, the oldest first. Out: its ports, each with the servers
//! that share it. A server that cannot share its port with an older one is left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Gateway, Hostname, Server};

use crate::scope::Scope;

/// A port of the proxy.
pub(super) struct MergedPort<'a> {
    /// Its number.
    pub number: u16,
    /// Whether its servers open TLS.
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
    /// Its route table: `http.PORT` for all HTTP servers of a port together,
    /// `https.PORT.NAME.GATEWAY.NAMESPACE` for one HTTPS server.
    pub route_name: String,
}

/// The ports of a gateway proxy, by number.
pub(super) fn ports<'a>(scope: &'a Scope<'a>) -> Vec<MergedPort<'a>> {
    let targets = scope.targets();
    let mut ports: Vec<MergedPort<'a>> = Vec::new();
    for gateway in scope.snapshot.gateways().selecting(&scope.labels) {
        for server in &gateway.servers {
            let wanted = server.port.number;
            // Clients address the service's port, the proxy listens on the workload's.
            let number = targets
                .iter()
                .find(|it| it.port.number == wanted)
                .map_or(wanted, |it| it.target);
            let merged = MergedServer {
                gateway,
                server,
                route_name: route_name(gateway, server, number),
            };
            match ports.iter_mut().find(|it| it.number == number) {
                Some(port) if can_join(port, &merged) => port.servers.push(merged),
                Some(_) => {}
                None => ports.push(MergedPort {
                    number,
                    tls: server.port.protocol.is_tls(),
                    servers: vec![merged],
                }),
            }
        }
    }
    ports.sort_by_key(|it| it.number);
    ports
}

fn route_name(gateway: &Gateway, server: &Server, number: u16) -> String {
    let port = &server.port;
    if port.protocol.is_tls() {
        format!(
            "https.{}.{}.{}.{}",
            port.number, port.name, gateway.meta.name, gateway.meta.namespace
        )
    } else {
        format!("http.{number}")
    }
}

/// Plain HTTP joins plain HTTP; TLS joins TLS where the client's server name tells them apart.
fn can_join(port: &MergedPort<'_>, new: &MergedServer<'_>) -> bool {
    if port.tls != new.server.port.protocol.is_tls() {
        return false;
    }
    if !port.tls {
        return true;
    }
    let hosts = |server: &Server| -> BTreeSet<Hostname> {
        server.hosts.iter().map(|it| it.host.clone()).collect()
    };
    let mine = hosts(new.server);
    port.servers
        .iter()
        .all(|it| it.route_name != new.route_name && hosts(it.server).is_disjoint(&mine))
}
