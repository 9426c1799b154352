//! Names and their addresses, for the DNS proxy of an agent (NDS, FEATURES C1).
//!
//! In: the services that a proxy sees. Out: Istio's table of names: the addresses of each service; of a
//! headless one those of its workloads, and the names of the workloads that have one. The variants that
//! a search domain makes of a name are the agent's affair.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meltemi_model::{EndpointAddress, EntryResolution, Service, Workload};
use meltemi_xds::pb::istio::networking::nds::v1::NameTable;
use meltemi_xds::pb::istio::networking::nds::v1::name_table::NameInfo;

use crate::scope::{Scope, has_ranges};

/// The registry of what Kubernetes knows.
const KUBERNETES: &str = "Kubernetes";
/// The registry of what ServiceEntries say.
const EXTERNAL: &str = "External";

/// The table of the proxy of this scope.
pub(crate) fn build(scope: &Scope<'_>) -> NameTable {
    let mut table = NameTable::default();
    for service in scope.services() {
        let mut addresses = scope.addresses(service);
        if addresses.is_empty() && leads_to_workloads(service) {
            addresses = workloads(scope, service, &mut table);
        }
        if !addresses.is_empty() {
            add(&mut table, service, &addresses);
        }
    }
    table
}

/// Adds a service. One of Kubernetes goes before others of its host, which go together.
fn add(table: &mut NameTable, service: &Service, addresses: &[IpAddr]) {
    let of_kubernetes = service.entry.is_none();
    let host = service.hostname.to_string();
    let known = table.table.entry(host).or_default();
    if known.registry == KUBERNETES {
        return;
    }
    let texts = addresses.iter().map(ToString::to_string);
    if !of_kubernetes {
        EXTERNAL.clone_into(&mut known.registry);
        let mut there: BTreeSet<_> = known.ips.iter().cloned().collect();
        known
            .ips
            .extend(texts.filter(|it| there.insert(it.clone())));
        return;
    }
    *known = NameInfo {
        ips: texts.collect(),
        registry: KUBERNETES.to_owned(),
        namespace: service.meta.namespace.to_string(),
        shortname: service.meta.name.to_string(),
        ..NameInfo::default()
    };
}

/// Whether clients reach the workloads of a service themselves.
fn leads_to_workloads(service: &Service) -> bool {
    match &service.entry {
        Some(entry) => entry.resolution == EntryResolution::None && !has_ranges(service),
        None => service.is_headless(),
    }
}

/// The addresses of a service's workloads in the proxy's network, each once; those that have names of
/// their own are added.
fn workloads(scope: &Scope<'_>, service: &Service, table: &mut NameTable) -> Vec<IpAddr> {
    let endpoints = scope.endpoints(service);
    let of_port = endpoints.and_then(|it| it.ports.first());
    let mut addresses = Vec::new();
    for endpoint in of_port.into_iter().flat_map(|it| &it.endpoints) {
        let EndpointAddress::Ip(address) = endpoint.address else {
            continue;
        };
        if !is_near(scope, &endpoint.workload) || addresses.contains(&address) {
            continue;
        }
        addresses.push(address);
        if let Some((host, info)) = of_workload(service, &endpoint.workload, address) {
            let known = table.table.entry(host).or_default();
            let mut ips = std::mem::take(&mut known.ips);
            ips.extend(
                info.ips
                    .iter()
                    .filter(|it| !ips.contains(it))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            *known = NameInfo { ips, ..info };
        }
    }
    addresses
}

/// A workload of one's own network, or of one of which nothing is said, is reached at its address.
fn is_near(scope: &Scope<'_>, workload: &Workload) -> bool {
    let (own, its) = (&scope.node.network, &workload.network);
    own.is_none() || its.is_none() || own == its
}

/// `HOSTNAME.SUBDOMAIN.NAMESPACE.svc.DOMAIN` of a pod with a subdomain.
fn of_workload(
    service: &Service,
    workload: &Workload,
    address: IpAddr,
) -> Option<(String, NameInfo)> {
    let (hostname, subdomain) = workload.dns_name.as_ref()?;
    let (_, rest) = service.hostname.as_str().split_once('.')?;
    let shortname = format!("{hostname}.{subdomain}");
    let registry = match service.entry {
        Some(_) => EXTERNAL,
        None => KUBERNETES,
    };
    let info = NameInfo {
        ips: vec![address.to_string()],
        registry: registry.to_owned(),
        namespace: service.meta.namespace.to_string(),
        shortname: shortname.clone(),
        ..NameInfo::default()
    };
    Some((format!("{shortname}.{rest}"), info))
}
