//! What a route does: forwards to a cluster, redirects, or answers at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use meltemi_ir::{
    ClusterName, DirectResponse, HeaderMutation, HostRewrite, LocalReplyBody, PathRewrite,
    Priority, ProxyHeader, Redirect, RedirectPath, RouteTarget, SubsetKeys, WeightedBy,
    WeightedCluster,
};
use meltemi_xds::pb::envoy::config::core::v3::RoutingPriority;
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use meltemi_xds::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration,
    UpgradeConfig, upgrade_config::ConnectConfig,
};
use meltemi_xds::pb::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier as ClusterHostRewrite;
use meltemi_xds::pb::envoy::config::route::v3::weighted_cluster::{
    ClusterWeight, RandomValueSpecifier,
};

use crate::cors::old_cors_policy;
use crate::data_source;
use crate::fields::fields;
use crate::header::{header_name, header_value, request_changes, response_changes};
use crate::http_filter::local_ratelimit::rate_limit;
use crate::matcher::substitution;
use crate::metadata::metadata;
use crate::path::At;
use crate::per_filter::per_filter;
use crate::proxy_protocol::proxy_header;
use crate::retry::{hedge, retry_policy};
use crate::route_balance::{hash_policy, mirror};
use crate::route_redirect::internal_redirect;
use crate::scalar::{duration, enumeration, limit, non_empty, override_limit, port, status};
use crate::uri_template::{Template, rewriter};

/// Forwards to a cluster.
pub(crate) fn target(message: &route_v3::RouteAction, at: &At<'_>) -> Option<RouteTarget> {
    fields!(at, message, route_v3::RouteAction {
        honoured {
            cluster_not_found_response_code, prefix_rewrite, regex_rewrite,
            append_x_forwarded_host, timeout, idle_timeout, retry_policy, priority, cors,
            request_mirror_policies, rate_limits, hash_policy, internal_redirect_policy,
            include_vh_rate_limits, grpc_timeout_offset, hedge_policy,
        }
        partly {
            upgrade_configs: "connect_config for CONNECT alone",
            max_stream_duration: "",
            max_grpc_timeout: "the same as timeout",
            metadata_match: "of envoy.lb, which is what there are subsets by",
            internal_redirect_action: "PASS_THROUGH_INTERNAL_REDIRECT",
            path_rewrite_policy: "the extensions listed below",
        }
        oneof {
            cluster_specifier {
                cluster: Honoured "",
                weighted_clusters: Honoured "",
                cluster_header: Honoured "",
                cluster_specifier_plugin: Refused "",
                inline_cluster_specifier_plugin: Refused "",
            },
            host_rewrite_specifier {
                host_rewrite_literal: Honoured "",
                auto_host_rewrite: Honoured "",
                host_rewrite_header: Honoured "",
                host_rewrite_path_regex: Honoured "",
                host_rewrite: Refused "use host_rewrite_literal",
            },
        }
        refused {
            path_rewrite: "use prefix_rewrite or regex_rewrite",
            retry_policy_typed_config: "use retry_policy",
            max_internal_redirects: "use internal_redirect_policy",
        }
        unsupported { flush_timeout, early_data_policy }
    });
    if *internal_redirect_action != 0 {
        at.field("internal_redirect_action").refuse("");
    }
    let _ = path_rewrite_policy; // ignored: `by_template` reads it
    let clusters = clusters(cluster_specifier.as_ref(), at);
    let limits = time_limits(
        timeout.as_ref(),
        max_stream_duration.as_ref(),
        max_grpc_timeout.as_ref(),
        grpc_timeout_offset.as_ref(),
        at,
    );
    let (clusters, weighted_by) = clusters.unzip();
    let upgrades = at.field("upgrade_configs").each(upgrade_configs, upgrade);
    let ends = connect_end(&upgrades);
    let mut target = RouteTarget {
        cluster_not_found: not_found_status(
            *cluster_not_found_response_code,
            &at.field("cluster_not_found_response_code"),
        ),
        timeout: limits.timeout,
        idle_timeout: override_limit(idle_timeout.as_ref(), &at.field("idle_timeout")),
        max_stream_duration: limits.max_stream_duration,
        grpc_timeout_max: limits.grpc_timeout_max,
        retry: retry_policy
            .as_ref()
            .map(|message| Arc::new(self::retry_policy(message, &at.field("retry_policy")))),
        hedge_on_per_try_timeout: hedge_policy
            .as_ref()
            .map(|message| hedge(message, &at.field("hedge_policy"))),
        host_rewrite: host_rewrite(host_rewrite_specifier.as_ref(), at),
        append_x_forwarded_host: *append_x_forwarded_host,
        path_rewrite: rewrite(prefix_rewrite, regex_rewrite.as_ref(), at),
        cors: cors
            .as_ref()
            .and_then(|message| old_cors_policy(message, &at.field("cors"))),
        terminates_connect: ends.is_some(),
        connect_header: ends.cloned().flatten().map(Box::new),
        upgrades: upgrades
            .into_iter()
            .map(|(name, allowed, _)| (name, allowed))
            .collect(),
        priority: routing_priority(*priority, &at.field("priority")),
        mirrors: at
            .field("request_mirror_policies")
            .each(request_mirror_policies, mirror),
        hash: at.field("hash_policy").each(hash_policy, self::hash_policy),
        internal_redirect: internal_redirect_policy.as_ref().map(|message| {
            let at = &at.field("internal_redirect_policy");
            Arc::new(internal_redirect(message, at))
        }),
        rate_limits: at.field("rate_limits").each(rate_limits, rate_limit),
        include_virtual_host_rate_limits: include_vh_rate_limits.unwrap_or(false),
        metadata_match: criteria(metadata_match.as_ref(), at),
        grpc_timeout_offset: limits.grpc_timeout_offset,
        weighted_by: weighted_by?,
        clusters: clusters?,
    };
    add_criteria(&mut target);
    Some(target)
}

