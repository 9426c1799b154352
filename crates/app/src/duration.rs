//! Durations and times as the fake-service image writes them (Go's notation).
//!
//! Text from the environment enters `parse`; `format` and `timestamp` make the report's fields.

use std::time::Duration;

/// Units from the longest to the shortest, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// Reads `1m30s`, `150ms`, `1.5s` or `0`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, nanoseconds) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * *nanoseconds as f64;
        rest = &rest[unit.len()..];
    }
    let known = !text.is_empty() && total <= 1e18;
    known.then(|| Duration::from_nanos(total.round() as u64))
}

/// Writes `202.008µs`, `25.4ms`, `1m30.5s`: the largest fitting unit, no trailing zeros.
pub(crate) fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos() as u64;
    let scaled = |unit: u64| {
        let text = format!(
            "{}.{:09}",
            nanoseconds / unit,
            (nanoseconds % unit) * (1_000_000_000 / unit)
        );
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", scaled(1_000_000)),
        _ => {
            let minutes = duration.as_secs() / 60;
            let rest = duration - Duration::from_secs(minutes * 60);
            let seconds = format!("{}.{:09}", rest.as_secs(), rest.subsec_nanos());
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A moment as `2026-01-31T12:00:00.000000`, in UTC.
pub(crate) fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil_date(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests;
