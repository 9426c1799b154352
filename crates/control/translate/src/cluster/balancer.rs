//! How a cluster chooses endpoints (FEATURES R1, R2, R9).
//!
//! In: `loadBalancer`. Out: the cluster's policy and its settings. Least request unless the rule says
//! otherwise.

use meltemi_model::{
    BalancerPolicy, ConsistentHash, HashAlgorithm, LocalityPreference, PolicySettings, Service,
    Warmup,
};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{
        ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, LeastRequestLbConfig,
        MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
    },
};
use meltemi_xds::pb::envoy::config::core::v3::RuntimeDouble;
use meltemi_xds::pb::envoy::r#type::v3::Percent;

use super::discovery;
use crate::endpoint::locality_setting;
use crate::proto::duration;
use crate::scope::Scope;

/// Applies the load balancer.
pub(super) fn apply(
    scope: &Scope<'_>,
    cluster: &mut Cluster,
    service: &Service,
    settings: &PolicySettings,
) {
    let balancer = settings.load_balancer.clone().unwrap_or_default();
    let original = discovery(DiscoveryType::OriginalDst);
    if balancer.policy == BalancerPolicy::Passthrough {
        cluster.cluster_discovery_type = Some(original.clone());
        cluster.load_assignment = None;
        cluster.eds_cluster_config = None;
    }
    let provided = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(_)) => true,
        kind => *kind == Some(original),
    };
    if provided {
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
        return;
    }
    // Weights of localities change what the policy chooses, so they are not there without need.
    let weighted = locality_setting(scope, service, settings).is_some_and(|it| {
        let fails_over = it.always || settings.outlier_detection.is_some();
        match *it.preference {
            LocalityPreference::Distribute(_) => true,
            LocalityPreference::Failover(_) | LocalityPreference::Priority(_) => fails_over,
            LocalityPreference::Nearest => false,
        }
    });
    if weighted && let Some(common) = &mut cluster.common_lb_config {
        common.locality_config_specifier = Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig::default(),
        ));
    }
    let slow_start = balancer.warmup.as_ref().map(slow_start);
    let (policy, config) = match &balancer.policy {
        BalancerPolicy::Unspecified | BalancerPolicy::LeastRequest => (
            LbPolicy::LeastRequest,
            slow_start.map(|it| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(it),
                    ..Default::default()
                })
            }),
        ),
        BalancerPolicy::RoundRobin => (
            LbPolicy::RoundRobin,
            slow_start.map(|it| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(it),
                })
            }),
        ),
        BalancerPolicy::Random => (LbPolicy::Random, None),
        BalancerPolicy::Passthrough => (LbPolicy::ClusterProvided, None),
        BalancerPolicy::ConsistentHash(ConsistentHash {
            key: _, // ignored: in the routes
            algorithm,
        }) => hash(*algorithm),
    };
    cluster.lb_policy = policy.into();
    cluster.lb_config = config;
}

fn hash(algorithm: HashAlgorithm) -> (LbPolicy, Option<LbConfig>) {
    match algorithm {
        HashAlgorithm::RingHash { minimum_size } => (
            LbPolicy::RingHash,
            Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(minimum_size),
                ..Default::default()
            })),
        ),
        HashAlgorithm::Maglev { table_size } => (
            LbPolicy::Maglev,
            table_size.map(|size| {
                LbConfig::MaglevLbConfig(MaglevLbConfig {
                    table_size: Some(size),
                })
            }),
        ),
    }
}

fn slow_start(warmup: &Warmup) -> SlowStartConfig {
    let Warmup {
        duration: window,
        minimum_percent,
        aggression,
    } = warmup;
    SlowStartConfig {
        slow_start_window: Some(duration(*window)),
        aggression: Some(RuntimeDouble {
            default_value: *aggression,
            runtime_key: String::new(),
        }),
        min_weight_percent: Some(Percent {
            value: *minimum_percent,
        }),
    }
}
