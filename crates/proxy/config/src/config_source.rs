//! Where resources come from: ADS, a discovery service of its own, or a file.

use std::path::PathBuf;
use std::time::Duration;

use meltemi_ir::{DiscoveryService, ResourceSource};
use meltemi_xds::pb::envoy::config::core::v3::api_config_source::ApiType;
use meltemi_xds::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_xds::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
    PathConfigSource, SelfConfigSource,
};

use crate::call::grpc_service;
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, enumeration, non_empty};

/// A [`ConfigSource`], converted.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Which service.
    pub(crate) kind: SourceKind,
    /// How long to wait for a first answer; zero is no limit.
    pub(crate) initial_fetch_timeout: Duration,
}

/// Which service delivers.
#[derive(Clone, Debug)]
pub(crate) enum SourceKind {
    /// The proxy's ADS stream.
    Ads,
    /// A service of its own.
    Api(Api),
    /// A file.
    Path(PathBuf),
}

/// A discovery service reached over gRPC ([`ApiConfigSource`]).
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// The cluster that reaches it.
    pub(crate) cluster: String,
    /// Delta rather than state of the world.
    pub(crate) delta: bool,
    /// Metadata of the stream.
    pub(crate) initial_metadata: Vec<(String, String)>,
}

/// Where a resource comes from.
pub(crate) fn config_source(message: &ConfigSource, at: &At<'_>) -> Option<Source> {
    fields!(at, message, ConfigSource {
        honoured { resource_api_version }
        partly { initial_fetch_timeout: "for LDS and CDS; 15s for everything else" }
        oneof { config_source_specifier {
            ads: Honoured "",
            api_config_source: Partly "for SDS",
            path: Partly "not for VHDS and ECDS",
            path_config_source: Partly "not for VHDS and ECDS",
            self_: Honoured "",
        } }
        refused { authorities: "resource names are not URLs" }
    });
    version(*resource_api_version, &at.field("resource_api_version"));
    let initial_fetch_timeout = duration(
        initial_fetch_timeout.as_ref(),
        &at.field("initial_fetch_timeout"),
    )
    .unwrap_or(Duration::from_secs(15));
    let kind = match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(message)) => {
            fields!(at, message, AggregatedConfigSource {});
            SourceKind::Ads
        }
        Some(ConfigSourceSpecifier::Self_(message)) => {
            let at = &at.field("self");
            fields!(at, message, SelfConfigSource { honoured { transport_api_version } });
            version(*transport_api_version, &at.field("transport_api_version"));
            SourceKind::Ads
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(message)) => {
            let at = &at.field("api_config_source");
            match api_type(message, at)? {
                ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc => SourceKind::Ads,
                _ => SourceKind::Api(api(message, at)?),
            }
        }
        Some(ConfigSourceSpecifier::Path(path)) => SourceKind::Path(path.into()),
        Some(ConfigSourceSpecifier::PathConfigSource(message)) => {
            SourceKind::Path(path(message, &at.field("path_config_source")))
        }
        None => {
            at.problem("needs ads, api_config_source or path_config_source");
            return None;
        }
    };
    Some(Source {
        kind,
        initial_fetch_timeout,
    })
}

/// Where listeners, clusters, route tables or endpoints come from, and how long to wait for the first.
///
/// A file must be there, as in Envoy, which would else not know what to look at.
pub(crate) fn resource_source(
    message: Option<&ConfigSource>,
    at: &At<'_>,
) -> Option<(ResourceSource, Duration)> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    let source = config_source(message, at)?;
    let from = match source.kind {
        SourceKind::Ads => ResourceSource::Ads,
        SourceKind::Api(_) => {
            at.field("api_config_source")
                .refuse("only ads and files deliver this kind of resource");
            return None;
        }
        SourceKind::Path(path) => {
            if !path.exists() {
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
            ResourceSource::Path(path)
        }
    };
    Some((from, source.initial_fetch_timeout))
}

/// Requires a service of its own in the delta form, as virtual hosts do.
pub(crate) fn delta_service(
    message: Option<&ConfigSource>,
    at: &At<'_>,
) -> Option<DiscoveryService> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    match config_source(message, at)?.kind {
        SourceKind::Api(api) if api.delta => Some(DiscoveryService {
            cluster: api.cluster,
            delta: true,
            initial_metadata: api.initial_metadata,
        }),
        SourceKind::Api(_) | SourceKind::Ads | SourceKind::Path(_) => {
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
            at.refuse("only gRPC is spoken");
            None
        }
        ApiType::Grpc
        | ApiType::DeltaGrpc
        | ApiType::AggregatedGrpc
        | ApiType::AggregatedDeltaGrpc => Some(api_type),
    }
}

/// A discovery service reached over gRPC.
pub(crate) fn api(message: &ApiConfigSource, at: &At<'_>) -> Option<Api> {
    fields!(at, message, ApiConfigSource {
        honoured { transport_api_version }
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
            rate_limit_settings: "it only spares the management server",
            set_node_on_first_message_only: "servers take the node from the first message",
        }
    });
    let _ = api_type;
    version(*transport_api_version, &at.field("transport_api_version"));
    let api_type = self::api_type(message, at)?;
    let at = &at.field("grpc_services");
    let [service] = grpc_services.as_slice() else {
        at.problem("must have one element");
        return None;
    };
    let (cluster, initial_metadata) = server(service, &at.index(0))?;
    Some(Api {
        cluster,
        delta: matches!(api_type, ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc),
        initial_metadata,
    })
}

/// The cluster of the management server, and what a stream to it begins with.
fn server(message: &GrpcService, at: &At<'_>) -> Option<(String, Vec<(String, String)>)> {
    let service = grpc_service(message, at)?;
    if service.authority.is_some() {
        at.field("envoy_grpc")
            .field("authority")
            .refuse("the cluster's name is sent");
    }
    Some((service.cluster, service.metadata))
}
