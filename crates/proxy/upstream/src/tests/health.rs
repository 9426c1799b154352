//! Health checks against upstreams that say what a test wants, with short intervals.

#![allow(clippy::single_range_in_vec_init, reason = "ranges of statuses")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use meltemi_ir::{
    Discovery, EndpointHealthCheck, HeaderMutation, HealthCheck, HealthCheckKind, HttpHealthCheck,
    StringMatch,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{
    Fixture, NAME, assignment, config, endpoint, listen, on_worker, read_request, server, to, until,
};
use crate::{HealthFlags, LbContext};

const QUICK: Duration = Duration::from_millis(5);

fn every(kind: HealthCheckKind) -> HealthCheck {
    HealthCheck {
        kind,
        timeout: Duration::from_millis(200),
        interval: QUICK,
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        unhealthy_threshold: 2,
        healthy_threshold: 3,
        reuse_connection: true,
        no_traffic_interval: QUICK,
        no_traffic_healthy_interval: None,
        unhealthy_interval: None,
        unhealthy_edge_interval: None,
        healthy_edge_interval: None,
        alpn: Vec::new(),
        transport_match: None,
    }
}

fn http_check(change: impl FnOnce(&mut HttpHealthCheck)) -> HealthCheckKind {
    let mut check = HttpHealthCheck {
        host: String::new(),
        path: "/healthz".to_owned(),
        method: Method::GET,
        send: Vec::new(),
        receive: Vec::new(),
        response_buffer: 1024,
        headers: HeaderMutation::default(),
        expected: vec![200..201],
        retriable: Vec::new(),
        service_name: None,
        http2: false,
    };
    change(&mut check);
    HealthCheckKind::Http(Box::new(check))
}

/// Answers every request with what is in the cell, and keeps the requests.
async fn answering(
    answer: &Rc<Cell<&'static str>>,
) -> (std::net::SocketAddr, Rc<RefCell<Vec<String>>>) {
    let (listener, address) = listen().await;
    let answer = answer.clone();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, log) = (answer.clone(), log.clone());
            tokio::task::spawn_local(async move {
                while let Some(request) = read_request(&mut stream).await {
                    log.borrow_mut().push(request);
                    let text = format!("HTTP/1.1 {}\r\ncontent-length: 2\r\n\r\nok", answer.get());
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

fn flags(fixture: &Fixture) -> HealthFlags {
    let cluster = fixture.manager.get(NAME).unwrap();
    let hosts = cluster.hosts();
    hosts.iter().next().unwrap().host.flags()
}

async fn start(cluster: meltemi_ir::Cluster) -> Fixture {
    let fixture = Fixture::with(cluster);
    tokio::spawn(fixture.manager.clone().run());
    fixture.manager.warmed().await;
    fixture
}

#[test]
fn thresholds_are_kept() {
    on_worker(|| async {
        let answer = Rc::new(Cell::new("200 OK"));
        let (address, seen) = answering(&answer).await;
        let mut cluster = to(&[address]);
        cluster.health_checks = vec![every(http_check(|check| {
            check.retriable = vec![503..504];
        }))];
        let fixture = start(cluster).await;
        // The first check decides alone, and the cluster waited for it.
        assert_eq!(flags(&fixture), HealthFlags::NONE);
        assert_eq!(fixture.stat("health_check.healthy"), 1);
        let request = seen.borrow()[0].clone();
        assert!(
            request.starts_with("GET /healthz HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("host: web\r\n"), "{request}");
        assert!(request.contains("user-agent: Envoy/HC\r\n"), "{request}");

        answer.set("503 No");
        until(|| flags(&fixture) != HealthFlags::NONE).await;
        assert_eq!(flags(&fixture), HealthFlags::FAILED_ACTIVE_HC);
        assert_eq!(fixture.stat("health_check.failure"), 2);
        assert_eq!(fixture.stat("membership_healthy"), 0);

        let before = fixture.stat("health_check.success");
        answer.set("200 OK");
        until(|| flags(&fixture) == HealthFlags::NONE).await;
        assert_eq!(fixture.stat("health_check.success") - before, 3);

        // Anything else that is not expected needs no second time.
        let before = fixture.stat("health_check.failure");
        answer.set("404 No");
        until(|| flags(&fixture) != HealthFlags::NONE).await;
        assert_eq!(fixture.stat("health_check.failure") - before, 1);
        assert_eq!(fixture.stat("upstream_cx_total"), 0);
    });
}

#[test]
fn answers_are_looked_at() {
    type Case = (&'static str, HealthCheckKind, &'static str, HealthFlags);
    let healthy = HealthFlags::NONE;
    let failed = HealthFlags::FAILED_ACTIVE_HC;
    let excluded = HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL;
    let cases: [Case; 8] = [
        (
            "a range",
            http_check(|check| check.expected = vec![300..400]),
            "307 Away",
            healthy,
        ),
        (
            "not in it",
            http_check(|check| check.expected = vec![300..400]),
            "200 OK",
            failed,
        ),
        (
            "a body",
            http_check(|check| check.receive = vec![b"o".to_vec(), b"k".to_vec()]),
            "200 OK",
            healthy,
        ),
        (
            "another body",
            http_check(|check| check.receive = vec![b"k".to_vec(), b"o".to_vec()]),
            "200 OK",
            failed,
        ),
        (
            "degraded",
            http_check(|_| {}),
            "200 OK\r\nx-envoy-degraded: true",
            HealthFlags::DEGRADED_ACTIVE_HC,
        ),
        (
            "not to be counted",
            http_check(|_| {}),
            "503 No\r\nx-envoy-immediate-health-check-fail: true",
            failed | excluded,
        ),
        (
            "the service",
            http_check(|check| check.service_name = Some(StringMatch::exact("web"))),
            "200 OK\r\nx-envoy-upstream-healthchecked-cluster: web",
            healthy,
        ),
        (
            "another service",
            http_check(|check| check.service_name = Some(StringMatch::exact("web"))),
            "200 OK\r\nx-envoy-upstream-healthchecked-cluster: db",
            failed,
        ),
    ];
    for (name, kind, answer, expected) in cases {
        on_worker(|| async {
            let answer = Rc::new(Cell::new(answer));
            let (address, _) = answering(&answer).await;
            let mut cluster = to(&[address]);
            cluster.health_checks = vec![every(kind)];
            let fixture = start(cluster).await;
            assert_eq!(flags(&fixture), expected, "{name}");
        });
    }
}

#[test]
fn silence_and_closed_ports_fail() {
    on_worker(|| async {
        let (silent, address) = listen().await;
        let mut cluster = to(&[address]);
        cluster.health_checks = vec![every(http_check(|_| {}))];
        let fixture = start(cluster).await;
        let timeout = HealthFlags::FAILED_ACTIVE_HC | HealthFlags::ACTIVE_HC_TIMEOUT;
        assert_eq!(flags(&fixture), timeout);
        drop(silent);
        until(|| flags(&fixture) == HealthFlags::FAILED_ACTIVE_HC).await;
        assert!(fixture.stat("health_check.network_failure") > 1);
        let snapshot = fixture.cluster().snapshot();
        assert_eq!(snapshot.hosts[0].flags.to_string(), "/failed_active_hc");
    });
}

#[test]
fn bytes_are_sent_and_awaited() {
    for (reply, healthy) in [("..PO..NG..", true), ("..NG..PO..", false)] {
        on_worker(|| async {
            let (listener, address) = listen().await;
            tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut asked = [0; 4];
                    if stream.read_exact(&mut asked).await.is_ok() {
                        assert_eq!(&asked, b"PING");
                        stream.write_all(reply.as_bytes()).await.unwrap();
                    }
                }
            });
            let mut cluster = to(&[address]);
            cluster.health_checks = vec![every(HealthCheckKind::Tcp {
                send: b"PING".to_vec(),
                receive: vec![b"PO".to_vec(), b"NG".to_vec()],
            })];
            let fixture = start(cluster).await;
            assert_eq!(flags(&fixture) == HealthFlags::NONE, healthy);
        });
    }
}

#[test]
fn a_grpc_service_says_how_it_is() {
    for (status, healthy) in [(1_u8, true), (2, false)] {
        on_worker(|| async {
            let (listener, address) = listen().await;
            tokio::task::spawn_local(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::task::spawn_local(async move {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        while let Some(Ok((request, mut respond))) = connection.accept().await {
                            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                            assert_eq!(request.uri().host(), Some("other"));
                            let head = http::Response::new(());
                            let mut body = respond.send_response(head, false).unwrap();
                            let message = bytes::Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
                            body.send_data(message, false).unwrap();
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("grpc-status", "0".parse().unwrap());
                            body.send_trailers(trailers).unwrap();
                        }
                    });
                }
            });
            let mut cluster = to(&[address]);
            cluster.health_checks = vec![every(HealthCheckKind::Grpc {
                service_name: "web".to_owned(),
                authority: "other".to_owned(),
                headers: HeaderMutation::default(),
            })];
            let fixture = start(cluster).await;
            assert_eq!(flags(&fixture) == HealthFlags::NONE, healthy);
        });
    }
}

