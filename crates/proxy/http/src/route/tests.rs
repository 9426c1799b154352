#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meltemi_ir as ir;
use regex::Regex;

use super::rewrite::{RedirectPlan, Substitution, location, replace_prefix, substitute};
use super::{RequestView, RouteIndex, RouteMatch, RouteTable, port_of, without_port};

fn host(name: &str, domains: &[&str], routes: Vec<ir::RouteMatch>) -> Arc<ir::VirtualHost> {
    let routes = routes.into_iter().map(|matcher| {
        Arc::new(ir::Route {
            name: String::new(),
            matcher,
            action: ir::RouteAction::NonForwarding,
            request_headers: ir::HeaderMutation::default(),
            response_headers: ir::HeaderMutation::default(),
            metadata: ir::Metadata::default(),
            filters: Vec::new(),
            body_buffer_limit: None,
            stat_prefix: String::new(),
        })
    });
    Arc::new(ir::VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes: routes.collect(),
        require_tls: ir::RequireTls::None,
        metadata: ir::Metadata::default(),
        request_headers: ir::HeaderMutation::default(),
        response_headers: ir::HeaderMutation::default(),
        retry: None,
        hedge_on_per_try_timeout: false,
        cors: None,
        include_request_attempt_count: false,
        include_attempt_count_in_response: false,
        include_is_timeout_retry: false,
        filters: Vec::new(),
        rate_limits: Vec::new(),
        virtual_clusters: Vec::new(),
        body_buffer_limit: None,
    })
}

fn path(path: ir::PathMatch) -> ir::RouteMatch {
    ir::RouteMatch {
        path,
        case_sensitive: true,
        headers: Vec::new(),
        query: Vec::new(),
        grpc: false,
        fraction_per_million: None,
        tls_presented: None,
        cookies: Vec::new(),
        tls_validated: None,
        metadata: Vec::new(),
    }
}

fn prefix(text: &str) -> ir::RouteMatch {
    path(ir::PathMatch::Prefix(text.to_owned()))
}

fn table(hosts: Vec<Arc<ir::VirtualHost>>, ignore_port: bool) -> RouteTable {
    RouteTable::new(&Arc::new(ir::RouteConfiguration {
        virtual_hosts: hosts,
        ignore_port_in_host_matching: ignore_port,
        ..ir::RouteConfiguration::default()
    }))
    .unwrap()
}

fn view<'a>(authority: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: "GET",
        scheme: "http",
        authority,
        path,
        headers,
        random: 0,
        internal: false,
        client_certificate: (false, false),
        metadata: None,
    }
}

#[test]
fn domains_are_chosen_by_how_exact_they_are() {
    let everything = || vec![prefix("/")];
    let hosts: Vec<_> = [
        vec!["*"],
        vec!["*.example.com"],
        vec!["*-web.example.com"],
        vec!["Web.Example.com", "web.example.com:8080"],
        vec!["web.*"],
        vec!["web.example.*"],
    ]
    .iter()
    .map(|domains| host("h", domains, everything()))
    .collect();
    let empty = HeaderMap::new();
    let find =
        |table: &RouteTable, authority: &str| match table.route(&view(authority, "/", &empty)) {
            RouteMatch::Route(RouteIndex { host, .. }) => Some(host),
            RouteMatch::None | RouteMatch::RequireTls { .. } => None,
        };
    let plain = table(hosts.clone(), false);
    for (authority, host) in [
        ("web.example.com", 3),
        ("WEB.EXAMPLE.COM", 3),
        ("web.example.com:8080", 3),
        ("web.example.com:9090", 5),
        ("a.example.com", 1),
        ("a-web.example.com", 2),
        ("example.com", 0),
        (".example.com", 0),
        ("web.example.org", 5),
        ("web.other.org", 4),
        ("other", 0),
        ("[::1]:80", 0),
    ] {
        assert_eq!(find(&plain, authority), Some(host), "{authority}");
    }
    let ignoring = table(hosts[1..].to_vec(), true);
    assert_eq!(find(&ignoring, "web.example.com:9090"), Some(2));
    assert_eq!(find(&ignoring, "other"), None);
}

#[test]
fn ports_are_told_from_hosts() {
    for (authority, host, port) in [
        ("a", "a", None),
        ("a:80", "a", Some(80)),
        ("a:", "a", None),
        ("a:b", "a:b", None),
        ("[::1]", "[::1]", None),
        ("[::1]:80", "[::1]", Some(80)),
        ("::1", "::1", None),
    ] {
        assert_eq!(without_port(authority), host, "{authority}");
        assert_eq!(port_of(authority), port, "{authority}");
    }
}

