#![allow(clippy::unwrap_used)]
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use meltemi_ir::{Address, MetricReporter, TrafficDirection, Value};

use super::*;
use crate::{
    ConnectionInfo, Protocol, RequestRecord, ResponseFlags, StatsRegistry, TlsInfo, UpstreamRecord,
};

fn workload(name: &str) -> PeerInfo {
    PeerInfo {
        workload: format!("{name}-v1"),
        namespace: "shop".to_owned(),
        app: name.to_owned(),
        version: "v1".to_owned(),
        canonical_name: name.to_owned(),
        canonical_revision: "v1".to_owned(),
        cluster: "Kubernetes".to_owned(),
        ..PeerInfo::default()
    }
}

fn connection(direction: TrafficDirection, tls: Option<TlsInfo>) -> ConnectionInfo {
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    ConnectionInfo {
        id: 0,
        accepted: Duration::ZERO,
        round_trip: None,
        handshake: None,
        listener_settings: None,
        chain_settings: None,
        listener: "listener".into(),
        filter_chain: None,
        direct_local: address,
        local: address,
        remote: address,
        direct_remote: address,
        direction,
        requested_server_name: None,
        metadata: Metadata::default(),
        proxy_entries: None,
        restored: false,
        tls,
    }
}

fn tls(peer: &str, own: &str) -> TlsInfo {
    let uri = |name: &str| vec![format!("spiffe://cluster.local/ns/shop/sa/{name}")];
    TlsInfo {
        peer_uri_sans: uri(peer),
        local_uri_sans: uri(own),
        verified: true,
        ..TlsInfo::default()
    }
}

fn config(reporter: MetricReporter, disable_host_header_fallback: bool) -> IstioStats {
    IstioStats {
        reporter,
        disable_host_header_fallback,
        tcp_reporting_duration: Duration::from_secs(5),
    }
}

fn services() -> Metadata {
    let service = [
        ("host", "catalog.shop.svc.cluster.local"),
        ("name", "catalog"),
        ("namespace", "shop"),
    ];
    let service = service.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
    let services = Value::List(vec![Value::Struct(service.into())]);
    Metadata(
        [(
            "istio".to_owned(),
            [("services".to_owned(), services)].into(),
        )]
        .into(),
    )
}

fn request<'a>(connection: &'a ConnectionInfo, headers: &'a HeaderMap) -> StreamRecord<'a> {
    StreamRecord {
        protocol: Some(Protocol::Http11),
        request: Some(RequestRecord {
            method: "GET",
            scheme: "http",
            authority: "catalog:80",
            path: "/",
            headers,
        }),
        response_code: Some(200),
        bytes_sent: 100,
        response_header_bytes: 50,
        duration: Some(Duration::from_millis(7)),
        ..StreamRecord::new(connection, Duration::ZERO)
    }
}

