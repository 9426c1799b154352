//! Filters that delay, limit, gather and recode, and what routes say of them.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use meltemi_ir as ir;
use meltemi_testkit::{Reply, Request, Upstream};
use tokio::time::Instant;

use crate::fixture::{Proxy, everything, hcm, on_worker, to};

fn with(kind: ir::HttpFilterKind, routes: Vec<ir::Route>) -> ir::HttpConnectionManager {
    let mut config = hcm(routes);
    config.filters.insert(
        0,
        ir::HttpFilter {
            name: "the-filter".to_owned(),
            kind,
            disabled: false,
        },
    );
    config
}

async fn start(upstream: &Upstream, config: ir::HttpConnectionManager) -> Proxy {
    let proxy = Proxy::start(config).await;
    proxy.cluster("up", &[upstream.address()]);
    proxy
}

fn stat(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.stats.text(&meltemi_telemetry::StatsQuery::default());
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

fn on_route(prefix: &str, setting: ir::RouteFilterSetting) -> ir::Route {
    let mut route = to(prefix, "up", |_| {});
    route.filters = vec![ir::RouteFilter {
        name: "the-filter".to_owned(),
        setting,
    }];
    route
}

fn config(kind: ir::RouteFilterKind) -> ir::RouteFilterSetting {
    ir::RouteFilterSetting::Config(kind)
}

const ALL: u32 = 1_000_000;

fn abort(status: Result<StatusCode, u32>) -> ir::Fault {
    ir::Fault {
        abort: Some(ir::FaultAbort {
            status: ir::FaultAmount::Fixed(status),
            per_million: ALL,
            unit: 10_000,
            body: String::new(),
        }),
        ..ir::Fault::default()
    }
}

#[test]
fn faults_abort_and_delay_where_they_are_wanted() {
    on_worker(async || {
        let upstream = Upstream::start();
        let delay = ir::Fault {
            delay: Some(ir::FaultDelay {
                length: ir::FaultAmount::Fixed(Duration::from_millis(60)),
                per_million: ALL,
                unit: 10_000,
            }),
            ..abort(Ok(StatusCode::IM_A_TEAPOT))
        };
        let routes = vec![
            on_route("/off", ir::RouteFilterSetting::Disabled),
            on_route("/late", config(ir::RouteFilterKind::Fault(Arc::new(delay)))),
            to("/", "up", |_| {}),
        ];
        let kind = ir::HttpFilterKind::Fault(Arc::new(abort(Ok(StatusCode::BAD_GATEWAY))));
        let proxy = start(&upstream, with(kind, routes)).await;
        let response = proxy.get("/").await;
        assert_eq!(
            (response.status, response.text()),
            (502, "fault filter abort".to_owned())
        );
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET / 502 FI fault_filter_abort"),
            "{line}"
        );
        assert_eq!(proxy.get("/off").await.status, 200);
        let began = Instant::now();
        assert_eq!(proxy.get("/late").await.status, 418);
        assert!(began.elapsed() >= Duration::from_millis(60));
        let line = proxy.last_line(3).await;
        assert!(
            line.starts_with("GET /late 418 DI,FI fault_filter_abort"),
            "{line}"
        );
        assert_eq!(stat(&proxy, "http.test.fault.aborts_injected"), 2);
        assert_eq!(stat(&proxy, "http.test.fault.delays_injected"), 1);
        assert_eq!(stat(&proxy, "http.test.fault.active_faults"), 0);
        assert_eq!(upstream.take_received().len(), 1);
    });
}

#[test]
fn a_fault_can_be_a_grpc_status_and_be_asked_for_by_headers() {
    on_worker(async || {
        let upstream = Upstream::start();
        let kind = ir::HttpFilterKind::Fault(Arc::new(abort(Err(8))));
        let proxy = start(&upstream, with(kind, everything())).await;
        let call = Request::post("/s/m", "").header("content-type", "application/grpc");
        let response = proxy.client().send(&call).await.unwrap();
        assert_eq!(response.header("grpc-status"), Some("8"));
        let mut fault = abort(Err(0));
        fault.abort.as_mut().unwrap().status = ir::FaultAmount::Header;
        let kind = ir::HttpFilterKind::Fault(Arc::new(fault));
        proxy.swap(with(kind, everything()));
        assert_eq!(proxy.get("/").await.status, 200);
        for (percentage, status) in [("100", 429), ("0", 200)] {
            let asked = Request::get("/")
                .header("x-envoy-fault-abort-request", "429")
                .header("x-envoy-fault-abort-request-percentage", percentage);
            assert_eq!(proxy.client().send(&asked).await.unwrap().status, status);
        }
    });
}