#[test]
fn paths_match_by_their_kind() {
    let regex = |text: &str| ir::RegexMatch(Regex::new(&format!("^(?:{text})$")).unwrap());
    let caseless = ir::RouteMatch {
        case_sensitive: false,
        ..prefix("/ABC")
    };
    for (matcher, fits, fits_not) in [
        (
            prefix("/a"),
            vec!["/a", "/ab", "/a/b?c", "/a?b"],
            vec!["/", "/b/a"],
        ),
        (
            path(ir::PathMatch::SeparatedPrefix("/a".to_owned())),
            vec!["/a", "/a/", "/a/b", "/a?b"],
            vec!["/ab", "/"],
        ),
        (
            path(ir::PathMatch::Exact("/a".to_owned())),
            vec!["/a", "/a?b=/c"],
            vec!["/a/", "/A"],
        ),
        (
            path(ir::PathMatch::Regex(regex("/[0-9]+"))),
            vec!["/12", "/12?x"],
            vec!["/12/", "/x/12"],
        ),
        (caseless, vec!["/abc", "/aBcd"], vec!["/ab"]),
    ] {
        let table = table(vec![host("h", &["*"], vec![matcher.clone()])], false);
        let headers = HeaderMap::new();
        for (paths, fit) in [(fits, true), (fits_not, false)] {
            for path in paths {
                let found = table.route(&view("a", path, &headers)) != RouteMatch::None;
                assert_eq!(found, fit, "{path} {matcher:?}");
            }
        }
    }
}

fn header_match(kind: ir::HeaderMatchKind, invert: bool, empty: bool) -> ir::HeaderMatch {
    ir::HeaderMatch {
        name: ir::MatchedHeader::Name(HeaderName::from_static("x-a")),
        kind,
        invert,
        treat_missing_as_empty: empty,
    }
}

#[test]
fn headers_match_by_what_is_asked() {
    let value = |text: &str| ir::HeaderMatchKind::Value(ir::StringMatch::exact(text));
    let range = ir::HeaderMatchKind::Range { start: 1, end: 10 };
    let present = ir::HeaderMatchKind::Present;
    for (matcher, lines, fits) in [
        (header_match(value("v"), false, false), vec!["v"], true),
        (header_match(value("v"), false, false), vec!["w"], false),
        (
            header_match(value("v,w"), false, false),
            vec!["v", "w"],
            false,
        ),
        (header_match(value("w"), false, false), vec!["v", "w"], true),
        (header_match(value("w"), true, false), vec!["v", "w"], false),
        (header_match(value("v"), true, false), vec!["w"], true),
        // Nothing is asked of a header that is not there, whichever way round.
        (header_match(value("v"), true, false), vec![], false),
        (header_match(value("v"), true, true), vec![], true),
        (header_match(value(""), false, true), vec![], true),
        (header_match(range.clone(), false, false), vec!["9"], true),
        (header_match(range.clone(), false, false), vec!["10"], false),
        (header_match(range, false, false), vec!["x"], false),
        (header_match(present(true), false, false), vec!["v"], true),
        (header_match(present(true), false, false), vec![], false),
        (header_match(present(false), false, false), vec![], true),
        (header_match(present(true), true, false), vec![], true),
        (header_match(present(true), true, false), vec!["v"], false),
    ] {
        let mut route = prefix("/");
        route.headers = vec![matcher.clone()];
        let table = table(vec![host("h", &["*"], vec![route])], false);
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append("x-a", HeaderValue::from_static(line));
        }
        let found = table.route(&view("a", "/", &headers)) != RouteMatch::None;
        assert_eq!(found, fits, "{lines:?} {matcher:?}");
    }
}

#[test]
fn queries_fractions_and_grpc_narrow_a_route() {
    let query = |name: &str, kind| ir::RouteMatch {
        query: vec![ir::QueryMatch {
            name: name.to_owned(),
            kind,
        }],
        ..prefix("/")
    };
    let exact = ir::QueryMatchKind::Value(ir::StringMatch::exact("1"));
    let headers = HeaderMap::new();
    for (matcher, path, fits) in [
        (query("a", exact.clone()), "/?a=1", true),
        (query("a", exact.clone()), "/?b=1&a=1", true),
        (query("a", exact.clone()), "/?a=2&a=1", false),
        (query("a", exact), "/", false),
        (query("a", ir::QueryMatchKind::Present(true)), "/?a", true),
        (
            query("a", ir::QueryMatchKind::Present(true)),
            "/?ab=1",
            false,
        ),
        (query("a", ir::QueryMatchKind::Present(false)), "/?b", true),
    ] {
        let table = table(vec![host("h", &["*"], vec![matcher.clone()])], false);
        let found = table.route(&view("a", path, &headers)) != RouteMatch::None;
        assert_eq!(found, fits, "{path} {matcher:?}");
    }
    let half = ir::RouteMatch {
        fraction_per_million: Some(500_000),
        ..prefix("/")
    };
    let grpc = ir::RouteMatch {
        grpc: true,
        ..prefix("/")
    };
    let table = table(vec![host("h", &["*"], vec![half, grpc])], false);
    let mut request = view("a", "/", &headers);
    let index = |route| RouteMatch::Route(RouteIndex { host: 0, route });
    request.random = 1_499_999;
    assert_eq!(table.route(&request), index(0));
    request.random = 1_500_000;
    assert_eq!(table.route(&request), RouteMatch::None);
    let grpc_headers = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    )]);
    request.headers = &grpc_headers;
    assert_eq!(table.route(&request), index(1));
}

