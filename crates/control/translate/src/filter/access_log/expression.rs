//! Which requests a log holds: expressions in CEL (FEATURES O3).
//!
//! In: an expression. Out: Envoy's filter for it.

use meltemi_xds::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, ExtensionFilter, access_log_filter::FilterSpecifier,
    extension_filter::ConfigType,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;

use crate::proto::pack;

/// The filter of an expression.
pub(super) fn filter(expression: &str) -> AccessLogFilter {
    let message = ExpressionFilter {
        expression: expression.to_owned(),
        ..Default::default()
    };
    AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ExtensionFilter(ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&message))),
        })),
    }
}
