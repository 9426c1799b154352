//! Access logs.

use std::path::PathBuf;

use meltemi_ir::{AccessLog, AccessLogFilter, LogFormat, LogSink, Value};
use meltemi_xds::pb::envoy::config::accesslog::v3 as accesslog_v3;
use meltemi_xds::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use meltemi_xds::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use meltemi_xds::pb::envoy::config::accesslog::v3::{NotHealthCheckFilter, ResponseFlagFilter};
use meltemi_xds::pb::envoy::config::core::v3::SubstitutionFormatString;
use meltemi_xds::pb::envoy::config::core::v3::substitution_format_string::Format;
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use meltemi_xds::pb::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat;
use meltemi_xds::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use prost_types::Any;

use crate::data_source;
use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::metadata::fields_of;
use crate::path::At;
use crate::scalar::non_empty;

/// The access loggers.
pub(crate) static LOGGERS: &[Known<Logger>] = &[
    Known {
        name: "envoy.access_loggers.file",
        type_name: "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        convert: |config, at| file(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.access_loggers.stdout",
        type_name: "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        convert: |config, at| stdout(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.access_loggers.stderr",
        type_name: "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        convert: |config, at| stderr(&unpack(config, at)?, at),
    },
];

/// Converts the configuration of a logger.
pub(crate) type Logger = fn(Option<&Any>, &At<'_>) -> Option<(LogSink, LogFormat)>;

/// Every flag that a filter may name.
const FLAGS: &[&str] = &[
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

/// One access log.
pub(crate) fn access_log(message: &accesslog_v3::AccessLog, at: &At<'_>) -> Option<AccessLog> {
    fields!(at, message, accesslog_v3::AccessLog {
        honoured { name }
        partly { filter: "response_flag_filter and not_health_check_filter" }
        oneof { config_type { typed_config: Partly "file, standard output and standard error" } }
    });
    let config = config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    let filter = filter
        .as_ref()
        .and_then(|message| self::filter(message, &at.field("filter")));
    let known = Extension { name, config }.find(LOGGERS, at)?;
    let (sink, format) = (known.convert)(config, &at.field("typed_config"))?;
    Some(AccessLog {
        sink,
        format,
        filter,
    })
}

fn filter(message: &accesslog_v3::AccessLogFilter, at: &At<'_>) -> Option<AccessLogFilter> {
    fields!(at, message, accesslog_v3::AccessLogFilter {
        oneof { filter_specifier {
            response_flag_filter: Honoured "",
            not_health_check_filter: Honoured "",
            status_code_filter: Refused "",
            duration_filter: Refused "",
            traceable_filter: Refused "",
            runtime_filter: Refused "",
            and_filter: Refused "",
            or_filter: Refused "",
            header_filter: Refused "",
            grpc_status_filter: Refused "",
            extension_filter: Refused "",
            metadata_filter: Refused "",
            log_type_filter: Refused "",
        } }
    });
    let refused = match filter_specifier {
        Some(FilterSpecifier::ResponseFlagFilter(message)) => {
            return Some(flags(message, &at.field("response_flag_filter")));
        }
        Some(FilterSpecifier::NotHealthCheckFilter(message)) => {
            fields!(at, message, NotHealthCheckFilter {});
            return Some(AccessLogFilter::NotHealthCheck);
        }
        Some(FilterSpecifier::StatusCodeFilter(_)) => "status_code_filter",
        Some(FilterSpecifier::DurationFilter(_)) => "duration_filter",
        Some(FilterSpecifier::TraceableFilter(_)) => "traceable_filter",
        Some(FilterSpecifier::RuntimeFilter(_)) => "runtime_filter",
        Some(FilterSpecifier::AndFilter(_)) => "and_filter",
        Some(FilterSpecifier::OrFilter(_)) => "or_filter",
        Some(FilterSpecifier::HeaderFilter(_)) => "header_filter",
        Some(FilterSpecifier::GrpcStatusFilter(_)) => "grpc_status_filter",
        Some(FilterSpecifier::ExtensionFilter(_)) => "extension_filter",
        Some(FilterSpecifier::MetadataFilter(_)) => "metadata_filter",
        Some(FilterSpecifier::LogTypeFilter(_)) => "log_type_filter",
        None => {
            at.problem("needs a filter");
            return None;
        }
    };
    at.field(refused).refuse("");
    None
}

fn flags(message: &ResponseFlagFilter, at: &At<'_>) -> AccessLogFilter {
    fields!(at, message, ResponseFlagFilter { honoured { flags } });
    AccessLogFilter::ResponseFlags(at.field("flags").each(flags, |flag, at| {
        if !FLAGS.contains(&flag.as_str()) {
            at.problem(format_args!("{flag:?} is not a response flag"));
        }
        Some(flag.clone())
    }))
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

fn log_format(message: &SubstitutionFormatString, at: &At<'_>) -> Option<LogFormat> {
    fields!(at, message, SubstitutionFormatString {
        oneof { format {
            text_format: Honoured "",
            json_format: Honoured "",
            text_format_source: Honoured "",
        } }
        refused {
            formatters: "only the operators that need none are",
        }
        unsupported { omit_empty_values }
        ignored {
            content_type: "it is for answers, not for logs",
            json_format_options: "members come in order of their names",
        }
    });
    Some(match format {
        Some(Format::TextFormat(text)) => LogFormat::Text(text.clone()),
        Some(Format::JsonFormat(fields)) => LogFormat::Json(Value::Struct(fields_of(fields))),
        Some(Format::TextFormatSource(source)) => {
            LogFormat::Text(data_source::text(source, &at.field("text_format_source"))?)
        }
        None => {
            at.problem("needs a text_format or json_format");
            return None;
        }
    })
}
