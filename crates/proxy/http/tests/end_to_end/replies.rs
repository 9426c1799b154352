//! What the client is told where there is no response to pass on: status, text, flags, details.

use std::time::Duration;

use http::StatusCode;
use meltemi_ir as ir;
use meltemi_lifecycle::WorkerId;
use meltemi_testkit::{Reply, Request, Upstream, free_port};

use crate::fixture::{Proxy, everything, hcm, on_worker, retry, route, to};

struct Case {
    target: &'static str,
    status: u16,
    body: &'static str,
    /// Of the access log's line.
    line: &'static str,
}

fn routes() -> Vec<ir::Route> {
    let redirect = |path, https| ir::Redirect {
        scheme: None,
        https,
        host: None,
        port: None,
        path,
        status: StatusCode::MOVED_PERMANENTLY,
        strip_query: false,
    };
    vec![
        to("/nocluster", "nope", |_| {}),
        to("/dead-again", "dead", |target| {
            target.retry = Some(retry("connect-failure", 2).into());
        }),
        to("/dead", "dead", |_| {}),
        to("/empty", "empty", |_| {}),
        to("/slow", "up", |target| {
            target.timeout = Some(Duration::from_millis(50));
        }),
        to("/try-slow", "up", |target| {
            let mut policy = retry("5xx", 1);
            policy.per_try_timeout = Some(Duration::from_millis(40));
            target.retry = Some(policy.into());
        }),
        to("/idle", "up", |target| {
            target.idle_timeout = Some(Some(Duration::from_millis(50)));
        }),
        to("/long", "up", |target| {
            target.max_stream_duration = Some(Some(Duration::from_millis(50)));
        }),
        to("/broken-again", "up", |target| {
            target.retry = Some(retry("5xx", 2).into());
        }),
        to("/broken", "up", |_| {}),
        to("/garbage", "up", |_| {}),
        to("/cut", "up", |_| {}),
        route(
            "/teapot",
            ir::RouteAction::Direct(ir::DirectResponse {
                status: StatusCode::IM_A_TEAPOT,
                body: (*b"short and stout").into(),
            }),
        ),
        route(
            "/moved",
            ir::RouteAction::Redirect(redirect(ir::RedirectPath::Full("/new".into()), false)),
        ),
        route("/nowhere", ir::RouteAction::NonForwarding),
        to("/fine", "up", |_| {}),
    ]
}

const CASES: &[Case] = &[
    Case {
        target: "/fine",
        status: 200,
        body: "hello",
        line: "GET /fine 200 - via_upstream rx=0 tx=5 try=1 route=fine",
    },
    Case {
        target: "/unknown",
        status: 404,
        body: "",
        line: "GET /unknown 404 NR route_not_found rx=0 tx=0 try=0 route=-",
    },
    Case {
        target: "/nocluster",
        status: 503,
        body: "",
        line: "GET /nocluster 503 NC cluster_not_found rx=0 tx=0 try=0 route=nocluster",
    },
    Case {
        target: "/nowhere",
        status: 503,
        body: "",
        line: "GET /nowhere 503 NC cluster_not_found rx=0 tx=0 try=0 route=nowhere",
    },
    Case {
        target: "/dead",
        status: 503,
        body: "upstream connect error or disconnect/reset before headers. \
               reset reason: remote connection failure",
        line: "GET /dead 503 UF upstream_reset_before_response_started\
               {remote_connection_failure|delayed_connect_error:_Connection_refused} \
               rx=0 tx=98 try=1 route=dead",
    },
    Case {
        target: "/dead-again",
        status: 503,
        body: "upstream connect error or disconnect/reset before headers. \
               retried and the latest reset reason: remote connection failure",
        line: "GET /dead-again 503 URX,UF upstream_reset_before_response_started\
               {remote_connection_failure|delayed_connect_error:_Connection_refused} \
               rx=0 tx=121 try=3 route=dead-again",
    },
    Case {
        target: "/empty",
        status: 503,
        body: "no healthy upstream",
        line: "GET /empty 503 UH no_healthy_upstream rx=0 tx=19 try=1 route=empty",
    },
    Case {
        target: "/slow",
        status: 504,
        body: "upstream request timeout",
        line: "GET /slow 504 UT response_timeout rx=0 tx=24 try=1 route=slow",
    },
    Case {
        target: "/try-slow",
        status: 504,
        body: "upstream request timeout",
        line: "GET /try-slow 504 URX,UT upstream_per_try_timeout rx=0 tx=24 try=2 route=try-slow",
    },
    Case {
        target: "/idle",
        status: 504,
        body: "stream timeout",
        line: "GET /idle 504 SI stream_idle_timeout rx=0 tx=14 try=1 route=idle",
    },
    Case {
        target: "/long",
        status: 504,
        body: "downstream duration timeout",
        line: "GET /long 504 - max_duration_timeout rx=0 tx=27 try=1 route=long",
    },
    Case {
        target: "/broken",
        status: 503,
        body: "upstream connect error or disconnect/reset before headers. \
               reset reason: connection termination",
        line: "GET /broken 503 UC upstream_reset_before_response_started\
               {connection_termination} rx=0 tx=95 try=1 route=broken",
    },
    Case {
        target: "/broken-again",
        status: 503,
        body: "upstream connect error or disconnect/reset before headers. \
               retried and the latest reset reason: connection termination",
        line: "GET /broken-again 503 URX,UC upstream_reset_before_response_started\
               {connection_termination} rx=0 tx=118 try=3 route=broken-again",
    },
    Case {
        target: "/garbage",
        status: 502,
        body: "upstream connect error or disconnect/reset before headers. \
               reset reason: protocol error",
        line: "GET /garbage 502 UPE upstream_reset_before_response_started\
               {protocol_error} rx=0 tx=87 try=1 route=garbage",
    },
    Case {
        target: "/teapot",
        status: 418,
        body: "short and stout",
        line: "GET /teapot 418 - direct_response rx=0 tx=15 try=0 route=teapot",
    },
    Case {
        target: "/moved?q=1",
        status: 301,
        body: "",
        line: "GET /moved?q=1 301 - direct_response rx=0 tx=0 try=0 route=moved",
    },
];

