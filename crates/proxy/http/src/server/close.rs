//! The end of a connection, which may have to wait: a client that is still sending would lose the
//! answer if its connection were closed under it, since what arrives at a closed connection is
//! answered by a reset.
//!
//! In: a byte stream whose codec has ended. Out: nothing, when the client has closed it, or when
//! `delayed_close_timeout` is over. Called by `http1` and `http2`.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::io::ClientIo;
use crate::connection::Connection;

/// Whether the client is given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It has sent all that it will send.
    AtOnce,
    /// It closes, or the time is over.
    Delayed,
    /// Likewise, but the client is told first: it waits for no answer.
    Told,
}

/// Closes.
pub(super) async fn close<I>(mut io: ClientIo<I>, connection: &Rc<Connection>, manner: Manner)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    io.release();
    let limit = connection.with_manager(|manager, _| manager.config.delayed_close_timeout);
    let limit = limit.filter(|_| manner != Manner::AtOnce && !connection.is_gone());
    // ignored: whoever does not take what there is to tell is gone
    if let Some(limit) = limit {
        let _ = match manner {
            Manner::Told => io.shutdown().await,
            Manner::AtOnce | Manner::Delayed => io.flush().await,
        };
        if tokio::time::timeout(limit, discard(io.inner()))
            .await
            .is_err()
        {
            connection.with_manager(|_, stats| stats.downstream_cx_delayed_close_timeout.inc());
        }
    }
    let _ = io.shutdown().await;
}

/// Reads to the end.
async fn discard(io: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = vec![0; 8 << 10];
    while let Ok(1..) = io.read(&mut bytes).await {}
}