/// A cluster's own criteria are added to the route's.
fn add_criteria(target: &mut RouteTarget) {
    for cluster in &mut target.clusters {
        for (key, value) in &target.metadata_match {
            let own = cluster.metadata_match.entry(key.clone());
            own.or_insert_with(|| value.clone());
        }
    }
}

/// What balancing looks at of the criteria for hosts.
pub(crate) fn criteria(
    message: Option<&meltemi_xds::pb::envoy::config::core::v3::Metadata>,
    at: &At<'_>,
) -> SubsetKeys {
    let all = metadata(message, &at.field("metadata_match")).0;
    all.into_iter()
        .find(|(filter, _)| filter == "envoy.lb")
        .map(|(_, keys)| keys)
        .unwrap_or_default()
}

/// A routing priority.
pub(crate) fn routing_priority(value: i32, at: &At<'_>) -> Priority {
    match enumeration(value, at) {
        Some(RoutingPriority::High) => Priority::High,
        Some(RoutingPriority::Default) | None => Priority::Default,
    }
}

fn not_found_status(value: i32, at: &At<'_>) -> StatusCode {
    match enumeration(value, at) {
        Some(ClusterNotFoundResponseCode::NotFound) => StatusCode::NOT_FOUND,
        Some(ClusterNotFoundResponseCode::InternalServerError) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(ClusterNotFoundResponseCode::ServiceUnavailable) | None => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn clusters(
    specifier: Option<&ClusterSpecifier>,
    at: &At<'_>,
) -> Option<(Vec<WeightedCluster>, WeightedBy)> {
    let one = |name| {
        let cluster = WeightedCluster {
            name,
            weight: 1,
            request_headers: HeaderMutation::default(),
            response_headers: HeaderMutation::default(),
            host_rewrite: None,
            filters: Vec::new(),
            metadata_match: BTreeMap::new(),
        };
        Some((vec![cluster], WeightedBy::Random))
    };
    let refused = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            let name = non_empty(name, &at.field("cluster"));
            return one(ClusterName::Named(name.into()));
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            let name = header_name(name, &at.field("cluster_header"))?;
            return one(ClusterName::Header(name));
        }
        Some(ClusterSpecifier::WeightedClusters(message)) => {
            return Some(weighted(message, &at.field("weighted_clusters")));
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => "cluster_specifier_plugin",
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            "inline_cluster_specifier_plugin"
        }
        None => {
            at.problem("needs a cluster or weighted_clusters");
            return None;
        }
    };
    at.field(refused).refuse("");
    None
}

