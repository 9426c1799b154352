//! One downstream connection: which HTTP it speaks, its codec, and when it ends.

mod close;
mod http1;
mod http2;
mod io;
pub(crate) mod refusal;
mod sniff;
mod watch;

use std::rc::Rc;

use meltemi_ir as ir;
use meltemi_telemetry::HttpStats;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, ConnectionContext, Ending};
use io::ClientIo;
use sniff::Version;

/// Serves a downstream connection until it ends. Dropping the future closes it. Call it inside
/// the worker's runtime.
pub async fn serve<I>(io: I, context: ConnectionContext)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (connection, drain) = Connection::new(context);
    let _count = CountConnection::new(&connection);
    let _watch = watch::start(&connection, drain);
    let mut io = ClientIo::new(io, connection.clone());
    let alpn = connection
        .info
        .tls
        .as_ref()
        .and_then(|tls| tls.alpn.as_deref());
    let codec = connection.with_manager(|manager, _| manager.config.codec);
    let version = match (codec, alpn) {
        (ir::Codec::Http1, _) => Version::Http1,
        (ir::Codec::Http2, _) | (ir::Codec::Auto, Some("h2")) => Version::Http2,
        (ir::Codec::Auto, _) => {
            let sniffed = until_ended(&connection, sniff::version(&mut io)).await;
            match sniffed {
                Some(Ok(version)) => version,
                Some(Err(_)) | None => return,
            }
        }
    };
    match version {
        Version::Http1 => http1::serve(io, &connection).await,
        Version::Http2 => http2::serve(io, &connection).await,
    }
}

/// Waits for `work` unless the connection is asked to end before.
async fn until_ended<T>(connection: &Rc<Connection>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        connection.driven_by(cx.waker());
        if !matches!(connection.ending(), Ending::Open | Ending::Draining) {
            return std::task::Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Counts a connection while it lasts.
struct CountConnection(Rc<Connection>);

impl CountConnection {
    fn new(connection: &Rc<Connection>) -> Self {
        let counted = Self(connection.clone());
        counted.with(|stats, tls| {
            stats.downstream_cx_total.inc();
            stats.downstream_cx_active.inc();
            if tls {
                stats.downstream_cx_ssl_total.inc();
                stats.downstream_cx_ssl_active.inc();
            }
        });
        counted
    }

    fn with(&self, count: impl FnOnce(&HttpStats, bool)) {
        self.0
            .with_manager(|_, stats| count(stats, self.0.info.tls.is_some()));
    }
}

impl Drop for CountConnection {
    fn drop(&mut self) {
        // A tunnel that never began would keep its connection alive.
        drop(self.0.tunnel.take());
        let busy = self.0.active.get() > 0;
        let length = self.0.opened.elapsed().as_millis() as u64;
        let local = self.0.ending() != Ending::Open;
        self.with(|stats, tls| {
            stats.downstream_cx_active.dec();
            stats.downstream_cx_destroy.inc();
            stats.downstream_cx_length_ms.record(length);
            if busy {
                stats.downstream_cx_destroy_active_rq.inc();
            }
            if local {
                stats.downstream_cx_destroy_local.inc();
            } else {
                stats.downstream_cx_destroy_remote.inc();
            }
            if tls {
                stats.downstream_cx_ssl_active.dec();
            }
        });
    }
}
