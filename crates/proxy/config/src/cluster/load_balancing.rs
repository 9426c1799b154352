//! How an endpoint is chosen.

use meltemi_ir::LbPolicy;
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy as PolicyKind, LeastRequestLbConfig, RoundRobinLbConfig,
};
use meltemi_xds::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::cluster_provided::v3::ClusterProvided;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::common::v3 as common_v3;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use prost_types::Any;

use crate::extension::{Known, empty_message, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::path::At;
use crate::scalar::{enumeration, percent, within};

/// The policies that are extensions.
pub(crate) static LOAD_BALANCING: &[Known<Convert>] = &[
    Known {
        name: "envoy.load_balancing_policies.round_robin",
        type_name: "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        convert: |config, at| round_robin(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.least_request",
        type_name: "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        convert: |config, at| least_request(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.random",
        type_name: "envoy.extensions.load_balancing_policies.random.v3.Random",
        convert: |config, at| random(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.cluster_provided",
        type_name: "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided",
        convert: |config, at| {
            cluster_provided(config, at).map(|()| LbPolicy::ClusterProvided.into())
        },
    },
];

/// Converts the configuration of a policy.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<Chosen>;

empty_message!(cluster_provided, ClusterProvided);

/// A policy, and whether a locality is chosen first.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) policy: LbPolicy,
    pub(crate) locality_weighted: bool,
}

impl From<LbPolicy> for Chosen {
    fn from(policy: LbPolicy) -> Self {
        Self {
            policy,
            locality_weighted: false,
        }
    }
}

/// The fields of a cluster that balancing looks at.
pub(super) struct Fields<'a> {
    pub(super) policy: i32,
    pub(super) config: Option<&'a LbConfig>,
    pub(super) extension: Option<&'a cluster_v3::LoadBalancingPolicy>,
}

/// How many endpoints are picked.
const CHOICES: u32 = 2;

/// The policy; `at` is the cluster.
pub(super) fn policy(fields: &Fields<'_>, at: &At<'_>) -> Option<Chosen> {
    if let Some(message) = fields.extension {
        return extension(message, &at.field("load_balancing_policy"));
    }
    let choice_count = lb_config(fields.config, at);
    let at_policy = &at.field("lb_policy");
    let policy = match enumeration(fields.policy, at_policy)? {
        PolicyKind::RoundRobin => LbPolicy::RoundRobin,
        PolicyKind::LeastRequest => LbPolicy::LeastRequest { choice_count },
        PolicyKind::Random => LbPolicy::Random,
        PolicyKind::ClusterProvided => LbPolicy::ClusterProvided,
        PolicyKind::RingHash => {
            at_policy.refuse("RING_HASH");
            return None;
        }
        PolicyKind::Maglev => {
            at_policy.refuse("MAGLEV");
            return None;
        }
        PolicyKind::LoadBalancingPolicyConfig => {
            at_policy.problem("LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy");
            return None;
        }
    };
    Some(policy.into())
}

/// The settings of the older policies: how many endpoints least request picks.
fn lb_config(config: Option<&LbConfig>, at: &At<'_>) -> u32 {
    match config {
        Some(LbConfig::LeastRequestLbConfig(message)) => {
            let at = &at.field("least_request_lb_config");
            fields!(at, message, LeastRequestLbConfig {
                honoured { choice_count }
                unsupported { active_request_bias, slow_start_config }
            });
            return within(
                *choice_count,
                CHOICES,
                2..=u32::MAX,
                &at.field("choice_count"),
            );
        }
        Some(LbConfig::RoundRobinLbConfig(message)) => {
            let at = &at.field("round_robin_lb_config");
            fields!(at, message, RoundRobinLbConfig { unsupported { slow_start_config } });
        }
        Some(LbConfig::RingHashLbConfig(_)) => at.field("ring_hash_lb_config").refuse(""),
        Some(LbConfig::MaglevLbConfig(_)) => at.field("maglev_lb_config").refuse(""),
        // Original destinations: discovery has converted it.
        Some(LbConfig::OriginalDstLbConfig(_)) | None => {}
    }
    CHOICES
}

/// What every policy shares.
pub(super) struct Common {
    pub(super) panic_threshold_percent: f64,
    pub(super) locality_weighted: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            panic_threshold_percent: 50.0,
            locality_weighted: false,
        }
    }
}

