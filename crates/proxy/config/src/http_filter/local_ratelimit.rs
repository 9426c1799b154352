//! Limits on requests that the proxy keeps alone, and the rules that describe requests.

use http::StatusCode;
use meltemi_ir::{
    LocalDescriptor, LocalRateLimit, RateLimitAction, RateLimitEntry, RateLimitRule, TokenBucket,
};
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::rate_limit::Action;
use meltemi_xds::pb::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, DestinationCluster, GenericKey, HeaderValueMatch, MaskedRemoteAddress,
    MetaData, QueryParameterValueMatch, QueryParameters, RemoteAddress, RequestHeaders,
    SourceCluster,
};
use meltemi_xds::pb::envoy::extensions::common::ratelimit::v3 as ratelimit_v3;
use meltemi_xds::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use meltemi_xds::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_v3;
use meltemi_xds::pb::envoy::r#type::metadata::v3::MetadataKey;
use meltemi_xds::pb::envoy::r#type::metadata::v3::metadata_key::PathSegment;
use meltemi_xds::pb::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use meltemi_xds::pb::envoy::r#type::v3 as type_v3;

use crate::fields::fields;
use crate::header::{Changes, Side, header_name};
use crate::matcher::{header_match, query_match};
use crate::network_filter::token_bucket;
use crate::path::At;
use crate::scalar::{enumeration, error_status, non_empty, runtime_per_million, within};

/// The filter's settings, or a route's.
pub(crate) fn local_rate_limit(
    message: &local_v3::LocalRateLimit,
    of_route: bool,
    at: &At<'_>,
) -> Option<LocalRateLimit> {
    fields!(at, message, local_v3::LocalRateLimit {
        honoured {
            stat_prefix, status, token_bucket, filter_enabled, filter_enforced,
            request_headers_to_add_when_not_enforced, response_headers_to_add, descriptors, stage,
            local_rate_limit_per_downstream_connection, enable_x_ratelimit_headers,
            vh_rate_limits, always_consume_default_token_bucket,
            rate_limited_as_resource_exhausted, rate_limits, max_dynamic_descriptors,
            enable_retry_after_header,
        }
        refused { local_cluster_rate_limit: "each proxy counts for itself" }
    });
    let limit = token_bucket
        .as_ref()
        .map(|message| bucket(message, &at.field("token_bucket")));
    if of_route && token_bucket.is_none() {
        at.field("token_bucket").problem("is required");
    }
    let fraction = |message: &Option<_>, field| {
        message
            .as_ref()
            .map_or(0, |message| runtime_per_million(message, &at.field(field)))
    };
    let headers = |add, of, field| {
        let remove = &[];
        Changes { of, add, remove }.additions(&at.field(field))
    };
    let vh: Option<ratelimit_v3::VhRateLimitsOptions> =
        enumeration(*vh_rate_limits, &at.field("vh_rate_limits"));
    Some(LocalRateLimit {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        status: status
            .as_ref()
            .map_or(StatusCode::TOO_MANY_REQUESTS, |message| {
                error_status(message, StatusCode::TOO_MANY_REQUESTS, &at.field("status"))
            }),
        bucket: limit,
        enabled_per_million: fraction(filter_enabled, "filter_enabled"),
        enforced_per_million: fraction(filter_enforced, "filter_enforced"),
        request_headers: headers(
            request_headers_to_add_when_not_enforced,
            Side::Request,
            "request_headers_to_add_when_not_enforced",
        ),
        response_headers: headers(
            response_headers_to_add,
            Side::Response,
            "response_headers_to_add",
        ),
        descriptors: at.field("descriptors").each(descriptors, descriptor),
        stage: within(Some(*stage), 0, 0..=10, &at.field("stage")),
        per_connection: *local_rate_limit_per_downstream_connection,
        ratelimit_headers: *enable_x_ratelimit_headers != 0,
        always_consume_default: always_consume_default_token_bucket.unwrap_or(true),
        resource_exhausted: *rate_limited_as_resource_exhausted,
        rules: at.field("rate_limits").each(rate_limits, rate_limit),
        retry_after: *enable_retry_after_header,
        include_virtual_host: vh == Some(ratelimit_v3::VhRateLimitsOptions::Include),
        ignore_virtual_host: vh == Some(ratelimit_v3::VhRateLimitsOptions::Ignore),
        max_dynamic: max_dynamic_descriptors.unwrap_or(20),
    })
}

fn bucket(message: &type_v3::TokenBucket, at: &At<'_>) -> TokenBucket {
    let (max, per_fill, interval) = token_bucket(message, at);
    TokenBucket {
        max,
        per_fill,
        interval,
    }
}

