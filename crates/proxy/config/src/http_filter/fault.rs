//! Failures made on purpose.

use meltemi_ir::{Fault, FaultAbort, FaultAmount, FaultDelay, FaultRateLimit};
use meltemi_xds::pb::envoy::extensions::filters::common::fault::v3 as common_v3;
use meltemi_xds::pb::envoy::extensions::filters::common::fault::v3::fault_delay::{
    FaultDelaySecifier, HeaderDelay,
};
use meltemi_xds::pb::envoy::extensions::filters::common::fault::v3::fault_rate_limit::{
    FixedLimit, HeaderLimit, LimitType,
};
use meltemi_xds::pb::envoy::extensions::filters::http::fault::v3 as fault_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::fault::v3::fault_abort::{
    ErrorType, HeaderAbort,
};
use meltemi_xds::pb::envoy::r#type::v3::FractionalPercent;
use meltemi_xds::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::fields::fields;
use crate::matcher::header_match;
use crate::path::At;
use crate::scalar::{per_million, positive, status};

/// The fault filter's settings.
pub(crate) fn fault(message: &fault_v3::HttpFault, at: &At<'_>) -> Option<Fault> {
    fields!(at, message, fault_v3::HttpFault {
        honoured {
            delay, abort, response_rate_limit, upstream_cluster, headers, downstream_nodes,
            max_active_faults, disable_downstream_cluster_stats,
        }
        ignored {
            delay_percent_runtime: "no runtime overrides the settings",
            abort_percent_runtime: "no runtime overrides the settings",
            delay_duration_runtime: "no runtime overrides the settings",
            abort_http_status_runtime: "no runtime overrides the settings",
            max_active_faults_runtime: "no runtime overrides the settings",
            response_rate_limit_percent_runtime: "no runtime overrides the settings",
            abort_grpc_status_runtime: "no runtime overrides the settings",
            filter_metadata: "nothing reads it",
        }
    });
    let delay = delay
        .as_ref()
        .map(|message| self::delay(message, &at.field("delay")));
    let abort = abort
        .as_ref()
        .map(|message| self::abort(message, &at.field("abort")));
    let limit = response_rate_limit
        .as_ref()
        .map(|message| rate_limit(message, &at.field("response_rate_limit")));
    Some(Fault {
        delay: delay.flatten(),
        abort: abort.flatten(),
        rate_limit: limit.flatten(),
        upstream_cluster: upstream_cluster.clone(),
        headers: at.field("headers").each(headers, header_match),
        downstream_nodes: downstream_nodes.clone(),
        max_active: max_active_faults.map(u64::from),
        no_downstream_cluster_stats: *disable_downstream_cluster_stats,
    })
}

/// A share in parts of a million, and how many of these one unit of its numerator is.
fn share(message: Option<&FractionalPercent>, at: &At<'_>) -> (u32, u32) {
    let Some(message) = message else {
        return (0, 10_000);
    };
    let unit = match message.denominator() {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    (per_million(message, at), unit)
}

fn delay(message: &common_v3::FaultDelay, at: &At<'_>) -> Option<FaultDelay> {
    fields!(at, message, common_v3::FaultDelay {
        honoured { percentage }
        oneof { fault_delay_secifier { fixed_delay: Honoured "", header_delay: Honoured "" } }
    });
    let length = match fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => {
            FaultAmount::Fixed(positive(Some(delay), &at.field("fixed_delay"))?)
        }
        Some(FaultDelaySecifier::HeaderDelay(message)) => {
            fields!(at, message, HeaderDelay {});
            FaultAmount::Header
        }
        None => {
            at.problem("needs a fixed_delay or header_delay");
            return None;
        }
    };
    let (per_million, unit) = share(percentage.as_ref(), &at.field("percentage"));
    Some(FaultDelay {
        length,
        per_million,
        unit,
    })
}

fn abort(message: &fault_v3::FaultAbort, at: &At<'_>) -> Option<FaultAbort> {
    fields!(at, message, fault_v3::FaultAbort {
        honoured { percentage, response_body }
        oneof { error_type {
            http_status: Honoured "",
            grpc_status: Honoured "",
            header_abort: Honoured "",
        } }
    });
    let status = match error_type {
        Some(ErrorType::HttpStatus(code)) => {
            FaultAmount::Fixed(Ok(status(*code, 200, &at.field("http_status"))?))
        }
        Some(ErrorType::GrpcStatus(code)) => FaultAmount::Fixed(Err(*code)),
        Some(ErrorType::HeaderAbort(message)) => {
            fields!(at, message, HeaderAbort {});
            FaultAmount::Header
        }
        None => {
            at.problem("needs an http_status, grpc_status or header_abort");
            return None;
        }
    };
    let (per_million, unit) = share(percentage.as_ref(), &at.field("percentage"));
    Some(FaultAbort {
        status,
        per_million,
        unit,
        body: response_body.clone(),
    })
}

fn rate_limit(message: &common_v3::FaultRateLimit, at: &At<'_>) -> Option<FaultRateLimit> {
    fields!(at, message, common_v3::FaultRateLimit {
        honoured { percentage }
        oneof { limit_type { fixed_limit: Honoured "", header_limit: Honoured "" } }
    });
    let kilobytes = match limit_type {
        Some(LimitType::FixedLimit(message)) => {
            let at = &at.field("fixed_limit");
            fields!(at, message, FixedLimit { honoured { limit_kbps } });
            if *limit_kbps == 0 {
                at.field("limit_kbps").problem("must be at least 1");
            }
            FaultAmount::Fixed(*limit_kbps)
        }
        Some(LimitType::HeaderLimit(message)) => {
            fields!(at, message, HeaderLimit {});
            FaultAmount::Header
        }
        None => {
            at.problem("needs a fixed_limit or header_limit");
            return None;
        }
    };
    let (per_million, unit) = share(percentage.as_ref(), &at.field("percentage"));
    Some(FaultRateLimit {
        kilobytes,
        per_million,
        unit,
    })
}