/// What every policy shares.
pub(super) fn common(message: &CommonLbConfig, at: &At<'_>) -> Common {
    fields!(at, message, CommonLbConfig {
        honoured { healthy_panic_threshold }
        oneof { locality_config_specifier {
            zone_aware_lb_config: Partly "without effect, as it is without a local cluster",
            locality_weighted_lb_config: Honoured "",
        } }
        unsupported { close_connections_on_host_set_change, override_host_status }
        ignored {
            update_merge_window: "changes apply at once",
            ignore_new_hosts_until_first_hc: "there are no health checks to wait for",
            consistent_hashing_lb_config: "consistent hashing is refused",
        }
    });
    let mut common = Common::default();
    if let Some(message) = healthy_panic_threshold
        && let Some(threshold) = percent(message, &at.field("healthy_panic_threshold"))
    {
        common.panic_threshold_percent = threshold;
    }
    match locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(message)) => {
            fields!(at, message, LocalityWeightedLbConfig {});
            common.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let at = &at.field("zone_aware_lb_config");
            fields!(at, message, ZoneAwareLbConfig {
                unsupported { fail_traffic_on_panic }
                ignored {
                    routing_enabled: "zone-aware routing needs a local cluster, and there is none",
                    min_cluster_size: "zone-aware routing needs a local cluster, and there is none",
                }
            });
        }
        None => {}
    }
    common
}

/// The first policy of the list that the proxy has, as Envoy takes it.
fn extension(message: &cluster_v3::LoadBalancingPolicy, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, cluster_v3::LoadBalancingPolicy {
        honoured { policies }
    });
    let at = &at.field("policies");
    let known = |policy: &Policy| {
        policy
            .typed_extension_config
            .as_ref()
            .is_some_and(|config| {
                config.typed_config.as_ref().is_some_and(|config| {
                    let name = crate::extension::inner_type(config);
                    LOAD_BALANCING.iter().any(|known| known.type_name == name)
                })
            })
    };
    let index = policies.iter().position(known).unwrap_or(0);
    let Some(first) = policies.get(index) else {
        at.problem("must not be empty");
        return None;
    };
    one(first, &at.index(index))
}

fn one(message: &Policy, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, Policy {
        partly { typed_extension_config: "round_robin, least_request, random, cluster_provided" }
    });
    let at = &at.field("typed_extension_config");
    let Some(message) = typed_extension_config else {
        at.problem("is required");
        return None;
    };
    let (known, config) = typed_extension(message, LOAD_BALANCING, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn round_robin(message: &RoundRobin, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, RoundRobin {
        honoured { locality_lb_config }
        unsupported { slow_start_config }
    });
    Some(Chosen {
        policy: LbPolicy::RoundRobin,
        locality_weighted: locality(locality_lb_config.as_ref(), at),
    })
}

fn least_request(message: &LeastRequest, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, LeastRequest {
        honoured { choice_count, locality_lb_config }
        partly {
            enable_full_scan: "false",
            selection_method: "N_CHOICES",
        }
        unsupported { active_request_bias, slow_start_config }
    });
    if *enable_full_scan == Some(true) {
        at.field("enable_full_scan").refuse("");
    }
    if enumeration(*selection_method, &at.field("selection_method"))
        == Some(SelectionMethod::FullScan)
    {
        at.field("selection_method").refuse("only N_CHOICES is");
    }
    let choice_count = within(
        *choice_count,
        CHOICES,
        2..=u32::MAX,
        &at.field("choice_count"),
    );
    Some(Chosen {
        policy: LbPolicy::LeastRequest { choice_count },
        locality_weighted: locality(locality_lb_config.as_ref(), at),
    })
}

fn random(message: &Random, at: &At<'_>) -> Option<Chosen> {
    fields!(at, message, Random { honoured { locality_lb_config } });
    Some(Chosen {
        policy: LbPolicy::Random,
        locality_weighted: locality(locality_lb_config.as_ref(), at),
    })
}

fn locality(message: Option<&common_v3::LocalityLbConfig>, at: &At<'_>) -> bool {
    let Some(message) = message else {
        return false;
    };
    let at = &at.field("locality_lb_config");
    fields!(at, message, common_v3::LocalityLbConfig {
        oneof { locality_config_specifier {
            zone_aware_lb_config: Partly "without effect, as it is without a local cluster",
            locality_weighted_lb_config: Honoured "",
        } }
    });
    match locality_config_specifier {
        Some(locality_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(message)) => {
            fields!(at, message, locality_lb_config::LocalityWeightedLbConfig {});
            true
        }
        Some(locality_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let at = &at.field("zone_aware_lb_config");
            fields!(at, message, locality_lb_config::ZoneAwareLbConfig {
                unsupported { fail_traffic_on_panic, force_local_zone }
                ignored {
                    routing_enabled: "zone-aware routing needs a local cluster, and there is none",
                    min_cluster_size: "zone-aware routing needs a local cluster, and there is none",
                    force_locality_direct_routing: "zone-aware routing needs a local cluster, and there is none",
                    locality_basis: "zone-aware routing needs a local cluster, and there is none",
                }
            });
            false
        }
        None => false,
    }
}