fn weighted(
    message: &route_v3::WeightedCluster,
    at: &At<'_>,
) -> (Vec<WeightedCluster>, WeightedBy) {
    fields!(at, message, route_v3::WeightedCluster {
        honoured { clusters, total_weight }
        oneof { random_value_specifier {
            header_name: Honoured "",
            use_hash_policy: Honoured "",
        } }
        ignored { runtime_key_prefix: "no runtime overrides the weights" }
    });
    let by = match random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => header_name(name, &at.field("header_name"))
            .map_or(WeightedBy::Random, WeightedBy::Header),
        Some(RandomValueSpecifier::UseHashPolicy(true)) => WeightedBy::Hash,
        Some(RandomValueSpecifier::UseHashPolicy(false)) | None => WeightedBy::Random,
    };
    let at_clusters = &at.field("clusters");
    let converted = at_clusters.each(clusters, cluster_weight);
    let sum: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight.unwrap_or(0)))
        .sum();
    if sum == 0 || sum > u64::from(u32::MAX) {
        at_clusters.problem(format_args!(
            "the weights make {sum} together; they must make between 1 and {}",
            u32::MAX
        ));
    }
    match total_weight {
        Some(total) if u64::from(*total) != sum => at.field("total_weight").problem(format_args!(
            "is {total}, but the weights make {sum} together"
        )),
        _ => {}
    }
    (converted, by)
}

fn cluster_weight(message: &ClusterWeight, at: &At<'_>) -> Option<WeightedCluster> {
    fields!(at, message, ClusterWeight {
        honoured {
            name, weight, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, cluster_header,
        }
        partly {
            metadata_match: "of envoy.lb, which is what there are subsets by",
            typed_per_filter_config: "the extensions listed below",
        }
        oneof { host_rewrite_specifier { host_rewrite_literal: Honoured "" } }
    });
    if weight.is_none() {
        at.field("weight").problem("is required");
    }
    let host_rewrite = match host_rewrite_specifier {
        Some(ClusterHostRewrite::HostRewriteLiteral(host)) => {
            header_value(host, &at.field("host_rewrite_literal"));
            Some(host.clone())
        }
        None => None,
    };
    let name = match (name.as_str(), cluster_header.as_str()) {
        (name, "") => ClusterName::Named(non_empty(name, &at.field("name")).into()),
        ("", name) => ClusterName::Header(header_name(name, &at.field("cluster_header"))?),
        _ => {
            at.field("cluster_header")
                .problem("cannot be set together with name");
            return None;
        }
    };
    Some(WeightedCluster {
        name,
        filters: per_filter(typed_per_filter_config, at),
        metadata_match: criteria(metadata_match.as_ref(), at),
        weight: weight.unwrap_or(0),
        request_headers: request_changes(request_headers_to_add, request_headers_to_remove, at),
        response_headers: response_changes(response_headers_to_add, response_headers_to_remove, at),
        host_rewrite,
    })
}

fn host_rewrite(specifier: Option<&HostRewriteSpecifier>, at: &At<'_>) -> HostRewrite {
    match specifier {
        None | Some(HostRewriteSpecifier::AutoHostRewrite(false)) => HostRewrite::None,
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => HostRewrite::Endpoint,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) if host.is_empty() => {
            HostRewrite::None
        }
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            header_value(host, &at.field("host_rewrite_literal"));
            HostRewrite::Literal(host.clone())
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            header_name(name, &at.field("host_rewrite_header"))
                .map_or(HostRewrite::None, HostRewrite::Header)
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(message)) => {
            substitution(message, &at.field("host_rewrite_path_regex")).map_or(
                HostRewrite::None,
                |(regex, substitution)| HostRewrite::PathRegex {
                    regex,
                    substitution,
                },
            )
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            at.field("host_rewrite").refuse("use host_rewrite_literal");
            HostRewrite::None
        }
    }
}

/// The rewrite by the names of the template that the route's path is matched by, where the action
/// has one.
pub(crate) fn by_template(
    message: &route_v3::RouteAction,
    template: Option<&Template>,
    at: &At<'_>,
) -> Option<PathRewrite> {
    let policy = message.path_rewrite_policy.as_ref()?;
    let at = &at.field("path_rewrite_policy");
    if !message.prefix_rewrite.is_empty() || message.regex_rewrite.is_some() {
        at.problem("cannot be set together with prefix_rewrite and regex_rewrite");
    }
    rewriter(policy, template, at)
}

