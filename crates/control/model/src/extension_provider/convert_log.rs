//! Providers of access logs: from written to valid (FEATURES O3, O4).

use meltemi_api::FieldPath;
use meltemi_api::extension_provider as api;

use super::convert::convert_service;
use super::{FileLog, GrpcLog, ProviderKind};
use crate::AccessLogFormat;
use crate::check::{Check, filled};

/// Which service a log goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Http,
    Tcp,
    OpenTelemetry,
}

/// Checks `envoyFileAccessLog`.
pub(super) fn convert_file(
    written: api::FileLog,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> ProviderKind {
    let api::FileLog {
        path,
        log_format,
        omit_empty_values,
    } = written;
    let at_format = at.field("logFormat");
    ProviderKind::FileLog(FileLog {
        path: filled(path).unwrap_or_else(|| "/dev/stdout".to_owned()),
        format: log_format.map(|it| convert_format(it, &at_format, check)),
        omit_empty_values,
    })
}

fn convert_format(
    written: api::LogFormat,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> AccessLogFormat {
    let api::LogFormat { text, labels } = written;
    match (filled(text), labels) {
        (Some(_), Some(_)) => {
            check.invalid(at, "has text and labels; keep one");
            AccessLogFormat::Text(None)
        }
        (text, None) => AccessLogFormat::Text(text),
        (None, Some(labels)) => {
            AccessLogFormat::Json(Some(labels).filter(|labels| !labels.is_empty()))
        }
    }
}

/// Checks `envoyHttpAls`, `envoyTcpAls` or `envoyOtelAls`.
pub(super) fn convert_grpc(
    written: api::GrpcLog,
    to: Service,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ProviderKind> {
    let api::GrpcLog {
        service,
        port,
        log_name,
        filter_state_objects_to_log,
        additional_request_headers_to_log,
        additional_response_headers_to_log,
        additional_response_trailers_to_log,
        log_format,
    } = written;
    let for_http = [
        (
            "additionalRequestHeadersToLog",
            &additional_request_headers_to_log,
        ),
        (
            "additionalResponseHeadersToLog",
            &additional_response_headers_to_log,
        ),
        (
            "additionalResponseTrailersToLog",
            &additional_response_trailers_to_log,
        ),
    ];
    for (name, list) in for_http {
        if to != Service::Http && !list.is_empty() {
            check.invalid(&at.field(name), "unknown field; it is one of envoyHttpAls");
        }
    }
    if to == Service::OpenTelemetry && !filter_state_objects_to_log.is_empty() {
        let what = "unknown field; it is one of envoyHttpAls and envoyTcpAls";
        check.invalid(&at.field("filterStateObjectsToLog"), what);
    }
    let at_format = at.field("logFormat");
    if to != Service::OpenTelemetry && log_format.is_some() {
        check.invalid(&at_format, "unknown field; it is one of envoyOtelAls");
    }
    // With OpenTelemetry the text is the body and the labels are attributes: both may be there.
    let api::LogFormat { text, labels } = log_format.unwrap_or_default();
    let log = GrpcLog {
        service: convert_service(service, port, at, check)?,
        log_name: filled(log_name),
        filter_state: filter_state_objects_to_log,
        request_headers: additional_request_headers_to_log,
        response_headers: additional_response_headers_to_log,
        response_trailers: additional_response_trailers_to_log,
        text: filled(text),
        labels: labels.unwrap_or_default(),
    };
    Some(match to {
        Service::Http => ProviderKind::HttpLog(Box::new(log)),
        Service::Tcp => ProviderKind::TcpLog(Box::new(log)),
        Service::OpenTelemetry => ProviderKind::OtelLog(Box::new(log)),
    })
}
