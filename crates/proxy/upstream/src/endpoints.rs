//! Endpoints as configured or delivered become hosts to be: a load assignment and what its
//! names resolved to enter, [`NewHost`]s leave for the cluster.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_ir::{Address, Endpoint, LoadAssignment, LocalityEndpoints};

use crate::host::{HostAttributes, NewHost, SetSettings};

/// What a name and port resolved to.
pub(crate) type Resolved = HashMap<(String, u16), Vec<SocketAddr>>;

/// Whether each address of a name is a host, or the name is one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    EachAddress,
    OneHost,
}

/// The hosts of an assignment. A name that resolved to nothing gives none.
pub(crate) fn hosts(
    assignment: &LoadAssignment,
    names: Names,
    resolved: &Resolved,
) -> Vec<NewHost> {
    let LoadAssignment {
        cluster_name: _, // ignored: whose it is was looked at before
        localities,
        overprovisioning_factor: _,  // ignored: the set's, see `settings`
        weighted_priority_health: _, // ignored: the set's, see `settings`
    } = assignment;
    let mut hosts = Vec::new();
    for locality in localities {
        let LocalityEndpoints {
            locality,
            priority,
            weight: locality_weight,
            endpoints,
        } = locality;
        for endpoint in endpoints {
            let Endpoint {
                address,
                additional_addresses,
                hostname,
                weight,
                health,
                metadata,
                health_check,
            } = endpoint;
            let host = |address: Address, hostname: &str, resolved| NewHost {
                address,
                hostname: hostname.to_owned(),
                locality: locality.clone(),
                locality_weight: *locality_weight,
                resolved,
                additional_addresses: additional_addresses.clone(),
                health_check: health_check.clone(),
                attributes: HostAttributes {
                    metadata: Arc::new(metadata.clone()),
                    weight: (*weight).max(1),
                    eds_health: *health,
                    priority: *priority,
                },
            };
            let (name, port) = match address {
                Address::Socket(_) | Address::Pipe(_) => {
                    hosts.push(host(address.clone(), hostname, None));
                    continue;
                }
                Address::Name { host, port } => (host, *port),
            };
            let hostname = if hostname.is_empty() { name } else { hostname };
            let addresses = resolved
                .get(&(name.clone(), port))
                .map(Vec::as_slice)
                .unwrap_or_default();
            match names {
                Names::EachAddress => {
                    for address in addresses {
                        hosts.push(host(Address::Socket(*address), hostname, None));
                    }
                }
                Names::OneHost => {
                    if let Some(first) = addresses.first() {
                        hosts.push(host(address.clone(), hostname, Some(*first)));
                    }
                }
            }
        }
    }
    hosts
}

/// What an assignment says of all its hosts.
pub(crate) fn settings(assignment: &LoadAssignment) -> SetSettings {
    SetSettings {
        overprovisioning_factor: assignment.overprovisioning_factor,
        weighted_priority_health: assignment.weighted_priority_health,
    }
}

/// The names that an assignment needs resolved, each once.
pub(crate) fn names(assignment: &LoadAssignment) -> Vec<(String, u16)> {
    let mut names: Vec<_> = assignment
        .localities
        .iter()
        .flat_map(|locality| &locality.endpoints)
        .filter_map(|endpoint| match &endpoint.address {
            Address::Name { host, port } => Some((host.clone(), *port)),
            Address::Socket(_) | Address::Pipe(_) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}
