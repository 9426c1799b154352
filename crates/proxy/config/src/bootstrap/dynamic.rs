//! Where listeners and clusters come from while the proxy runs.

use std::sync::Arc;

use meltemi_ir::{Cluster, ConfigSource, Discovery, DiscoveryService, Listener, ResourceSource};
use meltemi_ir::{ConnectionFilter, RouteSource};
use meltemi_xds::pb::envoy::config::bootstrap::v3::bootstrap::DynamicResources;
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;

use super::Dynamic;
use crate::config_source::{api, required_source};
use crate::fields::fields;
use crate::path::At;

/// The discovery services; each must be reached by one of the static clusters.
pub(super) fn dynamic(
    message: &DynamicResources,
    clusters: &[Arc<Cluster>],
    at: &At<'_>,
) -> Dynamic {
    fields!(at, message, DynamicResources {
        honoured { ads_config, lds_config, cds_config }
        refused {
            lds_resources_locator: "resource names are not URLs",
            cds_resources_locator: "resource names are not URLs",
        }
    });
    let source = |message: &Option<core_v3::ConfigSource>, field| {
        let at = &at.field(field);
        let source = required_source(Some(message.as_ref()?), at)?;
        if source.from == ResourceSource::Ads && ads_config.is_none() {
            at.field("ads").problem("needs ads_config");
        }
        check_source(&source, clusters, at);
        Some(source)
    };
    let lds = source(lds_config, "lds_config");
    let cds = source(cds_config, "cds_config");
    let at_ads = &at.field("ads_config");
    let ads = ads_config.as_ref().and_then(|message| {
        let service = api(message, at_ads)?;
        check_service(&service, clusters, at_ads);
        Some(service)
    });
    Dynamic { ads, lds, cds }
}

/// What static clusters and listeners ask services for must be reached by a static cluster, too.
pub(super) fn check_static(clusters: &[Arc<Cluster>], listeners: &[Listener], at: &At<'_>) {
    for (index, cluster) in clusters.iter().enumerate() {
        if let Discovery::Eds { source, .. } = &cluster.discovery {
            let at = at.field("clusters");
            let at = at.index(index);
            let at = at.field("eds_cluster_config");
            check_source(source, clusters, &at.field("eds_config"));
        }
    }
    for (index, listener) in listeners.iter().enumerate() {
        let default = listener.default_filter_chain.as_ref();
        for chain in listener.filter_chains.iter().chain(default) {
            if let ConnectionFilter::Http(manager) = &chain.filter
                && let RouteSource::Rds { source, .. } = &manager.routes
            {
                let at = at.field("listeners");
                let at = at.index(index);
                let at = at.field("rds");
                check_source(source, clusters, &at.field("config_source"));
            }
        }
    }
}

fn check_source(source: &ConfigSource, clusters: &[Arc<Cluster>], at: &At<'_>) {
    if let ResourceSource::Service(service) = &source.from {
        check_service(service, clusters, &at.field("api_config_source"));
    }
}

fn check_service(service: &DiscoveryService, clusters: &[Arc<Cluster>], at: &At<'_>) {
    let known = clusters.iter().find(|it| it.name == service.cluster);
    let eds = known.is_some_and(|it| matches!(it.discovery, Discovery::Eds { .. }));
    if known.is_none() || eds {
        let name = &service.cluster;
        at.field("grpc_services")
            .index(0)
            .field("envoy_grpc")
            .field("cluster_name")
            .problem(if eds {
                format!("{name:?} is an EDS cluster")
            } else {
                format!("{name:?} is not a static cluster")
            });
    }
}