#[test]
fn prefixes_and_expressions_rewrite_paths() {
    for (path, matched, prefix, rewritten) in [
        ("/api/x?q=1", 5, "/", "/x?q=1"),
        ("/api//x", 5, "/", "//x"),
        ("/v1/x", 3, "/", "//x"),
        ("/v1", 3, "/", "/"),
        ("/v1?q", 3, "/v2", "/v2?q"),
    ] {
        assert_eq!(replace_prefix(path, matched, prefix), rewritten, "{path}");
    }
    let regex = |text: &str| ir::RegexMatch(Regex::new(text).unwrap());
    for (pattern, substitution, path, rewritten) in [
        (
            "^/reg/([^/]+)(/.*)?$",
            r"\2/x/\1",
            "/reg/abc/d?q=1",
            "/d/x/abc?q=1",
        ),
        ("b", "$1", "/abab?b", "/a$1a$1?b"),
        ("/(a)", r"/\\\1", "/a", r"/\a"),
        ("^/a(.*)$", r"\1", "/ab", "b"),
    ] {
        let rule = Substitution::new(&regex(pattern), substitution);
        assert_eq!(substitute(path, &rule), rewritten, "{pattern}");
    }
}

#[test]
fn redirections_go_where_envoy_sends_them() {
    let keep = ir::Redirect {
        scheme: None,
        https: false,
        host: None,
        port: None,
        path: ir::RedirectPath::Keep,
        status: StatusCode::FOUND,
        strip_query: false,
    };
    let https = ir::Redirect {
        https: true,
        ..keep.clone()
    };
    for (redirect, authority, expected) in [
        (keep.clone(), "h:80", "http://h:80/p/abc?q=1"),
        (https.clone(), "h:80", "https://h/p/abc?q=1"),
        (https.clone(), "h:8080", "https://h:8080/p/abc?q=1"),
        (https, "[::1]:80", "https://[::1]/p/abc?q=1"),
        (
            ir::Redirect {
                port: Some(8443),
                strip_query: true,
                ..keep.clone()
            },
            "h:8080",
            "http://h:8443/p/abc",
        ),
        (
            ir::Redirect {
                path: ir::RedirectPath::Full("/new".to_owned()),
                ..keep.clone()
            },
            "h",
            "http://h/new?q=1",
        ),
        (
            ir::Redirect {
                path: ir::RedirectPath::Full("/new?x=1".to_owned()),
                host: Some("other".to_owned()),
                scheme: Some("ftp".to_owned()),
                ..keep.clone()
            },
            "h",
            "ftp://other/new?x=1",
        ),
        (
            ir::Redirect {
                path: ir::RedirectPath::Prefix("/zz".to_owned()),
                ..keep.clone()
            },
            "h",
            "http://h/zz/abc?q=1",
        ),
        (
            ir::Redirect {
                path: ir::RedirectPath::Regex {
                    regex: ir::RegexMatch(Regex::new("^/p/(.*)$").unwrap()),
                    substitution: r"/\1/p".to_owned(),
                },
                ..keep
            },
            "h",
            "http://h/abc/p?q=1",
        ),
    ] {
        let headers = HeaderMap::new();
        let request = view(authority, "/p/abc?q=1", &headers);
        let plan = RedirectPlan::new(&redirect);
        let matcher = ir::PathMatch::Prefix("/p".to_owned());
        assert_eq!(location(&redirect, &plan, &matcher, &request), expected);
    }
}

#[test]
fn weights_share_requests_out() {
    let cluster = |weight| ir::WeightedCluster {
        name: ir::ClusterName::Named("c".into()),
        filters: Vec::new(),
        metadata_match: std::collections::BTreeMap::new(),
        weight,
        request_headers: ir::HeaderMutation::default(),
        response_headers: ir::HeaderMutation::default(),
        host_rewrite: None,
    };
    let target = ir::RouteTarget {
        clusters: vec![cluster(90), cluster(0), cluster(10)],
        cluster_not_found: StatusCode::SERVICE_UNAVAILABLE,
        timeout: None,
        idle_timeout: None,
        max_stream_duration: None,
        grpc_timeout_max: None,
        retry: None,
        terminates_connect: false,
        connect_header: None,
        hedge_on_per_try_timeout: None,
        host_rewrite: ir::HostRewrite::None,
        append_x_forwarded_host: false,
        path_rewrite: ir::PathRewrite::None,
        cors: None,
        upgrades: Vec::new(),
        priority: ir::Priority::Default,
        mirrors: Vec::new(),
        hash: Vec::new(),
        internal_redirect: None,
        rate_limits: Vec::new(),
        include_virtual_host_rate_limits: false,
        metadata_match: std::collections::BTreeMap::new(),
        grpc_timeout_offset: None,
        weighted_by: ir::WeightedBy::Random,
    };
    let target = super::Target::new(&target, &host("h", &[], Vec::new()), "").unwrap();
    let mut counts = [0; 3];
    for random in 0..1000 {
        counts[target.choose(random)] += 1;
    }
    assert_eq!(counts, [900, 0, 100]);
}
