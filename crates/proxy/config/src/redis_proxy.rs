//! The Redis proxy filter.

use std::collections::HashSet;
use std::time::Duration;

use meltemi_ir::{RedisAuth, RedisProxy, RedisRoute, RedisRoutes};
use meltemi_xds::pb::envoy::config::core::v3::DataSource;
use meltemi_xds::pb::envoy::extensions::filters::network::redis_proxy::v3 as redis_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::redis_proxy::v3::redis_proxy::conn_pool_settings::ReadPolicy;
use meltemi_xds::pb::envoy::extensions::filters::network::redis_proxy::v3::redis_proxy::prefix_routes::Route;
use meltemi_xds::pb::envoy::extensions::filters::network::redis_proxy::v3::redis_proxy::{
    ConnPoolSettings, PrefixRoutes, ProtocolVersion,
};

use crate::data_source;
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{enumeration, non_empty, positive};

/// The longest prefix of a route, in bytes.
const LONGEST_PREFIX: usize = 1000;

/// `envoy.filters.network.redis_proxy`.
pub(crate) fn redis_proxy(message: &redis_v3::RedisProxy, at: &At<'_>) -> Option<RedisProxy> {
    fields!(at, message, redis_v3::RedisProxy {
        honoured {
            stat_prefix, settings, latency_in_micros, prefix_routes, downstream_auth_password,
            downstream_auth_passwords, downstream_auth_username,
        }
        partly { protocol_version: "RESP2" }
        refused {
            external_auth_provider: "give passwords as downstream_auth_passwords",
            custom_commands: "only the commands that Envoy knows are passed on",
        }
        unsupported { faults }
    });
    let at_version = &at.field("protocol_version");
    if enumeration(*protocol_version, at_version) == Some(ProtocolVersion::Resp3) {
        at_version.refuse("RESP3; clients and servers agree on RESP2");
    }
    let at_settings = &at.field("settings");
    let Some(settings) = settings else {
        at_settings.problem("is required");
        return None;
    };
    let Settings {
        op_timeout,
        hash_tags,
        command_stats,
    } = self::settings(settings, at_settings);
    let username = match downstream_auth_username {
        Some(source) => data_source::bytes(source, &at.field("downstream_auth_username"))?,
        None => Vec::new(),
    };
    let password = |source: &DataSource, at: &At<'_>| {
        let bytes = data_source::bytes(source, at)?;
        // an empty one asks for nothing
        Some(bytes).filter(|bytes| !bytes.is_empty())
    };
    let first = downstream_auth_password.as_ref();
    let first = first.and_then(|it| password(it, &at.field("downstream_auth_password")));
    let others = at
        .field("downstream_auth_passwords")
        .each(downstream_auth_passwords, password);
    Some(RedisProxy {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        op_timeout,
        hash_tags,
        command_stats,
        latency_in_micros: *latency_in_micros,
        routes: routes(prefix_routes.as_ref(), &at.field("prefix_routes")),
        auth: RedisAuth {
            username,
            passwords: first.into_iter().chain(others).collect(),
        },
    })
}

struct Settings {
    op_timeout: Duration,
    hash_tags: bool,
    command_stats: bool,
}

fn settings(message: &ConnPoolSettings, at: &At<'_>) -> Settings {
    fields!(at, message, ConnPoolSettings {
        honoured { op_timeout, enable_hashtagging, enable_command_stats }
        partly { read_policy: "MASTER" }
        refused {
            enable_redirection: "answers that name another server are passed on as they are",
            dns_cache_config: "it is for redirections",
        }
        unsupported { connection_rate_limit }
        ignored {
            max_buffer_size_before_flush: "commands that come together leave together",
            buffer_flush_timeout: "commands that come together leave together",
            max_upstream_unknown_connections: "it is for redirections",
        }
    });
    let at_policy = &at.field("read_policy");
    if !matches!(
        enumeration(*read_policy, at_policy),
        None | Some(ReadPolicy::Master)
    ) {
        at_policy.refuse("it is for clusters whose type is envoy.clusters.redis");
    }
    let at_timeout = &at.field("op_timeout");
    if op_timeout.is_none() {
        at_timeout.problem("is required");
    }
    Settings {
        op_timeout: positive(op_timeout.as_ref(), at_timeout).unwrap_or_default(),
        hash_tags: *enable_hashtagging,
        command_stats: *enable_command_stats,
    }
}

fn routes(message: Option<&PrefixRoutes>, at: &At<'_>) -> RedisRoutes {
    let Some(message) = message else {
        at.problem("needs routes or a catch_all_route");
        return RedisRoutes::default();
    };
    fields!(at, message, PrefixRoutes {
        honoured { routes, case_insensitive, catch_all_route }
    });
    if routes.is_empty() && catch_all_route.is_none() {
        at.problem("needs routes or a catch_all_route");
    }
    let mut known = HashSet::new();
    let routes = at.field("routes").each(routes, |message, at| {
        let mut route = route(message, at);
        if *case_insensitive {
            route.prefix.make_ascii_lowercase();
        }
        if !known.insert(route.prefix.clone()) {
            at.field("prefix").problem("another route has it already");
        }
        Some(route)
    });
    let catch_all = catch_all_route.as_ref();
    RedisRoutes {
        routes,
        catch_all: catch_all.map(|message| route(message, &at.field("catch_all_route"))),
        case_insensitive: *case_insensitive,
    }
}

fn route(message: &Route, at: &At<'_>) -> RedisRoute {
    fields!(at, message, Route {
        honoured { prefix, remove_prefix, cluster }
        unsupported { request_mirror_policy, key_formatter, read_command_policy }
    });
    if prefix.len() > LONGEST_PREFIX {
        at.field("prefix")
            .problem(format_args!("must have at most {LONGEST_PREFIX} bytes"));
    }
    RedisRoute {
        prefix: prefix.clone(),
        remove_prefix: *remove_prefix,
        cluster: non_empty(cluster, &at.field("cluster")).into(),
    }
}
