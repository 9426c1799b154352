//! The names under which clients may ask for a service.
//!
//! In: a service and the client's DNS domain. Out: its host, the short forms that the client's
//! resolver would complete, its other names and its addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

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
    let aliases = aliases(scope, service).map(|it| it.hostname.as_str());
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

/// The other names of a service, each with its short forms.
pub(crate) fn other_names(scope: &Scope<'_>, service: &Service) -> Vec<String> {
    let mut names = Vec::new();
    for alias in aliases(scope, service) {
        let host = alias.hostname.as_str();
        names.push(host.to_owned());
        names.extend(short_forms(host, &scope.node.dns_domain));
    }
    names
}

/// The services that are other names of this one and that the proxy sees.
fn aliases<'a>(scope: &Scope<'a>, service: &Service) -> impl Iterator<Item = &'a Arc<Service>> {
    let namespace = scope.node.namespace.clone();
    let aliases = scope.aliases_of(&service.hostname);
    aliases.filter(move |it| it.export_to.is_visible_in(&namespace))
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
    let Some((client_namespace, client_suffix)) = client_domain.split_once(".svc.") else {
        return within_domain(host, client_domain);
    };
    let Some((short, suffix)) = host.split_once(".svc.") else {
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

/// The short forms in a domain that is none of Kubernetes: of `foo.local.campus.net` for a client in
/// `local.campus.net` it is `foo`, for one in `remote.campus.net` `foo.local` and `foo.local.campus`.
fn within_domain(host: &str, client_domain: &str) -> Vec<String> {
    let (parts, domain): (Vec<_>, Vec<_>) = (
        host.split('.').collect(),
        client_domain.split('.').collect(),
    );
    let both = parts.iter().rev().zip(domain.iter().rev());
    let shared = both
        .take_while(|(part, of_client)| part == of_client)
        .count();
    let (own, rest) = parts.split_at(parts.len() - shared);
    let Some(next) = rest.first().filter(|_| !own.is_empty()) else {
        return Vec::new();
    };
    let own_name = own.join(".");
    match own.len() {
        2 => vec![own_name.clone(), format!("{own_name}.{next}")],
        _ => vec![own_name],
    }
}