#[test]
fn headers_queries_and_trailers_are_changed_by_every_scope() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::ok().header("x-down", "1"));
        let add = |name: &'static str, value: &str| {
            ir::HeaderEdit::Append(ir::HeaderAppend {
                name: ir::HeaderTarget::Name(HeaderName::from_static(name)),
                value: value.to_owned(),
                literal: None,
                action: ir::AppendAction::OverwriteOrAdd,
                keep_empty: false,
            })
        };
        let own = ir::HeaderMutations {
            request: vec![
                ir::HeaderEdit::RemoveMatching(ir::StringMatch::Prefix {
                    text: "x-secret-".to_owned(),
                    ignore_case: false,
                }),
                add("x-scope", "filter"),
                add("x-host", "%REQ(:AUTHORITY)%"),
            ],
            query: vec![ir::QueryEdit::Append {
                key: "added".to_owned(),
                value: "%PROTOCOL%".to_owned(),
                action: ir::AppendAction::AppendOrAdd,
            }],
            response: vec![ir::HeaderEdit::Remove(HeaderName::from_static("x-down"))],
            ..ir::HeaderMutations::default()
        };
        let of_route = ir::HeaderMutations {
            request: vec![add("x-scope", "route")],
            ..ir::HeaderMutations::default()
        };
        let setting = config(ir::RouteFilterKind::HeaderMutation(Arc::new(of_route)));
        let kind = ir::HttpFilterKind::HeaderMutation {
            mutations: Arc::new(own),
            most_specific_wins: false,
        };
        let proxy = start(&upstream, with(kind, vec![on_route("/", setting)])).await;
        let request = Request::get("/?a=b")
            .host("h.example")
            .header("x-secret-a", "b");
        let response = proxy.client().send(&request).await.unwrap();
        assert_eq!(response.header("x-down"), None);
        let received = upstream.take_received().remove(0);
        assert_eq!(received.target, "/?a=b&added=HTTP/1.1");
        assert_eq!(received.header("x-secret-a"), None);
        assert_eq!(received.header("x-scope"), Some("route"));
        assert_eq!(received.header("x-host"), Some("h.example"));
    });
}

fn bucket(max: u32) -> ir::TokenBucket {
    ir::TokenBucket {
        max,
        per_fill: 1,
        interval: Duration::from_secs(3600),
    }
}

fn limit(max: u32) -> ir::LocalRateLimit {
    ir::LocalRateLimit {
        stat_prefix: "limit".to_owned(),
        status: StatusCode::TOO_MANY_REQUESTS,
        bucket: Some(bucket(max)),
        enabled_per_million: ALL,
        enforced_per_million: ALL,
        request_headers: ir::HeaderMutation::default(),
        response_headers: ir::HeaderMutation::default(),
        descriptors: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        always_consume_default: true,
        resource_exhausted: false,
        rules: Vec::new(),
        retry_after: false,
        include_virtual_host: false,
        ignore_virtual_host: false,
        max_dynamic: 20,
    }
}

#[test]
fn requests_too_many_are_refused() {
    on_worker(async || {
        let upstream = Upstream::start();
        let mut config = limit(100);
        config.descriptors = vec![ir::LocalDescriptor {
            entries: vec![("user".to_owned(), String::new())],
            bucket: bucket(1),
            shadow: false,
        }];
        config.rules = vec![ir::RateLimitRule {
            stage: 0,
            actions: vec![ir::RateLimitEntry {
                key: "user".to_owned(),
                action: ir::RateLimitAction::Header {
                    name: HeaderName::from_static("x-user"),
                    skip_if_absent: false,
                },
            }],
        }];
        let kind = ir::HttpFilterKind::LocalRateLimit(Arc::new(config));
        let proxy = start(&upstream, with(kind, everything())).await;
        let by = |user: &str| Request::get("/").header("x-user", user);
        for (user, status) in [("a", 200), ("b", 200), ("a", 429), ("b", 429), ("c", 200)] {
            let response = proxy.client().send(&by(user)).await.unwrap();
            assert_eq!(response.status, status, "{user}");
            if status == 429 {
                assert_eq!(response.text(), "local_rate_limited");
                assert_eq!(response.header("x-ratelimit-limit"), Some("1"));
                assert_eq!(response.header("x-ratelimit-remaining"), Some("0"));
            }
        }
        let line = proxy.log(5).await.remove(2);
        assert!(
            line.starts_with("GET / 429 RL local_rate_limited"),
            "{line}"
        );
        let name = |what: &str| format!("limit.http_local_rate_limit.{what}");
        for (what, count) in [
            ("enabled", 5),
            ("ok", 3),
            ("rate_limited", 2),
            ("enforced", 2),
        ] {
            assert_eq!(stat(&proxy, &name(what)), count, "{what}");
        }
    });
}

