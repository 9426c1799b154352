//! Active health checks.

use std::ops::Range;
use std::time::Duration;

use http::Method;
use meltemi_ir::{HeaderMutation, HealthCheck, HealthCheckKind, HttpHealthCheck};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::RequestMethod;
use meltemi_xds::pb::envoy::config::core::v3::health_check as health_v3;
use meltemi_xds::pb::envoy::config::core::v3::health_check::HealthChecker;
use meltemi_xds::pb::envoy::r#type::v3::{CodecClientType, Int64Range};

use crate::fields::fields;
use crate::header::{Side, append, request_changes};
use crate::matcher::{bounds, string_match};
use crate::metadata::fields_of;
use crate::path::At;
use crate::scalar::{duration, enumeration, non_empty, positive};

/// A health check.
pub(super) fn health_check(message: &core_v3::HealthCheck, at: &At<'_>) -> Option<HealthCheck> {
    fields!(at, message, core_v3::HealthCheck {
        honoured {
            timeout, interval, initial_jitter, interval_jitter, interval_jitter_percent,
            unhealthy_threshold, healthy_threshold, reuse_connection, no_traffic_interval,
            no_traffic_healthy_interval, unhealthy_interval, unhealthy_edge_interval,
            healthy_edge_interval, tls_options, transport_socket_match_criteria,
        }
        oneof { health_checker {
            http_health_check: Honoured "",
            tcp_health_check: Honoured "",
            grpc_health_check: Honoured "",
            custom_health_check: Refused "",
        } }
        refused {
            alt_port: "give the endpoint's health_check_config.port_value",
            event_service: "log the events",
        }
        ignored {
            event_log_path: "events of health checks are in the proxy's own log",
            event_logger: "events of health checks are in the proxy's own log",
            always_log_health_check_failures: "events of health checks are in the proxy's own log",
            always_log_health_check_success: "events of health checks are in the proxy's own log",
        }
    });
    let required = |value: &Option<prost_types::Duration>, field: &str| {
        let at = &at.field(field);
        if value.is_none() {
            at.problem("is required");
        }
        positive(value.as_ref(), at)
    };
    let threshold = |value: &Option<u32>, field: &str| {
        if value.is_none() {
            at.field(field).problem("is required");
        }
        value.unwrap_or(1)
    };
    let optional = |value: &Option<prost_types::Duration>, field: &str| {
        positive(value.as_ref(), &at.field(field))
    };
    let jitter = |value: &Option<prost_types::Duration>, field: &str| {
        duration(value.as_ref(), &at.field(field)).unwrap_or_default()
    };
    let kind = match health_checker {
        Some(HealthChecker::HttpHealthCheck(message)) => {
            http(message, &at.field("http_health_check"))
        }
        Some(HealthChecker::TcpHealthCheck(message)) => tcp(message, &at.field("tcp_health_check")),
        Some(HealthChecker::GrpcHealthCheck(message)) => {
            grpc(message, &at.field("grpc_health_check"))
        }
        Some(HealthChecker::CustomHealthCheck(_)) => {
            at.field("custom_health_check").refuse("");
            None
        }
        None => {
            at.problem("needs http_health_check, tcp_health_check or grpc_health_check");
            None
        }
    };
    let alpn = tls_options
        .as_ref()
        .map(|message| alpn(message, &at.field("tls_options")))
        .unwrap_or_default();
    let timeout = required(timeout, "timeout");
    let interval = required(interval, "interval");
    Some(HealthCheck {
        kind: kind?,
        timeout: timeout?,
        interval: interval?,
        initial_jitter: jitter(initial_jitter, "initial_jitter"),
        interval_jitter: jitter(interval_jitter, "interval_jitter"),
        interval_jitter_percent: *interval_jitter_percent,
        unhealthy_threshold: threshold(unhealthy_threshold, "unhealthy_threshold"),
        healthy_threshold: threshold(healthy_threshold, "healthy_threshold"),
        reuse_connection: reuse_connection.unwrap_or(true),
        no_traffic_interval: optional(no_traffic_interval, "no_traffic_interval")
            .unwrap_or(Duration::from_secs(60)),
        no_traffic_healthy_interval: optional(
            no_traffic_healthy_interval,
            "no_traffic_healthy_interval",
        ),
        unhealthy_interval: optional(unhealthy_interval, "unhealthy_interval"),
        unhealthy_edge_interval: optional(unhealthy_edge_interval, "unhealthy_edge_interval"),
        healthy_edge_interval: optional(healthy_edge_interval, "healthy_edge_interval"),
        alpn,
        transport_match: transport_socket_match_criteria.as_ref().map(fields_of),
    })
}

fn alpn(message: &health_v3::TlsOptions, at: &At<'_>) -> Vec<Vec<u8>> {
    fields!(at, message, health_v3::TlsOptions { honoured { alpn_protocols } });
    let protocols = alpn_protocols.iter();
    protocols
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect()
}

