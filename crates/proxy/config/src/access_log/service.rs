//! Access logs that a service takes over gRPC: Envoy's own form, and OpenTelemetry's.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use meltemi_ir::{GrpcTarget, LogEntries, LogOutput, LogService, Value};
use meltemi_xds::pb::envoy::config::core::v3::{ApiVersion, GrpcService};
use meltemi_xds::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use meltemi_xds::pb::opentelemetry::proto::common::v1::any_value::Value as Kind;
use meltemi_xds::pb::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList,
};

use super::formatter;
use crate::fields::fields;
use crate::header::header_name;
use crate::http_filter::ext_authz::required_target;
use crate::path::At;
use crate::scalar::duration;

const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
const BUFFER_SIZE: u32 = 16 << 10;

/// Where a log goes, and how.
struct Delivery {
    target: GrpcTarget,
    name: String,
    flush_interval: Duration,
    buffer_size: u32,
}

impl Delivery {
    fn of(self, entries: LogEntries) -> LogOutput {
        let Self {
            target,
            name,
            flush_interval,
            buffer_size,
        } = self;
        LogOutput::Service(Arc::new(LogService {
            target,
            name,
            flush_interval,
            buffer_size,
            entries,
        }))
    }
}

/// A log of requests.
pub(super) fn http(message: &HttpGrpcAccessLogConfig, at: &At<'_>) -> Option<LogOutput> {
    fields!(at, message, HttpGrpcAccessLogConfig {
        honoured {
            common_config, additional_request_headers_to_log, additional_response_headers_to_log,
            additional_response_trailers_to_log,
        }
    });
    let names = |names: &[String], field| -> Vec<HeaderName> {
        at.field(field)
            .each(names, |name: &String, at: &At<'_>| header_name(name, at))
    };
    let entries = LogEntries::Http {
        request_headers: names(
            additional_request_headers_to_log,
            "additional_request_headers_to_log",
        ),
        response_headers: names(
            additional_response_headers_to_log,
            "additional_response_headers_to_log",
        ),
        response_trailers: names(
            additional_response_trailers_to_log,
            "additional_response_trailers_to_log",
        ),
    };
    Some(required(common_config.as_ref(), at)?.of(entries))
}

/// A log of TCP connections.
pub(super) fn tcp(message: &TcpGrpcAccessLogConfig, at: &At<'_>) -> Option<LogOutput> {
    fields!(at, message, TcpGrpcAccessLogConfig { honoured { common_config } });
    Some(required(common_config.as_ref(), at)?.of(LogEntries::Tcp))
}

/// A log in OpenTelemetry's form.
pub(super) fn open_telemetry(
    message: &OpenTelemetryAccessLogConfig,
    at: &At<'_>,
) -> Option<LogOutput> {
    #[expect(deprecated, reason = "it is what most configurations have")]
    {
        fields!(at, message, OpenTelemetryAccessLogConfig {
            honoured {
                common_config, grpc_service, log_name, buffer_flush_interval, buffer_size_bytes,
                disable_builtin_labels, resource_attributes, body, attributes,
            }
            partly { formatters: "those whose operators are there without them too" }
            refused { http_service: "use grpc_service" }
            unsupported { resource_detectors, custom_tags }
            ignored {
                stat_prefix: "what is written is not counted",
                filter_state_objects_to_log: "filter state is for text logs alone",
            }
        });
        at.field("formatters").each(formatters, formatter);
        let delivery = match (common_config, grpc_service) {
            (Some(message), _) => common(message, &at.field("common_config"))?,
            (None, service) => Delivery {
                target: target(service.as_ref(), &at.field("grpc_service"))?,
                name: log_name.clone(),
                flush_interval: interval(
                    buffer_flush_interval.as_ref(),
                    &at.field("buffer_flush_interval"),
                ),
                buffer_size: buffer_size_bytes.unwrap_or(BUFFER_SIZE),
            },
        };
        let pairs = |list: &Option<KeyValueList>, field: &'static str| {
            let list = list.as_ref();
            list.map_or_else(Vec::new, |list| pairs(list, &at.field(field)))
        };
        Some(delivery.of(LogEntries::OpenTelemetry {
            body: match body {
                Some(message) => Some(value(message, &at.field("body"))?),
                None => None,
            },
            attributes: pairs(attributes, "attributes"),
            resource: pairs(resource_attributes, "resource_attributes"),
            names_node: !*disable_builtin_labels,
        }))
    }
}