#[test]
fn each_failure_has_envoys_words_flags_and_details() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream
            .on("/fine", Reply::ok().body("hello"))
            .on("/slow", Reply::silence())
            .on("/try-slow", Reply::silence())
            .on("/idle", Reply::silence())
            .on("/long", Reply::silence())
            .on("/broken*", Reply::break_before_head())
            .on("/garbage", Reply::raw("NOTHTTP\r\n\r\n"));
        let proxy = Proxy::routing(&upstream, routes()).await;
        proxy.cluster("dead", &[([127, 0, 0, 1], free_port()).into()]);
        proxy.cluster("empty", &[]);
        for (count, case) in CASES.iter().enumerate() {
            let response = proxy.get(case.target).await;
            assert_eq!(response.status, case.status, "{}", case.target);
            assert_eq!(response.text(), case.body, "{}", case.target);
            assert_eq!(response.header("server"), Some("envoy"), "{}", case.target);
            assert!(response.header("date").is_some(), "{}", case.target);
            if !case.body.is_empty() && case.target != "/fine" {
                assert_eq!(response.header("content-type"), Some("text/plain"));
            }
            let line = proxy.last_line(count + 1).await;
            assert_eq!(line, format!("{} peer=127.0.0.1", case.line));
        }
        let counted = proxy.stats.http("test");
        let counted = counted.shard(WorkerId(0));
        for (name, count, expected) in [
            (
                "downstream_rq_total",
                &counted.downstream_rq_total,
                CASES.len(),
            ),
            ("rq_total", &counted.rq_total, CASES.len()),
            ("no_route", &counted.no_route, 1),
            ("no_cluster", &counted.no_cluster, 2),
            // a redirection is a direct response to Envoy
            ("rq_direct_response", &counted.rq_direct_response, 2),
            ("downstream_rq_2xx", &counted.downstream_rq_2xx, 1),
        ] {
            assert_eq!(count.get(), expected as u64, "{name}");
        }
        assert_eq!(counted.downstream_rq_active.get(), 0);
        let counted = proxy.stats.cluster("up");
        let counted = counted.shard(WorkerId(0));
        for (name, count, expected) in [
            ("upstream_rq_timeout", &counted.upstream_rq_timeout, 1),
            (
                "upstream_rq_per_try_timeout",
                &counted.upstream_rq_per_try_timeout,
                2,
            ),
            ("upstream_rq_retry", &counted.upstream_rq_retry, 3),
            (
                "upstream_rq_retry_limit_exceeded",
                &counted.upstream_rq_retry_limit_exceeded,
                2,
            ),
        ] {
            assert_eq!(count.get(), expected, "{name}");
        }
        assert_eq!(counted.upstream_rq_active.get(), 0);
        let moved = proxy.get("/moved?q=1").await;
        let authority = proxy.address.to_string();
        assert_eq!(
            moved.header("location"),
            Some(&*format!("http://{authority}/new?q=1"))
        );
    });
}

#[test]
fn a_response_that_breaks_off_breaks_off_downstream() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/cut", Reply::ok().body("half").break_in_body());
        let proxy = Proxy::routing(&upstream, everything()).await;
        assert!(proxy.client().get("/cut").await.is_err());
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /cut 200 U")
                && line.contains("upstream_reset_after_response_started"),
            "{line}"
        );
    });
}

#[test]
fn a_client_that_goes_away_is_flagged() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/", Reply::silence());
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = meltemi_testkit::RawClient::connect(proxy.address)
            .await
            .unwrap();
        client.send(&Request::get("/")).await.unwrap();
        assert!(upstream.wait_received(1, Duration::from_secs(5)).await);
        drop(client);
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET / 0 DC downstream_remote_disconnect"),
            "{line}"
        );
    });
}

#[test]
fn grpc_callers_get_a_grpc_status() {
    on_worker(async || {
        let proxy = Proxy::start(hcm(vec![to("/empty", "empty", |_| {})])).await;
        proxy.cluster("empty", &[]);
        for (target, status, message) in [
            ("/empty", "14", Some("no healthy upstream")),
            ("/none", "12", None),
        ] {
            let request = Request::post(target, "").header("content-type", "application/grpc");
            let response = proxy.client().send(&request).await.unwrap();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("grpc-status"), Some(status));
            assert_eq!(response.header("grpc-message"), message);
            assert_eq!(response.header("content-type"), Some("application/grpc"));
        }
    });
}

#[test]
fn head_gets_the_length_and_no_body() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/fine", Reply::ok().body("hello"));
        let proxy = Proxy::routing(&upstream, routes()).await;
        let mut client = meltemi_testkit::RawClient::connect(proxy.address)
            .await
            .unwrap();
        for (target, length) in [("/teapot", "15"), ("/fine", "5"), ("/teapot", "15")] {
            let request = Request::new("HEAD", target);
            let response = client.exchange(&request).await.unwrap();
            assert_eq!(response.header("content-length"), Some(length), "{target}");
        }
    });
}
