#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::Load;
use crate::{Reply, Request, Upstream};

#[tokio::test]
async fn counts_statuses_classes_and_connections() {
    let upstream = Upstream::start();
    upstream.on_each(
        "/",
        [
            Reply::status(503),
            Reply::ok().body("v1"),
            Reply::ok().body("v2"),
        ],
    );
    let load = Load::classified(
        upstream.address(),
        Request::get("/"),
        2,
        crate::Response::text,
    );
    assert!(upstream.wait_received(20, Duration::from_secs(20)).await);
    let report = load.stop();
    assert_eq!(report.status(503), 1);
    assert_eq!(report.classes["v1"], 1);
    assert_eq!(report.classes["v2"], report.responses() - 2);
    assert_eq!(report.connections, 2);
    assert_eq!(report.errors, Vec::<String>::new());
    assert!(!report.all_ok());
}

#[tokio::test]
async fn broken_exchanges_are_errors_and_announced_closes_are_not() {
    let upstream = Upstream::start();
    upstream.on_each(
        "/",
        [Reply::ok().close(), Reply::break_before_head(), Reply::ok()],
    );
    let load = Load::start(upstream.address(), Request::get("/"), 1);
    assert!(upstream.wait_received(5, Duration::from_secs(20)).await);
    let report = load.stop();
    assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
    assert_eq!(report.connections, 3);
    assert_eq!(report.status(200), report.responses());
}
