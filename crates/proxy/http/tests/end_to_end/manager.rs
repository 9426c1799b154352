//! What the connection manager makes of requests before routing, and of its own answers.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use meltemi_ir as ir;
use meltemi_testkit::{Request, Upstream};

use crate::fixture::{Proxy, everything, hcm, on_worker};

#[test]
fn names_with_underscores_are_refused_or_dropped() {
    on_worker(async || {
        let upstream = Upstream::start();
        for (action, status) in [
            (ir::Underscores::Allow, 200),
            (ir::Underscores::Drop, 200),
            (ir::Underscores::Reject, 400),
        ] {
            let mut config = hcm(everything());
            config.underscores = action;
            let proxy = Proxy::start(config).await;
            proxy.cluster("up", &[upstream.address()]);
            let request = Request::get("/").header("a_b", "c");
            assert_eq!(proxy.client().send(&request).await.unwrap().status, status);
            let received = upstream.take_received().pop();
            let passed = received.is_some_and(|request| request.header("a_b").is_some());
            assert_eq!(passed, action == ir::Underscores::Allow, "{action:?}");
        }
    });
}

#[test]
fn the_clients_address_comes_from_where_it_is_said_to() {
    on_worker(async || {
        let upstream = Upstream::start();
        let mut config = hcm(everything());
        config.original_ip = vec![ir::OriginalIp::Header {
            name: HeaderName::from_static("x-client"),
            trusted: false,
            reject: Some(StatusCode::FORBIDDEN),
        }];
        config.strip_trailing_host_dot = true;
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let request = Request::get("/")
            .header("x-client", "203.0.113.9")
            .host("h.example.:80");
        assert_eq!(proxy.client().send(&request).await.unwrap().status, 200);
        let line = proxy.last_line(1).await;
        assert!(line.ends_with("peer=203.0.113.9"), "{line}");
        let received = upstream.take_received().remove(0);
        assert_eq!(received.header("host"), Some("h.example:80"));
        assert_eq!(proxy.get("/").await.status, 403);
        let line = proxy.last_line(2).await;
        assert!(line.contains("rejected_via_ip_detection"), "{line}");
    });
}

#[test]
fn our_own_answers_are_reworded() {
    on_worker(async || {
        let mut config = hcm(Vec::new());
        let fields = [
            ("code", "%RESPONSE_CODE%"),
            ("path", "%REQ(:PATH)%"),
            ("text", "%LOCAL_REPLY_BODY%"),
        ];
        let json =
            fields.map(|(name, value)| (name.to_owned(), ir::Value::String(value.to_owned())));
        config.local_reply = Some(Arc::new(ir::LocalReplyConfig {
            mappers: vec![ir::LocalReplyMapper {
                filter: ir::AccessLogFilter::Status(ir::Comparison::Equal(404)),
                status: Some(StatusCode::GONE),
                body: Some("no more".to_owned()),
                format: None,
                headers: ir::HeaderMutation {
                    remove: Vec::new(),
                    add: vec![ir::HeaderAppend {
                        name: ir::HeaderTarget::Name(HeaderName::from_static("x-why")),
                        value: "gone".to_owned(),
                        literal: Some(HeaderValue::from_static("gone")),
                        action: ir::AppendAction::OverwriteOrAdd,
                        keep_empty: false,
                    }],
                },
            }],
            format: Some(ir::ReplyFormat {
                format: ir::LogFormat::Json(ir::Value::Struct(json.into_iter().collect())),
                content_type: HeaderValue::from_static("application/json"),
            }),
        }));
        let proxy = Proxy::start(config).await;
        let response = proxy.get("/nowhere").await;
        assert_eq!(response.status, 410);
        assert_eq!(response.header("x-why"), Some("gone"));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(
            response.text(),
            "{\"code\":410,\"path\":\"/nowhere\",\"text\":\"no more\"}\n"
        );
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /nowhere 410 NR route_not_found"),
            "{line}"
        );
    });
}
