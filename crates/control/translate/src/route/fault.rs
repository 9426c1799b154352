//! Faults (FEATURES T8).
//!
//! In: a route's `fault`. Out: what the fault filter is told for it.

use meltemi_model::{Fault, FaultAbort, FaultDelay, FaultStatus, Percentage};
use meltemi_xds::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay as Delay, fault_delay,
};
use meltemi_xds::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort as Abort, HttpFault, fault_abort,
};
use meltemi_xds::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use crate::proto::duration;

/// The name of the filter.
pub(crate) const FILTER: &str = "envoy.filters.http.fault";

/// What the filter is told.
pub(super) fn policy(fault: &Fault) -> HttpFault {
    let Fault { delay, abort } = fault;
    HttpFault {
        delay: delay.as_ref().map(|it| {
            let FaultDelay {
                percentage,
                duration: time,
            } = it;
            Delay {
                percentage: Some(fraction(*percentage)),
                fault_delay_secifier: Some(fault_delay::FaultDelaySecifier::FixedDelay(duration(
                    *time,
                ))),
            }
        }),
        abort: abort.as_ref().map(|it| {
            let FaultAbort { percentage, status } = it;
            Abort {
                percentage: Some(fraction(*percentage)),
                error_type: Some(match status {
                    FaultStatus::Http(status) => {
                        fault_abort::ErrorType::HttpStatus(u32::from(*status))
                    }
                    FaultStatus::Grpc(status) => {
                        fault_abort::ErrorType::GrpcStatus(u32::from(*status))
                    }
                }),
                ..Default::default()
            }
        }),
        ..Default::default()
    }
}

/// A share as Envoy has it.
pub(super) fn fraction(percentage: Percentage) -> FractionalPercent {
    FractionalPercent {
        numerator: percentage.0,
        denominator: DenominatorType::Million.into(),
    }
}
