//! Connection pools of one worker to one host, and leases on their connections.

use http::{Request, Response};

use crate::{ResponseBody, SendFailure, UpstreamBody};

/// The HTTP version of a downstream request, which a cluster may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The right to send one request on a connection. Dropping it unused gives it back.
#[derive(Debug)]
pub struct HttpLease {
    _private: (),
}

impl HttpLease {
    /// The version spoken on the connection: HTTP/2 wants absolute URIs (`:scheme`,
    /// `:authority`), HTTP/1 the origin form and a `host` header.
    pub fn version(&self) -> HttpVersion {
        unimplemented!()
    }
    /// Where the connection comes from, for `%UPSTREAM_LOCAL_ADDRESS%`.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        unimplemented!()
    }
    /// Sends the request. Dropping the future resets the stream.
    ///
    /// # Errors
    /// When no response's headers arrive; the failure has the request where it was not sent.
    pub async fn send(
        self,
        _request: Request<UpstreamBody>,
    ) -> Result<Response<ResponseBody>, SendFailure> {
        unimplemented!()
    }
}
