//! Access logs that a service takes (FEATURES O4).
//!
//! In: a provider. Out: a log for Envoy's gRPC protocol or OpenTelemetry's; none where the proxy does not
//! see the service, since it would refuse a log to a cluster that it does not have.

use meltemi_model::{GrpcLog, ProviderService};
use meltemi_xds::pb::envoy::config::accesslog::v3::{AccessLog, access_log::ConfigType};
use meltemi_xds::pb::envoy::config::core::v3::{
    ApiVersion, GrpcService,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
};
use meltemi_xds::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use meltemi_xds::pb::opentelemetry::proto::common::v1::{
    AnyValue, KeyValue, KeyValueList, any_value,
};
use prost::{Message, Name};

use super::{WITHOUT_QUERY, without_query};
use crate::cluster;
use crate::name::SubsetKey;
use crate::proto::pack;
use crate::scope::Scope;

/// What a stream tells of both ends unless the provider says otherwise.
const STATE: [&str; 2] = ["upstream_peer", "downstream_peer"];

/// A log of requests.
pub(super) fn http(scope: &Scope<'_>, log: &GrpcLog) -> Option<AccessLog> {
    let message = HttpGrpcAccessLogConfig {
        common_config: Some(common(scope, log, "http_envoy_accesslog")?),
        additional_request_headers_to_log: log.request_headers.clone(),
        additional_response_headers_to_log: log.response_headers.clone(),
        additional_response_trailers_to_log: log.response_trailers.clone(),
    };
    Some(logger("envoy.access_loggers.http_grpc", &message))
}

/// A log of connections.
pub(super) fn tcp(scope: &Scope<'_>, log: &GrpcLog) -> Option<AccessLog> {
    let message = TcpGrpcAccessLogConfig {
        common_config: Some(common(scope, log, "tcp_envoy_accesslog")?),
    };
    Some(logger("envoy.access_loggers.tcp_grpc", &message))
}

/// A log in OpenTelemetry's form; `default` is the body where none is written.
#[expect(
    deprecated,
    reason = "what is new in its place is not in every Envoy that is in use"
)]
pub(super) fn open_telemetry(scope: &Scope<'_>, log: &GrpcLog, default: &str) -> Option<AccessLog> {
    let body = log.text.as_deref().unwrap_or(default);
    let text = |text: &str| AnyValue {
        value: Some(any_value::Value::StringValue(text.to_owned())),
    };
    let attributes = log.labels.iter().map(|(key, value)| KeyValue {
        key: key.clone(),
        value: Some(text(value)),
        ..Default::default()
    });
    let mut formats = log.labels.values().map(String::as_str).chain([body]);
    let asks = formats.any(|it| it.contains(WITHOUT_QUERY));
    let message = OpenTelemetryAccessLogConfig {
        common_config: Some(common(scope, log, "otel_envoy_accesslog")?),
        disable_builtin_labels: true,
        body: Some(text(body)),
        attributes: (!log.labels.is_empty()).then(|| KeyValueList {
            values: attributes.collect(),
        }),
        formatters: asks.then(without_query).into_iter().collect(),
        ..Default::default()
    };
    Some(logger("envoy.access_loggers.open_telemetry", &message))
}

fn common(
    scope: &Scope<'_>,
    log: &GrpcLog,
    default_name: &str,
) -> Option<CommonGrpcAccessLogConfig> {
    let ProviderService {
        namespace,
        host,
        port,
    } = &log.service;
    let (service, _) = scope.service_port(host.as_str(), *port)?;
    if namespace
        .as_ref()
        .is_some_and(|it| *it != service.meta.namespace)
    {
        return None;
    }
    let cluster = SubsetKey {
        port: *port,
        subset: "",
        host: host.as_str(),
    };
    let cluster = cluster.cluster();
    if !cluster::is_there(scope, host.as_str(), &cluster) {
        return None;
    }
    let state = match log.filter_state.as_slice() {
        [] => STATE.map(str::to_owned).to_vec(),
        named => named.to_vec(),
    };
    Some(CommonGrpcAccessLogConfig {
        log_name: log
            .log_name
            .clone()
            .unwrap_or_else(|| default_name.to_owned()),
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: cluster,
                authority: host.to_string(),
                ..Default::default()
            })),
            ..Default::default()
        }),
        transport_api_version: ApiVersion::V3.into(),
        filter_state_objects_to_log: state,
        ..Default::default()
    })
}

fn logger<M: Message + Name>(name: &str, message: &M) -> AccessLog {
    AccessLog {
        name: name.to_owned(),
        filter: None,
        config_type: Some(ConfigType::TypedConfig(pack(message))),
    }
}
