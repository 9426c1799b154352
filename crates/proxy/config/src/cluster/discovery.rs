//! How a cluster's endpoints are found.

use meltemi_ir::{Discovery, DnsFamily, LoadAssignment};
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, EdsClusterConfig, LbConfig,
    OriginalDstLbConfig,
};
use meltemi_xds::pb::envoy::config::core::v3::{DnsResolverOptions, TypedExtensionConfig};
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
use meltemi_xds::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use meltemi_xds::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use meltemi_xds::pb::envoy::extensions::network::dns_resolver::getaddrinfo::v3::GetAddrInfoDnsResolverConfig;
use prost_types::Any;

use super::{dns_refresh, lookup_family};
use crate::config_source::required_source;
use crate::endpoint::{Names, load_assignment};
use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::forward_proxy::{self, ForwardProxyCluster};
use crate::header::header_name;
use crate::http_options::typed_extension;
use crate::path::At;
use crate::scalar::{enumeration, non_empty, port};

/// The cluster types that are extensions.
pub(crate) static DISCOVERY: &[Known<Convert>] = &[
    Known {
        name: "",
        type_name: "envoy.extensions.clusters.dns.v3.DnsCluster",
        convert: |config, at| dns_cluster(&unpack(config, at)?, at).map(Custom::Dns),
    },
    Known {
        name: "envoy.clusters.dynamic_forward_proxy",
        type_name: "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        convert: |config, at| {
            forward_proxy::cluster(&unpack(config, at)?, at).map(Custom::ForwardProxy)
        },
    },
];

/// Converts the configuration of a cluster type.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<Custom>;

/// A cluster type that is an extension.
pub(crate) enum Custom {
    Dns(DnsSettings),
    ForwardProxy(ForwardProxyCluster),
}

/// How the endpoints are found.
pub(super) struct Found {
    pub(super) discovery: Discovery,
    /// Servers must prove the name that each request asks for.
    pub(super) verifies_names: bool,
}

impl From<Discovery> for Found {
    fn from(discovery: Discovery) -> Self {
        Self {
            discovery,
            verifies_names: false,
        }
    }
}

/// The DNS resolvers; all of them ask the system's servers.
pub(crate) static DNS_RESOLVERS: &[Known<Resolver>] = &[
    Known {
        name: "envoy.network.dns_resolver.cares",
        type_name: "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        convert: |config, at| cares(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.network.dns_resolver.getaddrinfo",
        type_name: "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
        convert: |config, at| getaddrinfo(&unpack(config, at)?, at),
    },
];

/// Checks the configuration of a DNS resolver.
pub(crate) type Resolver = fn(Option<&Any>, &At<'_>) -> Option<()>;

/// How names are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsSettings {
    family: DnsFamily,
    refresh: std::time::Duration,
    one_at_a_time: bool,
}

/// The fields of a cluster that discovery looks at.
pub(super) struct Fields<'a> {
    pub(super) kind: Option<&'a ClusterDiscoveryType>,
    pub(super) eds: Option<&'a EdsClusterConfig>,
    pub(super) load_assignment: Option<&'a ClusterLoadAssignment>,
    pub(super) dns_refresh_rate: Option<&'a prost_types::Duration>,
    pub(super) dns_lookup_family: i32,
    pub(super) resolver: Option<&'a TypedExtensionConfig>,
    pub(super) lb_config: Option<&'a LbConfig>,
    pub(super) name: &'a str,
}

/// How the endpoints are found; `at` is the cluster.
pub(super) fn discovery(fields: &Fields<'_>, at: &At<'_>) -> Option<Found> {
    if let Some(message) = fields.resolver {
        dns_resolver(message, &at.field("typed_dns_resolver_config"));
    }
    let (kind, custom) = match fields.kind {
        None => (DiscoveryType::Static, None),
        Some(ClusterDiscoveryType::Type(kind)) => (enumeration(*kind, &at.field("type"))?, None),
        Some(ClusterDiscoveryType::ClusterType(message)) => {
            match custom(message, &at.field("cluster_type"))? {
                Custom::Dns(settings) if settings.one_at_a_time => {
                    (DiscoveryType::LogicalDns, Some(settings))
                }
                Custom::Dns(settings) => (DiscoveryType::StrictDns, Some(settings)),
                Custom::ForwardProxy(settings) => return Some(by_name(fields, settings, at)),
            }
        }
    };
    of_type(fields, kind, custom, at).map(Found::from)
}

