//! Access logs.

pub(crate) mod filter;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use meltemi_ir::{AccessLog, LogFormat, LogMoments, LogOutput, LogSink, Value};
use meltemi_xds::pb::envoy::config::accesslog::v3 as accesslog_v3;
use meltemi_xds::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use meltemi_xds::pb::envoy::config::core::v3::substitution_format_string::Format;
use meltemi_xds::pb::envoy::config::core::v3::{SubstitutionFormatString, TypedExtensionConfig};
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat;
use meltemi_xds::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::HcmAccessLogOptions;
use meltemi_xds::pb::envoy::extensions::formatter::metadata::v3::Metadata;
use meltemi_xds::pb::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use prost_types::Any;

use self::filter::log_filter;
use crate::data_source;
use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::metadata::fields_of;
use crate::path::At;
use crate::scalar::{limit, non_empty};

/// The least time between two lines of one connection or request.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// How often something that lasts is logged.
pub(crate) fn log_interval(value: Option<&prost_types::Duration>, at: &At<'_>) -> Option<Duration> {
    let interval = limit(value, None, at)?;
    if interval < LEAST_INTERVAL {
        at.problem("must be at least 1ms");
    }
    Some(interval)
}

/// When requests are logged, besides their end.
pub(crate) fn log_moments(message: &HcmAccessLogOptions, at: &At<'_>) -> LogMoments {
    fields!(at, message, HcmAccessLogOptions {
        honoured {
            access_log_flush_interval, flush_access_log_on_new_request,
            flush_log_on_tunnel_successfully_established,
        }
    });
    LogMoments {
        on_request: *flush_access_log_on_new_request,
        every: log_interval(
            access_log_flush_interval.as_ref(),
            &at.field("access_log_flush_interval"),
        ),
        on_tunnel: *flush_log_on_tunnel_successfully_established,
    }
}

