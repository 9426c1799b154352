//! Destinations by the name that a request is for (FEATURES T12, P5).
//!
//! In: who asks. Out: the cluster type that looks names up as requests come, and the filter that waits
//! for the answer; both have the same cache.

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DnsLookupFamily,
};
use meltemi_xds::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier,
};
use meltemi_xds::pb::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use meltemi_xds::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig, filter_config,
};

use crate::proto::pack;
use crate::scope::{Resolution, Scope};

/// The name of the cluster type.
const CLUSTER: &str = "envoy.clusters.dynamic_forward_proxy";

/// Whether some requests of the proxy go by their names.
pub(crate) fn is_used(scope: &Scope<'_>) -> bool {
    !scope.node.lacks.dynamic_dns
        && (scope.outbound_policy() == OutboundTrafficPolicy::AllowAnyDynamicDns
            || scope
                .services()
                .any(|it| scope.resolution(it) == Resolution::DynamicDns))
}

/// How such a cluster finds its endpoints.
pub(crate) fn discovery(scope: &Scope<'_>) -> ClusterDiscoveryType {
    let cache = ClusterImplementationSpecifier::DnsCacheConfig(cache(scope));
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: CLUSTER.to_owned(),
        typed_config: Some(pack(&ClusterConfig {
            cluster_implementation_specifier: Some(cache),
            ..Default::default()
        })),
    })
}

/// The filter that has a request wait until its name is known.
pub(crate) fn filter(scope: &Scope<'_>) -> FilterConfig {
    FilterConfig {
        implementation_specifier: Some(filter_config::ImplementationSpecifier::DnsCacheConfig(
            cache(scope),
        )),
        ..Default::default()
    }
}

/// Which addresses are asked for.
pub(crate) fn lookup_family(scope: &Scope<'_>) -> DnsLookupFamily {
    let v6 = scope.node.ips.iter().filter(|it| it.is_ipv6()).count();
    if v6 == 0 {
        DnsLookupFamily::V4Only
    } else if v6 == scope.node.ips.len() {
        DnsLookupFamily::V6Only
    } else {
        DnsLookupFamily::All
    }
}

fn cache(scope: &Scope<'_>) -> DnsCacheConfig {
    DnsCacheConfig {
        name: "dynamic_dns".to_owned(),
        dns_lookup_family: lookup_family(scope).into(),
        ..Default::default()
    }
}
