//! Copies of requests (FEATURES T7).
//!
//! In: a route's mirrors. Out: Envoy's.

use meltemi_model::Mirror;
use meltemi_xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_xds::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;

use super::action::cluster;
use super::fault::fraction;
use crate::scope::Scope;

/// The copies of requests that come to `port`.
pub(super) fn policies(
    scope: &Scope<'_>,
    mirrors: &[Mirror],
    port: u16,
) -> Vec<RequestMirrorPolicy> {
    mirrors
        .iter()
        .filter(|it| it.percentage.0 > 0)
        .map(|it| {
            let Mirror {
                destination,
                percentage,
            } = it;
            RequestMirrorPolicy {
                cluster: cluster(scope, destination, port),
                runtime_fraction: Some(RuntimeFractionalPercent {
                    default_value: Some(fraction(*percentage)),
                    ..Default::default()
                }),
                trace_sampled: Some(false),
                ..Default::default()
            }
        })
        .collect()
}
