//! Where resources come from: ADS, a discovery service of their own, or a file.

use std::path::PathBuf;
use std::time::Duration;

use meltemi_ir::{ConfigSource, DiscoveryService, RequestRate, ResourceSource};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::api_config_source::ApiType;
use meltemi_xds::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_xds::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, GrpcService, PathConfigSource,
    RateLimitSettings, SelfConfigSource,
};

use crate::call::grpc_service;
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, enumeration, non_empty};

/// Where a resource comes from.
pub(crate) fn config_source(message: &core_v3::ConfigSource, at: &At<'_>) -> Option<ConfigSource> {
    fields!(at, message, core_v3::ConfigSource {
        honoured { initial_fetch_timeout, resource_api_version }
        oneof { config_source_specifier {
            ads: Honoured "",
            api_config_source: Honoured "",
            path: Partly "not for VHDS",
            path_config_source: Partly "not for VHDS",
            self_: Partly "not in a file",
        } }
        refused { authorities: "resource names are not URLs" }
    });
    version(*resource_api_version, &at.field("resource_api_version"));
    let initial_fetch_timeout = duration(
        initial_fetch_timeout.as_ref(),
        &at.field("initial_fetch_timeout"),
    );
    let from = match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(message)) => {
            fields!(at, message, AggregatedConfigSource {});
            ResourceSource::Ads
        }
        Some(ConfigSourceSpecifier::Self_(message)) => {
            let at = &at.field("self");
            fields!(at, message, SelfConfigSource { honoured { transport_api_version } });
            version(*transport_api_version, &at.field("transport_api_version"));
            if matches!(at.source(), ResourceSource::Path(_)) {
                at.refuse("a file has resources of one kind; name another source");
                return None;
            }
            at.source().clone()
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(message)) => {
            let at = &at.field("api_config_source");
            match api_type(message, at)? {
                ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc => ResourceSource::Ads,
                _ => ResourceSource::Service(api(message, at)?),
            }
        }
        Some(ConfigSourceSpecifier::Path(path)) => ResourceSource::Path(path.into()),
        Some(ConfigSourceSpecifier::PathConfigSource(message)) => {
            ResourceSource::Path(path(message, &at.field("path_config_source")))
        }
        None => {
            at.problem("needs ads, api_config_source or path_config_source");
            return None;
        }
    };
    Some(ConfigSource {
        from,
        initial_fetch_timeout: initial_fetch_timeout.unwrap_or(ConfigSource::DEFAULT_TIMEOUT),
    })
}

/// Where a resource must come from; a file must be there, as in Envoy, which would else not know what
/// to look at.
pub(crate) fn required_source(
    message: Option<&core_v3::ConfigSource>,
    at: &At<'_>,
) -> Option<ConfigSource> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    let source = config_source(message, at)?;
    if let ResourceSource::Path(path) = &source.from
        && !path.exists()
    {
        let problem = format_args!("there is no file {path:?}");
        match message.config_source_specifier {
            Some(ConfigSourceSpecifier::Path(_)) => at.field("path").problem(problem),
            _ => at
                .field("path_config_source")
                .field("path")
                .problem(problem),
        }
        return None;
    }
    Some(source)
}

/// Requires a service of its own in the delta form, as virtual hosts do.
pub(crate) fn delta_service(
    message: Option<&core_v3::ConfigSource>,
    at: &At<'_>,
) -> Option<DiscoveryService> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    match config_source(message, at)?.from {
        ResourceSource::Service(service) if service.delta => Some(service),
        ResourceSource::Service(_) | ResourceSource::Ads | ResourceSource::Path(_) => {
            at.field("api_config_source")
                .field("api_type")
                .refuse("only 'DELTA_GRPC' is supported as an api_type");
            None
        }
    }
}

fn path(message: &PathConfigSource, at: &At<'_>) -> PathBuf {
    fields!(at, message, PathConfigSource {
        honoured { path }
        ignored {
            watched_directory: "the file itself is looked at, links followed",
            poll_interval: "how a change is noticed does not show",
        }
    });
    PathBuf::from(non_empty(path, &at.field("path")))
}

fn version(value: i32, at: &At<'_>) {
    if enumeration(value, at) == Some(ApiVersion::V2) {
        at.refuse("only xDS v3 is spoken");
    }
}