fn by_name(fields: &Fields<'_>, settings: ForwardProxyCluster, at: &At<'_>) -> Found {
    if fields.load_assignment.is_some() {
        let at = at.field("load_assignment");
        at.problem("is not for clusters of this type");
    }
    Found {
        discovery: Discovery::ForwardProxy(settings.cache),
        verifies_names: !settings.insecure,
    }
}

/// How the endpoints of a cluster of one of Envoy's own types are found.
fn of_type(
    fields: &Fields<'_>,
    kind: DiscoveryType,
    custom: Option<DnsSettings>,
    at: &At<'_>,
) -> Option<Discovery> {
    if kind != DiscoveryType::Eds && fields.eds.is_some() {
        at.field("eds_cluster_config")
            .problem("is for EDS clusters");
    }
    let at_assignment = &at.field("load_assignment");
    match kind {
        DiscoveryType::Static => Some(Discovery::Static(endpoints(
            fields,
            Names::Refused,
            at_assignment,
        )?)),
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let load_assignment = endpoints(fields, Names::Resolved, at_assignment)?;
            let settings = custom.unwrap_or_else(|| DnsSettings {
                family: lookup_family(fields.dns_lookup_family, &at.field("dns_lookup_family")),
                refresh: dns_refresh(fields.dns_refresh_rate, &at.field("dns_refresh_rate")),
                one_at_a_time: kind == DiscoveryType::LogicalDns,
            });
            Some(dns(load_assignment, settings, at_assignment))
        }
        DiscoveryType::Eds | DiscoveryType::OriginalDst if fields.load_assignment.is_some() => {
            at_assignment.problem("is not for clusters of this type");
            None
        }
        DiscoveryType::Eds => {
            let at = &at.field("eds_cluster_config");
            match fields.eds {
                Some(message) => eds(message, fields.name, at),
                None => {
                    at.problem("is required for an EDS cluster");
                    None
                }
            }
        }
        DiscoveryType::OriginalDst => match fields.lb_config {
            Some(LbConfig::OriginalDstLbConfig(message)) => {
                original_dst(message, &at.field("original_dst_lb_config"))
            }
            _ => Some(Discovery::OriginalDst {
                http_header: None,
                port_override: None,
            }),
        },
    }
}

fn endpoints(fields: &Fields<'_>, names: Names, at: &At<'_>) -> Option<LoadAssignment> {
    match fields.load_assignment {
        Some(message) => load_assignment(message, names, at),
        None => Some(LoadAssignment {
            cluster_name: fields.name.to_owned(),
            ..LoadAssignment::default()
        }),
    }
}

fn dns(load_assignment: LoadAssignment, settings: DnsSettings, at: &At<'_>) -> Discovery {
    let DnsSettings {
        family,
        refresh,
        one_at_a_time,
    } = settings;
    if !one_at_a_time {
        return Discovery::StrictDns {
            load_assignment,
            family,
            refresh,
        };
    }
    let alone = match load_assignment.localities.as_slice() {
        [locality] => locality.endpoints.len() == 1,
        _ => false,
    };
    if !alone {
        at.problem("a LOGICAL_DNS cluster must have one locality with one endpoint");
    }
    Discovery::LogicalDns {
        load_assignment,
        family,
        refresh,
    }
}

fn eds(message: &EdsClusterConfig, name: &str, at: &At<'_>) -> Option<Discovery> {
    fields!(at, message, EdsClusterConfig {
        honoured { service_name, eds_config }
    });
    let source = required_source(eds_config.as_ref(), &at.field("eds_config"))?;
    let service_name = if service_name.is_empty() {
        name
    } else {
        service_name
    };
    Some(Discovery::Eds {
        service_name: service_name.to_owned(),
        source,
    })
}

