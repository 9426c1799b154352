//! What can go wrong between choosing a host and the end of a response.
//!
//! Each failure knows whose it is and whether trying again is safe; the HTTP crate maps it
//! to a status and a response flag.

use std::fmt;
use std::sync::Arc;

use http::Request;

use crate::UpstreamBody;

/// Which circuit breaker refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// `max_connections`.
    Connections,
    /// `max_pending_requests`.
    PendingRequests,
    /// `max_requests`.
    Requests,
}

/// Why there is no connection to a host. Nothing was sent, so trying again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// A circuit breaker is open: response flag `UO`, 503 with `x-envoy-overloaded`.
    #[error("overflow")]
    Overflow(Breaker),
    /// The connection was not made within `connect_timeout`: flag `UF`.
    #[error("connection timeout")]
    Timeout,
    /// The connection was not even tried, such as for want of a source address: flag `UF`.
    #[error("{0}")]
    Local(Arc<str>),
    /// The connection was refused or failed: flag `UF`.
    #[error("{0}")]
    Transport(Arc<str>),
    /// The TLS handshake failed, or a secret it needs is missing: flag `UF`.
    #[error("{0}")]
    Tls(Arc<str>),
}

impl ConnectFailure {
    /// The text of `%UPSTREAM_TRANSPORT_FAILURE_REASON%`, as Envoy words it; empty where
    /// there is none.
    pub fn transport_failure_reason(&self) -> &str {
        match self {
            Self::Overflow(_) | Self::Timeout => "",
            Self::Local(reason) | Self::Transport(reason) | Self::Tls(reason) => reason,
        }
    }
}

/// Why a stream ended without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The upstream closed the connection: flag `UC`, "connection termination".
    ConnectionTermination,
    /// The upstream reset the stream (HTTP/2): flag `UR`, "remote reset".
    RemoteReset,
    /// The upstream refused the stream before looking at it (`REFUSED_STREAM`, or not
    /// covered by its `GOAWAY`): flag `UR`, "remote refused stream reset".
    RemoteRefused,
    /// The upstream broke the protocol: flag `UPE`, "protocol error".
    ProtocolError(Arc<str>),
    /// The request's own body failed, such as by the downstream going away.
    RequestBody(Arc<str>),
    /// The request cannot be written as it is.
    InvalidRequest(Arc<str>),
}

impl ResetReason {
    /// Whether the upstream certainly processed nothing of the request.
    pub fn is_safe_to_retry(&self) -> bool {
        matches!(self, Self::RemoteRefused)
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionTermination => f.write_str("connection termination"),
            Self::RemoteReset => f.write_str("remote reset"),
            Self::RemoteRefused => f.write_str("remote refused stream reset"),
            Self::ProtocolError(_) => f.write_str("protocol error"),
            Self::RequestBody(_) | Self::InvalidRequest(_) => f.write_str("local reset"),
        }
    }
}

/// Why a request got no response on the connection it was sent on.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SendFailure {
    /// What happened.
    pub reason: ResetReason,
    /// The request, where not a byte of it was sent: lease another connection and send it
    /// again, whatever the retry policy.
    pub request: Option<Box<Request<UpstreamBody>>>,
    /// The upstream certainly processed nothing of it, for it was going away
    /// (HTTP/2 `GOAWAY`): send it again too, if its body still can be.
    pub unprocessed: bool,
    /// The head of the request, where it was sent or was begun to be.
    pub sent: Option<Box<Request<()>>>,
}
