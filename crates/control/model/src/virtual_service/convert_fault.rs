//! Faults and mirrors: from written to valid (FEATURES T7, T8).

use meltemi_api::{FieldPath, virtual_service as api};

use super::convert_action::convert_destination;
use super::{Fault, FaultAbort, FaultDelay, FaultStatus, Mirror, Percentage};
use crate::check::{Check, filled};

/// The names of gRPC's statuses, in the order of their numbers.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Checks a fault.
pub(super) fn convert_fault(
    written: api::HttpFaultInjection,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Fault> {
    let api::HttpFaultInjection { delay, abort } = written;
    if delay.is_none() && abort.is_none() {
        check.invalid(at, "says nothing; write delay or abort");
        return None;
    }
    let fault = Fault {
        delay: delay.and_then(|it| convert_delay(it, &at.field("delay"), check)),
        abort: abort.and_then(|it| convert_abort(it, &at.field("abort"), check)),
    };
    (fault.delay.is_some() || fault.abort.is_some()).then_some(fault)
}

fn convert_delay(written: api::Delay, at: &FieldPath, check: &mut Check<'_>) -> Option<FaultDelay> {
    let api::Delay {
        percent,
        fixed_delay,
        exponential_delay,
        percentage,
    } = written;
    check.unread(at, "exponentialDelay", exponential_delay);
    let at_delay = at.field("fixedDelay");
    if fixed_delay.is_none() {
        check.invalid(&at_delay, "a delay is needed");
    }
    let percentage = match (percentage, percent) {
        (None, Some(percent)) => whole_percent(percent, &at.field("percent"), check),
        (percentage, _) => convert_percentage(percentage, &at.field("percentage"), check),
    };
    Some(FaultDelay {
        // What is not written is every request.
        percentage,
        duration: check.duration(&at_delay, fixed_delay.as_deref())?,
    })
}

fn convert_abort(written: api::Abort, at: &FieldPath, check: &mut Check<'_>) -> Option<FaultAbort> {
    let api::Abort {
        http_status,
        grpc_status,
        http2_error,
        percentage,
    } = written;
    check.unread(at, "http2Error", http2_error);
    let status = match (http_status, filled(grpc_status)) {
        (Some(status), None) => {
            if !(200..=599).contains(&status) {
                let message = format!("{status} is not between 200 and 599");
                check.invalid(&at.field("httpStatus"), message);
            }
            FaultStatus::Http(u16::try_from(status).ok()?)
        }
        (None, Some(name)) => {
            let choices: Vec<_> = (0..)
                .zip(GRPC)
                .map(|(number, name)| (name, number))
                .collect();
            FaultStatus::Grpc(check.choice(&at.field("grpcStatus"), &name, &choices)?)
        }
        (Some(_), Some(_)) => {
            check.invalid(at, "has httpStatus and grpcStatus; keep one");
            return None;
        }
        (None, None) => {
            let what = "has no effect: it says not how to answer; write httpStatus or grpcStatus";
            check.warn(at, what);
            return None;
        }
    };
    Some(FaultAbort {
        percentage: convert_percentage(percentage, &at.field("percentage"), check),
        status,
    })
}

/// The mirrors of a route, as written in the older form and the newer.
pub(super) struct WrittenMirrors {
    pub mirror: Option<api::Destination>,
    pub percent: Option<i64>,
    pub percentage: Option<api::Percent>,
    pub mirrors: Vec<api::HttpMirrorPolicy>,
}

/// Checks mirrors.
pub(super) fn convert_mirrors(
    written: WrittenMirrors,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<Mirror> {
    let WrittenMirrors {
        mirror,
        percent,
        percentage,
        mirrors,
    } = written;
    if percent.is_some() {
        check.warn(
            &at.field("mirrorPercent"),
            "is deprecated; write mirrorPercentage",
        );
    }
    if mirror.is_some() && !mirrors.is_empty() {
        check.invalid(&at.field("mirror"), "contradicts mirrors; keep one");
    }
    let mut converted = Vec::new();
    if let Some(destination) = mirror {
        let percentage = match (percentage, percent) {
            (None, Some(percent)) => whole_percent(percent, &at.field("mirrorPercent"), check),
            (percentage, _) => convert_percentage(percentage, &at.field("mirrorPercentage"), check),
        };
        if let Some(destination) = convert_destination(destination, &at.field("mirror"), check) {
            converted.push(Mirror {
                destination,
                percentage,
            });
        }
    }
    let at_mirrors = at.field("mirrors");
    for (index, it) in mirrors.into_iter().enumerate() {
        let at = at_mirrors.index(index);
        let api::HttpMirrorPolicy {
            destination,
            percentage,
        } = it;
        let at_destination = at.field("destination");
        let Some(destination) = destination else {
            check.invalid(&at_destination, "a destination is needed");
            continue;
        };
        let percentage = convert_percentage(percentage, &at.field("percentage"), check);
        if let Some(destination) = convert_destination(destination, &at_destination, check) {
            converted.push(Mirror {
                destination,
                percentage,
            });
        }
    }
    converted.retain(|it| it.percentage > Percentage(0));
    converted
}

fn whole_percent(percent: i64, at: &FieldPath, check: &mut Check<'_>) -> Percentage {
    if !(0..=100).contains(&percent) {
        check.invalid(at, format!("{percent} is not between 0 and 100"));
    }
    Percentage(u32::try_from(percent.clamp(0, 100)).unwrap_or(0) * 10_000)
}

fn convert_percentage(
    written: Option<api::Percent>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Percentage {
    let Some(api::Percent { value }) = written else {
        return Percentage::ALL;
    };
    if !(0.0..=100.0).contains(&value) {
        check.invalid(
            &at.field("value"),
            format!("{value} is not between 0 and 100"),
        );
    } else if value > 0.0 && value < 0.0001 {
        check.invalid(
            &at.field("value"),
            format!("{value} is too little; write at least 0.0001"),
        );
    }
    Percentage((value.clamp(0.0, 100.0) * 10_000.0).round() as u32)
}
