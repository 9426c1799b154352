//! Endpoints in groups by their metadata.

use meltemi_ir::{SubsetFallback, SubsetLb, SubsetSelector};
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy, LbSubsetSelector,
};

use crate::fields::fields;
use crate::metadata::fields_of;
use crate::path::At;
use crate::scalar::enumeration;

/// Subsets; none where no selector makes any, as in Envoy.
pub(super) fn subsets(message: &LbSubsetConfig, at: &At<'_>) -> Option<SubsetLb> {
    fields!(at, message, LbSubsetConfig {
        honoured {
            fallback_policy, default_subset, subset_selectors, locality_weight_aware,
            scale_locality_weight, panic_mode_any, list_as_any,
        }
        partly { metadata_fallback_policy: "METADATA_NO_FALLBACK" }
    });
    let at_metadata = &at.field("metadata_fallback_policy");
    if enumeration(*metadata_fallback_policy, at_metadata)
        == Some(LbSubsetMetadataFallbackPolicy::FallbackList)
    {
        at_metadata.refuse("only METADATA_NO_FALLBACK is");
    }
    let fallback = match enumeration(*fallback_policy, &at.field("fallback_policy"))? {
        LbSubsetFallbackPolicy::NoFallback => SubsetFallback::None,
        LbSubsetFallbackPolicy::AnyEndpoint => SubsetFallback::Any,
        LbSubsetFallbackPolicy::DefaultSubset => SubsetFallback::Default,
    };
    let selectors = at
        .field("subset_selectors")
        .each(subset_selectors, selector);
    if *scale_locality_weight && !*locality_weight_aware {
        at.field("scale_locality_weight")
            .problem("needs locality_weight_aware");
    }
    (!subset_selectors.is_empty()).then(|| SubsetLb {
        fallback,
        default_subset: default_subset.as_ref().map(fields_of).unwrap_or_default(),
        selectors,
        locality_weight_aware: *locality_weight_aware,
        scale_locality_weight: *scale_locality_weight,
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
    })
}

fn selector(message: &LbSubsetSelector, at: &At<'_>) -> Option<SubsetSelector> {
    fields!(at, message, LbSubsetSelector {
        honoured { keys, single_host_per_subset, fallback_policy, fallback_keys_subset }
    });
    let sorted = |keys: &[String]| {
        let mut keys = keys.to_vec();
        keys.sort();
        keys.dedup();
        keys
    };
    let keys = sorted(keys);
    if *single_host_per_subset && keys.len() != 1 {
        at.field("single_host_per_subset")
            .problem("is for selectors of exactly one key");
    }
    let fewer = sorted(fallback_keys_subset);
    let at_fewer = &at.field("fallback_keys_subset");
    let fallback = match enumeration(*fallback_policy, &at.field("fallback_policy"))? {
        LbSubsetSelectorFallbackPolicy::NotDefined => None,
        LbSubsetSelectorFallbackPolicy::NoFallback => Some(SubsetFallback::None),
        LbSubsetSelectorFallbackPolicy::AnyEndpoint => Some(SubsetFallback::Any),
        LbSubsetSelectorFallbackPolicy::DefaultSubset => Some(SubsetFallback::Default),
        LbSubsetSelectorFallbackPolicy::KeysSubset => {
            if fewer.is_empty() {
                at_fewer.problem("must not be empty");
            } else if fewer.len() == keys.len() || !fewer.iter().all(|key| keys.contains(key)) {
                at_fewer.problem("must be some of the selector's keys");
            }
            Some(SubsetFallback::Keys(fewer.clone()))
        }
    };
    if !fewer.is_empty() && !matches!(fallback, Some(SubsetFallback::Keys(_))) {
        at_fewer.problem("is for KEYS_SUBSET");
    }
    Some(SubsetSelector {
        keys,
        single_host: *single_host_per_subset,
        fallback,
    })
}
