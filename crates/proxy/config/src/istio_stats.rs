//! Istio's standard metrics, as an HTTP filter and as a network filter.

use std::time::Duration;

use meltemi_ir::{IstioStats, MetricReporter};
use meltemi_xds::pb::stats::{PluginConfig, Reporter};

use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, enumeration};

/// The filter's settings.
pub(crate) fn istio_stats(message: &PluginConfig, at: &At<'_>) -> Option<IstioStats> {
    fields!(at, message, PluginConfig {
        honoured { disable_host_header_fallback, tcp_reporting_duration, reporter }
        refused {
            metrics: "changes to the standard metrics",
            definitions: "metrics beyond the standard ones",
        }
        ignored {
            rescoping_duration: "series live as long as the proxy",
            scope_grace_period_duration: "series live as long as the proxy",
        }
    });
    Some(IstioStats {
        reporter: match enumeration(*reporter, &at.field("reporter"))? {
            Reporter::Unspecified => MetricReporter::ByDirection,
            Reporter::ServerGateway => MetricReporter::ServerGateway,
        },
        disable_host_header_fallback: *disable_host_header_fallback,
        tcp_reporting_duration: duration(
            tcp_reporting_duration.as_ref(),
            &at.field("tcp_reporting_duration"),
        )
        .unwrap_or(Duration::from_secs(5)),
    })
}