#[test]
fn a_buffered_request_comes_whole_or_not_at_all() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::echo());
        let proxy = start(&upstream, with(ir::HttpFilterKind::Buffer(8), everything())).await;
        let mut client = meltemi_testkit::RawClient::connect(proxy.address)
            .await
            .unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send_bytes(head).await.unwrap();
        client.send_bytes(b"4\r\nabcd\r\n0\r\n\r\n").await.unwrap();
        let response = client.read_response("POST").await.unwrap();
        assert_eq!((response.status, response.text()), (200, "abcd".to_owned()));
        let received = upstream.take_received().remove(0);
        assert_eq!(received.header("content-length"), Some("4"));
        let response = proxy.client().post("/", "123456789").await.unwrap();
        assert_eq!(
            (response.status, response.text()),
            (413, "Payload Too Large".to_owned())
        );
        assert_eq!(upstream.take_received().len(), 0);
    });
}

fn compressor() -> ir::HttpFilterKind {
    ir::HttpFilterKind::Compressor(Arc::new(ir::Compressor {
        library: "text".to_owned(),
        coding: ir::Coding::Gzip(6),
        request: None,
        response: ir::CompressorDirection {
            enabled: true,
            min_length: 30,
            content_types: vec![ir::StringMatch::exact("text/plain")],
        },
        response_configured: false,
        disable_on_etag: false,
        weaken_etag: true,
        remove_accept_encoding: true,
        uncompressible_codes: Vec::new(),
        status_header: false,
        choose_first: false,
    }))
}

#[test]
fn responses_are_compressed_for_whoever_accepts_it() {
    on_worker(async || {
        let upstream = Upstream::start();
        let text = "all work and no play ".repeat(20);
        upstream.on(
            "/",
            Reply::ok()
                .body(text.clone())
                .header("content-type", "text/plain; charset=utf-8")
                .header("etag", "\"1\""),
        );
        upstream.on("/short", Reply::ok().body("x"));
        let proxy = start(&upstream, with(compressor(), everything())).await;
        let asked = |path, what: &str| Request::get(path).header("accept-encoding", what);
        let response = proxy
            .client()
            .send(&asked("/", "br, gzip;q=0.5"))
            .await
            .unwrap();
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        assert_eq!(response.header("etag"), Some("W/\"1\""));
        assert_eq!(response.header("content-length"), None);
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&*response.body)
            .read_to_string(&mut plain)
            .unwrap();
        assert_eq!(plain, text);
        for (path, accepted, vary) in [
            ("/", "identity", Some("Accept-Encoding")),
            ("/", "gzip;q=0", Some("Accept-Encoding")),
            ("/short", "gzip", None),
        ] {
            let response = proxy.client().send(&asked(path, accepted)).await.unwrap();
            assert_eq!(response.header("content-encoding"), None, "{accepted}");
            assert_eq!(response.header("vary"), vary, "{path} {accepted}");
        }
        let received = upstream.take_received();
        assert!(
            received
                .iter()
                .all(|request| request.header("accept-encoding").is_none())
        );
        assert_eq!(stat(&proxy, "http.test.compressor.text.gzip.compressed"), 1);
        assert_eq!(
            stat(&proxy, "http.test.compressor.text.gzip.not_compressed"),
            3
        );
    });
}