fn rewrite(
    prefix: &str,
    regex: Option<&meltemi_xds::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute>,
    at: &At<'_>,
) -> PathRewrite {
    match (prefix, regex) {
        ("", None) => PathRewrite::None,
        (prefix, None) => {
            header_value(prefix, &at.field("prefix_rewrite"));
            PathRewrite::Prefix(prefix.to_owned())
        }
        ("", Some(message)) => substitution(message, &at.field("regex_rewrite")).map_or(
            PathRewrite::None,
            |(regex, substitution)| PathRewrite::Regex {
                regex,
                substitution,
            },
        ),
        (_, Some(_)) => {
            at.field("regex_rewrite")
                .problem("cannot be set together with prefix_rewrite");
            PathRewrite::None
        }
    }
}

type StreamLimits = (Option<Option<Duration>>, Option<Duration>, Option<Duration>);

fn stream_duration(message: &MaxStreamDuration, at: &At<'_>) -> StreamLimits {
    fields!(at, message, MaxStreamDuration {
        honoured { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset }
    });
    (
        override_limit(
            max_stream_duration.as_ref(),
            &at.field("max_stream_duration"),
        ),
        duration(
            grpc_timeout_header_max.as_ref(),
            &at.field("grpc_timeout_header_max"),
        ),
        duration(
            grpc_timeout_header_offset.as_ref(),
            &at.field("grpc_timeout_header_offset"),
        ),
    )
}

/// How long a request may take.
struct TimeLimits {
    timeout: Option<Duration>,
    max_stream_duration: Option<Option<Duration>>,
    grpc_timeout_max: Option<Duration>,
    grpc_timeout_offset: Option<Duration>,
}

fn time_limits(
    timeout: Option<&prost_types::Duration>,
    max_stream_duration: Option<&MaxStreamDuration>,
    max_grpc_timeout: Option<&prost_types::Duration>,
    grpc_timeout_offset: Option<&prost_types::Duration>,
    at: &At<'_>,
) -> TimeLimits {
    let timeout = limit(timeout, Some(Duration::from_secs(15)), &at.field("timeout"));
    // in Envoy the one takes the place of the other, even where it sets no limit
    let has_newer = max_stream_duration.is_some();
    let (max_stream_duration, most, offset) = match max_stream_duration {
        Some(message) => stream_duration(message, &at.field("max_stream_duration")),
        None => (None, None, None),
    };
    let older_offset = duration(grpc_timeout_offset, &at.field("grpc_timeout_offset"));
    let older_most =
        || older_grpc_timeout(max_grpc_timeout, timeout, &at.field("max_grpc_timeout"));
    TimeLimits {
        timeout: timeout.filter(|_| !has_newer),
        max_stream_duration,
        grpc_timeout_max: most.or_else(older_most),
        grpc_timeout_offset: offset.or(older_offset),
    }
}

/// The older limit of `grpc-timeout`, which takes the place of `timeout` for gRPC requests. Beside
/// a timeout that is the same it does what `grpc_timeout_header_max` does.
fn older_grpc_timeout(
    most: Option<&prost_types::Duration>,
    timeout: Option<Duration>,
    at: &At<'_>,
) -> Option<Duration> {
    let most = duration(most, at)?;
    if (!most.is_zero()).then_some(most) != timeout {
        at.refuse("a limit other than timeout; use max_stream_duration.grpc_timeout_header_max");
    }
    Some(most)
}

/// The protocol, whether it is allowed, and whether it ends here, with the upstream's header.
type Upgrade = (String, bool, Option<Option<ProxyHeader>>);

/// Whether `CONNECT` ends here, with the upstream's header.
fn connect_end(upgrades: &[Upgrade]) -> Option<&Option<ProxyHeader>> {
    let mut allowed = upgrades.iter().filter(|(_, allowed, _)| *allowed);
    allowed.find_map(|(_, _, ends)| ends.as_ref())
}

