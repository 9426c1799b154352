//! The endpoints of clusters.

use std::net::SocketAddr;

use meltemi_ir::{
    Address, Endpoint, EndpointHealthCheck, HealthStatus, LoadAssignment, Locality,
    LocalityEndpoints,
};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::endpoint::v3 as endpoint_v3;
use meltemi_xds::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use meltemi_xds::pb::envoy::config::endpoint::v3::endpoint::{
    AdditionalAddress, HealthCheckConfig,
};
use meltemi_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use meltemi_xds::pb::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
};

use crate::address::{address, socket};
use crate::fields::fields;
use crate::metadata::metadata;
use crate::path::At;
use crate::scalar::{enumeration, non_empty, port};

/// Metadata that adds to the PROXY protocol header of connections to an endpoint.
const PROXY_ENTRIES: &str = "envoy.transport_sockets.proxy_protocol";

/// Whether an endpoint's address may be a name that is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// In clusters that are found by DNS.
    Resolved,
    /// Everywhere else.
    Refused,
}

/// The endpoints of a cluster.
pub(crate) fn load_assignment(
    message: &ClusterLoadAssignment,
    names: Names,
    at: &At<'_>,
) -> Option<LoadAssignment> {
    fields!(at, message, ClusterLoadAssignment {
        honoured { cluster_name, endpoints }
        partly { policy: "without drop_overloads and endpoint_stale_after" }
        refused { named_endpoints: "write the endpoint in its place" }
    });
    let policy = policy
        .as_ref()
        .map(|message| policy_of(message, &at.field("policy")))
        .unwrap_or_default();
    let localities = at.field("endpoints").each(endpoints, |message, at| {
        locality_endpoints(message, names, at)
    });
    Some(LoadAssignment {
        cluster_name: non_empty(cluster_name, &at.field("cluster_name")).to_owned(),
        localities,
        overprovisioning_factor: policy.overprovisioning_factor,
        weighted_priority_health: policy.weighted_priority_health,
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct AssignmentPolicy {
    overprovisioning_factor: Option<u32>,
    weighted_priority_health: bool,
}

fn policy_of(message: &Policy, at: &At<'_>) -> AssignmentPolicy {
    fields!(at, message, Policy {
        honoured { overprovisioning_factor, weighted_priority_health }
        unsupported { drop_overloads, endpoint_stale_after }
    });
    if *overprovisioning_factor == Some(0) {
        at.field("overprovisioning_factor")
            .problem("must be at least 1");
    }
    AssignmentPolicy {
        overprovisioning_factor: *overprovisioning_factor,
        weighted_priority_health: *weighted_priority_health,
    }
}

fn locality_endpoints(
    message: &LocalityLbEndpoints,
    names: Names,
    at: &At<'_>,
) -> Option<LocalityEndpoints> {
    fields!(at, message, LocalityLbEndpoints {
        honoured { locality, lb_endpoints, load_balancing_weight, priority }
        oneof { lb_config {
            load_balancer_endpoints: Refused "use lb_endpoints",
            leds_cluster_locality_config: Refused "",
        } }
        ignored {
            metadata: "no filter of the proxy reads it",
            proximity: "Envoy does not look at it either",
        }
    });
    match lb_config {
        Some(LbConfig::LoadBalancerEndpoints(_)) => {
            at.field("load_balancer_endpoints")
                .refuse("use lb_endpoints");
        }
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            at.field("leds_cluster_locality_config").refuse("");
        }
        None => {}
    }
    if *load_balancing_weight == Some(0) {
        at.field("load_balancing_weight")
            .problem("must be at least 1");
    }
    if *priority > 128 {
        at.field("priority").problem("must be at most 128");
    }
    Some(LocalityEndpoints {
        locality: locality
            .as_ref()
            .map(|message| self::locality(message, &at.field("locality")))
            .unwrap_or_default(),
        priority: *priority,
        weight: *load_balancing_weight,
        endpoints: at
            .field("lb_endpoints")
            .each(lb_endpoints, |message, at| endpoint(message, names, at)),
    })
}

/// Where something is.
pub(crate) fn locality(message: &core_v3::Locality, at: &At<'_>) -> Locality {
    fields!(at, message, core_v3::Locality { honoured { region, zone, sub_zone } });
    Locality {
        region: region.clone(),
        zone: zone.clone(),
        sub_zone: sub_zone.clone(),
    }
}

fn endpoint(message: &LbEndpoint, names: Names, at: &At<'_>) -> Option<Endpoint> {
    fields!(at, message, LbEndpoint {
        honoured { health_status, metadata, load_balancing_weight }
        oneof { host_identifier {
            endpoint: Honoured "",
            endpoint_name: Refused "write the endpoint in its place",
        } }
    });
    if *load_balancing_weight == Some(0) {
        at.field("load_balancing_weight")
            .problem("must be at least 1");
    }
    if let Some(metadata) = metadata
        && metadata.typed_filter_metadata.contains_key(PROXY_ENTRIES)
    {
        at.field("metadata")
            .field("typed_filter_metadata")
            .refuse("PROXY protocol entries by endpoint");
    }
    let health = match enumeration(*health_status, &at.field("health_status"))? {
        core_v3::HealthStatus::Unknown | core_v3::HealthStatus::Healthy => HealthStatus::Healthy,
        core_v3::HealthStatus::Degraded => HealthStatus::Degraded,
        core_v3::HealthStatus::Unhealthy | core_v3::HealthStatus::Timeout => {
            HealthStatus::Unhealthy
        }
        core_v3::HealthStatus::Draining => HealthStatus::Draining,
    };
    let (address, additional_addresses, hostname, health_check) = match host_identifier {
        Some(HostIdentifier::Endpoint(message)) => host(message, names, &at.field("endpoint"))?,
        Some(HostIdentifier::EndpointName(_)) => {
            at.field("endpoint_name")
                .refuse("write the endpoint in its place");
            return None;
        }
        None => {
            at.problem("needs an endpoint");
            return None;
        }
    };
    Some(Endpoint {
        address,
        additional_addresses,
        hostname,
        weight: load_balancing_weight.unwrap_or(1),
        health,
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
        health_check,
    })
}

fn health_check(message: &HealthCheckConfig, at: &At<'_>) -> Option<EndpointHealthCheck> {
    fields!(at, message, HealthCheckConfig {
        honoured { port_value, hostname, address, disable_active_health_check }
    });
    let at_address = &at.field("address");
    let elsewhere = match address {
        Some(_) => Some(self::address(address.as_ref(), at_address)?),
        None => None,
    };
    if matches!(elsewhere, Some(Address::Name { .. })) {
        at_address.refuse("a name that is to be resolved");
    }
    let at_port = &at.field("port_value");
    if *port_value != 0 && elsewhere.is_some() {
        at_port.problem("must not be set where address is");
    }
    Some(EndpointHealthCheck {
        port: match *port_value {
            0 => None,
            value => port(value, at_port),
        },
        hostname: hostname.clone(),
        address: elsewhere,
        disabled: *disable_active_health_check,
    })
}

/// Where an endpoint is, what it is called, and where its health is asked for.
type Reached = (
    Address,
    Vec<SocketAddr>,
    String,
    Option<Box<EndpointHealthCheck>>,
);

fn additional(message: &AdditionalAddress, at: &At<'_>) -> Option<SocketAddr> {
    fields!(at, message, AdditionalAddress { honoured { address } });
    socket(address.as_ref(), &at.field("address"))
}

fn host(message: &endpoint_v3::Endpoint, names: Names, at: &At<'_>) -> Option<Reached> {
    fields!(at, message, endpoint_v3::Endpoint {
        honoured { address, hostname, health_check_config, additional_addresses }
        ignored {
            observability_name: "endpoints are called by their addresses",
        }
    });
    let at_address = &at.field("address");
    let address = self::address(address.as_ref(), at_address)?;
    if let (Address::Name { host, .. }, Names::Refused) = (&address, names) {
        at_address
            .field("socket_address")
            .field("address")
            .problem(format_args!(
                "{host:?} is not an IP address; only STRICT_DNS and LOGICAL_DNS clusters resolve names"
            ));
        return None;
    }
    let health_check = health_check_config
        .as_ref()
        .and_then(|message| health_check(message, &at.field("health_check_config")))
        .filter(|config| *config != EndpointHealthCheck::default())
        .map(Box::new);
    let at_more = &at.field("additional_addresses");
    if !additional_addresses.is_empty() && !matches!(address, Address::Socket(_)) {
        at_more.refuse("beside an address that is none of IP");
    }
    let more = at_more.each(additional_addresses, additional);
    Some((address, more, hostname.clone(), health_check))
}