fn original_dst(message: &OriginalDstLbConfig, at: &At<'_>) -> Option<Discovery> {
    fields!(at, message, OriginalDstLbConfig {
        honoured { use_http_header, http_header_name, upstream_port_override }
        unsupported { metadata_key }
    });
    let at_name = &at.field("http_header_name");
    let http_header = match (*use_http_header, http_header_name.as_str()) {
        (true, "") => Some(http::HeaderName::from_static("x-envoy-original-dst-host")),
        (true, name) => header_name(name, at_name),
        (false, "") => None,
        (false, _) => {
            at_name.problem("is for use_http_header");
            None
        }
    };
    let port_override =
        upstream_port_override.and_then(|value| port(value, &at.field("upstream_port_override")));
    Some(Discovery::OriginalDst {
        http_header,
        port_override,
    })
}

fn custom(message: &CustomClusterType, at: &At<'_>) -> Option<Custom> {
    fields!(at, message, CustomClusterType {
        honoured { name }
        partly { typed_config: "DnsCluster, dynamic_forward_proxy" }
    });
    let config = typed_config.as_ref();
    let name = non_empty(name, &at.field("name"));
    let known = Extension { name, config }.find(DISCOVERY, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn dns_cluster(message: &DnsCluster, at: &At<'_>) -> Option<DnsSettings> {
    fields!(at, message, DnsCluster {
        honoured { dns_refresh_rate, dns_lookup_family, all_addresses_in_single_endpoint }
        partly { typed_dns_resolver_config: "the system's servers" }
        ignored {
            dns_failure_refresh_rate: "a lookup that failed is repeated at dns_refresh_rate",
            respect_dns_ttl: "names are looked up at dns_refresh_rate",
            dns_min_refresh_rate: "names are looked up at dns_refresh_rate",
            dns_jitter: "lookups need not be spread in time",
        }
    });
    if let Some(message) = typed_dns_resolver_config {
        dns_resolver(message, &at.field("typed_dns_resolver_config"));
    }
    let family = match enumeration(*dns_lookup_family, &at.field("dns_lookup_family"))? {
        DnsLookupFamily::Unspecified | DnsLookupFamily::Auto => DnsFamily::Auto,
        DnsLookupFamily::V4Only => DnsFamily::V4Only,
        DnsLookupFamily::V6Only => DnsFamily::V6Only,
        DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
        DnsLookupFamily::All => DnsFamily::All,
    };
    Some(DnsSettings {
        family,
        refresh: dns_refresh(dns_refresh_rate.as_ref(), &at.field("dns_refresh_rate")),
        one_at_a_time: *all_addresses_in_single_endpoint,
    })
}

/// Checks that a DNS resolver asks the system's servers.
pub(crate) fn dns_resolver(message: &TypedExtensionConfig, at: &At<'_>) {
    if let Some((known, config)) = typed_extension(message, DNS_RESOLVERS, at) {
        (known.convert)(config, &at.field("typed_config"));
    }
}

fn cares(message: &CaresDnsResolverConfig, at: &At<'_>) -> Option<()> {
    fields!(at, message, CaresDnsResolverConfig {
        partly { dns_resolver_options: "without effect where it is empty" }
        refused {
            resolvers: "the system's servers are asked",
            use_resolvers_as_fallback: "the system's servers are asked",
        }
        ignored {
            filter_unroutable_families: "it only spares lookups",
            udp_max_queries: "each lookup has a socket of its own",
            query_timeout_seconds: "the system's setting is used",
            query_tries: "the system's setting is used",
            rotate_nameservers: "the system's setting is used",
            edns0_max_payload_size: "the system's setting is used",
            max_udp_channel_duration: "each lookup has a socket of its own",
            reinit_channel_on_timeout: "each lookup has a socket of its own",
            qcache_max_ttl: "nothing is cached beyond dns_refresh_rate",
        }
    });
    if let Some(message) = dns_resolver_options {
        resolver_options(message, &at.field("dns_resolver_options"));
    }
    Some(())
}

fn resolver_options(message: &DnsResolverOptions, at: &At<'_>) {
    fields!(at, message, DnsResolverOptions {
        unsupported { use_tcp_for_dns_lookups, no_default_search_domain }
    });
}

fn getaddrinfo(message: &GetAddrInfoDnsResolverConfig, at: &At<'_>) -> Option<()> {
    fields!(at, message, GetAddrInfoDnsResolverConfig {
        ignored {
            num_retries: "a lookup that failed is repeated at dns_refresh_rate",
            num_resolver_threads: "it only changes how lookups share threads",
        }
    });
    Some(())
}
