//! Where listeners and clusters come from while the proxy runs.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{Ads, Cluster};
use meltemi_xds::pb::envoy::config::bootstrap::v3::bootstrap::DynamicResources;
use meltemi_xds::pb::envoy::config::core::v3::ConfigSource;

use super::Dynamic;
use crate::config_source::{ads_only, api};
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
            lds_config: "ads",
            cds_config: "ads",
        }
        refused {
            lds_resources_locator: "resource names are not URLs",
            cds_resources_locator: "resource names are not URLs",
        }
    });
    let timeout = |message: &Option<ConfigSource>, field| {
        let message = message.as_ref()?;
        let source = ads_only(Some(message), &at.field(field))?;
        Some(source.initial_fetch_timeout)
    };
    let lds_timeout = timeout(lds_config, "lds_config");
    let cds_timeout = timeout(cds_config, "cds_config");
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
        lds: lds_timeout.is_some(),
        cds: cds_timeout.is_some(),
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
