//! The small network filters: limits before a chain's last filter, and last filters without an
//! upstream.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{ConnectionFilter, ConnectionLimit, ConnectionRateLimit};
use meltemi_xds::pb::envoy::config::core::v3::RuntimeFeatureFlag;
use meltemi_xds::pb::envoy::extensions::filters::network::connection_limit::v3 as connection_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::direct_response::v3 as direct_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::echo::v3::Echo;
use meltemi_xds::pb::envoy::extensions::filters::network::local_ratelimit::v3 as rate_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use meltemi_xds::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use meltemi_xds::pb::envoy::extensions::filters::network::zookeeper_proxy::v3::ZooKeeperProxy;
use meltemi_xds::pb::envoy::r#type::v3::TokenBucket;

use crate::data_source;
use crate::extension::empty_message;
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, non_empty, positive};

/// The least interval in which tokens are added.
const LEAST_FILL_INTERVAL: Duration = Duration::from_millis(50);

empty_message!(echo, Echo);
empty_message!(sni_cluster, SniCluster);

/// `envoy.filters.network.connection_limit`.
pub(crate) fn connection_limit(
    message: &connection_v3::ConnectionLimit,
    at: &At<'_>,
) -> ConnectionLimit {
    fields!(at, message, connection_v3::ConnectionLimit {
        honoured { stat_prefix, max_connections, delay, runtime_enabled }
    });
    let max_connections = max_connections.unwrap_or_default();
    if max_connections == 0 {
        at.field("max_connections").problem("must be at least 1");
    }
    ConnectionLimit {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        max_connections,
        delay: duration(delay.as_ref(), &at.field("delay")),
        enabled: enabled(runtime_enabled.as_ref(), &at.field("runtime_enabled")),
    }
}

/// `envoy.filters.network.local_ratelimit`.
pub(crate) fn connection_rate_limit(
    message: &rate_v3::LocalRateLimit,
    at: &At<'_>,
) -> ConnectionRateLimit {
    fields!(at, message, rate_v3::LocalRateLimit {
        honoured { stat_prefix, token_bucket, runtime_enabled, share_key }
    });
    let at_bucket = &at.field("token_bucket");
    let bucket = (*token_bucket).unwrap_or_else(|| {
        at_bucket.problem("is required");
        TokenBucket::default()
    });
    let (max_tokens, tokens_per_fill, fill_interval) = self::token_bucket(&bucket, at_bucket);
    ConnectionRateLimit {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        share_key: share_key.clone(),
        max_tokens,
        tokens_per_fill,
        fill_interval,
        enabled: enabled(runtime_enabled.as_ref(), &at.field("runtime_enabled")),
    }
}

/// A bucket of tokens: what it holds, how many are added at a time, how often.
pub(crate) fn token_bucket(message: &TokenBucket, at: &At<'_>) -> (u32, u32, Duration) {
    fields!(at, message, TokenBucket { honoured { max_tokens, tokens_per_fill, fill_interval } });
    if *max_tokens == 0 {
        at.field("max_tokens").problem("must be at least 1");
    }
    let at_interval = &at.field("fill_interval");
    let interval = positive(fill_interval.as_ref(), at_interval).unwrap_or_default();
    if interval < LEAST_FILL_INTERVAL {
        at_interval.problem("must be at least 50ms");
    }
    (*max_tokens, tokens_per_fill.unwrap_or(1), interval)
}

/// `envoy.filters.network.direct_response`.
pub(crate) fn direct_response(
    message: &direct_v3::Config,
    at: &At<'_>,
) -> Option<ConnectionFilter> {
    fields!(at, message, direct_v3::Config { honoured { response } });
    let bytes = match response {
        None => Vec::new(),
        Some(source) => data_source::bytes(source, &at.field("response"))?,
    };
    Some(ConnectionFilter::DirectResponse(Arc::from(bytes)))
}

/// `envoy.filters.network.mongo_proxy`, which only looks on unless it is to delay.
pub(crate) fn mongo_proxy(message: &MongoProxy, at: &At<'_>) {
    fields!(at, message, MongoProxy {
        honoured { stat_prefix }
        unsupported { delay, access_log, emit_dynamic_metadata }
        ignored {
            commands: "what passes is not counted by command",
            max_bson_depth: "what passes is not read",
        }
    });
    non_empty(stat_prefix, &at.field("stat_prefix"));
}

/// `envoy.filters.network.zookeeper_proxy`, which only looks on.
pub(crate) fn zookeeper_proxy(message: &ZooKeeperProxy, at: &At<'_>) {
    fields!(at, message, ZooKeeperProxy {
        honoured { stat_prefix }
        ignored {
            access_log: "Envoy does not write it either",
            max_packet_bytes: "what passes is not read",
            enable_latency_threshold_metrics: "what passes is not counted",
            default_latency_threshold: "what passes is not counted",
            latency_threshold_overrides: "what passes is not counted",
            enable_per_opcode_request_bytes_metrics: "what passes is not counted",
            enable_per_opcode_response_bytes_metrics: "what passes is not counted",
            enable_per_opcode_decoder_error_metrics: "what passes is not counted",
        }
    });
    non_empty(stat_prefix, &at.field("stat_prefix"));
}

/// A switch; on where nothing is said.
pub(crate) fn enabled(message: Option<&RuntimeFeatureFlag>, at: &At<'_>) -> bool {
    let Some(message) = message else { return true };
    fields!(at, message, RuntimeFeatureFlag {
        honoured { default_value }
        ignored { runtime_key: "no runtime overrides the default" }
    });
    default_value.unwrap_or_default()
}
