//! Policies as extensions: the same as the older fields say, in messages of their own.

use meltemi_ir::{HashFunction, LbPolicy, LeastRequest, SlowStart};
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::common::v3 as common_v3;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3 as least_v3;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction as RingFunction;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::wrr_locality::v3::WrrLocality;

use super::{Chosen, bias, choices, first_known, hashing, ring, slow_start_of, table};
use crate::fields::fields;
use crate::path::At;
use crate::scalar::enumeration;

pub(super) fn round_robin(message: &RoundRobin, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, RoundRobin { honoured { slow_start_config, locality_lb_config } });
    let policy = LbPolicy::RoundRobin {
        slow_start: slow_start(slow_start_config.as_ref(), at),
    };
    Some(with_localities(policy, locality_lb_config.as_ref(), at))
}

pub(super) fn least_request(message: &least_v3::LeastRequest, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, least_v3::LeastRequest {
        honoured {
            choice_count, active_request_bias, slow_start_config, locality_lb_config,
            enable_full_scan, selection_method,
        }
    });
    let method: SelectionMethod = enumeration(*selection_method, &at.field("selection_method"))?;
    let policy = LbPolicy::LeastRequest(LeastRequest {
        choice_count: choices(*choice_count, at),
        active_request_bias: bias(active_request_bias.as_ref(), at),
        full_scan: method == SelectionMethod::FullScan || *enable_full_scan == Some(true),
        slow_start: slow_start(slow_start_config.as_ref(), at),
    });
    Some(with_localities(policy, locality_lb_config.as_ref(), at))
}

pub(super) fn random(message: &Random, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, Random { honoured { locality_lb_config } });
    Some(with_localities(
        LbPolicy::Random,
        locality_lb_config.as_ref(),
        at,
    ))
}

pub(super) fn ring_hash(message: &RingHash, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, RingHash {
        honoured {
            hash_function, minimum_ring_size, maximum_ring_size, use_hostname_for_hashing,
            hash_balance_factor, consistent_hashing_lb_config, locality_weighted_lb_config,
        }
    });
    let function = match enumeration(*hash_function, &at.field("hash_function"))? {
        RingFunction::DefaultHash | RingFunction::XxHash => HashFunction::XxHash,
        RingFunction::MurmurHash2 => HashFunction::MurmurHash2,
    };
    let hashing = match consistent_hashing_lb_config {
        Some(message) => consistent(message, &at.field("consistent_hashing_lb_config")),
        None => hashing(*use_hostname_for_hashing, *hash_balance_factor, at),
    };
    Some(Chosen {
        policy: LbPolicy::RingHash(ring(
            *minimum_ring_size,
            *maximum_ring_size,
            function,
            hashing,
            at,
        )),
        locality_weighted: weighted(locality_weighted_lb_config.as_ref(), at),
        fail_traffic_on_panic: false,
    })
}

pub(super) fn maglev(message: &Maglev, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, Maglev {
        honoured { table_size, consistent_hashing_lb_config, locality_weighted_lb_config }
    });
    let hashing = consistent_hashing_lb_config
        .as_ref()
        .map(|message| consistent(message, &at.field("consistent_hashing_lb_config")))
        .unwrap_or_default();
    Some(Chosen {
        policy: LbPolicy::Maglev(table(*table_size, hashing, at)),
        locality_weighted: weighted(locality_weighted_lb_config.as_ref(), at),
        fail_traffic_on_panic: false,
    })
}

/// A locality first, by its weight; then an endpoint by another policy.
pub(super) fn wrr_locality(message: &WrrLocality, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, WrrLocality { honoured { endpoint_picking_policy } });
    let at_policy = &at.field("endpoint_picking_policy");
    let Some(message) = endpoint_picking_policy else {
        at_policy.problem("is required");
        return None;
    };
    let chosen = first_known(message, at_policy)?;
    if matches!(chosen.policy, LbPolicy::ClusterProvided) {
        at_policy.refuse("cluster_provided");
    }
    Some(Chosen {
        locality_weighted: true,
        ..chosen
    })
}

fn slow_start(message: Option<&common_v3::SlowStartConfig>, at: &At<'_>) -> Option<SlowStart> {
    let message = message?;
    let at = &at.field("slow_start_config");
    fields!(at, message, common_v3::SlowStartConfig {
        honoured { slow_start_window, aggression, min_weight_percent }
    });
    slow_start_of(
        slow_start_window.as_ref(),
        aggression.as_ref(),
        min_weight_percent.as_ref(),
        at,
    )
}

fn consistent(
    message: &common_v3::ConsistentHashingLbConfig,
    at: &At<'_>,
) -> meltemi_ir::ConsistentHashing {
    fields!(at, message, common_v3::ConsistentHashingLbConfig {
        honoured { use_hostname_for_hashing, hash_balance_factor }
        refused { hash_policy: "set it on the route" }
    });
    hashing(*use_hostname_for_hashing, *hash_balance_factor, at)
}

fn weighted(message: Option<&LocalityWeightedLbConfig>, at: &At<'_>) -> bool {
    message.is_some_and(|message| {
        fields!(at, message, LocalityWeightedLbConfig {});
        true
    })
}

fn with_localities(
    policy: LbPolicy,
    message: Option<&common_v3::LocalityLbConfig>,
    at: &At<'_>,
) -> Chosen {
    let mut chosen = Chosen::from(policy);
    let Some(message) = message else {
        return chosen;
    };
    let at = &at.field("locality_lb_config");
    fields!(at, message, common_v3::LocalityLbConfig {
        oneof { locality_config_specifier {
            zone_aware_lb_config: Partly "without effect on zones, as it is without a local cluster",
            locality_weighted_lb_config: Honoured "",
        } }
    });
    match locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(message)) => {
            chosen.locality_weighted = weighted(Some(message), at);
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let at = &at.field("zone_aware_lb_config");
            fields!(at, message, ZoneAwareLbConfig {
                honoured { fail_traffic_on_panic }
                unsupported { force_local_zone }
                ignored {
                    routing_enabled: "zone-aware routing needs a local cluster, and there is none",
                    min_cluster_size: "zone-aware routing needs a local cluster, and there is none",
                    force_locality_direct_routing: "zone-aware routing needs a local cluster, and there is none",
                    locality_basis: "zone-aware routing needs a local cluster, and there is none",
                }
            });
            chosen.fail_traffic_on_panic = *fail_traffic_on_panic;
        }
        None => {}
    }
    chosen
}