#[test]
fn health_may_be_asked_for_elsewhere_or_not_at_all() {
    on_worker(|| async {
        let answer = Rc::new(Cell::new("200 OK"));
        let (address, seen) = answering(&answer).await;
        let nowhere = server().await;
        let mut elsewhere = endpoint(nowhere);
        elsewhere.health_check = Some(Box::new(EndpointHealthCheck {
            port: Some(address.port()),
            hostname: "own.example".to_owned(),
            ..EndpointHealthCheck::default()
        }));
        let mut silent = endpoint("10.255.255.1:1".parse().unwrap());
        silent.health_check = Some(Box::new(EndpointHealthCheck {
            disabled: true,
            ..EndpointHealthCheck::default()
        }));
        let endpoints = vec![elsewhere, silent];
        let mut cluster = config(Discovery::Static(assignment(NAME, endpoints)));
        cluster.health_checks = vec![every(http_check(|_| {}))];
        let fixture = start(cluster).await;
        assert!(seen.borrow()[0].contains("host: own.example\r\n"));
        assert_eq!(fixture.stat("membership_healthy"), 2);
    });
}

#[test]
fn a_removed_host_stays_while_it_is_well() {
    for (ignore, left) in [(false, 1), (true, 0)] {
        on_worker(|| async {
            let answer = Rc::new(Cell::new("200 OK"));
            let (address, _) = answering(&answer).await;
            let mut cluster = config(Discovery::Eds {
                service_name: String::new(),
                source: meltemi_ir::ConfigSource::default(),
            });
            cluster.health_checks = vec![every(http_check(|_| {}))];
            cluster.ignore_health_on_host_removal = ignore;
            let fixture = Fixture::with(cluster);
            tokio::spawn(fixture.manager.clone().run());
            let endpoints = vec![endpoint(address)];
            fixture.manager.apply_endpoints(assignment(NAME, endpoints));
            fixture.manager.warmed().await;
            assert!(fixture.cluster().choose(&LbContext::default()).is_some());
            let none = assignment(NAME, Vec::new());
            fixture.manager.apply_endpoints(none);
            assert_eq!(fixture.stat("membership_total"), left, "{ignore}");
            answer.set("500 No");
            until(|| fixture.stat("membership_total") == 0).await;
        });
    }
}
