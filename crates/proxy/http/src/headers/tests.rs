#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir::{ForwardClientCert, SetCurrentClientCert};
use meltemi_lifecycle::Random;
use meltemi_telemetry::TlsInfo;

use super::scan::Seen;
use super::{client_cert, number, request_id};

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_request_id_is_a_version_4_uuid() {
    let random = Random::seeded(7);
    for _ in 0..100 {
        let id = request_id::generate(&random);
        let id = id.to_str().unwrap();
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(
            matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
            "{id}"
        );
    }
}

#[test]
fn one_scan_finds_what_is_special() {
    let seen = Seen::scan(&headers(&[
        ("host", "a"),
        ("accept", "*/*"),
        ("content-type", "application/grpc+proto"),
        ("x-envoy-retry-on", "5xx"),
    ]));
    assert!(seen.any(Seen::HOST) && seen.any(Seen::GRPC) && seen.any(Seen::ENVOY));
    assert!(!seen.any(Seen::CONNECTION.or(Seen::PEER_METADATA).or(Seen::TE)));
    let plain = Seen::scan(&headers(&[("content-type", "application/grpc-web")]));
    assert_eq!(plain, Seen::default());
}

#[test]
fn numbers_are_written_plainly() {
    for value in [0, 9, 10, 31, 32, 15_000, u64::MAX] {
        assert_eq!(number(value).to_str().unwrap(), value.to_string());
    }
}

#[test]
fn the_client_certificate_is_told_as_each_mode_says() {
    const NAME: &str = "x-forwarded-client-cert";
    let tls = TlsInfo {
        peer_presented: true,
        peer_uri_sans: vec!["spiffe://td/ns/a/sa/b".to_owned()],
        peer_dns_sans: vec!["b.a".to_owned()],
        peer_subject: "CN=b".to_owned(),
        peer_fingerprint_256: "abcd".to_owned(),
        local_uri_sans: vec!["spiffe://td/ns/c/sa/d".to_owned()],
        ..TlsInfo::default()
    };
    let details = SetCurrentClientCert {
        subject: true,
        uri: true,
        dns: true,
        cert: false,
        chain: false,
    };
    const OURS: &str = "By=spiffe://td/ns/c/sa/d;Hash=abcd;Subject=\"CN=b\";\
        URI=spiffe://td/ns/a/sa/b;DNS=b.a";
    let appended = format!("By=x,{OURS}");
    for (mode, mutual, expected) in [
        (ForwardClientCert::Sanitize, true, None),
        (ForwardClientCert::ForwardOnly, true, Some("By=x")),
        (ForwardClientCert::ForwardOnly, false, None),
        (ForwardClientCert::AppendForward, true, Some(&*appended)),
        (ForwardClientCert::AppendForward, false, None),
        (ForwardClientCert::SanitizeSet, true, Some(OURS)),
        (ForwardClientCert::SanitizeSet, false, None),
        (ForwardClientCert::AlwaysForwardOnly, false, Some("By=x")),
    ] {
        let mut request = headers(&[(NAME, "By=x")]);
        let element = client_cert::element(mode, &details, mutual.then_some(&tls));
        client_cert::apply(mode, element.as_ref(), mutual, true, &mut request);
        let told = request.get(NAME).map(|value| value.to_str().unwrap());
        assert_eq!(told, expected, "{mode:?} {mutual}");
    }
}