#[test]
fn what_is_compressed_is_decompressed_on_both_ways() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::echo());
        let direction = ir::DecompressorDirection {
            enabled: true,
            ignore_no_transform: false,
        };
        for coding in [
            ir::Coding::Gzip(6),
            ir::Coding::Brotli {
                quality: 3,
                window: 18,
            },
            ir::Coding::Zstd(3),
        ] {
            let decompressor = ir::HttpFilterKind::Decompressor(Arc::new(ir::Decompressor {
                library: "text".to_owned(),
                coding,
                request: direction,
                response: direction,
                advertise: true,
                max_ratio: 100,
            }));
            let proxy = start(&upstream, with(decompressor, everything())).await;
            let plain = "to and fro ".repeat(9);
            let request = Request::post("/", encoded(coding, &plain))
                .header("content-encoding", coding.name());
            let response = proxy.client().send(&request).await.unwrap();
            assert_eq!(
                (response.status, response.text()),
                (200, plain),
                "{coding:?}"
            );
            let received = upstream.take_received().remove(0);
            assert_eq!(received.header("content-encoding"), None);
            assert_eq!(received.header("accept-encoding"), Some(coding.name()));
        }
    });
}

fn encoded(coding: ir::Coding, text: &str) -> Vec<u8> {
    use std::io::Write as _;
    match coding {
        ir::Coding::Gzip(_) => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        ir::Coding::Brotli { quality, window } => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, quality, window);
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.into_inner()
        }
        ir::Coding::Zstd(level) => zstd::encode_all(text.as_bytes(), level).unwrap(),
    }
}

#[test]
fn a_health_check_is_answered_here() {
    on_worker(async || {
        let upstream = Upstream::start();
        let filter = |clusters: Vec<(String, f64)>| {
            ir::HttpFilterKind::HealthCheck(Arc::new(ir::HealthCheckFilter {
                pass_through: false,
                cache: None,
                clusters,
                headers: vec![ir::HeaderMatch {
                    name: ir::MatchedHeader::Path,
                    kind: ir::HeaderMatchKind::Value(ir::StringMatch::exact("/healthz")),
                    invert: false,
                    treat_missing_as_empty: false,
                }],
            }))
        };
        for (clusters, status, details) in [
            (vec![], 200, "- health_check_ok "),
            (
                vec![("up".to_owned(), 50.0)],
                200,
                "- health_check_ok_cluster_healthy ",
            ),
            (
                vec![("none".to_owned(), 50.0)],
                503,
                "LH health_check_failed_no_cluster_found ",
            ),
        ] {
            let proxy = start(&upstream, with(filter(clusters), everything())).await;
            assert_eq!(proxy.get("/healthz").await.status, status);
            let line = proxy.last_line(1).await;
            assert!(line.contains(details), "{line}");
            assert_eq!(proxy.get("/").await.status, 200);
        }
        assert_eq!(upstream.take_received().len(), 3);
    });
}

#[test]
fn metadata_from_headers_describes_requests_and_filter_state_is_logged() {
    on_worker(async || {
        let upstream = Upstream::start();
        let rule = ir::MetadataRule {
            source: ir::HeaderSource::Cookie("tier".to_owned()),
            on_present: Some(ir::MetadataWrite {
                namespace: "ns".to_owned(),
                key: "tier".to_owned(),
                value: String::new(),
                rewrite: None,
                kind: ir::MetadataKind::Text,
                base64: false,
            }),
            on_missing: None,
            remove: false,
        };
        let kind = ir::HttpFilterKind::HeaderToMetadata(Arc::new(ir::HeaderToMetadata {
            request: vec![rule],
            response: Vec::new(),
        }));
        let mut route = to("/", "up", |_| {});
        route.request_headers.add.push(ir::HeaderAppend {
            name: ir::HeaderTarget::Name(HeaderName::from_static("x-tier")),
            value: "%DYNAMIC_METADATA(ns:tier)%/%FILTER_STATE(my.key:PLAIN)%".to_owned(),
            literal: None,
            action: ir::AppendAction::OverwriteOrAdd,
            keep_empty: false,
        });
        let mut config = with(kind, vec![route]);
        let state = ir::SetFilterState {
            values: vec![ir::FilterStateValue {
                key: "my.key".to_owned(),
                format: ir::LogFormat::Text("%REQ(:PATH)%".to_owned()),
                skip_if_empty: true,
            }],
            clear_route_cache: false,
        };
        config.filters.insert(
            0,
            ir::HttpFilter {
                name: "state".to_owned(),
                kind: ir::HttpFilterKind::SetFilterState(Arc::new(state)),
                disabled: false,
            },
        );
        let proxy = start(&upstream, config).await;
        let request = Request::get("/p").header("cookie", "a=b; tier=\"gold\"");
        proxy.client().send(&request).await.unwrap();
        let received = upstream.take_received().remove(0);
        assert_eq!(received.header("x-tier"), Some("gold//p"));
    });
}