fn api_type(message: &ApiConfigSource, at: &At<'_>) -> Option<ApiType> {
    let at = &at.field("api_type");
    let api_type = enumeration(message.api_type, at)?;
    match api_type {
        ApiType::DeprecatedAndUnavailableDoNotUse | ApiType::Rest => {
            at.refuse("only gRPC is spoken; write GRPC or DELTA_GRPC, and grpc_services");
            None
        }
        ApiType::Grpc
        | ApiType::DeltaGrpc
        | ApiType::AggregatedGrpc
        | ApiType::AggregatedDeltaGrpc => Some(api_type),
    }
}

/// A discovery service reached over gRPC.
pub(crate) fn api(message: &ApiConfigSource, at: &At<'_>) -> Option<DiscoveryService> {
    fields!(at, message, ApiConfigSource {
        honoured { transport_api_version, rate_limit_settings }
        partly {
            api_type: "GRPC and DELTA_GRPC; AGGREGATED_GRPC means ads",
            grpc_services: "one",
        }
        refused {
            cluster_names: "they are for REST",
        }
        unsupported { config_validators }
        ignored {
            refresh_delay: "it is for REST",
            request_timeout: "it is for REST",
            set_node_on_first_message_only: "servers take the node from the first message",
        }
    });
    let _ = api_type;
    version(*transport_api_version, &at.field("transport_api_version"));
    let rate_limit = rate_limit_settings
        .as_ref()
        .and_then(|message| rate_limit(message, &at.field("rate_limit_settings")));
    let api_type = self::api_type(message, at)?;
    let at = &at.field("grpc_services");
    let [service] = grpc_services.as_slice() else {
        at.problem("must have one element");
        return None;
    };
    server(service, &at.index(0)).map(|service| DiscoveryService {
        delta: matches!(api_type, ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc),
        rate_limit,
        ..service
    })
}

/// How many requests a stream may send: 100 at once and 10 a second unless said otherwise.
fn rate_limit(message: &RateLimitSettings, at: &At<'_>) -> Option<RequestRate> {
    fields!(at, message, RateLimitSettings { honoured { max_tokens, fill_rate } });
    let rate = fill_rate.unwrap_or(10.0);
    let interval = Duration::try_from_secs_f64(rate.recip()).ok();
    let Some(interval) = interval.filter(|_| rate > 0.0) else {
        at.field("fill_rate").problem("must be greater than 0");
        return None;
    };
    Some(RequestRate {
        burst: max_tokens.unwrap_or(100),
        interval,
    })
}

/// The cluster of the management server, and what a stream to it begins with.
fn server(message: &GrpcService, at: &At<'_>) -> Option<DiscoveryService> {
    let service = grpc_service(message, at)?;
    if let Some(authority) = &service.authority
        && authority.parse::<http::uri::Authority>().is_err()
    {
        at.field("envoy_grpc")
            .field("authority")
            .problem(format_args!("{authority:?} is not an authority"));
    }
    Some(DiscoveryService {
        cluster: service.cluster,
        authority: service.authority,
        delta: false,
        initial_metadata: service.metadata,
        rate_limit: None,
    })
}

#[cfg(test)]
mod tests {
    use meltemi_ir::Discovery;
    use meltemi_xds::json;
    use serde_json::json;

    use super::*;

    #[test]
    fn self_asks_where_the_resource_came_from() {
        let message = json::from_json(json!({
            "name": "web",
            "type": "EDS",
            "eds_cluster_config": { "eds_config": { "self": {}, "initial_fetch_timeout": "3s" } },
        }))
        .unwrap();
        let service = ResourceSource::Service(DiscoveryService {
            cluster: "xds".to_owned(),
            authority: None,
            delta: true,
            initial_metadata: Vec::new(),
            rate_limit: None,
        });
        for from in [ResourceSource::Ads, service] {
            let cluster = crate::cluster_of(&from, &message).unwrap();
            let Discovery::Eds { source, .. } = cluster.discovery else {
                panic!("{:?}", cluster.discovery)
            };
            assert_eq!(source.from, from);
            assert_eq!(source.initial_fetch_timeout.as_secs(), 3);
        }
        let file = ResourceSource::Path("/clusters.yaml".into());
        assert_eq!(
            crate::cluster_of(&file, &message).unwrap_err().to_string(),
            "eds_cluster_config.eds_config.self: is not supported: a file has resources of one kind; \
             name another source"
        );
    }
}