fn required(message: Option<&CommonGrpcAccessLogConfig>, at: &At<'_>) -> Option<Delivery> {
    let at = &at.field("common_config");
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    common(message, at)
}

fn common(message: &CommonGrpcAccessLogConfig, at: &At<'_>) -> Option<Delivery> {
    fields!(at, message, CommonGrpcAccessLogConfig {
        honoured { log_name, grpc_service, buffer_flush_interval, buffer_size_bytes }
        partly { transport_api_version: "V3" }
        unsupported { custom_tags }
        ignored {
            filter_state_objects_to_log: "filter state is for text logs alone",
            grpc_stream_retry_policy: "what could not be delivered is dropped",
        }
    });
    match ApiVersion::try_from(*transport_api_version) {
        Ok(ApiVersion::Auto | ApiVersion::V3) => {}
        _ => at.field("transport_api_version").problem("must be V3"),
    }
    Some(Delivery {
        target: target(grpc_service.as_ref(), &at.field("grpc_service"))?,
        name: log_name.clone(),
        flush_interval: interval(
            buffer_flush_interval.as_ref(),
            &at.field("buffer_flush_interval"),
        ),
        buffer_size: buffer_size_bytes.unwrap_or(BUFFER_SIZE),
    })
}

fn interval(message: Option<&prost_types::Duration>, at: &At<'_>) -> Duration {
    duration(message, at).unwrap_or(FLUSH_INTERVAL)
}

/// A service whose headers are as they are written: there is no request that a format could be about.
fn target(message: Option<&GrpcService>, at: &At<'_>) -> Option<GrpcTarget> {
    let target = required_target(message, at)?;
    if target.metadata.iter().any(|it| it.literal.is_none()) {
        at.field("initial_metadata").refuse("formats");
    }
    Some(target)
}

fn pairs(message: &KeyValueList, at: &At<'_>) -> Vec<(String, Value)> {
    fields!(at, message, KeyValueList { honoured { values } });
    at.field("values").each(values, pair)
}

fn pair(message: &KeyValue, at: &At<'_>) -> Option<(String, Value)> {
    fields!(at, message, KeyValue {
        honoured { key, value }
        unsupported { key_strindex }
    });
    let value = self::value(value.as_ref()?, &at.field("value"))?;
    Some((key.clone(), value))
}

fn list(message: &ArrayValue, at: &At<'_>) -> Vec<Value> {
    fields!(at, message, ArrayValue { honoured { values } });
    at.field("values").each(values, value)
}

/// A value whose texts are formats.
fn value(message: &AnyValue, at: &At<'_>) -> Option<Value> {
    fields!(at, message, AnyValue {
        oneof { value {
            string_value: Honoured "",
            array_value: Honoured "",
            kvlist_value: Honoured "",
            bool_value: Refused "nor in Envoy",
            int_value: Refused "nor in Envoy",
            double_value: Refused "nor in Envoy",
            bytes_value: Refused "nor in Envoy",
            string_value_strindex: Refused "nor in Envoy",
        } }
    });
    match value.as_ref()? {
        Kind::StringValue(text) => Some(Value::String(text.clone())),
        Kind::ArrayValue(message) => Some(Value::List(list(message, &at.field("array_value")))),
        Kind::KvlistValue(message) => {
            let pairs = pairs(message, &at.field("kvlist_value"));
            Some(Value::Struct(pairs.into_iter().collect()))
        }
        _ => {
            at.problem("must be a string_value, an array_value or a kvlist_value, as in Envoy");
            None
        }
    }
}
