//! Which requests and connections are logged.

use meltemi_ir::{AccessLogFilter, Comparison, LogType};
use meltemi_xds::pb::envoy::config::accesslog::v3 as accesslog_v3;
use meltemi_xds::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use meltemi_xds::pb::envoy::config::accesslog::v3::comparison_filter::Op;
use meltemi_xds::pb::envoy::config::accesslog::v3::extension_filter::ConfigType;
use meltemi_xds::pb::envoy::config::core::v3::RuntimeUInt32;
use meltemi_xds::pb::envoy::data::accesslog::v3::AccessLogType;
use meltemi_xds::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use prost_types::Any;

use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::matcher::{header_match, metadata_match};
use crate::path::At;
use crate::scalar::{enumeration, non_empty, per_million};

/// Every flag that a filter may name.
const FLAGS: &[&str] = &[
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

/// A filter.
pub(crate) fn log_filter(
    message: &accesslog_v3::AccessLogFilter,
    at: &At<'_>,
) -> Option<AccessLogFilter> {
    fields!(at, message, accesslog_v3::AccessLogFilter {
        oneof { filter_specifier {
            response_flag_filter: Honoured "",
            not_health_check_filter: Honoured "",
            status_code_filter: Honoured "",
            duration_filter: Honoured "",
            traceable_filter: Refused "there is no tracing",
            runtime_filter: Honoured "",
            and_filter: Honoured "",
            or_filter: Honoured "",
            header_filter: Honoured "",
            grpc_status_filter: Honoured "",
            extension_filter: Partly "expressions in CEL",
            metadata_filter: Honoured "",
            log_type_filter: Honoured "",
        } }
    });
    match filter_specifier {
        Some(FilterSpecifier::ResponseFlagFilter(message)) => {
            Some(flags(message, &at.field("response_flag_filter")))
        }
        Some(FilterSpecifier::NotHealthCheckFilter(message)) => {
            fields!(at, message, accesslog_v3::NotHealthCheckFilter {});
            Some(AccessLogFilter::NotHealthCheck)
        }
        Some(FilterSpecifier::StatusCodeFilter(message)) => {
            let at = &at.field("status_code_filter");
            fields!(at, message, accesslog_v3::StatusCodeFilter { honoured { comparison } });
            self::comparison(comparison.as_ref(), &at.field("comparison"))
                .map(AccessLogFilter::Status)
        }
        Some(FilterSpecifier::DurationFilter(message)) => {
            let at = &at.field("duration_filter");
            fields!(at, message, accesslog_v3::DurationFilter { honoured { comparison } });
            self::comparison(comparison.as_ref(), &at.field("comparison"))
                .map(AccessLogFilter::Duration)
        }
        Some(FilterSpecifier::RuntimeFilter(message)) => {
            Some(share(message, &at.field("runtime_filter")))
        }
        Some(FilterSpecifier::AndFilter(message)) => {
            let at = &at.field("and_filter");
            fields!(at, message, accesslog_v3::AndFilter { honoured { filters } });
            Some(AccessLogFilter::And(several(filters, at)))
        }
        Some(FilterSpecifier::OrFilter(message)) => {
            let at = &at.field("or_filter");
            fields!(at, message, accesslog_v3::OrFilter { honoured { filters } });
            Some(AccessLogFilter::Or(several(filters, at)))
        }
        Some(FilterSpecifier::HeaderFilter(message)) => {
            let at = &at.field("header_filter");
            fields!(at, message, accesslog_v3::HeaderFilter { honoured { header } });
            let at = &at.field("header");
            match header {
                Some(header) => header_match(header, at).map(AccessLogFilter::Header),
                None => {
                    at.problem("is required");
                    None
                }
            }
        }
        Some(FilterSpecifier::GrpcStatusFilter(message)) => {
            let at = &at.field("grpc_status_filter");
            fields!(at, message, accesslog_v3::GrpcStatusFilter { honoured { statuses, exclude } });
            Some(AccessLogFilter::GrpcStatus {
                statuses: statuses
                    .iter()
                    .filter_map(|status| u32::try_from(*status).ok())
                    .collect(),
                exclude: *exclude,
            })
        }
        Some(FilterSpecifier::MetadataFilter(message)) => {
            metadata(message, &at.field("metadata_filter"))
        }
        Some(FilterSpecifier::LogTypeFilter(message)) => {
            log_type(message, &at.field("log_type_filter"))
        }
        Some(FilterSpecifier::TraceableFilter(_)) => {
            at.field("traceable_filter").refuse("there is no tracing");
            None
        }
        Some(FilterSpecifier::ExtensionFilter(message)) => {
            extension(message, &at.field("extension_filter"))
        }
        None => {
            at.problem("needs a filter");
            None
        }
    }
}

fn metadata(message: &accesslog_v3::MetadataFilter, at: &At<'_>) -> Option<AccessLogFilter> {
    fields!(at, message, accesslog_v3::MetadataFilter {
        honoured { matcher, match_if_key_not_found }
    });
    Some(AccessLogFilter::Metadata {
        matcher: match matcher {
            Some(matcher) => Some(metadata_match(matcher, &at.field("matcher"))?),
            None => None,
        },
        match_if_missing: match_if_key_not_found.unwrap_or(true),
    })
}

fn log_type(message: &accesslog_v3::LogTypeFilter, at: &At<'_>) -> Option<AccessLogFilter> {
    fields!(at, message, accesslog_v3::LogTypeFilter { honoured { types, exclude } });
    Some(AccessLogFilter::LogType {
        types: at.field("types").each(types, |kind, at| {
            Some(match enumeration(*kind, at)? {
                AccessLogType::DownstreamEnd => LogType::DownstreamEnd,
                AccessLogType::TcpConnectionEnd => LogType::TcpConnectionEnd,
                AccessLogType::TcpUpstreamConnected => LogType::TcpUpstreamConnected,
                AccessLogType::TcpPeriodic => LogType::TcpPeriodic,
                AccessLogType::TcpConnectionStart => LogType::TcpConnectionStart,
                AccessLogType::DownstreamStart => LogType::DownstreamStart,
                AccessLogType::DownstreamPeriodic => LogType::DownstreamPeriodic,
                AccessLogType::DownstreamTunnelSuccessfullyEstablished => {
                    LogType::DownstreamTunnelSuccessfullyEstablished
                }
                _ => LogType::Other,
            })
        }),
        exclude: *exclude,
    })
}

fn several(filters: &[accesslog_v3::AccessLogFilter], at: &At<'_>) -> Vec<AccessLogFilter> {
    let at = &at.field("filters");
    if filters.len() < 2 {
        at.problem("must have two elements or more");
    }
    at.each(filters, log_filter)
}

fn comparison(message: Option<&accesslog_v3::ComparisonFilter>, at: &At<'_>) -> Option<Comparison> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    fields!(at, message, accesslog_v3::ComparisonFilter { honoured { op, value } });
    let number = value.as_ref().map_or(0, |message| {
        let at = &at.field("value");
        fields!(at, message, RuntimeUInt32 {
            honoured { default_value }
            ignored { runtime_key: "no runtime overrides the default" }
        });
        u64::from(*default_value)
    });
    Some(match enumeration(*op, &at.field("op"))? {
        Op::Eq => Comparison::Equal(number),
        Op::Ge => Comparison::AtLeast(number),
        Op::Le => Comparison::AtMost(number),
        Op::Ne => Comparison::Not(number),
    })
}

fn share(message: &accesslog_v3::RuntimeFilter, at: &At<'_>) -> AccessLogFilter {
    fields!(at, message, accesslog_v3::RuntimeFilter {
        honoured { percent_sampled, use_independent_randomness }
        ignored { runtime_key: "no runtime overrides the share" }
    });
    AccessLogFilter::Share {
        per_million: percent_sampled
            .as_ref()
            .map_or(0, |share| per_million(share, &at.field("percent_sampled"))),
        independent: *use_independent_randomness,
    }
}

fn flags(message: &accesslog_v3::ResponseFlagFilter, at: &At<'_>) -> AccessLogFilter {
    fields!(at, message, accesslog_v3::ResponseFlagFilter { honoured { flags } });
    AccessLogFilter::ResponseFlags(at.field("flags").each(flags, |flag, at| {
        if !FLAGS.contains(&flag.as_str()) {
            at.problem(format_args!("{flag:?} is not a response flag"));
        }
        Some(flag.clone())
    }))
}

/// The filters that are extensions.
pub(crate) static LOG_FILTERS: &[Known<Convert>] = &[Known {
    name: "envoy.access_loggers.extension_filters.cel",
    type_name: "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
    convert: |config, at| expression(&unpack(config, at)?, at),
}];

/// Converts the configuration of a filter.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<AccessLogFilter>;

fn extension(message: &accesslog_v3::ExtensionFilter, at: &At<'_>) -> Option<AccessLogFilter> {
    fields!(at, message, accesslog_v3::ExtensionFilter {
        honoured { name }
        oneof { config_type { typed_config: Partly "expressions in CEL" } }
    });
    let config = config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    let known = Extension { name, config }.find(LOG_FILTERS, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn expression(message: &ExpressionFilter, at: &At<'_>) -> Option<AccessLogFilter> {
    fields!(at, message, ExpressionFilter {
        honoured { expression }
        unsupported { cel_config }
    });
    let expression = non_empty(expression, &at.field("expression"));
    Some(AccessLogFilter::Expression(expression.to_owned()))
}
