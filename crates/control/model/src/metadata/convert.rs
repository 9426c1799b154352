//! Metadata: from written to valid.

use std::collections::BTreeMap;

use meltemi_api::FieldPath;
use meltemi_api::metadata::ObjectMeta;

use super::{Metadata, Timestamp};
use crate::check::{Check, is_dns_label, is_dns_subdomain};
use crate::{Kind, Labels};

/// Checks the metadata of a resource of `kind`.
pub(crate) fn convert(written: ObjectMeta, kind: Kind, check: &mut Check<'_>) -> Metadata {
    let at = FieldPath::root().field("metadata");
    let name = &written.name;
    let label_only = matches!(kind, Kind::Namespace | Kind::Service | Kind::Gateway);
    let at_name = at.field("name");
    if name.is_empty() {
        check.invalid(&at_name, "a name is needed");
    } else if label_only && !is_dns_label(name) {
        let what = "use at most 63 lower-case letters, digits and inner dashes";
        check.invalid(
            &at_name,
            format!("`{name}` is not a name for a {kind}; {what}"),
        );
    } else if !is_dns_subdomain(name) {
        let what = "use lower-case letters, digits, inner dashes and dots";
        check.invalid(&at_name, format!("`{name}` is not a name; {what}"));
    }
    if let Some(namespace) = written.namespace.as_deref().filter(|it| !is_dns_label(it)) {
        let what = "use at most 63 lower-case letters, digits and inner dashes";
        check.invalid(
            &at.field("namespace"),
            format!("`{namespace}` is not a namespace; {what}"),
        );
    }
    of_template(written, &at, check)
}

/// Checks metadata at `at` whose name and namespace are decided elsewhere.
pub(crate) fn of_template(written: ObjectMeta, at: &FieldPath, check: &mut Check<'_>) -> Metadata {
    // ignored: the namespace, which is the resource's own or that of the defaults.
    let ObjectMeta {
        name,
        namespace: _namespace,
        labels,
        annotations,
        creation_timestamp,
    } = written;
    let created = creation_timestamp.and_then(|text| {
        let created = Timestamp::parse(&text);
        if created.is_none() {
            let what = format!("`{text}` is not a time; write one such as 2024-01-31T12:00:00Z");
            check.invalid(&at.field("creationTimestamp"), what);
        }
        created
    });
    // The forms of labels here are the API server's affair; selectors are checked.
    let labels = Labels::new(labels);
    let namespace = check.namespace.clone();
    Metadata {
        name: name.into(),
        namespace,
        labels,
        annotations,
        created,
    }
}

/// A boolean in a label or annotation, as YAML 1.1 spells it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" | "enabled" => Some(true),
        "false" | "no" | "off" | "n" | "0" | "disabled" => Some(false),
        _ => None,
    }
}

/// The annotation `key`, if it is there and not empty.
pub(crate) fn annotation<'a>(
    annotations: &'a BTreeMap<String, String>,
    key: &str,
) -> Option<&'a str> {
    annotations
        .get(key)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

impl Timestamp {
    /// Reads RFC 3339: `2024-01-31T12:00:00Z`, fractions and offsets included.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't', ' '])?;
        let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let zone = rest.find(['Z', 'z', '+', '-'])?;
        let (time, zone) = rest.split_at(zone);
        let mut time = time.splitn(3, ':');
        let (hour, minute) = (
            time.next()?.parse::<i64>().ok()?,
            time.next()?.parse::<i64>().ok()?,
        );
        let second = time.next()?.split('.').next()?.parse::<i64>().ok()?;
        let offset = match zone.as_bytes().first()? {
            b'Z' | b'z' => 0,
            sign => {
                let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
                if *sign == b'-' { -minutes } else { minutes }
            }
        };
        let fits = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        let days = days_since_epoch(year, month, day);
        fits.then_some(Self(
            days * 86400 + hour * 3600 + (minute - offset) * 60 + second,
        ))
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, by counting years that begin in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The day that is so many days after 1970-01-01: year, month, day.
pub(super) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}