fn upgrade(message: &UpgradeConfig, at: &At<'_>) -> Option<Upgrade> {
    fields!(at, message, UpgradeConfig {
        honoured { upgrade_type, enabled }
        partly { connect_config: "for CONNECT" }
    });
    non_empty(upgrade_type, &at.field("upgrade_type"));
    let ends = connect_config
        .as_ref()
        .map(|message| connect(message, &at.field("connect_config")));
    if ends.is_some() && !upgrade_type.eq_ignore_ascii_case("connect") {
        at.field("connect_config").problem("is for CONNECT alone");
    }
    let allowed = enabled.unwrap_or(true);
    Some((upgrade_type.to_ascii_lowercase(), allowed, ends))
}

fn connect(message: &ConnectConfig, at: &At<'_>) -> Option<ProxyHeader> {
    fields!(at, message, ConnectConfig {
        honoured { proxy_protocol_config }
        partly { allow_post: "false" }
    });
    if *allow_post {
        at.field("allow_post").refuse("");
    }
    proxy_protocol_config
        .as_ref()
        .map(|message| proxy_header(message, &at.field("proxy_protocol_config")))
}

/// Answers with a redirection.
pub(crate) fn redirect(message: &route_v3::RedirectAction, at: &At<'_>) -> Redirect {
    fields!(at, message, route_v3::RedirectAction {
        honoured { host_redirect, port_redirect, response_code, strip_query }
        oneof {
            scheme_rewrite_specifier {
                https_redirect: Honoured "",
                scheme_redirect: Honoured "",
            },
            path_rewrite_specifier {
                path_redirect: Honoured "",
                prefix_rewrite: Honoured "",
                regex_rewrite: Honoured "",
                path_rewrite: Refused "use path_redirect",
            },
        }
    });
    let (scheme, https) = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(https)) => (None, *https),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => (
            Some(scheme.clone()).filter(|scheme| !scheme.is_empty()),
            false,
        ),
        None => (None, false),
    };
    let path = match path_rewrite_specifier {
        None => RedirectPath::Keep,
        Some(PathRewriteSpecifier::PathRedirect(path)) if path.is_empty() => RedirectPath::Keep,
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            header_value(path, &at.field("path_redirect"));
            RedirectPath::Full(path.clone())
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            header_value(prefix, &at.field("prefix_rewrite"));
            RedirectPath::Prefix(prefix.clone())
        }
        Some(PathRewriteSpecifier::RegexRewrite(message)) => {
            substitution(message, &at.field("regex_rewrite")).map_or(
                RedirectPath::Keep,
                |(regex, substitution)| RedirectPath::Regex {
                    regex,
                    substitution,
                },
            )
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            at.field("path_rewrite").refuse("use path_redirect");
            RedirectPath::Keep
        }
    };
    header_value(host_redirect, &at.field("host_redirect"));
    let status = match enumeration(*response_code, &at.field("response_code")) {
        Some(RedirectResponseCode::Found) => StatusCode::FOUND,
        Some(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Some(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Some(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Some(RedirectResponseCode::MovedPermanently) | None => StatusCode::MOVED_PERMANENTLY,
    };
    Redirect {
        scheme,
        https,
        host: Some(host_redirect.clone()).filter(|host| !host.is_empty()),
        port: port(*port_redirect, &at.field("port_redirect")).filter(|port| *port != 0),
        path,
        status,
        strip_query: *strip_query,
    }
}

/// Answers at once, with a body of `most` bytes at most.
pub(crate) fn direct(
    message: &route_v3::DirectResponseAction,
    most: usize,
    at: &At<'_>,
) -> Option<DirectResponse> {
    fields!(at, message, route_v3::DirectResponseAction {
        honoured { status, body }
        refused { body_format: "write the body as it is" }
    });
    let at_body = &at.field("body");
    let bytes = match body {
        Some(body) => data_source::bytes(body, at_body)?,
        None => Vec::new(),
    };
    if bytes.len() > most {
        at_body.problem(format_args!(
            "has {} bytes, more than the {most} that max_direct_response_body_size_bytes allows",
            bytes.len()
        ));
    }
    Some(DirectResponse {
        status: self::status(*status, 200, &at.field("status"))?,
        body: LocalReplyBody::from(bytes),
    })
}

/// Answers 404, as a control plane that knows no proxy asks for.
pub(crate) fn non_forwarding(message: &route_v3::NonForwardingAction, at: &At<'_>) {
    fields!(at, message, route_v3::NonForwardingAction {});
}
