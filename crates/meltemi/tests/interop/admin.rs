//! The administration endpoint of a program under test.
//!
//! In: its address and a path. Out: text. Called by the interop tests.

use std::net::SocketAddr;
use std::time::Duration;

use meltemi_testkit::Client;

/// How long a program may take to be ready; Envoy's first start on a cold machine is slow.
pub const STARTUP: Duration = Duration::from_secs(30);

/// What an administration endpoint answers, as text.
pub async fn ask(admin: SocketAddr, path: &str) -> String {
    let response = Client::new(admin).get(path).await;
    let response = response.unwrap_or_else(|error| panic!("{admin}{path}: {error}"));
    assert_eq!(response.status, 200, "{admin}{path}: {}", response.text());
    response.text()
}