fn descriptor(
    message: &ratelimit_v3::LocalRateLimitDescriptor,
    at: &At<'_>,
) -> Option<LocalDescriptor> {
    fields!(at, message, ratelimit_v3::LocalRateLimitDescriptor {
        honoured { entries, token_bucket, shadow_mode }
    });
    let at_bucket = &at.field("token_bucket");
    let Some(bucket) = token_bucket else {
        at_bucket.problem("is required");
        return None;
    };
    let at_entries = &at.field("entries");
    if entries.is_empty() {
        at_entries.problem("must not be empty");
    }
    Some(LocalDescriptor {
        entries: at_entries.each(entries, |message, at| {
            fields!(at, message, Entry { honoured { key, value } });
            let key = non_empty(key, &at.field("key"));
            Some((key.to_owned(), value.clone()))
        }),
        bucket: self::bucket(bucket, at_bucket),
        shadow: *shadow_mode,
    })
}

/// A rule that describes requests.
pub(crate) fn rate_limit(message: &route_v3::RateLimit, at: &At<'_>) -> Option<RateLimitRule> {
    fields!(at, message, route_v3::RateLimit {
        honoured { stage, actions }
        refused { limit: "limits are the limiter's" }
        unsupported { hits_addend, apply_on_stream_done, x_ratelimit_option }
        ignored { disable_key: "no runtime turns rules off" }
    });
    let at_actions = &at.field("actions");
    if actions.is_empty() {
        at_actions.problem("must not be empty");
    }
    Some(RateLimitRule {
        stage: within(*stage, 0, 0..=10, &at.field("stage")),
        actions: at_actions.each(actions, action),
    })
}

fn action(message: &Action, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, Action {
        oneof { action_specifier {
            source_cluster: Honoured "",
            destination_cluster: Honoured "",
            request_headers: Honoured "",
            query_parameters: Honoured "",
            remote_address: Honoured "",
            generic_key: Honoured "",
            header_value_match: Honoured "",
            dynamic_metadata: Refused "use metadata",
            metadata: Honoured "",
            extension: Refused "",
            masked_remote_address: Honoured "",
            query_parameter_value_match: Honoured "",
            remote_address_match: Refused "",
        } }
    });
    match action_specifier {
        Some(ActionSpecifier::SourceCluster(message)) => {
            fields!(at, message, SourceCluster {});
            entry("source_cluster", RateLimitAction::SourceCluster)
        }
        Some(ActionSpecifier::DestinationCluster(message)) => {
            fields!(at, message, DestinationCluster {});
            entry("destination_cluster", RateLimitAction::DestinationCluster)
        }
        Some(ActionSpecifier::RequestHeaders(message)) => {
            request_headers(message, &at.field("request_headers"))
        }
        Some(ActionSpecifier::QueryParameters(message)) => {
            query_parameters(message, &at.field("query_parameters"))
        }
        Some(ActionSpecifier::RemoteAddress(message)) => {
            fields!(at, message, RemoteAddress {});
            entry("remote_address", RateLimitAction::RemoteAddress)
        }
        Some(ActionSpecifier::MaskedRemoteAddress(message)) => {
            masked_remote_address(message, &at.field("masked_remote_address"))
        }
        Some(ActionSpecifier::GenericKey(message)) => {
            generic_key(message, &at.field("generic_key"))
        }
        Some(ActionSpecifier::HeaderValueMatch(message)) => {
            header_value_match(message, &at.field("header_value_match"))
        }
        Some(ActionSpecifier::QueryParameterValueMatch(message)) => {
            query_parameter_value_match(message, &at.field("query_parameter_value_match"))
        }
        Some(ActionSpecifier::Metadata(message)) => metadata(message, &at.field("metadata")),
        Some(ActionSpecifier::DynamicMetadata(_)) => {
            at.field("dynamic_metadata").refuse("use metadata");
            None
        }
        Some(ActionSpecifier::Extension(_)) => {
            at.field("extension").refuse("");
            None
        }
        Some(ActionSpecifier::RemoteAddressMatch(_)) => {
            at.field("remote_address_match").refuse("");
            None
        }
        None => {
            at.problem("needs an action_specifier");
            None
        }
    }
}

fn request_headers(message: &RequestHeaders, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, RequestHeaders {
        honoured { header_name, descriptor_key, skip_if_absent }
    });
    let name = match header_name.as_str() {
        ":authority" => http::header::HOST,
        name => self::header_name(name, &at.field("header_name"))?,
    };
    let skip_if_absent = *skip_if_absent;
    entry(
        non_empty(descriptor_key, &at.field("descriptor_key")),
        RateLimitAction::Header {
            name,
            skip_if_absent,
        },
    )
}

