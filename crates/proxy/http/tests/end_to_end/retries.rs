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

#[test]
fn a_limit_on_the_rate_says_how_long_to_wait() {
    on_worker(async || {
        let upstream = Upstream::start();
        let limited = |after: &str| Reply::status(429).header("retry-after", after);
        upstream.on_each("/soon", [limited("0"), Reply::ok()]);
        upstream.on_each("/late", [limited("3600"), Reply::ok()]);
        let routes = vec![to("/", "up", |target| {
            let mut policy = retry("retriable-status-codes", 1);
            policy.status_codes = vec![http::StatusCode::TOO_MANY_REQUESTS];
            policy.rate_limited = Some(meltemi_ir::RateLimitedBackOff {
                reset_headers: vec![(http::header::RETRY_AFTER, meltemi_ir::ResetFormat::Seconds)],
                max_interval: Duration::from_secs(300),
            });
            target.retry = Some(policy.into());
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        assert_eq!(proxy.get("/soon").await.status, 200);
        let name = "cluster.up.upstream_rq_retry_backoff_";
        assert_eq!(proxy.stat(&format!("{name}ratelimited")), 1);
        assert_eq!(proxy.stat(&format!("{name}exponential")), 0);
        // Too late to wait for: the usual back-off.
        assert_eq!(proxy.get("/late").await.status, 200);
        assert_eq!(proxy.stat(&format!("{name}exponential")), 1);
        assert_eq!(proxy.stat("cluster.up.retry.upstream_rq_429"), 2);
    });
}

#[test]
fn a_retry_goes_to_another_priority() {
    on_worker(async || {
        let (bad, good) = (Upstream::start(), Upstream::start());
        bad.fallback(Reply::status(503));
        good.fallback(Reply::ok());
        let routes = vec![to("/", "up", |target| {
            let mut policy = retry("5xx", 1);
            policy.previous_priorities = Some(1);
            target.retry = Some(policy.into());
        })];
        let proxy = Proxy::routing(&bad, routes).await;
        let mut cluster = crate::fixture::cluster("up", &[bad.address()]);
        let backup = crate::fixture::cluster("up", &[good.address()]);
        if let (meltemi_ir::Discovery::Static(assignment), meltemi_ir::Discovery::Static(backup)) =
            (&mut cluster.discovery, backup.discovery)
        {
            assignment.localities.extend(backup.localities);
            assignment.localities[1].priority = 1;
        }
        proxy.apply(cluster);
        for _ in 0..5 {
            assert_eq!(proxy.get("/").await.status, 200);
        }
        assert_eq!(bad.received().len(), 5);
    });
}

#[test]
fn a_budget_limits_retries() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::status(503));
        let routes = vec![to("/", "up", |target| {
            target.retry = Some(retry("5xx", 2).into());
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        let mut cluster = crate::fixture::cluster("up", &[upstream.address()]);
        cluster.circuit_breakers.default.retry_budget = Some(meltemi_ir::RetryBudget {
            percent: 0.0,
            min_retry_concurrency: 0,
        });
        proxy.apply(cluster);
        assert_eq!(proxy.get("/").await.status, 503);
        assert_eq!(upstream.received().len(), 1);
        assert_eq!(proxy.stat("cluster.up.upstream_rq_retry_overflow"), 1);
        let line = proxy.last_line(1).await;
        assert!(line.contains("503 UO"), "{line}");
    });
}

#[test]
fn a_route_chooses_a_subset() {
    on_worker(async || {
        let (blue, green) = (Upstream::start(), Upstream::start());
        blue.fallback(Reply::ok().body("blue"));
        green.fallback(Reply::ok().body("green"));
        let color = |name: &str| {
            meltemi_ir::SubsetKeys::from([(
                "color".to_owned(),
                meltemi_ir::Value::String(name.to_owned()),
            )])
        };
        let routes = ["green", "blue", "red"].map(|name| {
            to(&format!("/{name}"), "up", |target| {
                target.clusters[0].metadata_match = color(name);
            })
        });
        let proxy = Proxy::routing(&blue, routes.to_vec()).await;
        let mut cluster = crate::fixture::cluster("up", &[blue.address(), green.address()]);
        if let meltemi_ir::Discovery::Static(assignment) = &mut cluster.discovery {
            for (endpoint, name) in assignment.localities[0]
                .endpoints
                .iter_mut()
                .zip(["blue", "green"])
            {
                endpoint.metadata =
                    meltemi_ir::Metadata([("envoy.lb".to_owned(), color(name))].into());
            }
        }
        cluster.subsets = Some(Box::new(meltemi_ir::SubsetLb {
            fallback: meltemi_ir::SubsetFallback::None,
            default_subset: meltemi_ir::SubsetKeys::new(),
            selectors: vec![meltemi_ir::SubsetSelector {
                keys: vec!["color".to_owned()],
                single_host: false,
                fallback: None,
            }],
            locality_weight_aware: false,
            scale_locality_weight: false,
            panic_mode_any: false,
            list_as_any: false,
        }));
        proxy.apply(cluster);
        for name in ["blue", "green"] {
            for _ in 0..5 {
                assert_eq!(proxy.get(&format!("/{name}")).await.text(), name);
            }
        }
        assert_eq!(proxy.get("/red").await.status, 503);
    });
}
