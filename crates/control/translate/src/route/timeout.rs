//! Timeouts (FEATURES R5).
//!
//! In: a route's `timeout`. Out: Envoy's, which has one of 15 s unless told otherwise.

use std::time::Duration;

use meltemi_xds::pb::envoy::config::route::v3::{RouteAction, route_action::MaxStreamDuration};

use crate::proto::{duration, zero};

/// Sets the limit of the whole request; a gRPC client's own limit is honoured up to it.
#[allow(deprecated)] // Envoy ignores `timeout` where the successor, `max_stream_duration`, is set
pub(super) fn apply(action: &mut RouteAction, timeout: Option<Duration>) {
    let limit = duration(timeout.unwrap_or(Duration::ZERO));
    action.timeout = Some(limit);
    action.max_grpc_timeout = Some(limit);
}

/// Sets that nothing limits the request: that is the client's business.
pub(super) fn unlimited(action: &mut RouteAction) {
    action.timeout = Some(zero());
    action.max_stream_duration = Some(MaxStreamDuration {
        max_stream_duration: Some(zero()),
        grpc_timeout_header_max: Some(zero()),
        ..Default::default()
    });
}