fn query_parameters(message: &QueryParameters, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, QueryParameters {
        honoured { query_parameter_name, descriptor_key, skip_if_absent }
    });
    let name = non_empty(query_parameter_name, &at.field("query_parameter_name"));
    entry(
        non_empty(descriptor_key, &at.field("descriptor_key")),
        RateLimitAction::Query {
            name: name.to_owned(),
            skip_if_absent: *skip_if_absent,
        },
    )
}

fn masked_remote_address(message: &MaskedRemoteAddress, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, MaskedRemoteAddress {
        honoured { v4_prefix_mask_len, v6_prefix_mask_len }
    });
    let at_v4 = &at.field("v4_prefix_mask_len");
    let at_v6 = &at.field("v6_prefix_mask_len");
    let v4 = within(*v4_prefix_mask_len, 32, 0..=32, at_v4) as u8;
    let v6 = within(*v6_prefix_mask_len, 128, 0..=128, at_v6) as u8;
    let action = RateLimitAction::MaskedRemoteAddress { v4, v6 };
    entry("masked_remote_address", action)
}

fn generic_key(message: &GenericKey, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, GenericKey {
        honoured { descriptor_value, descriptor_key, default_value }
    });
    let value = literal(descriptor_value, default_value, at);
    entry(
        or(descriptor_key, "generic_key"),
        RateLimitAction::Literal(value),
    )
}

fn header_value_match(message: &HeaderValueMatch, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, HeaderValueMatch {
        honoured { descriptor_value, descriptor_key, expect_match, headers, default_value }
    });
    let action = RateLimitAction::HeadersMatch {
        value: literal(descriptor_value, default_value, at),
        expect: expect_match.unwrap_or(true),
        headers: at.field("headers").each(headers, header_match),
    };
    entry(or(descriptor_key, "header_match"), action)
}

fn query_parameter_value_match(
    message: &QueryParameterValueMatch,
    at: &At<'_>,
) -> Option<RateLimitEntry> {
    fields!(at, message, QueryParameterValueMatch {
        honoured {
            descriptor_value, descriptor_key, expect_match, query_parameters,
            default_value,
        }
    });
    let action = RateLimitAction::QueryMatches {
        value: literal(descriptor_value, default_value, at),
        expect: expect_match.unwrap_or(true),
        query: at
            .field("query_parameters")
            .each(query_parameters, query_match),
    };
    entry(or(descriptor_key, "query_match"), action)
}

fn metadata(message: &MetaData, at: &At<'_>) -> Option<RateLimitEntry> {
    fields!(at, message, MetaData {
        honoured { descriptor_key, metadata_key, default_value, source, skip_if_absent }
    });
    let action = RateLimitAction::Metadata {
        of_route: *source != 0,
        path: metadata_key
            .as_ref()
            .map(|message| metadata_path(message, &at.field("metadata_key")))
            .unwrap_or_default(),
        default: default_value.clone(),
        skip_if_absent: *skip_if_absent,
    };
    entry(
        non_empty(descriptor_key, &at.field("descriptor_key")),
        action,
    )
}

fn entry(key: &str, action: RateLimitAction) -> Option<RateLimitEntry> {
    Some(RateLimitEntry {
        key: key.to_owned(),
        action,
    })
}

/// The key, or what it is where none is given.
fn or<'a>(key: &'a str, default: &'a str) -> &'a str {
    if key.is_empty() { default } else { key }
}

/// A value without command operators.
fn literal(value: &str, default: &str, at: &At<'_>) -> String {
    if value.contains('%') {
        at.field("descriptor_value").refuse("command operators");
    }
    let value = if value.is_empty() { default } else { value };
    non_empty(value, &at.field("descriptor_value")).to_owned()
}

/// Namespace and keys.
pub(crate) fn metadata_path(message: &MetadataKey, at: &At<'_>) -> Vec<String> {
    fields!(at, message, MetadataKey { honoured { key, path } });
    let mut whole = vec![non_empty(key, &at.field("key")).to_owned()];
    whole.extend(at.field("path").each(path, |message, at| {
        fields!(at, message, PathSegment {
            oneof { segment { key: Honoured "", index: Refused "" } }
        });
        match segment {
            Some(Segment::Key(key)) => Some(key.clone()),
            Some(Segment::Index(_)) => {
                at.field("index").refuse("");
                None
            }
            None => None,
        }
    }));
    whole
}
