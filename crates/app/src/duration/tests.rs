use std::time::Duration;

use super::{format, parse, timestamp};

#[test]
fn go_durations_are_read() {
    let cases = [
        ("0", Some(0)),
        ("150ms", Some(150_000_000)),
        ("1.5s", Some(1_500_000_000)),
        ("1m30s", Some(90_000_000_000)),
        ("2h", Some(7_200_000_000_000)),
        ("3us", Some(3_000)),
        ("3µs", Some(3_000)),
        ("7ns", Some(7)),
        ("", None),
        ("5", None),
        ("s", None),
        ("-1s", None),
        ("1day", None),
        ("99999999h", None),
    ];
    for (text, nanoseconds) in cases {
        assert_eq!(
            parse(text),
            nanoseconds.map(Duration::from_nanos),
            "{text:?}"
        );
    }
}

#[test]
fn durations_are_written_in_their_largest_unit() {
    let cases = [
        (0, "0s"),
        (999, "999ns"),
        (202_008, "202.008µs"),
        (25_400_000, "25.4ms"),
        (1_000_000_000, "1s"),
        (90_500_000_000, "1m30.5s"),
        (7_200_000_000_000, "2h0m0s"),
    ];
    for (nanoseconds, text) in cases {
        assert_eq!(format(Duration::from_nanos(nanoseconds)), text);
    }
}

#[test]
fn moments_are_written_in_utc() {
    let cases = [
        (0, "1970-01-01T00:00:00.000000"),
        (951_827_696, "2000-02-29T12:34:56.000000"),
        (1_640_530_727, "2021-12-26T14:58:47.000000"),
    ];
    for (seconds, text) in cases {
        assert_eq!(timestamp(Duration::from_secs(seconds)), text);
    }
}
