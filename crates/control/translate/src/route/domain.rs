//! The names under which clients may ask for a service.
//!
//! In: a service and the client's DNS domain. Out: its host, the short forms that the client's
//! resolver would complete, its other names and its addresses.

use std::collections::BTreeSet;

use meltemi_model::Service;

use crate::name::host_port;
use crate::proto::url_host;
use crate::scope::Scope;

/// The domains of a service, each followed by itself with the port where one is given (for tables that
/// compare hosts with their port). Short forms that are in `taken`, being the full name of something
/// else, are left out.
pub(super) fn of_service(
    scope: &Scope<'_>,
    service: &Service,
    port: Option<u16>,
    taken: &BTreeSet<&str>,
) -> Vec<String> {
    let aliases = scope.aliases_of(&service.hostname);
    let visible = |it: &&std::sync::Arc<Service>| it.export_to.is_visible_in(&scope.node.namespace);
    let aliases = aliases.filter(visible).map(|it| it.hostname.as_str());
    let hosts = std::iter::once(service.hostname.as_str()).chain(aliases);
    let mut domains = Vec::new();
    for host in hosts {
        push(&mut domains, host, port);
        for short in short_forms(host, &scope.node.dns_domain) {
            if !taken.contains(short.as_str()) {
                push(&mut domains, &short, port);
            }
        }
    }
    if service.is_headless() {
        let workloads: Vec<_> = domains.iter().map(|it| format!("*.{it}")).collect();
        domains.extend(workloads);
    }
    for ip in scope.addresses(service) {
        push(&mut domains, &ip.to_string(), port);
    }
    domains
}

/// The domains of a host that is no service.
pub(super) fn of_host(host: &str, port: Option<u16>) -> Vec<String> {
    let mut domains = Vec::new();
    push(&mut domains, host, port);
    domains
}

fn push(domains: &mut Vec<String>, host: &str, port: Option<u16>) {
    domains.push(url_host(host));
    domains.extend(port.map(|port| host_port(host, port)));
}

/// The short forms of `catalog.shop.svc.cluster.local` for a client in `NAMESPACE.svc.cluster.local`:
/// `catalog` if it is in the same namespace, `catalog.shop`, `catalog.shop.svc`.
fn short_forms(host: &str, client_domain: &str) -> Vec<String> {
    let (Some((client_namespace, client_suffix)), Some((short, suffix))) =
        (client_domain.split_once(".svc."), host.split_once(".svc."))
    else {
        return Vec::new();
    };
    let Some((name, namespace)) = short.split_once('.') else {
        return Vec::new();
    };
    if suffix != client_suffix {
        return Vec::new();
    }
    let with_svc = format!("{short}.svc");
    if namespace == client_namespace {
        vec![name.to_owned(), with_svc, short.to_owned()]
    } else {
        vec![short.to_owned(), with_svc]
    }
}
