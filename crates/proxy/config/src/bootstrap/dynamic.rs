//! Where listeners and clusters come from while the proxy runs.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{Ads, Cluster, ResourceSource};
use meltemi_xds::pb::envoy::config::bootstrap::v3::bootstrap::DynamicResources;
use meltemi_xds::pb::envoy::config::core::v3::ConfigSource;

use super::Dynamic;
use crate::config_source::{api, resource_source};
use crate::fields::fields;
use crate::path::At;

/// The discovery services; ADS must be reached by one of the static clusters.
pub(super) fn dynamic(
    message: &DynamicResources,
    clusters: &[Arc<Cluster>],
    at: &At<'_>,
) -> Dynamic {
    fields!(at, message, DynamicResources {
        honoured { ads_config }
        partly {
            lds_config: "ads, files",
            cds_config: "ads, files",
        }
        refused {
            lds_resources_locator: "resource names are not URLs",
            cds_resources_locator: "resource names are not URLs",
        }
    });
    let source = |message: &Option<ConfigSource>, field| {
        let message = message.as_ref()?;
        resource_source(Some(message), &at.field(field))
    };
    let lds = source(lds_config, "lds_config");
    let cds = source(cds_config, "cds_config");
    let over_ads = |source: &Option<(ResourceSource, Duration)>| match source {
        Some((ResourceSource::Ads, timeout)) => Some(*timeout),
        Some((ResourceSource::Path(_), _)) | None => None,
    };
    let (lds_timeout, cds_timeout) = (over_ads(&lds), over_ads(&cds));
    let at_ads = &at.field("ads_config");
    let ads = ads_config.as_ref().and_then(|message| {
        let api = api(message, at_ads)?;
        if !clusters.iter().any(|cluster| cluster.name == api.cluster) {
            at_ads
                .field("grpc_services")
                .index(0)
                .field("envoy_grpc")
                .field("cluster_name")
                .problem(format_args!("{:?} is not a static cluster", api.cluster));
        }
        Some(Ads {
            cluster: api.cluster,
            delta: api.delta,
            initial_metadata: api.initial_metadata,
            initial_fetch_timeout: longest(lds_timeout, cds_timeout),
        })
    });
    for (given, field) in [(lds_timeout, "lds_config"), (cds_timeout, "cds_config")] {
        if given.is_some() && ads_config.is_none() {
            at.field(field).field("ads").problem("needs ads_config");
        }
    }
    Dynamic {
        ads,
        lds: lds.map(|(source, _)| source),
        cds: cds.map(|(source, _)| source),
    }
}

/// The longer wait, zero being without limit.
fn longest(left: Option<Duration>, right: Option<Duration>) -> Duration {
    let waits = [left, right];
    let mut waits = waits.into_iter().flatten();
    let Some(first) = waits.next() else {
        return Duration::from_secs(15);
    };
    waits.fold(first, |longest, wait| {
        if longest.is_zero() || wait.is_zero() {
            Duration::ZERO
        } else {
            longest.max(wait)
        }
    })
}
