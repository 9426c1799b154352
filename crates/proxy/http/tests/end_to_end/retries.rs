//! Trying again: when, with what, how often.

use std::time::Duration;

use meltemi_testkit::{RawClient, Reply, Request, Upstream};

use crate::fixture::{Proxy, everything, on_worker, retry, to};

#[test]
fn a_503_is_retried_with_its_body() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on_each("/", [Reply::status(503), Reply::status(503), Reply::echo()]);
        let routes = vec![to("/", "up", |target| {
            target.retry = Some(retry("5xx", 3).into());
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        let response = proxy.client().post("/", "again and again").await.unwrap();
        assert_eq!(
            (response.status, response.text()),
            (200, "again and again".to_owned())
        );
        let received = upstream.received();
        let attempts: Vec<_> = received
            .iter()
            .map(|request| {
                assert_eq!(request.body, "again and again");
                request.header("x-envoy-attempt-count").unwrap()
            })
            .collect();
        assert_eq!(attempts, ["1", "2", "3"]);
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("POST / 200 - via_upstream rx=15 tx=15 try=3"),
            "{line}"
        );
    });
}

#[test]
fn what_the_policy_does_not_name_is_not_retried() {
    on_worker(async || {
        let upstream = Upstream::start();
        for (path, on, status, tries) in [
            ("/gateway-500", "gateway-error", 500, 1),
            ("/gateway-502", "gateway-error", 502, 2),
            ("/retriable", "retriable-4xx", 409, 2),
            ("/other", "retriable-4xx", 404, 1),
            ("/connect", "connect-failure,refused-stream", 503, 1),
        ] {
            upstream.on(path, Reply::status(status));
            let routes = vec![to("/", "up", |target| {
                target.retry = Some(retry(on, 1).into());
            })];
            let proxy = Proxy::routing(&upstream, routes).await;
            assert_eq!(proxy.get(path).await.status, status);
            assert_eq!(upstream.count(path), tries, "{path}");
        }
    });
}

#[test]
fn a_body_too_large_to_keep_is_sent_once() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on_each("/", [Reply::status(503), Reply::ok()]);
        let routes = vec![to("/", "up", |target| {
            target.retry = Some(retry("5xx", 3).into());
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        let body = vec![b'x'; 80 << 10];
        let response = proxy.client().post("/", body).await.unwrap();
        assert_eq!(response.status, 503);
        assert_eq!(upstream.received().len(), 1);
    });
}

#[test]
fn an_upstream_that_closes_idle_connections_costs_nothing() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::ok().body("ok"));
        // Closed by the upstream right after the response, without saying so.
        upstream.on(
            "/last",
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast"),
        );
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        for round in 0..50 {
            let last = client.exchange(&Request::get("/last")).await.unwrap();
            assert_eq!(last.text(), "last", "round {round}");
            let next = client.exchange(&Request::get("/next")).await.unwrap();
            assert_eq!(
                (next.status, next.text()),
                (200, "ok".to_owned()),
                "round {round}"
            );
            let posted = client
                .exchange(&Request::post("/posted", "body"))
                .await
                .unwrap();
            assert_eq!(posted.status, 200, "round {round}");
        }
    });
}

#[test]
fn a_retry_goes_to_another_host() {
    on_worker(async || {
        let (bad, good) = (Upstream::start(), Upstream::start());
        bad.fallback(Reply::status(503));
        good.fallback(Reply::ok());
        let routes = vec![to("/", "up", |target| {
            let mut policy = retry("5xx", 1);
            policy.avoid_previous_hosts = true;
            policy.host_selection_max_attempts = 5;
            target.retry = Some(policy.into());
        })];
        let proxy = Proxy::routing(&bad, routes).await;
        proxy.cluster("up", &[bad.address(), good.address()]);
        for _ in 0..10 {
            assert_eq!(proxy.get("/").await.status, 200);
        }
    });
}

#[test]
fn a_slow_try_is_given_up_for_a_quick_one() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on_each("/", [Reply::silence(), Reply::ok().body("quick")]);
        let routes = vec![to("/", "up", |target| {
            let mut policy = retry("5xx", 1);
            policy.per_try_timeout = Some(Duration::from_millis(40));
            target.retry = Some(policy.into());
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        assert_eq!(proxy.get("/").await.text(), "quick");
    });
}