/// The lines of one metric, without its name.
fn lines(registry: &StatsRegistry, metric: &str) -> Vec<String> {
    let text = registry.prometheus(&StatsQuery::default());
    let series = text.lines().filter_map(|line| line.strip_prefix(metric));
    series
        .filter(|line| line.starts_with('{'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_caller_reports_with_the_clusters_service() {
    let registry = StatsRegistry::new(2);
    let connection = connection(TrafficDirection::Outbound, None);
    let headers = HeaderMap::new();
    let (metadata, tls, peer) = (
        services(),
        tls("catalog", "web"),
        Arc::new(workload("catalog")),
    );
    let address = Address::Socket("10.0.0.2:80".parse().unwrap());
    let record = StreamRecord {
        upstream_peer: Some(&peer),
        upstream: Some(UpstreamRecord {
            cluster: "outbound|80||catalog.shop.svc.cluster.local",
            cluster_metadata: Some(&metadata),
            address: Some(&address),
            tls: Some(&tls),
            ..UpstreamRecord::default()
        }),
        ..request(&connection, &headers)
    };
    let config = config(MetricReporter::ByDirection, false);
    for worker in 0..2 {
        let own = Arc::new(workload("web"));
        let recorder = registry.istio().recorder(WorkerId(worker), own);
        recorder.request(&config, &record);
        recorder.request(&config, &record);
    }
    assert_eq!(
        lines(&registry, "istio_requests_total"),
        [
            r#"{reporter="source",source_workload="web-v1",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="web",source_version="v1",source_canonical_service="web",source_cluster="Kubernetes",source_canonical_revision="v1",destination_workload="catalog-v1",destination_workload_namespace="shop",destination_principal="spiffe://cluster.local/ns/shop/sa/catalog",destination_app="catalog",destination_version="v1",destination_canonical_service="catalog",destination_cluster="Kubernetes",destination_canonical_revision="v1",destination_service="catalog.shop.svc.cluster.local",destination_service_name="catalog",destination_service_namespace="shop",request_protocol="http",response_code="200",grpc_response_status="",response_flags="-",connection_security_policy="unknown"} 4"#
        ]
    );
    let duration = registry.prometheus(&StatsQuery::default());
    assert!(duration.contains("# TYPE istio_request_duration_milliseconds histogram"));
    let sum = duration
        .lines()
        .find(|line| line.starts_with("istio_response_bytes_sum"))
        .unwrap();
    assert!(sum.ends_with(" 600"), "{sum}");
}

#[test]
fn the_callee_knows_whether_it_is_mutual_tls() {
    let registry = StatsRegistry::new(1);
    let recorder = registry
        .istio()
        .recorder(WorkerId(0), Arc::new(workload("catalog")));
    let config = config(MetricReporter::ByDirection, true);
    let headers: HeaderMap = [(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    )]
    .into_iter()
    .collect();
    let secure = connection(TrafficDirection::Inbound, Some(tls("web", "catalog")));
    recorder.request(&config, &request(&secure, &headers));
    let plain = connection(TrafficDirection::Inbound, None);
    recorder.request(
        &config,
        &StreamRecord {
            response_code: Some(503),
            flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            ..request(&plain, &HeaderMap::new())
        },
    );
    assert_eq!(
        lines(&registry, "istio_requests_total"),
        [
            r#"{reporter="destination",source_workload="unknown",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="unknown",source_version="unknown",source_canonical_service="unknown",source_cluster="unknown",source_canonical_revision="latest",destination_workload="catalog-v1",destination_workload_namespace="shop",destination_principal="spiffe://cluster.local/ns/shop/sa/catalog",destination_app="catalog",destination_version="v1",destination_canonical_service="catalog",destination_cluster="Kubernetes",destination_canonical_revision="v1",destination_service="catalog",destination_service_name="catalog",destination_service_namespace="shop",request_protocol="grpc",response_code="200",grpc_response_status="2",response_flags="-",connection_security_policy="mutual_tls"} 1"#,
            r#"{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",source_principal="unknown",source_app="unknown",source_version="unknown",source_canonical_service="unknown",source_cluster="unknown",source_canonical_revision="latest",destination_workload="catalog-v1",destination_workload_namespace="shop",destination_principal="unknown",destination_app="catalog",destination_version="v1",destination_canonical_service="catalog",destination_cluster="Kubernetes",destination_canonical_revision="v1",destination_service="catalog",destination_service_name="catalog",destination_service_namespace="shop",request_protocol="http",response_code="503",grpc_response_status="",response_flags="UF",connection_security_policy="none"} 1"#,
        ]
    );
}

#[test]
fn where_no_service_is_called_the_cluster_or_authority_says_so() {
    let registry = StatsRegistry::new(1);
    let recorder = registry
        .istio()
        .recorder(WorkerId(0), Arc::new(workload("web")));
    let connection = connection(TrafficDirection::Outbound, None);
    let headers = HeaderMap::new();
    let passthrough = StreamRecord {
        upstream: Some(UpstreamRecord {
            cluster: "PassthroughCluster",
            ..UpstreamRecord::default()
        }),
        ..request(&connection, &headers)
    };
    let blocked = StreamRecord {
        route_name: Some("block_all"),
        ..request(&connection, &headers)
    };
    let cases = [
        (&passthrough, false, ("catalog:80", "PassthroughCluster")),
        (&blocked, true, ("unknown", "BlackHoleCluster")),
        (
            &request(&connection, &headers),
            false,
            ("catalog:80", "catalog:80"),
        ),
    ];
    for (record, disabled, (service, name)) in cases {
        registry.reset_counters();
        recorder.request(&config(MetricReporter::ByDirection, disabled), record);
        let found = lines(&registry, "istio_requests_total");
        let expected =
            format!("destination_service=\"{service}\",destination_service_name=\"{name}\",");
        let counted: Vec<_> = found.iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(counted.len(), 1, "{found:?}");
        assert!(counted[0].contains(&expected), "{counted:?}");
    }
}

#[test]
fn tcp_is_counted_while_it_lasts() {
    let registry = StatsRegistry::new(1);
    let recorder = registry
        .istio()
        .recorder(WorkerId(0), Arc::new(workload("web")));
    let connection = connection(TrafficDirection::Outbound, None);
    let workload = Value::String("db;data;db;;Kubernetes".to_owned());
    let host = Metadata(
        [(
            "istio".to_owned(),
            [("workload".to_owned(), workload)].into(),
        )]
        .into(),
    );
    let record = StreamRecord {
        upstream: Some(UpstreamRecord {
            cluster: "outbound|5432||db",
            host_metadata: Some(&host),
            ..UpstreamRecord::default()
        }),
        ..StreamRecord::new(&connection, Duration::ZERO)
    };
    let config = config(MetricReporter::ByDirection, false);
    let open = recorder.open_tcp(&config, &record);
    open.bytes(5, 6);
    open.bytes(1, 1);
    let value = |metric: &str| {
        lines(&registry, metric)[0]
            .rsplit_once(' ')
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(value("istio_tcp_connections_opened_total"), "1");
    assert_eq!(value("istio_tcp_connections_closed_total"), "0");
    assert_eq!(value("istio_tcp_sent_bytes_total"), "6");
    assert_eq!(value("istio_tcp_received_bytes_total"), "7");
    open.closed();
    assert_eq!(value("istio_tcp_connections_closed_total"), "1");
    recorder.tcp(
        &config,
        &record,
        TcpDelta {
            opened: true,
            closed: true,
            sent: 4,
            received: 0,
        },
    );
    assert_eq!(value("istio_tcp_connections_closed_total"), "2");
    assert_eq!(value("istio_tcp_sent_bytes_total"), "10");
    let line = &lines(&registry, "istio_tcp_sent_bytes_total")[0];
    assert!(line.contains("destination_workload=\"db\",destination_workload_namespace=\"data\""));
    assert!(line.contains("destination_canonical_revision=\"latest\""));
    assert!(line.contains("request_protocol=\"tcp\",response_flags=\"-\""));
}

#[test]
fn the_build_is_reported_once_known() {
    let registry = StatsRegistry::new(1);
    assert!(lines(&registry, "istio_build").is_empty());
    registry.istio().set_build("");
    assert_eq!(
        lines(&registry, "istio_build"),
        [r#"{component="proxy",tag="unknown"} 1"#]
    );
}
