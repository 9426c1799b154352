//! Forwarding to the host that a request names: the cluster type, the HTTP filter, and the DNS cache
//! that both refer to (`dynamic_forward_proxy`).

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{DnsCache, ForwardProxyHost, HttpFilterKind, RouteFilterKind, RouteFilterSetting};
use meltemi_xds::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3 as cluster_v3;
use meltemi_xds::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::cluster_config::ClusterImplementationSpecifier;
use meltemi_xds::pb::envoy::extensions::common::dynamic_forward_proxy::v3::{
    DnsCacheCircuitBreakers, DnsCacheConfig,
};
use meltemi_xds::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as filter_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::filter_config::ImplementationSpecifier;
use meltemi_xds::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::per_route_config::HostRewriteSpecifier;

use crate::cluster::{dns_resolver, lookup_family};
use crate::fields::fields;
use crate::header::{header_name, header_value};
use crate::path::At;
use crate::scalar::{non_empty, positive, within};

const REFRESH: Duration = Duration::from_secs(60);
const KEEP_UNUSED: Duration = Duration::from_secs(300);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_NAMES: u32 = 1024;
const MAX_PENDING: u32 = 1024;

/// A cluster type's settings.
#[derive(Clone, Debug)]
pub(crate) struct ForwardProxyCluster {
    pub(crate) cache: Arc<DnsCache>,
    /// Servers' certificates need not bear the name that was asked for.
    pub(crate) insecure: bool,
}

/// The configuration of the cluster type.
pub(crate) fn cluster(
    message: &cluster_v3::ClusterConfig,
    at: &At<'_>,
) -> Option<ForwardProxyCluster> {
    fields!(at, message, cluster_v3::ClusterConfig {
        honoured { allow_insecure_cluster_options }
        oneof { cluster_implementation_specifier {
            dns_cache_config: Honoured "",
            sub_clusters_config: Refused "use dns_cache_config",
        } }
        ignored { allow_coalesced_connections: "each name has connections of its own" }
    });
    let cache = match cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(message)) => {
            dns_cache(message, &at.field("dns_cache_config"))?
        }
        Some(ClusterImplementationSpecifier::SubClustersConfig(_)) => {
            at.field("sub_clusters_config")
                .refuse("use dns_cache_config");
            return None;
        }
        None => {
            at.field("dns_cache_config").problem("is required");
            return None;
        }
    };
    Some(ForwardProxyCluster {
        cache: Arc::new(cache),
        insecure: *allow_insecure_cluster_options,
    })
}

/// The configuration of the HTTP filter.
pub(crate) fn filter(message: &filter_v3::FilterConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, filter_v3::FilterConfig {
        oneof { implementation_specifier {
            dns_cache_config: Partly "checked; the cluster's is used",
            sub_cluster_config: Refused "use dns_cache_config",
        } }
        unsupported { allow_dynamic_host_from_filter_state }
        ignored { save_upstream_address: "no filter state has it" }
    });
    match implementation_specifier {
        Some(ImplementationSpecifier::DnsCacheConfig(message)) => {
            dns_cache(message, &at.field("dns_cache_config"))?;
            Some(HttpFilterKind::ForwardProxy)
        }
        Some(ImplementationSpecifier::SubClusterConfig(_)) => {
            at.field("sub_cluster_config")
                .refuse("use dns_cache_config");
            None
        }
        None => {
            at.field("dns_cache_config").problem("is required");
            None
        }
    }
}

/// What a route says of the filter.
pub(crate) fn per_route(
    message: &filter_v3::PerRouteConfig,
    at: &At<'_>,
) -> Option<RouteFilterSetting> {
    fields!(at, message, filter_v3::PerRouteConfig {
        oneof { host_rewrite_specifier {
            host_rewrite_literal: Honoured "",
            host_rewrite_header: Honoured "",
        } }
    });
    let host = match host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(value)) => {
            ForwardProxyHost::Literal(header_value(value, &at.field("host_rewrite_literal"))?)
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            ForwardProxyHost::Header(header_name(name, &at.field("host_rewrite_header"))?)
        }
        None => return Some(RouteFilterSetting::Enabled),
    };
    Some(RouteFilterSetting::Config(RouteFilterKind::ForwardProxy(
        host,
    )))
}

/// A DNS cache.
fn dns_cache(message: &DnsCacheConfig, at: &At<'_>) -> Option<DnsCache> {
    fields!(at, message, DnsCacheConfig {
        honoured {
            name, dns_lookup_family, dns_refresh_rate, host_ttl, max_hosts,
            dns_cache_circuit_breaker, dns_query_timeout,
        }
        partly { typed_dns_resolver_config: "the system's servers" }
        refused { dns_resolution_config: "the system's servers are asked" }
        unsupported {
            use_tcp_for_dns_lookups, preresolve_hostnames, key_value_config,
            resolved_address_filter,
        }
        ignored {
            dns_min_refresh_rate: "names are looked up at dns_refresh_rate",
            disable_dns_refresh_on_failure: "the last good address stays",
            dns_failure_refresh_rate: "a name that is not found is looked up at the next request",
        }
    });
    if let Some(message) = typed_dns_resolver_config {
        dns_resolver(message, &at.field("typed_dns_resolver_config"));
    }
    let or = |value: &Option<prost_types::Duration>, field, default| {
        positive(value.as_ref(), &at.field(field)).unwrap_or(default)
    };
    let max_pending = dns_cache_circuit_breaker
        .as_ref()
        .map(|message| circuit_breaker(message, &at.field("dns_cache_circuit_breaker")));
    Some(DnsCache {
        name: non_empty(name, &at.field("name")).to_owned(),
        family: lookup_family(*dns_lookup_family, &at.field("dns_lookup_family")),
        refresh: or(dns_refresh_rate, "dns_refresh_rate", REFRESH),
        keep_unused: or(host_ttl, "host_ttl", KEEP_UNUSED),
        max_names: within(*max_hosts, MAX_NAMES, 1..=u32::MAX, &at.field("max_hosts")),
        max_pending: max_pending.unwrap_or(MAX_PENDING),
        query_timeout: or(dns_query_timeout, "dns_query_timeout", QUERY_TIMEOUT),
    })
}

fn circuit_breaker(message: &DnsCacheCircuitBreakers, at: &At<'_>) -> u32 {
    fields!(at, message, DnsCacheCircuitBreakers { honoured { max_pending_requests } });
    max_pending_requests.unwrap_or(MAX_PENDING)
}
