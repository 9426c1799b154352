//! The filters in their places: cross-origin requests, Istio's metrics and peer metadata.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir as ir;
use meltemi_telemetry::PeerInfo;
use meltemi_testkit::{Reply, Request, Upstream};

use crate::fixture::{Proxy, everything, hcm, on_worker, to};

fn with(kinds: Vec<ir::HttpFilterKind>, routes: Vec<ir::Route>) -> ir::HttpConnectionManager {
    let mut config = hcm(routes);
    let filters = kinds.into_iter().map(|kind| ir::HttpFilter {
        name: String::new(),
        kind,
        disabled: false,
    });
    config.filters = filters.chain(config.filters).collect();
    config
}

fn cors(forward: bool) -> Vec<ir::Route> {
    vec![to("/", "up", |target| {
        target.cors = Some(Arc::new(ir::Cors {
            allow_origins: vec![ir::StringMatch::exact("http://ok")],
            allow_methods: "GET,POST".to_owned(),
            allow_headers: "x-y".to_owned(),
            expose_headers: "x-e".to_owned(),
            max_age: "10".to_owned(),
            enabled: true,
            allow_credentials: Some(true),
            forward_not_matching_preflights: Some(forward),
            allow_private_network_access: None,
        }));
    })]
}

#[test]
fn cross_origin_requests_are_answered_as_the_policy_says() {
    on_worker(async || {
        let upstream = Upstream::start();
        let preflight = |origin| {
            Request::new("OPTIONS", "/")
                .header("origin", origin)
                .header("access-control-request-method", "GET")
        };
        let plain = |origin| Request::get("/").header("origin", origin);
        for (forward, request, origin, methods, exposed, forwarded) in [
            (
                true,
                plain("http://ok"),
                Some("http://ok"),
                None,
                Some("x-e"),
                1,
            ),
            (true, plain("http://no"), None, None, None, 1),
            (
                true,
                preflight("http://ok"),
                Some("http://ok"),
                Some("GET,POST"),
                Some("x-e"),
                0,
            ),
            (true, preflight("http://no"), None, None, None, 1),
            (
                false,
                preflight("http://no"),
                None,
                Some("GET,POST"),
                None,
                0,
            ),
        ] {
            let proxy = Proxy::start(with(vec![ir::HttpFilterKind::Cors], cors(forward))).await;
            proxy.cluster("up", &[upstream.address()]);
            let response = proxy.client().send(&request).await.unwrap();
            let header = |name: &str| response.header(name);
            assert_eq!(response.status, 200, "{request:?}");
            assert_eq!(header("access-control-allow-origin"), origin, "{request:?}");
            assert_eq!(
                header("access-control-allow-methods"),
                methods,
                "{request:?}"
            );
            assert_eq!(
                header("access-control-expose-headers"),
                exposed,
                "{request:?}"
            );
            assert_eq!(upstream.take_received().len(), forwarded, "{request:?}");
        }
    });
}

fn caller() -> String {
    PeerInfo {
        workload: "caller".to_owned(),
        ..PeerInfo::default()
    }
    .encode()
}

fn exchange(inbound: bool) -> ir::HttpFilterKind {
    ir::HttpFilterKind::PeerMetadata(ir::PeerMetadata {
        downstream_discovery: inbound,
        downstream_propagation: inbound,
        upstream_discovery: !inbound,
        upstream_propagation: !inbound,
        skip_external: false,
    })
}

#[test]
fn the_server_side_learns_who_calls_and_hides_it_from_the_application() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::start(with(vec![exchange(true)], everything())).await;
        proxy.cluster("up", &[upstream.address()]);
        let known = Request::get("/")
            .header("x-envoy-peer-metadata-id", "sidecar~caller")
            .header("x-envoy-peer-metadata", &caller());
        let response = proxy.client().send(&known).await.unwrap();
        assert_eq!(
            response.header("x-envoy-peer-metadata-id"),
            Some("sidecar~test")
        );
        let told = response.header("x-envoy-peer-metadata").unwrap();
        let told = PeerInfo::decode(told.as_bytes()).unwrap();
        assert_eq!(told.workload, "tester");
        // Whoever says nothing is told nothing.
        let stranger = proxy.get("/").await;
        assert_eq!(stranger.header("x-envoy-peer-metadata"), None);
        for received in upstream.take_received() {
            assert_eq!(received.header("x-envoy-peer-metadata"), None);
            assert_eq!(received.header("x-envoy-peer-metadata-id"), None);
        }
    });
}

#[test]
fn the_client_side_says_who_it_is_and_hides_the_answer() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(
            Reply::ok()
                .header("x-envoy-peer-metadata-id", "sidecar~callee")
                .header("x-envoy-peer-metadata", &caller()),
        );
        let proxy = Proxy::start(with(vec![exchange(false)], everything())).await;
        proxy.cluster("up", &[upstream.address()]);
        let response = proxy.get("/").await;
        assert_eq!(response.header("x-envoy-peer-metadata"), None);
        assert_eq!(response.header("x-envoy-peer-metadata-id"), None);
        let received = upstream.take_received().remove(0);
        assert_eq!(
            received.header("x-envoy-peer-metadata-id"),
            Some("sidecar~test")
        );
        assert!(received.header("x-envoy-peer-metadata").is_some());
    });
}

#[test]
fn nothing_outside_the_mesh_is_told_who_calls_where_that_is_asked_for() {
    on_worker(async || {
        let upstream = Upstream::start();
        let filter = ir::HttpFilterKind::PeerMetadata(ir::PeerMetadata {
            upstream_propagation: true,
            skip_external: true,
            ..ir::PeerMetadata::default()
        });
        let routes = vec![
            to("/known", "up", |_| {}),
            to("/", "PassthroughCluster", |_| {}),
        ];
        let proxy = Proxy::start(with(vec![filter], routes)).await;
        proxy.cluster("up", &[upstream.address()]);
        proxy.cluster("PassthroughCluster", &[upstream.address()]);
        proxy.get("/known").await;
        proxy.get("/unknown").await;
        let received = upstream.take_received();
        let told: Vec<_> = received
            .iter()
            .map(|it| it.header("x-envoy-peer-metadata").is_some())
            .collect();
        assert_eq!(told, [true, false]);
    });
}

#[test]
fn finished_requests_are_counted_for_istio() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/missing", Reply::status(404));
        let stats = ir::HttpFilterKind::IstioStats(ir::IstioStats {
            reporter: ir::MetricReporter::ByDirection,
            disable_host_header_fallback: false,
            tcp_reporting_duration: Duration::from_secs(5),
        });
        let proxy = Proxy::start(with(vec![exchange(false), stats], everything())).await;
        proxy.cluster("up", &[upstream.address()]);
        proxy.get("/").await;
        proxy.get("/missing").await;
        proxy.log(2).await;
        let text = proxy
            .stats
            .prometheus(&meltemi_telemetry::StatsQuery::default());
        for code in ["200", "404"] {
            let line = text
                .lines()
                .find(|line| {
                    line.starts_with("istio_requests_total{")
                        && line.contains(&format!("response_code=\"{code}\""))
                })
                .unwrap_or_else(|| panic!("no {code} in {text}"));
            assert!(line.contains("reporter=\"source\""), "{line}");
            assert!(line.contains("source_workload=\"tester\""), "{line}");
        }
    });
}
