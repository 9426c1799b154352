//! The right to send one request on a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::Either;
use http::{Request, Response};
use meltemi_ir::Priority;

use super::{Http1Connection, Http1Lease, Http2Lease, HttpPool, HttpVersion};
use crate::stream::ConnectionDetails;
use crate::{ResponseBody, SendFailure, UpstreamBody, WorkerCluster, WorkerHost};

/// The right to send one request on a connection. Dropping it unused gives it back.
pub struct HttpLease {
    /// There until the request is sent.
    connection: Option<Connection>,
    pool: Rc<HttpPool>,
    active: Option<ActiveRequest>,
}

/// A connection, or a place on one.
pub(crate) enum Connection {
    Http1(Http1Connection),
    Http2(Http2Lease),
}

/// Counts as a request of cluster and host until dropped.
pub(crate) struct ActiveRequest {
    cluster: Rc<WorkerCluster>,
    host: Rc<WorkerHost>,
    priority: Priority,
}

impl ActiveRequest {
    #[inline]
    pub(super) fn new(
        cluster: &Rc<WorkerCluster>,
        host: &Rc<WorkerHost>,
        priority: Priority,
    ) -> Self {
        let stats = cluster.stats();
        stats.upstream_rq_total.inc();
        stats.upstream_rq_active.inc();
        host.stats().rq_total.inc();
        host.stats().rq_active.inc();
        cluster.breakers().of(priority).requests.take();
        Self {
            cluster: Rc::clone(cluster),
            host: Rc::clone(host),
            priority,
        }
    }

    pub(super) fn cluster(&self) -> &Rc<WorkerCluster> {
        &self.cluster
    }
}

impl Drop for ActiveRequest {
    #[inline]
    fn drop(&mut self) {
        self.cluster.stats().upstream_rq_active.dec();
        self.host.stats().rq_active.dec();
        self.cluster
            .breakers()
            .of(self.priority)
            .requests
            .give_back();
    }
}

impl HttpLease {
    #[inline]
    pub(super) fn new(connection: Connection, pool: Rc<HttpPool>, active: ActiveRequest) -> Self {
        Self {
            connection: Some(connection),
            pool,
            active: Some(active),
        }
    }

    /// The version spoken on the connection. Either form of URI will do; what saves work is
    /// the origin form and a `host` header for HTTP/1, an absolute URI for HTTP/2.
    pub fn version(&self) -> HttpVersion {
        match &self.connection {
            Some(Connection::Http2(_)) => HttpVersion::Http2,
            Some(Connection::Http1(_)) | None => HttpVersion::Http1,
        }
    }

    /// Whether the connection carried a request before, so that it may have been closed by
    /// the upstream just now.
    pub fn is_reused(&self) -> bool {
        match &self.connection {
            Some(Connection::Http1(connection)) => connection.is_reused(),
            Some(Connection::Http2(lease)) => lease.is_reused(),
            None => false,
        }
    }

    /// No other request follows this one on a connection of HTTP/1.
    pub fn ends_connection(&mut self) {
        if let Some(Connection::Http1(connection)) = &mut self.connection {
            connection.take_no_more();
        }
    }

    /// Where the connection comes from; none on a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.details().local
    }

    /// What is known of the connection.
    pub fn details(&self) -> &Arc<ConnectionDetails> {
        match &self.connection {
            Some(Connection::Http1(connection)) => connection.details(),
            Some(Connection::Http2(lease)) => lease.details(),
            None => unreachable!("a lease has its connection until it is sent on"),
        }
    }

    /// Sends the request. Dropping the future resets the stream (HTTP/2) or closes the
    /// connection (HTTP/1).
    ///
    /// # Errors
    /// When no response's headers arrive; the failure has the request where it was not sent.
    pub fn send(
        mut self,
        request: Request<UpstreamBody>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendFailure>> + use<> {
        let connection = self.connection.take().expect("taken once, here");
        let active = self.active.take().expect("taken once, here");
        let pool = Rc::clone(&self.pool);
        drop(self);
        match connection {
            Connection::Http1(connection) => {
                Either::Left(Http1Lease::new(connection, pool, active).send(request))
            }
            Connection::Http2(lease) => Either::Right(lease.send(request, active)),
        }
    }

    pub(super) fn into_connection(mut self) -> Option<Connection> {
        self.connection.take()
    }
}

impl Drop for HttpLease {
    fn drop(&mut self) {
        self.active = None;
        if let Some(Connection::Http1(unused)) = self.connection.take() {
            self.pool.put_http1(unused);
        }
    }
}

impl std::fmt::Debug for HttpLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpLease")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
