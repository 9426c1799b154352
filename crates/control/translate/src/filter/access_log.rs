//! Access logs (FEATURES O4).
//!
//! In: the Telemetries that hold for the workload and the mesh's providers of logs; where they say
//! nothing, MeshConfig's `accessLogFile`, `accessLogFormat`, `accessLogEncoding`. Out: the logs of one
//! side of the proxy.

mod expression;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use meltemi_model::{
    AccessLog as Settings, AccessLogFormat, AccessLogging, ExtensionProvider, FileLog,
    ProviderKind, WorkloadMode,
};
use meltemi_xds::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ResponseFlagFilter, access_log::ConfigType,
    access_log_filter::FilterSpecifier,
};
use meltemi_xds::pb::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, TypedExtensionConfig, data_source::Specifier,
    substitution_format_string::Format,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat as FileFormat,
};
use meltemi_xds::pb::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use prost_types::Struct;

use super::Class;
use crate::proto::{pack, text};
use crate::scope::Scope;

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

/// Istio's own provider: a file log in the mesh's format.
const BUILT_IN: &str = "envoy";
/// Stands for the log of `accessLogFile` among the names of providers.
const OF_MESH: &str = "";
/// The operator that Envoy knows by an extension only.
const WITHOUT_QUERY: &str = "%REQ_WITHOUT_QUERY";

/// What is said of one provider.
#[derive(Debug, Clone, Default)]
struct Spec {
    disabled: bool,
    filter: Option<String>,
}

/// The log of requests, or of connections that a chain took.
pub(super) fn request_log(scope: &Scope<'_>, class: Class) -> Vec<AccessLog> {
    logs(scope, class, None)
}

/// The log of connections that no chain took.
pub(crate) fn listener_log(scope: &Scope<'_>, class: Class) -> Vec<AccessLog> {
    let no_chain = AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: vec!["NR".to_owned()],
        })),
    };
    logs(scope, class, Some(no_chain))
}

fn logs(scope: &Scope<'_>, class: Class, only: Option<AccessLogFilter>) -> Vec<AccessLog> {
    let mode = match class {
        Class::Inbound => WorkloadMode::Server,
        Class::Outbound | Class::Gateway => WorkloadMode::Client,
    };
    let specs = specs(scope, mode);
    let known: Vec<_> = specs
        .iter()
        .filter_map(|(name, spec)| Some((made(scope, name)?, spec)))
        .collect();
    if known.is_empty() {
        // Nothing is said of this side.
        let mesh = scope.mesh().access_log.iter().map(of_mesh);
        return mesh
            .map(|log| AccessLog {
                filter: only.clone(),
                ..log
            })
            .collect();
    }
    let enabled = known.into_iter().filter(|(_, spec)| !spec.disabled);
    enabled
        .map(|(log, spec)| {
            let own = spec.filter.as_deref().map(expression::filter);
            let filters: Vec<_> = only.iter().cloned().chain(own).collect();
            AccessLog {
                filter: all(filters),
                ..log
            }
        })
        .collect()
}

fn all(mut filters: Vec<AccessLogFilter>) -> Option<AccessLogFilter> {
    match filters.len() {
        0 | 1 => filters.pop(),
        _ => Some(AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter { filters })),
        }),
    }
}

