#![allow(clippy::unwrap_used)]

use super::{UpstreamRoute, UpstreamUri};

#[test]
fn request_paths_extend_configured_ones() {
    let cases = [
        ("http://catalog", "/", None, "http://catalog/"),
        ("http://catalog:80/", "/", None, "http://catalog:80/"),
        (
            "http://catalog:80/items",
            "/",
            None,
            "http://catalog:80/items",
        ),
        (
            "http://catalog/items",
            "/3",
            Some("a=b"),
            "http://catalog/items/3?a=b",
        ),
        (
            "http://catalog/items/?x",
            "/3",
            Some("a=b"),
            "http://catalog/items/3?x&a=b",
        ),
        (
            "http://catalog/items",
            "",
            Some("a"),
            "http://catalog/items?a",
        ),
    ];
    for (written, rest, query, called) in cases {
        assert_eq!(
            UpstreamUri::parse(written).unwrap().extended(rest, query),
            called,
            "{written} {rest}"
        );
    }
}

#[test]
fn only_http_upstreams_are_accepted() {
    for written in [
        "grpc://api:9090",
        "https://x/",
        "catalog",
        "/items",
        "http://",
        "http://a b",
    ] {
        assert!(UpstreamUri::parse(written).is_err(), "{written}");
    }
}

#[test]
fn routes_match_whole_segments() {
    let route = UpstreamRoute::parse("/api/catalog=http://catalog/items").unwrap();
    let cases = [
        ("/api/catalog", Some("")),
        ("/api/catalog/1", Some("/1")),
        ("/api/catalogue", None),
        ("/", None),
    ];
    for (path, rest) in cases {
        assert_eq!(route.rest(path), rest, "{path}");
    }
    assert_eq!(
        UpstreamRoute::parse("/=http://x/").unwrap().rest("/any"),
        Some("/any")
    );
    for written in ["/api", "api=http://x/", "/api=ftp://x/"] {
        assert!(UpstreamRoute::parse(written).is_err(), "{written}");
    }
}
