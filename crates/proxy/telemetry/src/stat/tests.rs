#![allow(clippy::unwrap_used)]
use super::*;

fn snapshot(values: &[u64]) -> HistogramSnapshot {
    let histogram = Histogram::default();
    values.iter().for_each(|value| histogram.record(*value));
    let mut snapshot = HistogramSnapshot::default();
    histogram.add_to(&mut snapshot);
    snapshot
}

/// The numbers are those that Envoy prints for the same values.
#[test]
fn quantiles_are_envoys() {
    let cases: &[(&[u64], f64, f64)] = &[
        (&[1, 1, 1], 0.0, 1.025),
        (&[1, 1, 1], 0.5, 1.05),
        (&[1, 1, 1], 0.75, 1.075),
        (&[1, 1, 1], 1.0, 1.075),
        (&[30], 0.5, 30.5),
        (&[0, 0, 1], 0.5, 0.0),
        (&[0, 0, 1], 0.75, 1.05),
        (&[1234], 0.5, 1250.0),
    ];
    for (values, quantile, expected) in cases {
        let found = snapshot(values).quantile(*quantile);
        assert!(
            (found - expected).abs() < 1e-9,
            "{values:?} at {quantile}: {found}"
        );
    }
    assert!(snapshot(&[]).quantile(0.5).is_nan());
}

#[test]
fn buckets_count_what_is_at_most_their_bound() {
    let values = snapshot(&[0, 1, 5, 6, 24, 25, 26, 250, 9_999, 10_000, u64::MAX]);
    assert_eq!(values.count, 11);
    let counts: Vec<_> = [0.5, 1.0, 5.0, 25.0, 100.0, 250.0, 10_000.0]
        .iter()
        .map(|bound| values.at_most(*bound))
        .collect();
    assert_eq!(counts, [1, 2, 3, 6, 7, 8, 10]);
}

#[test]
fn snapshots_of_shards_add_up() {
    let mut left = snapshot(&[1, 500]);
    left.merge(&snapshot(&[1, 3, 500]));
    assert_eq!(left, snapshot(&[1, 1, 3, 500, 500]));
    assert_eq!((left.count, left.sum), (5, 1005));
}

#[test]
fn a_gauge_may_be_taken_from_on_another_shard() {
    let (one, other) = (Gauge::default(), Gauge::default());
    one.inc();
    other.dec();
    assert_eq!((one.get(), other.get()), (1, -1));
    assert!(!Gauge::default().used() && one.used());
}

#[test]
fn codes_appear_when_they_happen() {
    let codes = ResponseCodes::default();
    [200, 200, 503, 99, 600]
        .iter()
        .for_each(|status| codes.count(*status));
    let mut seen = Vec::new();
    codes.visit(|name, count| seen.push((name.to_owned(), count)));
    let expected = [("2xx", 2), ("200", 2), ("5xx", 1), ("503", 1)];
    assert_eq!(seen, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(codes.get(200), 2);
    codes.reset();
    assert_eq!(codes.get(200), 0);
}