fn http(message: &health_v3::HttpHealthCheck, at: &At<'_>) -> Option<HealthCheckKind> {
    fields!(at, message, health_v3::HttpHealthCheck {
        honoured {
            host, path, send, receive, response_buffer_size, request_headers_to_add,
            request_headers_to_remove, expected_statuses, retriable_statuses,
            service_name_matcher,
        }
        partly {
            codec_client_type: "HTTP1 and HTTP2",
            method: "all but CONNECT",
        }
    });
    let at_codec = &at.field("codec_client_type");
    let http2 = match enumeration(*codec_client_type, at_codec)? {
        CodecClientType::Http1 => false,
        CodecClientType::Http2 => true,
        CodecClientType::Http3 => {
            at_codec.refuse("HTTP3");
            return None;
        }
    };
    let mut expected = at
        .field("expected_statuses")
        .each(expected_statuses, statuses);
    if expected.is_empty() {
        expected.push(200..201);
    }
    Some(HealthCheckKind::Http(Box::new(HttpHealthCheck {
        host: host.clone(),
        path: non_empty(path, &at.field("path")).to_owned(),
        method: method_of(*method, &at.field("method"))?,
        send: match send {
            Some(message) => payload(message, &at.field("send"))?,
            None => Vec::new(),
        },
        receive: at.field("receive").each(receive, payload),
        response_buffer: response_buffer_size.map_or(1024, |size| match size {
            0 => usize::MAX,
            size => usize::try_from(size).unwrap_or(usize::MAX),
        }),
        headers: literal(
            request_changes(request_headers_to_add, request_headers_to_remove, at),
            &at.field("request_headers_to_add"),
        ),
        expected,
        retriable: at
            .field("retriable_statuses")
            .each(retriable_statuses, statuses),
        service_name: service_name_matcher
            .as_ref()
            .and_then(|message| string_match(message, &at.field("service_name_matcher"))),
        http2,
    })))
}

fn tcp(message: &health_v3::TcpHealthCheck, at: &At<'_>) -> Option<HealthCheckKind> {
    fields!(at, message, health_v3::TcpHealthCheck {
        honoured { send, receive }
        unsupported { proxy_protocol_config }
    });
    Some(HealthCheckKind::Tcp {
        send: match send {
            Some(message) => payload(message, &at.field("send"))?,
            None => Vec::new(),
        },
        receive: at.field("receive").each(receive, payload),
    })
}

fn grpc(message: &health_v3::GrpcHealthCheck, at: &At<'_>) -> Option<HealthCheckKind> {
    fields!(at, message, health_v3::GrpcHealthCheck {
        honoured { service_name, authority, initial_metadata }
    });
    let at_metadata = &at.field("initial_metadata");
    let headers = HeaderMutation {
        remove: Vec::new(),
        add: at_metadata.each(initial_metadata, |option, at| {
            append(option, Side::Request, at)
        }),
    };
    Some(HealthCheckKind::Grpc {
        service_name: service_name.clone(),
        authority: authority.clone(),
        headers: literal(headers, at_metadata),
    })
}

/// Checks that no value holds an operator: there is no request to ask.
fn literal(headers: HeaderMutation, at: &At<'_>) -> HeaderMutation {
    for (index, header) in headers.add.iter().enumerate() {
        if header.literal.is_none() {
            at.index(index)
                .refuse("command operators, in health checks");
        }
    }
    headers
}

/// Bytes: hexadecimal text, or as they are.
fn payload(message: &health_v3::Payload, at: &At<'_>) -> Option<Vec<u8>> {
    fields!(at, message, health_v3::Payload {
        oneof { payload {
            text: Honoured "",
            binary: Honoured "",
        } }
    });
    match payload {
        Some(health_v3::payload::Payload::Text(text)) => {
            let bytes = hexadecimal(text);
            if bytes.is_none() || text.is_empty() {
                at.field("text").problem("must be hexadecimal digits");
            }
            bytes
        }
        Some(health_v3::payload::Payload::Binary(bytes)) => Some(bytes.to_vec()),
        None => {
            at.problem("needs text or binary");
            None
        }
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok())
        .collect()
}

fn statuses(message: &Int64Range, at: &At<'_>) -> Option<Range<u16>> {
    let (start, end) = bounds(message, at);
    match (u16::try_from(start), u16::try_from(end)) {
        (Ok(start), Ok(end)) if start >= 100 && start < end && end <= 600 => Some(start..end),
        _ => {
            at.problem("must be a range of statuses from 100 to 599");
            None
        }
    }
}

fn method_of(method: i32, at: &At<'_>) -> Option<Method> {
    Some(match enumeration(method, at)? {
        RequestMethod::MethodUnspecified | RequestMethod::Get => Method::GET,
        RequestMethod::Head => Method::HEAD,
        RequestMethod::Post => Method::POST,
        RequestMethod::Put => Method::PUT,
        RequestMethod::Delete => Method::DELETE,
        RequestMethod::Options => Method::OPTIONS,
        RequestMethod::Trace => Method::TRACE,
        RequestMethod::Patch => Method::PATCH,
        RequestMethod::Connect => {
            at.problem("CONNECT cannot be a health check");
            return None;
        }
    })
}
