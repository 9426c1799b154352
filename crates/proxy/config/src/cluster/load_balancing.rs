//! How an endpoint is chosen.

mod extension;

use meltemi_ir::{
    ConsistentHashing, HashFunction, LbPolicy, LbSettings, LeastRequest, Maglev, RingHash,
    SlowStart,
};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction as OlderFunction;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy as PolicyKind, LeastRequestLbConfig, MaglevLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use meltemi_xds::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use meltemi_xds::pb::envoy::config::core::v3::RuntimeDouble;
use meltemi_xds::pb::envoy::extensions::load_balancing_policies::cluster_provided::v3::ClusterProvided;
use meltemi_xds::pb::envoy::r#type::v3::Percent;
use prost_types::Any;

use crate::extension::{Known, empty_message, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::path::At;
use crate::scalar::{duration, enumeration, percent, within};

/// The policies that are extensions.
pub(crate) static LOAD_BALANCING: &[Known<Convert>] = &[
    Known {
        name: "envoy.load_balancing_policies.round_robin",
        type_name: "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        convert: |config, at| extension::round_robin(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.least_request",
        type_name: "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        convert: |config, at| extension::least_request(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.random",
        type_name: "envoy.extensions.load_balancing_policies.random.v3.Random",
        convert: |config, at| extension::random(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.ring_hash",
        type_name: "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
        convert: |config, at| extension::ring_hash(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.maglev",
        type_name: "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
        convert: |config, at| extension::maglev(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.load_balancing_policies.wrr_locality",
        type_name: "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
        convert: |config, at| extension::wrr_locality(&unpack(config, at)?, at),
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

/// A policy, and what it says of localities.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) policy: LbPolicy,
    /// A locality is chosen first, by its weight.
    pub(crate) locality_weighted: bool,
    /// In panic nothing is sent.
    pub(crate) fail_traffic_on_panic: bool,
}

impl From<LbPolicy> for Chosen {
    fn from(policy: LbPolicy) -> Self {
        Self {
            policy,
            locality_weighted: false,
            fail_traffic_on_panic: false,
        }
    }
}

/// The fields of a cluster that balancing looks at.
pub(super) struct Fields<'a> {
    pub(super) policy: i32,
    pub(super) config: Option<&'a LbConfig>,
    pub(super) extension: Option<&'a cluster_v3::LoadBalancingPolicy>,
    pub(super) hashing: ConsistentHashing,
}

/// The largest ring, and the largest table.
const MOST_POINTS: u64 = 8 << 20;
const MOST_ENTRIES: u64 = 5_000_011;

/// The policy; `at` is the cluster.
pub(super) fn policy(fields: &Fields<'_>, at: &At<'_>) -> Option<Chosen> {
    if let Some(message) = fields.extension {
        return first_known(message, &at.field("load_balancing_policy"));
    }
    let older = older(fields.config, fields.hashing, at);
    let at_policy = &at.field("lb_policy");
    let policy = match enumeration(fields.policy, at_policy)? {
        PolicyKind::RoundRobin => LbPolicy::RoundRobin {
            slow_start: older.round_robin,
        },
        PolicyKind::LeastRequest => LbPolicy::LeastRequest(older.least_request),
        PolicyKind::Random => LbPolicy::Random,
        PolicyKind::ClusterProvided => LbPolicy::ClusterProvided,
        PolicyKind::RingHash => LbPolicy::RingHash(older.ring_hash),
        PolicyKind::Maglev => LbPolicy::Maglev(older.maglev),
        PolicyKind::LoadBalancingPolicyConfig => {
            at_policy.problem("LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy");
            return None;
        }
    };
    Some(policy.into())
}

/// The settings of the older policies.
struct Older {
    round_robin: Option<SlowStart>,
    least_request: LeastRequest,
    ring_hash: RingHash,
    maglev: Maglev,
}

fn older(config: Option<&LbConfig>, hashing: ConsistentHashing, at: &At<'_>) -> Older {
    let mut older = Older {
        round_robin: None,
        least_request: LeastRequest::default(),
        ring_hash: ring(None, None, HashFunction::XxHash, hashing, at),
        maglev: table(None, hashing, at),
    };
    match config {
        Some(LbConfig::LeastRequestLbConfig(message)) => {
            let at = &at.field("least_request_lb_config");
            fields!(at, message, LeastRequestLbConfig {
                honoured { choice_count, active_request_bias, slow_start_config }
            });
            older.least_request = LeastRequest {
                choice_count: choices(*choice_count, at),
                active_request_bias: bias(active_request_bias.as_ref(), at),
                full_scan: false,
                slow_start: slow_start_config
                    .as_ref()
                    .and_then(|message| slow_start(message, &at.field("slow_start_config"))),
            };
        }
        Some(LbConfig::RoundRobinLbConfig(message)) => {
            let at = &at.field("round_robin_lb_config");
            fields!(at, message, RoundRobinLbConfig { honoured { slow_start_config } });
            older.round_robin = slow_start_config
                .as_ref()
                .and_then(|message| slow_start(message, &at.field("slow_start_config")));
        }
        Some(LbConfig::RingHashLbConfig(message)) => {
            let at = &at.field("ring_hash_lb_config");
            fields!(at, message, RingHashLbConfig {
                honoured { minimum_ring_size, hash_function, maximum_ring_size }
            });
            let function = match enumeration(*hash_function, &at.field("hash_function")) {
                Some(OlderFunction::MurmurHash2) => HashFunction::MurmurHash2,
                Some(OlderFunction::XxHash) | None => HashFunction::XxHash,
            };
            older.ring_hash = ring(
                *minimum_ring_size,
                *maximum_ring_size,
                function,
                hashing,
                at,
            );
        }
        Some(LbConfig::MaglevLbConfig(message)) => {
            let at = &at.field("maglev_lb_config");
            fields!(at, message, MaglevLbConfig { honoured { table_size } });
            older.maglev = table(*table_size, hashing, at);
        }
        // Original destinations: discovery has converted it.
        Some(LbConfig::OriginalDstLbConfig(_)) | None => {}
    }
    older
}

fn slow_start(message: &SlowStartConfig, at: &At<'_>) -> Option<SlowStart> {
    fields!(at, message, SlowStartConfig {
        honoured { slow_start_window, aggression, min_weight_percent }
    });
    slow_start_of(
        slow_start_window.as_ref(),
        aggression.as_ref(),
        min_weight_percent.as_ref(),
        at,
    )
}

/// Slow start, which a window of nothing turns off.
fn slow_start_of(
    window: Option<&prost_types::Duration>,
    aggression: Option<&RuntimeDouble>,
    min_weight_percent: Option<&Percent>,
    at: &At<'_>,
) -> Option<SlowStart> {
    let window = duration(window, &at.field("slow_start_window")).unwrap_or_default();
    let aggression = aggression.map(|message| runtime_double(message, &at.field("aggression")));
    let least =
        min_weight_percent.and_then(|message| percent(message, &at.field("min_weight_percent")));
    (!window.is_zero()).then(|| SlowStart {
        window,
        aggression: aggression
            .filter(|aggression| *aggression > 0.0)
            .unwrap_or(1.0),
        min_weight_percent: least.unwrap_or(10.0),
    })
}

fn runtime_double(message: &RuntimeDouble, at: &At<'_>) -> f64 {
    fields!(at, message, RuntimeDouble {
        honoured { default_value }
        ignored { runtime_key: "no runtime overrides the default" }
    });
    *default_value
}

fn choices(value: Option<u32>, at: &At<'_>) -> u32 {
    within(value, 2, 2..=u32::MAX, &at.field("choice_count"))
}

fn bias(message: Option<&RuntimeDouble>, at: &At<'_>) -> f64 {
    let at = &at.field("active_request_bias");
    let bias = message.map_or(1.0, |message| runtime_double(message, at));
    if bias < 0.0 {
        at.problem("must not be negative");
    }
    bias
}

fn ring(
    minimum: Option<u64>,
    maximum: Option<u64>,
    function: HashFunction,
    hashing: ConsistentHashing,
    at: &At<'_>,
) -> RingHash {
    let ring = RingHash {
        minimum_size: minimum.unwrap_or(1024),
        maximum_size: maximum.unwrap_or(MOST_POINTS),
        function,
        hashing,
    };
    for (field, size) in [
        ("minimum_ring_size", ring.minimum_size),
        ("maximum_ring_size", ring.maximum_size),
    ] {
        if size == 0 || size > MOST_POINTS {
            at.field(field)
                .problem(format_args!("must be from 1 to {MOST_POINTS}"));
        }
    }
    if ring.minimum_size > ring.maximum_size {
        at.field("minimum_ring_size")
            .problem("must not be greater than maximum_ring_size");
    }
    ring
}

fn table(size: Option<u64>, hashing: ConsistentHashing, at: &At<'_>) -> Maglev {
    let table_size = size.unwrap_or(65537);
    let at = &at.field("table_size");
    if table_size > MOST_ENTRIES {
        at.problem(format_args!("must be at most {MOST_ENTRIES}"));
    } else if table_size < 2 || (2..=table_size.isqrt()).any(|by| table_size.is_multiple_of(by)) {
        at.problem("must be a prime number");
    }
    Maglev {
        table_size,
        hashing,
    }
}

/// What ring and table share; a factor of nothing is none.
fn hashing(use_hostname: bool, factor: Option<u32>, at: &At<'_>) -> ConsistentHashing {
    if factor.is_some_and(|factor| factor < 100) {
        at.field("hash_balance_factor")
            .problem("must be at least 100");
    }
    ConsistentHashing {
        use_hostname,
        balance_factor: factor,
    }
}

/// What every policy shares.
pub(super) fn common(message: &CommonLbConfig, at: &At<'_>) -> (LbSettings, ConsistentHashing) {
    fields!(at, message, CommonLbConfig {
        honoured {
            healthy_panic_threshold, ignore_new_hosts_until_first_hc,
            close_connections_on_host_set_change, consistent_hashing_lb_config,
        }
        oneof { locality_config_specifier {
            zone_aware_lb_config: Partly "without effect on zones, as it is without a local cluster",
            locality_weighted_lb_config: Honoured "",
        } }
        unsupported { override_host_status }
        ignored { update_merge_window: "changes apply at once" }
    });
    let mut settings = LbSettings {
        ignore_new_hosts_until_first_check: *ignore_new_hosts_until_first_hc,
        close_connections_on_change: *close_connections_on_host_set_change,
        ..LbSettings::default()
    };
    if let Some(message) = healthy_panic_threshold
        && let Some(threshold) = percent(message, &at.field("healthy_panic_threshold"))
    {
        settings.panic_threshold_percent = threshold;
    }
    match locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(message)) => {
            fields!(at, message, LocalityWeightedLbConfig {});
            settings.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let at = &at.field("zone_aware_lb_config");
            fields!(at, message, ZoneAwareLbConfig {
                honoured { fail_traffic_on_panic }
                ignored {
                    routing_enabled: "zone-aware routing needs a local cluster, and there is none",
                    min_cluster_size: "zone-aware routing needs a local cluster, and there is none",
                }
            });
            settings.fail_traffic_on_panic = *fail_traffic_on_panic;
        }
        None => {}
    }
    let hashing = consistent_hashing_lb_config
        .as_ref()
        .map(|message| {
            let at = &at.field("consistent_hashing_lb_config");
            fields!(at, message, ConsistentHashingLbConfig {
                honoured { use_hostname_for_hashing, hash_balance_factor }
            });
            hashing(*use_hostname_for_hashing, *hash_balance_factor, at)
        })
        .unwrap_or_default();
    (settings, hashing)
}

/// The first policy of the list that the proxy has, as Envoy takes it.
pub(super) fn first_known(
    message: &cluster_v3::LoadBalancingPolicy,
    at: &At<'_>,
) -> Option<Chosen> {
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
        partly {
            typed_extension_config: "round_robin, least_request, random, ring_hash, maglev, wrr_locality, cluster_provided",
        }
    });
    let at = &at.field("typed_extension_config");
    let Some(message) = typed_extension_config else {
        at.problem("is required");
        return None;
    };
    let (known, config) = typed_extension(message, LOAD_BALANCING, at)?;
    (known.convert)(config, &at.field("typed_config"))
}
