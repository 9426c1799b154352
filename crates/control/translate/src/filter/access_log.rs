//! Access logs (FEATURES O4).
//!
//! In: MeshConfig's `accessLogFile`, `accessLogFormat`, `accessLogEncoding`. Out: a file log, in
//! Istio's default format unless another is given.

use meltemi_model::{AccessLog as Settings, AccessLogFormat, MeshConfig};
use meltemi_xds::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, ResponseFlagFilter, access_log::ConfigType,
    access_log_filter::FilterSpecifier,
};
use meltemi_xds::pb::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source::Specifier,
    substitution_format_string::Format,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat as FileFormat,
};
use prost_types::Struct;

use crate::proto::{pack, text};

/// Istio's default line.
const TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ",
    "%CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" ",
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" ",
    "\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's default JSON fields.
const JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// The log of requests, or of connections that a chain took.
pub(super) fn request_log(mesh: &MeshConfig) -> Vec<AccessLog> {
    mesh.access_log.iter().map(|it| log(it, None)).collect()
}

/// The log of connections that no chain took.
pub(crate) fn listener_log(mesh: &MeshConfig) -> Vec<AccessLog> {
    let filter = AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: vec!["NR".to_owned()],
        })),
    };
    let settings = mesh.access_log.iter();
    settings.map(|it| log(it, Some(filter.clone()))).collect()
}

fn log(settings: &Settings, filter: Option<AccessLogFilter>) -> AccessLog {
    let Settings { path, format } = settings;
    let format = match format {
        AccessLogFormat::Text(written) => {
            let line = written.as_deref().unwrap_or(TEXT);
            Format::TextFormatSource(DataSource {
                specifier: Some(Specifier::InlineString(line.to_owned())),
                ..Default::default()
            })
        }
        AccessLogFormat::Json(written) => Format::JsonFormat(match written {
            Some(fields) => Struct {
                fields: fields
                    .iter()
                    .map(|(name, format)| (name.clone(), text(format)))
                    .collect(),
            },
            None => Struct {
                fields: JSON
                    .iter()
                    .map(|(name, format)| ((*name).to_owned(), text(*format)))
                    .collect(),
            },
        }),
    };
    let file = FileAccessLog {
        path: path.clone(),
        access_log_format: Some(FileFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            ..Default::default()
        })),
    };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter,
        config_type: Some(ConfigType::TypedConfig(pack(&file))),
    }
}
