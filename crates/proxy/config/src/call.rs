//! Requests that the proxy makes itself: where they go, and how often.

use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use meltemi_ir::{CallRetry, HttpUri};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use meltemi_xds::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;

use crate::fields::fields;
use crate::header::pair;
use crate::path::At;
use crate::scalar::{duration, non_empty, positive};

/// Where an HTTP request goes.
pub(crate) fn http_uri(message: &core_v3::HttpUri, at: &At<'_>) -> Option<HttpUri> {
    fields!(at, message, core_v3::HttpUri {
        honoured { uri, timeout }
        oneof { http_upstream_type { cluster: Honoured "" } }
    });
    let at_timeout = &at.field("timeout");
    if timeout.is_none() {
        at_timeout.problem("is required");
    }
    let timeout = duration(timeout.as_ref(), at_timeout);
    let cluster = match http_upstream_type {
        Some(HttpUpstreamType::Cluster(name)) => non_empty(name, &at.field("cluster")).to_owned(),
        None => {
            at.problem("needs a cluster");
            return None;
        }
    };
    let (secure, authority, path) = absolute(uri, &at.field("uri"))?;
    Some(HttpUri {
        secure,
        authority,
        path,
        cluster,
        timeout: timeout?,
    })
}

/// The parts of an absolute URI.
fn absolute(uri: &str, at: &At<'_>) -> Option<(bool, String, PathAndQuery)> {
    let parsed = uri.parse::<Uri>().ok().map(Uri::into_parts);
    let parts = parsed.and_then(|parts| {
        let secure = match parts.scheme?.as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let path = parts.path_and_query?;
        Some((secure, parts.authority?.as_str().to_owned(), path))
    });
    if parts.is_none() {
        at.problem(format_args!("{uri:?} is not an http or https URI"));
    }
    parts
}

/// How often a request is made again.
pub(crate) fn call_retry(message: &core_v3::RetryPolicy, at: &At<'_>) -> CallRetry {
    fields!(at, message, core_v3::RetryPolicy {
        honoured { retry_back_off, num_retries }
        refused { retry_on: "a 5xx status and every failure without an answer are tried again" }
        unsupported {
            retry_priority, retry_host_predicate, host_selection_retry_max_attempts,
        }
    });
    let (base, most) = match retry_back_off {
        Some(message) => back_off(message, &at.field("retry_back_off")),
        None => (None, None),
    };
    let base = base.unwrap_or(Duration::from_millis(25));
    CallRetry {
        tries: num_retries.unwrap_or(1),
        base,
        most: most.unwrap_or(base * 10),
    }
}

pub(crate) fn back_off(
    message: &core_v3::BackoffStrategy,
    at: &At<'_>,
) -> (Option<Duration>, Option<Duration>) {
    fields!(at, message, core_v3::BackoffStrategy { honoured { base_interval, max_interval } });
    let base = positive(base_interval.as_ref(), &at.field("base_interval"));
    if base_interval.is_none() {
        at.field("base_interval").problem("is required");
    }
    let most = positive(max_interval.as_ref(), &at.field("max_interval"));
    if let (Some(base), Some(most)) = (base, most)
        && most < base
    {
        at.field("max_interval")
            .problem("must not be less than base_interval");
    }
    (base, most)
}

/// Where a gRPC call or stream goes.
pub(crate) struct GrpcService {
    pub(crate) cluster: String,
    pub(crate) authority: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Vec<(String, String)>,
}

/// A gRPC service in a cluster.
pub(crate) fn grpc_service(message: &core_v3::GrpcService, at: &At<'_>) -> Option<GrpcService> {
    fields!(at, message, core_v3::GrpcService {
        honoured { timeout }
        partly { initial_metadata: "literally" }
        oneof { target_specifier {
            envoy_grpc: Honoured "",
            google_grpc: Refused "use envoy_grpc",
        } }
        refused { retry_policy: "streams are opened again by their own back-off" }
    });
    let timeout = duration(timeout.as_ref(), &at.field("timeout"));
    let metadata = at
        .field("initial_metadata")
        .each(initial_metadata, |header, at| {
            let (key, value) = pair(header, at);
            Some((key.to_owned(), value.to_owned()))
        });
    match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(message)) => {
            let (cluster, authority) = envoy_grpc(message, &at.field("envoy_grpc"));
            Some(GrpcService {
                cluster,
                authority,
                timeout: timeout.filter(|timeout| !timeout.is_zero()),
                metadata,
            })
        }
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            at.field("google_grpc").refuse("use envoy_grpc");
            None
        }
        None => {
            at.problem("needs envoy_grpc");
            None
        }
    }
}

fn envoy_grpc(message: &EnvoyGrpc, at: &At<'_>) -> (String, Option<String>) {
    fields!(at, message, EnvoyGrpc {
        honoured { cluster_name, authority }
        refused { retry_policy: "streams are opened again by their own back-off" }
        ignored {
            max_receive_message_length: "ADS has no limit, calls have one of 4 MiB",
            skip_envoy_headers: "they tell the service nothing that it must not know",
        }
    });
    let cluster = non_empty(cluster_name, &at.field("cluster_name")).to_owned();
    let authority = (!authority.is_empty()).then(|| authority.clone());
    (cluster, authority)
}