#[test]
fn a_browser_speaks_grpc() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(
            Reply::ok()
                .body("\0\0\0\0\x02hi")
                .header("content-type", "application/grpc"),
        );
        let proxy = start(&upstream, with(ir::HttpFilterKind::GrpcWeb, everything())).await;
        let request = Request::post("/s/m", "AAAAAAFh")
            .header("content-type", "application/grpc-web-text")
            .header("accept", "application/grpc-web-text");
        let response = proxy.client().send(&request).await.unwrap();
        assert_eq!(
            response.header("content-type"),
            Some("application/grpc-web-text+proto")
        );
        assert_eq!(response.text(), "AAAAAAJoaQ==");
        let received = upstream.take_received().remove(0);
        assert_eq!(received.header("content-type"), Some("application/grpc"));
        assert_eq!(&*received.body, b"\0\0\0\0\x01a");
    });
}

#[test]
fn copies_go_elsewhere_and_hashes_follow_cookies() {
    on_worker(async || {
        let (upstream, shadow) = (Upstream::start(), Upstream::start());
        let routes = vec![to("/", "up", |target| {
            target.mirrors = vec![ir::Mirror {
                cluster: ir::ClusterName::Named("shadow".into()),
                per_million: ALL,
                keep_host: false,
                host: None,
                headers: Vec::new(),
            }];
            target.hash = vec![ir::HashPolicy {
                source: ir::HashSource::Cookie {
                    name: "sticky".to_owned(),
                    ttl: Some(Duration::from_secs(60)),
                    path: "/p".to_owned(),
                    attributes: Vec::new(),
                },
                terminal: false,
            }];
        })];
        let proxy = start(&upstream, hcm(routes)).await;
        proxy.cluster("shadow", &[shadow.address()]);
        let request = Request::post("/", "body").host("h.example:80");
        let response = proxy.client().send(&request).await.unwrap();
        let cookie = response.header("set-cookie").unwrap();
        assert!(
            cookie.starts_with("sticky=\"")
                && cookie.ends_with("\"; Max-Age=60; Path=/p; HttpOnly"),
            "{cookie}"
        );
        while shadow.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let copy = shadow.take_received().remove(0);
        assert_eq!(copy.header("host"), Some("h.example-shadow:80"));
        assert_eq!(copy.header("x-envoy-internal"), Some("true"));
        assert_eq!(&*copy.body, b"body");
        let request = Request::get("/").header("cookie", "sticky=x");
        let response = proxy.client().send(&request).await.unwrap();
        assert_eq!(response.header("set-cookie"), None);
    });
}

#[test]
fn a_redirection_is_followed_with_its_body() {
    on_worker(async || {
        let upstream = Upstream::start();
        let there = Reply::status(307).header("location", "http://h.example/b?c=d");
        upstream.on("/a", there);
        upstream.on("/b", Reply::echo());
        let here = Reply::status(307).header("location", "http://h.example/loop");
        upstream.on("/loop", here);
        let policy = |target: &mut ir::RouteTarget| {
            target.internal_redirect = Some(Arc::new(ir::InternalRedirect {
                most: 1,
                codes: vec![StatusCode::TEMPORARY_REDIRECT],
                cross_scheme: false,
                predicates: Vec::new(),
                headers_to_copy: Vec::new(),
            }));
        };
        let proxy = start(&upstream, hcm(vec![to("/", "up", policy)])).await;
        let request = Request::post("/a", "the body").host("h.example");
        let response = proxy.client().send(&request).await.unwrap();
        assert_eq!(
            (response.status, response.text()),
            (200, "the body".to_owned())
        );
        let received = upstream.take_received();
        assert_eq!(received[1].target, "/b?c=d");
        assert_eq!(
            received[1].header("x-envoy-original-url"),
            Some("http://h.example/a")
        );
        assert_eq!(proxy.get("/loop").await.status, 307);
        let name = "http.test.passthrough_internal_redirect_too_many_redirects";
        assert_eq!(stat(&proxy, name), 1);
    });
}