/// What holds for each provider on one side of the proxy: the mesh's Telemetry, then the namespace's,
/// then the workload's. Providers that one names take the place of those before; where none are
/// named the earlier ones are meant.
fn specs(scope: &Scope<'_>, mode: WorkloadMode) -> BTreeMap<String, Spec> {
    let mesh = scope.mesh();
    let defaults = match mesh.default_logs.as_slice() {
        [] if mesh.access_log.is_some() => vec![OF_MESH.to_owned()],
        named => named.to_vec(),
    };
    let telemetries = scope.telemetries();
    let levels: Vec<&[AccessLogging]> = telemetries
        .iter()
        .map(|it| it.access_logging.as_slice())
        .filter(|it| !it.is_empty())
        .collect();
    if levels.is_empty() {
        let named = defaults.into_iter().map(|name| (name, Spec::default()));
        return named.collect();
    }
    let mut in_scope: BTreeSet<&String> = defaults.iter().collect();
    for level in &levels {
        let named: BTreeSet<_> = level.iter().flat_map(|it| &it.providers).collect();
        if !named.is_empty() {
            in_scope = named;
        }
    }
    let mut specs = BTreeMap::new();
    let mut parents = &defaults;
    for entry in levels.into_iter().flatten() {
        if !entry.providers.is_empty() {
            parents = &entry.providers;
        }
        for name in parents.iter().filter(|it| in_scope.contains(it)) {
            if entry.mode.includes(mode) {
                let spec = Spec {
                    disabled: entry.disabled,
                    filter: entry.filter.clone(),
                };
                specs.insert(name.clone(), spec);
            }
        }
    }
    specs
}

/// The log of the provider of this name; `None` if it is none of logs.
fn made(scope: &Scope<'_>, name: &str) -> Option<AccessLog> {
    let mesh = scope.mesh();
    if name == OF_MESH {
        return mesh.access_log.as_ref().map(of_mesh);
    }
    let is_named = |it: &&ExtensionProvider| it.name.eq_ignore_ascii_case(name);
    match mesh.extension_providers.iter().find(is_named) {
        Some(provider) => match &provider.kind {
            ProviderKind::FileLog(log) if is_plain(name, log) => Some(built_in(scope, &log.path)),
            ProviderKind::FileLog(log) => {
                let default = AccessLogFormat::Text(None);
                let format = log.format.as_ref().unwrap_or(&default);
                Some(file(&log.path, format, log.omit_empty_values))
            }
            ProviderKind::HttpLog(log) => service::http(scope, log),
            ProviderKind::TcpLog(log) => service::tcp(scope, log),
            ProviderKind::OtelLog(log) => service::open_telemetry(scope, log, TEXT),
            ProviderKind::ExtAuthz(_) | ProviderKind::Prometheus | ProviderKind::Secrets(_) => None,
        },
        None if name == BUILT_IN => Some(built_in(scope, "/dev/stdout")),
        None => None,
    }
}

/// Whether a provider is Istio's own with nothing but another path.
fn is_plain(name: &str, log: &FileLog) -> bool {
    name == BUILT_IN && log.format.is_none() && !log.omit_empty_values
}

/// Istio's own provider has the mesh's format.
fn built_in(scope: &Scope<'_>, path: &str) -> AccessLog {
    let default = AccessLogFormat::Text(None);
    let mesh = scope.mesh().access_log.as_ref();
    file(path, mesh.map_or(&default, |it| &it.format), false)
}

fn of_mesh(settings: &Settings) -> AccessLog {
    let Settings { path, format } = settings;
    file(path, format, false)
}

fn file(path: &str, format: &AccessLogFormat, omit_empty_values: bool) -> AccessLog {
    let format = match format {
        AccessLogFormat::Text(written) => {
            let mut line = written.as_deref().unwrap_or(TEXT).to_owned();
            if !line.ends_with('\n') {
                line.push('\n');
            }
            Format::TextFormatSource(DataSource {
                specifier: Some(Specifier::InlineString(line)),
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
    let asks = match &format {
        Format::TextFormatSource(DataSource {
            specifier: Some(Specifier::InlineString(line)),
            ..
        }) => line.contains(WITHOUT_QUERY),
        Format::JsonFormat(fields) => fields.fields.values().any(|value| {
            matches!(&value.kind, Some(prost_types::value::Kind::StringValue(it)) if it.contains(WITHOUT_QUERY))
        }),
        _ => false,
    };
    let file = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(FileFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            omit_empty_values,
            formatters: asks.then(without_query).into_iter().collect(),
            ..Default::default()
        })),
    };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(ConfigType::TypedConfig(pack(&file))),
    }
}

/// The extension for paths without their query.
fn without_query() -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: "envoy.formatter.req_without_query".to_owned(),
        typed_config: Some(pack(&ReqWithoutQuery::default())),
    }
}
