//! Values that many messages share: durations, enumerations, ports, percentages and the like.

use std::time::Duration;

use http::StatusCode;
use meltemi_xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_xds::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use meltemi_xds::pb::envoy::r#type::v3::{FractionalPercent, HttpStatus, Percent};

use crate::fields::fields;
use crate::path::At;

/// A duration; reports one that is negative or malformed.
pub(crate) fn duration(value: Option<&prost_types::Duration>, at: &At<'_>) -> Option<Duration> {
    let value = value?;
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
        _ => {
            at.problem("must be a duration that is not negative");
            None
        }
    }
}

/// A duration that must be more than nothing.
pub(crate) fn positive(value: Option<&prost_types::Duration>, at: &At<'_>) -> Option<Duration> {
    let value = duration(value, at)?;
    if value.is_zero() {
        at.problem("must be greater than 0s");
        return None;
    }
    Some(value)
}

/// A limit that zero turns off: what is set, else `default`.
pub(crate) fn limit(
    value: Option<&prost_types::Duration>,
    default: Option<Duration>,
    at: &At<'_>,
) -> Option<Duration> {
    match duration(value, at) {
        None => default,
        Some(Duration::ZERO) => None,
        Some(value) => Some(value),
    }
}

/// A limit that zero turns off and that falls back to a wider scope's where it is not set.
pub(crate) fn override_limit(
    value: Option<&prost_types::Duration>,
    at: &At<'_>,
) -> Option<Option<Duration>> {
    duration(value, at).map(|value| (!value.is_zero()).then_some(value))
}

/// A value of an enumeration.
pub(crate) fn enumeration<E: TryFrom<i32>>(value: i32, at: &At<'_>) -> Option<E> {
    let found = E::try_from(value).ok();
    if found.is_none() {
        at.problem(format_args!("{value} is not a value of the enumeration"));
    }
    found
}

/// A port number.
pub(crate) fn port(value: u32, at: &At<'_>) -> Option<u16> {
    let port = u16::try_from(value).ok();
    if port.is_none() {
        at.problem(format_args!("{value} is not a port"));
    }
    port
}

/// Text that may not be empty.
pub(crate) fn non_empty<'a>(value: &'a str, at: &At<'_>) -> &'a str {
    if value.is_empty() {
        at.problem("must not be empty");
    }
    value
}

/// A number within limits, else `default`.
pub(crate) fn within(
    value: Option<u32>,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
    at: &At<'_>,
) -> u32 {
    match value {
        Some(value) if range.contains(&value) => value,
        Some(value) => {
            at.problem(format_args!(
                "{value} is not between {} and {}",
                range.start(),
                range.end()
            ));
            default
        }
        None => default,
    }
}

/// An HTTP status in `least..600`.
pub(crate) fn status(value: u32, least: u16, at: &At<'_>) -> Option<StatusCode> {
    let status = u16::try_from(value)
        .ok()
        .filter(|status| (least..600).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok());
    if status.is_none() {
        at.problem(format_args!("{value} is not a status from {least} to 599"));
    }
    status
}

/// The status of an error; what is none gives `default`.
pub(crate) fn error_status(message: &HttpStatus, default: StatusCode, at: &At<'_>) -> StatusCode {
    fields!(at, message, HttpStatus { honoured { code } });
    u16::try_from(*code)
        .ok()
        .filter(|code| (400..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(default)
}

/// A percentage from 0 to 100.
pub(crate) fn percent(message: &Percent, at: &At<'_>) -> Option<f64> {
    fields!(at, message, Percent { honoured { value } });
    if (0.0..=100.0).contains(value) {
        Some(*value)
    } else {
        at.field("value")
            .problem(format_args!("{value} is not between 0 and 100"));
        None
    }
}

/// A share, in parts of a million; more than all counts as all.
pub(crate) fn per_million(message: &FractionalPercent, at: &At<'_>) -> u32 {
    fields!(at, message, FractionalPercent { honoured { numerator, denominator } });
    let factor = match enumeration(*denominator, &at.field("denominator")) {
        None | Some(DenominatorType::Million) => 1,
        Some(DenominatorType::TenThousand) => 100,
        Some(DenominatorType::Hundred) => 10_000,
    };
    numerator.saturating_mul(factor).min(1_000_000)
}

/// A share with a runtime key, in parts of a million.
pub(crate) fn runtime_per_million(message: &RuntimeFractionalPercent, at: &At<'_>) -> u32 {
    fields!(at, message, RuntimeFractionalPercent {
        honoured { default_value }
        ignored { runtime_key: "no runtime overrides the default" }
    });
    let at = &at.field("default_value");
    match default_value {
        Some(default_value) => per_million(default_value, at),
        None => {
            at.problem("is required");
            0
        }
    }
}
