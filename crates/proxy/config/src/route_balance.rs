//! What a route does beside forwarding: copies of requests, and what their hash is made of.

use meltemi_ir::{ClusterName, HashPolicy, HashSource, Mirror};
use meltemi_xds::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, FilterState, Header, PolicySpecifier,
    QueryParameter,
};
use meltemi_xds::pb::envoy::config::route::v3::route_action::{
    HashPolicy as HashMessage, RequestMirrorPolicy,
};

use crate::fields::fields;
use crate::header::{Side, edits, header_name, header_value};
use crate::matcher::substitution;
use crate::path::At;
use crate::scalar::{duration, non_empty, runtime_per_million};

const ALL: u32 = 1_000_000;

/// Where copies of requests go.
pub(crate) fn mirror(message: &RequestMirrorPolicy, at: &At<'_>) -> Option<Mirror> {
    fields!(at, message, RequestMirrorPolicy {
        honoured {
            cluster, cluster_header, runtime_fraction, disable_shadow_host_suffix_append,
            request_headers_mutations, host_rewrite_literal,
        }
        ignored { trace_sampled: "there is no tracing" }
    });
    let cluster = match (cluster.as_str(), cluster_header.as_str()) {
        (name, "") => ClusterName::Named(non_empty(name, &at.field("cluster")).into()),
        ("", name) => ClusterName::Header(header_name(name, &at.field("cluster_header"))?),
        _ => {
            at.field("cluster_header")
                .problem("cannot be set together with cluster");
            return None;
        }
    };
    header_value(host_rewrite_literal, &at.field("host_rewrite_literal"));
    let fraction = runtime_fraction.as_ref();
    Some(Mirror {
        cluster,
        per_million: fraction.map_or(ALL, |fraction| {
            runtime_per_million(fraction, &at.field("runtime_fraction"))
        }),
        keep_host: *disable_shadow_host_suffix_append,
        host: Some(host_rewrite_literal.clone()).filter(|host| !host.is_empty()),
        headers: edits(
            request_headers_mutations,
            Side::Request,
            &at.field("request_headers_mutations"),
        ),
    })
}

/// One source of a request's hash.
pub(crate) fn hash_policy(message: &HashMessage, at: &At<'_>) -> Option<HashPolicy> {
    fields!(at, message, HashMessage {
        honoured { terminal }
        oneof { policy_specifier {
            header: Honoured "",
            cookie: Honoured "",
            connection_properties: Honoured "",
            query_parameter: Honoured "",
            filter_state: Partly "what the proxy's filters write",
        } }
    });
    let source = match policy_specifier {
        Some(PolicySpecifier::Header(message)) => {
            let at = &at.field("header");
            fields!(at, message, Header { honoured { header_name, regex_rewrite } });
            let name = match header_name.as_str() {
                ":authority" => http::header::HOST,
                name => self::header_name(name, &at.field("header_name"))?,
            };
            let rewrite = match regex_rewrite {
                Some(message) => Some(substitution(message, &at.field("regex_rewrite"))?),
                None => None,
            };
            HashSource::Header { name, rewrite }
        }
        Some(PolicySpecifier::Cookie(message)) => {
            let at = &at.field("cookie");
            fields!(at, message, Cookie { honoured { name, ttl, path, attributes } });
            HashSource::Cookie {
                name: non_empty(name, &at.field("name")).to_owned(),
                ttl: duration(ttl.as_ref(), &at.field("ttl")),
                path: path.clone(),
                attributes: at.field("attributes").each(attributes, |message, at| {
                    fields!(at, message, CookieAttribute { honoured { name, value } });
                    Some((non_empty(name, &at.field("name")).to_owned(), value.clone()))
                }),
            }
        }
        Some(PolicySpecifier::ConnectionProperties(message)) => {
            let at = &at.field("connection_properties");
            fields!(at, message, ConnectionProperties { honoured { source_ip } });
            if !source_ip {
                at.field("source_ip").problem("must be true");
            }
            HashSource::SourceIp
        }
        Some(PolicySpecifier::QueryParameter(message)) => {
            let at = &at.field("query_parameter");
            fields!(at, message, QueryParameter { honoured { name } });
            HashSource::Query(non_empty(name, &at.field("name")).to_owned())
        }
        Some(PolicySpecifier::FilterState(message)) => {
            let at = &at.field("filter_state");
            fields!(at, message, FilterState { honoured { key } });
            HashSource::FilterState(non_empty(key, &at.field("key")).to_owned())
        }
        None => {
            at.problem("needs a policy_specifier");
            return None;
        }
    };
    Some(HashPolicy {
        source,
        terminal: *terminal,
    })
}