/// The access loggers.
pub(crate) static LOGGERS: &[Known<Logger>] = &[
    Known {
        name: "envoy.access_loggers.file",
        type_name: "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        convert: |config, at| file(&unpack(config, at)?, at).map(lines),
    },
    Known {
        name: "envoy.access_loggers.stdout",
        type_name: "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        convert: |config, at| stdout(&unpack(config, at)?, at).map(lines),
    },
    Known {
        name: "envoy.access_loggers.stderr",
        type_name: "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        convert: |config, at| stderr(&unpack(config, at)?, at).map(lines),
    },
    Known {
        name: "envoy.access_loggers.http_grpc",
        type_name: "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        convert: |config, at| service::http(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.access_loggers.tcp_grpc",
        type_name: "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
        convert: |config, at| service::tcp(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.access_loggers.open_telemetry",
        type_name: "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        convert: |config, at| service::open_telemetry(&unpack(config, at)?, at),
    },
];

/// Converts the configuration of a logger.
pub(crate) type Logger = fn(Option<&Any>, &At<'_>) -> Option<LogOutput>;

fn lines((sink, format): (LogSink, LogFormat)) -> LogOutput {
    LogOutput::Lines { sink, format }
}

/// One access log.
pub(crate) fn access_log(message: &accesslog_v3::AccessLog, at: &At<'_>) -> Option<AccessLog> {
    fields!(at, message, accesslog_v3::AccessLog {
        honoured { name, filter }
        oneof { config_type { typed_config: Partly "files, standard output and error, gRPC services, OpenTelemetry over gRPC" } }
    });
    let config = config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    let filter = filter
        .as_ref()
        .and_then(|message| log_filter(message, &at.field("filter")));
    let known = Extension { name, config }.find(LOGGERS, at)?;
    let output = (known.convert)(config, &at.field("typed_config"))?;
    Some(AccessLog { output, filter })
}

fn file(message: &FileAccessLog, at: &At<'_>) -> Option<(LogSink, LogFormat)> {
    fields!(at, message, FileAccessLog {
        honoured { path }
        oneof { access_log_format {
            log_format: Honoured "",
            format: Honoured "",
            json_format: Honoured "",
            typed_json_format: Honoured "",
        } }
    });
    let sink = match non_empty(path, &at.field("path")) {
        "/dev/stdout" => LogSink::Stdout,
        "/dev/stderr" => LogSink::Stderr,
        path => LogSink::File(PathBuf::from(path)),
    };
    let format = match access_log_format {
        Some(AccessLogFormat::LogFormat(message)) => log_format(message, &at.field("log_format"))?,
        Some(AccessLogFormat::Format(text)) if text.is_empty() => LogFormat::Default,
        Some(AccessLogFormat::Format(text)) => LogFormat::Text(text.clone()),
        Some(AccessLogFormat::JsonFormat(fields) | AccessLogFormat::TypedJsonFormat(fields)) => {
            LogFormat::Json(Value::Struct(fields_of(fields)))
        }
        None => LogFormat::Default,
    };
    Some((sink, format))
}

fn stdout(message: &StdoutAccessLog, at: &At<'_>) -> Option<(LogSink, LogFormat)> {
    fields!(at, message, StdoutAccessLog {
        oneof { access_log_format { log_format: Honoured "" } }
    });
    let format = match access_log_format {
        Some(stdout_access_log::AccessLogFormat::LogFormat(message)) => {
            log_format(message, &at.field("log_format"))?
        }
        None => LogFormat::Default,
    };
    Some((LogSink::Stdout, format))
}

fn stderr(message: &StderrAccessLog, at: &At<'_>) -> Option<(LogSink, LogFormat)> {
    fields!(at, message, StderrAccessLog {
        oneof { access_log_format { log_format: Honoured "" } }
    });
    let format = match access_log_format {
        Some(stderr_access_log::AccessLogFormat::LogFormat(message)) => {
            log_format(message, &at.field("log_format"))?
        }
        None => LogFormat::Default,
    };
    Some((LogSink::Stderr, format))
}

/// What adds operators to formats, of which the proxy has all it has without.
pub(crate) static FORMATTERS: &[Known<FormatterKind>] = &[
    Known {
        name: "envoy.formatter.metadata",
        type_name: "envoy.extensions.formatter.metadata.v3.Metadata",
        convert: metadata_formatter,
    },
    Known {
        name: "envoy.formatter.req_without_query",
        type_name: "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
        convert: req_without_query,
    },
];

/// Checks the configuration of a formatter.
pub(crate) type FormatterKind = fn(Option<&Any>, &At<'_>) -> Option<()>;

empty_message!(metadata_formatter, Metadata);
empty_message!(req_without_query, ReqWithoutQuery);

pub(crate) fn formatter(message: &TypedExtensionConfig, at: &At<'_>) -> Option<()> {
    let config = message.typed_config.as_ref();
    let name = &message.name;
    let known = Extension { name, config }.find(FORMATTERS, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

/// A format.
pub(crate) fn log_format(message: &SubstitutionFormatString, at: &At<'_>) -> Option<LogFormat> {
    fields!(at, message, SubstitutionFormatString {
        honoured { omit_empty_values }
        partly { formatters: "those listed below, whose operators are there without them too" }
        oneof { format {
            text_format: Honoured "",
            json_format: Honoured "",
            text_format_source: Honoured "",
        } }
        ignored {
            content_type: "it is for answers, not for logs; there it is honoured",
            json_format_options: "members come in order of their names",
        }
    });
    at.field("formatters").each(formatters, formatter);
    let text = |text| match omit_empty_values {
        false => LogFormat::Text(text),
        true => LogFormat::SparseText(text),
    };
    Some(match format {
        Some(Format::TextFormat(format)) => text(format.clone()),
        Some(Format::JsonFormat(fields)) => {
            let value = Value::Struct(fields_of(fields));
            match omit_empty_values {
                false => LogFormat::Json(value),
                true => LogFormat::SparseJson(value),
            }
        }
        Some(Format::TextFormatSource(source)) => {
            text(data_source::text(source, &at.field("text_format_source"))?)
        }
        None => {
            at.problem("needs a text_format or json_format");
            return None;
        }
    })
}
